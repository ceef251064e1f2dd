//! Every scripted fault, as a client sees it.

use std::io::Read;

use servelab_simengine::faults::Kind;
use servelab_simengine::server::Event;

use crate::common::{Ended, Raw, Sim, chat_body, receive, send, sim};

const LONG: &str = ",\"max_tokens\":8,\"ignore_eos\":true";

fn with(kind: &str, more: &str) -> Sim {
    sim(
        "--empty-token-probability 0",
        "",
        &format!("[[fault]]\nrequest = 1\nkind = \"{kind}\"\n{more}\n"),
    )
}

fn first(kind: &str, more: &str) -> Raw {
    with(kind, more).chat("hello", LONG)
}

/// Reads until `wanted` shows up, and gives what came.
fn read_until(socket: &mut std::net::TcpStream, wanted: &str) -> String {
    let mut all = Vec::new();
    let mut block = [0u8; 1024];
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if text.contains(wanted) {
            return text;
        }
        let n = socket.read(&mut block).unwrap();
        assert!(n > 0, "ended before {wanted}: {text}");
        all.extend_from_slice(&block[..n]);
    }
}

/// Nothing more comes: the server is asked something else meanwhile, answers, and this connection still has nothing.
fn is_silent(sim: &Sim, socket: &mut std::net::TcpStream) {
    for _ in 0..5 {
        assert_eq!(sim.get("/health").status, 200);
    }
    socket.set_nonblocking(true).unwrap();
    let e = socket.read(&mut [0u8; 64]).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock);
}

fn tokens(raw: &Raw) -> usize {
    raw.events()
        .iter()
        .filter(|e| {
            e["choices"][0]["delta"]["content"]
                .as_str()
                .is_some_and(|t| !t.is_empty())
        })
        .count()
}

#[test]
fn only_the_scripted_request_goes_wrong() {
    let sim = with("http-status", "status = 503");
    assert_eq!(sim.chat("hello", LONG).status, 503);
    let second = sim.chat("hello", LONG);
    assert_eq!((second.status, tokens(&second)), (200, 8));
}

#[test]
fn connections_that_end_before_headers() {
    assert_eq!(first("close-before-headers", "").ended, Ended::Eof);
    assert_eq!(first("reset-before-headers", "").ended, Ended::Reset);
    for kind in ["no-answer", "silent-after-headers"] {
        let sim = with(kind, "");
        let mut socket = sim.connect();
        send(
            &mut socket,
            "POST",
            "/v1/chat/completions",
            &chat_body("hello", LONG),
            "",
        );
        if kind == "silent-after-headers" {
            read_until(&mut socket, "\r\n\r\n");
        }
        is_silent(&sim, &mut socket);
        sim.server.stop();
    }
}

#[test]
fn statuses_and_wrong_bodies() {
    for status in [400, 401, 404, 408, 413, 429, 500, 502, 503, 529] {
        let answer = first("http-status", &format!("status = {status}"));
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["error"]["code"], status);
        assert_eq!(
            answer.header("retry-after").is_some(),
            matches!(status, 429 | 503 | 529)
        );
    }
    assert_eq!(first("http-status", "status = 500\nbody = \"oops\"").text(), "oops");
    let input = first("context-overflow", "");
    assert!(input.status == 400 && input.text().contains("at least 2049 input tokens"));
    let limit = first("context-overflow", "form = \"max-tokens\"");
    assert!(limit.text().contains("cannot be greater than max_model_len=2048"));
    let redirect = first("redirect", "");
    assert!(redirect.status == 307 && redirect.header("location").is_some());
    let html = first("html", "");
    assert!(html.status == 200 && html.text().starts_with("<!doctype html>"));
    let wrong = first("wrong-content-type", "");
    assert_eq!(
        (wrong.header("content-type"), tokens(&wrong)),
        (Some("application/json"), 8)
    );
}

#[test]
fn streams_that_break_off() {
    let reset = first("reset", "after_chunks = 3");
    assert_eq!(reset.ended, Ended::Reset);
    let truncated = first("truncate", "after_chunks = 3");
    assert!(truncated.ended == Ended::Eof && truncated.text().ends_with("data: {\"id\":\"chatcmpl-"));
    let eof = first("eof-without-done", "after_chunks = 3");
    assert_eq!((eof.ended, tokens(&eof)), (Ended::Eof, 3));
    let sim = with("stall", "after_chunks = 2");
    let mut socket = sim.connect();
    send(
        &mut socket,
        "POST",
        "/v1/chat/completions",
        &chat_body("hello", LONG),
        "",
    );
    read_until(&mut socket, "\"completion_tokens\":2,");
    is_silent(&sim, &mut socket);
    // The engine does not go on with it.
    while sim.metric("vllm:num_requests_running") > 0.0 {}
}

