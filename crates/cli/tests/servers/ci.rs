//! What CI runs: llama.cpp with real weights, and `transformers serve`.

use crate::server::{Server, as_scripted, installed};

/// Closes every connection without saying so, and keeps none of forty requests from completing.
#[test]
fn llama_cpp() {
    let server = Server::start("llama-cpp-serve.sh", "/health", &[]);
    as_scripted(&server.bench(&[]), "llama-cpp", "chat");
    // Without its chat template the model ends most answers before it has said anything.
    let answer = server.bench(&["--endpoint", "completions", "--ignore-eos"]);
    as_scripted(&answer, "llama-cpp", "completions");
}

/// Sends no `[DONE]`, refuses `ignore_eos`, and lists no models without a network.
#[test]
fn transformers_serve() {
    let server = Server::start("transformers-serve.sh", "/health", &[]);
    let model = format!("{}/tiny", installed("transformers-install.sh"));
    let answer = server.bench(&["--model", &model]);
    as_scripted(&answer, "transformers-serve", "chat");
    let answer = server.bench(&["--model", &model, "--ignore-eos"]);
    assert_eq!(
        answer["capabilities"]["ignore_eos"], "refused",
        "{:#}",
        answer["capabilities"]
    );
    assert_eq!(answer["results"][0]["requests"]["failed"], 0);
}
