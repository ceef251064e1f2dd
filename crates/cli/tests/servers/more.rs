//! What CI has no time for: servers from PyPI.

use crate::server::{Server, as_scripted};

#[test]
fn guidellm_mock_server() {
    let server = Server::start("guidellm-serve.sh", "/v1/models", &[]);
    as_scripted(&server.bench(&[]), "guidellm-mock", "chat");
    as_scripted(
        &server.bench(&["--endpoint", "completions"]),
        "guidellm-mock",
        "completions",
    );
}

/// A gateway in front of llama.cpp.
#[test]
fn litellm_proxy() {
    let engine = Server::start("llama-cpp-serve.sh", "/health", &[]);
    let server = Server::start("litellm-serve.sh", "/v1/models", &[&engine.port.to_string()]);
    as_scripted(&server.bench(&[]), "litellm", "chat");
    let answer = server.bench(&["--endpoint", "completions", "--ignore-eos"]);
    as_scripted(&answer, "litellm", "completions");
}