#[test]
fn clean_bodies_that_are_no_success() {
    let done = "[DONE]";
    let end = |raw: &Raw| raw.data().last().cloned().unwrap_or_default();
    let no_done = first("end-without-done", "");
    assert!(no_done.ended == Ended::Body && end(&no_done) != done && tokens(&no_done) == 8);
    let no_usage = first("done-without-usage", "");
    assert!(
        end(&no_usage) == done
            && no_usage
                .events()
                .iter()
                .all(|e| e["choices"].as_array().is_some_and(|c| !c.is_empty()))
    );
    let error = first("error-event", "after_chunks = 2");
    assert_eq!(error.status, 200);
    // Word for word the event of a vLLM whose engine process was killed.
    let theirs = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/captures/sigkill_enginecore_inflight.txt"
    ))
    .unwrap();
    let event = error.data()[error.data().len() - 2].clone();
    assert!(theirs.contains(&event) && end(&error) == done, "{event}");
    let oom = first("oom-event", "after_chunks = 0");
    assert!(oom.text().contains("CUDA out of memory") && tokens(&oom) == 0 && end(&oom) == done);
    let abort = first("abort", "after_chunks = 2");
    let events = abort.events();
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "abort");
    assert!(tokens(&abort) == 2 && end(&abort) == done);
    let empty = first("empty-completion", "");
    assert_eq!(
        (
            tokens(&empty),
            empty.events().last().unwrap()["usage"]["completion_tokens"].as_u64()
        ),
        (0, Some(0))
    );
    let short = first("short-output", "tokens = 3");
    let events = short.events();
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "length");
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 3);
    let wrong = first("wrong-prompt-tokens", "by = -2");
    assert_eq!(wrong.events().last().unwrap()["usage"]["prompt_tokens"], 3);
    let no_reason = first("no-finish-reason", "");
    assert!(
        no_reason
            .events()
            .iter()
            .all(|e| e["choices"][0]["finish_reason"].is_null())
            && end(&no_reason) == done
    );
}

#[test]
fn events_that_do_not_parse() {
    let malformed = first("malformed-json", "after_chunks = 1");
    let bad = malformed
        .data()
        .iter()
        .filter(|d| *d != "[DONE]" && serde_json::from_str::<serde_json::Value>(d).is_err())
        .count();
    assert_eq!(bad, 1);
    let invalid = first("invalid-utf8", "after_chunks = 1");
    assert!(std::str::from_utf8(&invalid.body).is_err() && invalid.ended == Ended::Body);
}

#[test]
fn harmless_oddities_change_nothing_but_the_form() {
    let plain = sim("--empty-token-probability 0", "", "").chat("hello", LONG);
    for kind in ["coalesce", "crlf", "comments"] {
        let odd = first(kind, "");
        assert_eq!((odd.content(), odd.ended), (plain.content(), Ended::Body), "{kind}");
        assert_eq!(
            odd.events().last().unwrap()["usage"],
            plain.events().last().unwrap()["usage"],
            "{kind}"
        );
    }
    assert!(first("crlf", "").text().contains("\r\n\r\n"));
    assert!(first("comments", "").text().contains(": keep-alive\n\n"));
    let split = first("split", "");
    assert!(split.content().contains("naïve 🌊") && split.ended == Ended::Body);
    assert_eq!(
        split.events().last().unwrap()["usage"],
        plain.events().last().unwrap()["usage"]
    );
}

#[test]
fn bytes_without_end() {
    let sim = with("endless-line", "");
    let mut socket = sim.connect();
    send(
        &mut socket,
        "POST",
        "/v1/chat/completions",
        &chat_body("hello", LONG),
        "",
    );
    let mut block = vec![0u8; 64 * 1024];
    let mut all = 0;
    while all < 4_000_000 {
        let n = socket.read(&mut block).unwrap();
        assert!(n > 0);
        all += n;
    }
    drop(socket);
    let drip = first("slow-drip", "interval_ms = 0");
    assert_eq!((drip.ended, tokens(&drip)), (Ended::Body, 8));
}

#[test]
fn the_engine_dies() {
    let sim = with("engine-dies", "after_chunks = 1");
    let mut socket = sim.connect();
    send(
        &mut socket,
        "POST",
        "/v1/chat/completions",
        &chat_body("hello", LONG),
        "",
    );
    assert_eq!(receive(&mut socket, &mut Vec::new()).ended, Ended::Eof);
    assert_eq!(sim.events.recv().unwrap(), Event::Died);
}

#[test]
fn answers_that_are_not_streamed_go_wrong_too() {
    let body = "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"max_tokens\":4}";
    let ask = |kind: &str| with(kind, "").post("/v1/chat/completions", body);
    assert_eq!(ask("error-event").status, 500);
    assert_eq!(ask("reset").ended, Ended::Reset);
    assert_eq!(ask("truncate").ended, Ended::Eof);
    assert_eq!(ask("abort").json()["choices"][0]["finish_reason"], "abort");
}

/// No kind is forgotten above.
#[test]
fn every_kind_is_tested() {
    let source = include_str!("faults.rs");
    for kind in Kind::ALL {
        let name: String = format!("{kind:?}")
            .char_indices()
            .flat_map(|(i, c)| {
                (i > 0 && c.is_uppercase())
                    .then_some('-')
                    .into_iter()
                    .chain(c.to_lowercase())
            })
            .collect();
        assert!(source.contains(&format!("\"{name}\"")), "{name}");
    }
}
