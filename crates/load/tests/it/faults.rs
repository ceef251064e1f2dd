//! The strict state machine: scripted answers, each in exactly one reason of the closed set, none of the broken ones in
//! success; and any splitting of the same bytes gives the same outcome.

use crate::common::*;
use proptest::prelude::*;
use servelab_schema::{FinishReason, Nanos, Outcome, Reason, TtftKind};

const AT: u64 = 2_000_000;

fn whole(answer: &str) -> Vec<Step> {
    vec![Step::Bytes(answer.as_bytes().to_vec(), AT), Step::Eof(AT + 1)]
}

fn refusal(status: u16, body: &str) -> Vec<Step> {
    whole(&format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn stream(payloads: &[String]) -> Vec<Step> {
    whole(&answer(payloads))
}

/// A good answer with its payloads changed.
fn broken(change: impl FnOnce(&mut Vec<String>)) -> Vec<Step> {
    let mut payloads = good(4);
    change(&mut payloads);
    stream(&payloads)
}

fn raw(body: &str) -> Vec<Step> {
    whole(&format!("{STREAM_HEAD}{}0\r\n\r\n", http_chunk(body)))
}

/// The answer up to `chunks` payloads, then what `then` says.
fn cut(chunks: usize, then: Step) -> Vec<Step> {
    let body: String = good(4)
        .iter()
        .take(chunks)
        .map(|p| http_chunk(&format!("data: {p}\n\n")))
        .collect();
    vec![Step::Bytes(format!("{STREAM_HEAD}{body}").into_bytes(), AT), then]
}

/// A chunk of the completions endpoint.
fn completions(text: &str, n: u32, finish: &str) -> String {
    format!(
        r#"{{"object":"text_completion","choices":[{{"index":0,"text":"{text}","finish_reason":{finish}}}],"usage":{{"prompt_tokens":10,"completion_tokens":{n}}}}}"#
    )
}

fn table() -> Vec<(&'static str, Vec<Step>, Reason)> {
    let overflow_old = r#"{"object":"error","message":"This model's maximum context length is 2048 tokens. However, you requested 4020 tokens","code":400}"#;
    let overflow_new =
        r#"{"error":{"message":"max_tokens=100000 cannot be greater than max_model_len=2048.","code":400}}"#;
    let html = "<!DOCTYPE html><html><body>502</body></html>";
    let with_head = |head: &str, body: &str| whole(&format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let mut reset_mid = cut(3, Step::Eof(AT + 1));
    reset_mid.truncate(1);
    vec![
        ("closed before a head", vec![Step::Eof(AT)], Reason::Reset),
        (
            "closed inside the head",
            vec![Step::Bytes(b"HTTP/1.1 200 OK\r\ncont".to_vec(), AT), Step::Eof(AT)],
            Reason::Truncated,
        ),
        (
            "400",
            refusal(400, r#"{"error":{"message":"bad"}}"#),
            Reason::HttpStatus,
        ),
        ("401", refusal(401, r#"{"error":"Unauthorized"}"#), Reason::HttpStatus),
        ("404", refusal(404, r#"{"detail":"Not Found"}"#), Reason::HttpStatus),
        ("408", refusal(408, ""), Reason::HttpStatus),
        ("413", refusal(413, ""), Reason::HttpStatus),
        (
            "429",
            refusal(429, r#"{"error":{"message":"slow down"}}"#),
            Reason::RateLimited,
        ),
        (
            "500",
            refusal(500, r#"{"error":{"message":"boom"}}"#),
            Reason::HttpStatus,
        ),
        ("502 HTML", refusal(502, html), Reason::HttpStatus),
        ("503", refusal(503, "busy"), Reason::HttpStatus),
        ("529", refusal(529, ""), Reason::HttpStatus),
        (
            "500 out of memory",
            refusal(500, r#"{"error":{"message":"CUDA out of memory. Tried to"}}"#),
            Reason::EngineOom,
        ),
        (
            "redirect",
            with_head("HTTP/1.1 307 Away\r\nlocation: http://elsewhere/", ""),
            Reason::HttpStatus,
        ),
        ("204", whole("HTTP/1.1 204 None\r\n\r\n"), Reason::HttpStatus),
        (
            "context overflow, flat",
            refusal(400, overflow_old),
            Reason::ContextOverflow,
        ),
        (
            "context overflow, nested",
            refusal(400, overflow_new),
            Reason::ContextOverflow,
        ),
        (
            "refusal cut off",
            vec![
                Step::Bytes(b"HTTP/1.1 500 No\r\ncontent-length: 90\r\n\r\nabc".to_vec(), AT),
                Step::Eof(AT),
            ],
            Reason::HttpStatus,
        ),
        (
            "no answer at all",
            vec![Step::Silence(SENT.0 + TTFT.0 + 1)],
            Reason::TtftTimeout,
        ),
        (
            "headers, then silence",
            cut(0, Step::Silence(SENT.0 + TTFT.0 + 1)),
            Reason::TtftTimeout,
        ),
        (
            "role chunk, then silence",
            cut(1, Step::Silence(SENT.0 + TTFT.0 + 1)),
            Reason::TtftTimeout,
        ),
        (
            "first token too late",
            vec![Step::Bytes(answer(&good(4)).into_bytes(), SENT.0 + TTFT.0 + 1)],
            Reason::TtftTimeout,
        ),
        (
            "stall after two tokens",
            cut(3, Step::Silence(AT + IDLE.0 + 1)),
            Reason::Stalled,
        ),
        (
            "stall after [DONE]",
            cut(7, Step::Silence(AT + IDLE.0 + 1)),
            Reason::Stalled,
        ),
        (
            "drip past the deadline",
            {
                let mut steps = cut(2, Step::Silence(AT + 1));
                steps.extend(
                    (1..30).map(|i| Step::Bytes(http_chunk(": keep-alive\n").into_bytes(), AT + i * 4_000_000)),
                );
                steps
            },
            Reason::TotalTimeout,
        ),
        (
            "chunked body cut inside a chunk",
            {
                let mut steps = reset_mid.clone();
                steps.push(Step::Bytes(b"ff\r\ndata: {".to_vec(), AT));
                steps.push(Step::Eof(AT));
                steps
            },
            Reason::Truncated,
        ),
        ("EOF without [DONE]", cut(4, Step::Eof(AT + 1)), Reason::Truncated),
        (
            "EOF after [DONE] without the last chunk",
            cut(7, Step::Eof(AT + 1)),
            Reason::Truncated,
        ),
        (
            "body ends cleanly without [DONE]",
            broken(|p| {
                p.pop();
            }),
            Reason::Truncated,
        ),
        ("[DONE] without its blank line", raw("data: [DONE]"), Reason::Truncated),
        (
            "no finish_reason",
            stream(&[role(), token("a", 1, "null"), usage(10, 1), done()]),
            Reason::Truncated,
        ),
        ("[DONE] alone", stream(&[done()]), Reason::Empty),
        (
            "empty body",
            whole(&format!("{STREAM_HEAD}0\r\n\r\n")),
            Reason::Truncated,
        ),
        (
            "[DONE] without usage",
            stream(&[text("a", "null"), text("", "\"stop\""), done()]),
            Reason::NoUsage,
        ),
        (
            "usage only before the end",
            stream(&[token("a", 1, "null"), text("", "\"stop\""), done()]),
            Reason::NoUsage,
        ),
        (
            "usage without prompt tokens",
            broken(|p| p[5] = r#"{"choices":[],"usage":{"completion_tokens":4}}"#.into()),
            Reason::NoUsage,
        ),
        (
            "error event, then [DONE]",
            broken(|p| p[3] = r#"{"error": {"message": "EngineCore encountered an issue.", "code": 500}}"#.into()),
            Reason::ErrorEvent,
        ),
        (
            "flat error event",
            broken(|p| p[3] = r#"{"object":"error","message":"boom","code":500}"#.into()),
            Reason::ErrorEvent,
        ),
        (
            "named error event",
            raw("event: error\ndata: {\"message\":\"x\"}\n\n"),
            Reason::ErrorEvent,
        ),
        (
            "named error event, bare text",
            raw("event: error\ndata: boom\n\n"),
            Reason::ErrorEvent,
        ),
        (
            "finish_reason error",
            stream(&[role(), token("a", 1, "\"error\""), usage(10, 1), done()]),
            Reason::ErrorEvent,
        ),
        (
            "out of memory event",
            broken(|p| p[2] = r#"{"error":{"message":"torch.OutOfMemoryError: CUDA"}}"#.into()),
            Reason::EngineOom,
        ),
        (
            "JSON error with 200",
            with_head(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json",
                r#"{"error":{"message":"boom"}}"#,
            ),
            Reason::ErrorEvent,
        ),
        (
            "finish_reason abort, clean end",
            stream(&[role(), token("a", 1, "\"abort\""), usage(10, 1), done()]),
            Reason::AbortedByEngine,
        ),
        (
            "0 completion tokens",
            stream(&[role(), text("", "\"stop\""), usage(10, 0), done()]),
            Reason::Empty,
        ),
        (
            "tokens that nothing shows",
            stream(&[
                r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#.into(),
                text("", "\"stop\""),
                usage(10, 4),
                done(),
            ]),
            Reason::Empty,
        ),
        (
            "wrong prompt tokens",
            broken(|p| p[5] = usage(11, 4)),
            Reason::PromptTokenMismatch,
        ),
        ("short output", stream(&good(3)), Reason::ShortOutput),
        ("too much output", stream(&good(5)), Reason::Malformed),
        (
            "usage falls",
            broken(|p| p[3] = token("a", 0, "null")),
            Reason::Malformed,
        ),
        (
            "malformed JSON",
            broken(|p| p[2] = r#"{"choices":[{"#.into()),
            Reason::Malformed,
        ),
        (
            "invalid UTF-8",
            {
                let mut bytes = answer(&good(4)).into_bytes();
                let at = bytes.windows(3).position(|w| w == b"\"x\"").unwrap();
                bytes[at + 1] = 0xff;
                vec![Step::Bytes(bytes, AT)]
            },
            Reason::Malformed,
        ),
        (
            "neither choices nor usage",
            broken(|p| p[2] = "{}".into()),
            Reason::Malformed,
        ),
        (
            "unknown finish_reason",
            broken(|p| p[4] = token("x", 4, "\"content_filter\"")),
            Reason::Malformed,
        ),
        (
            "two finish_reasons",
            broken(|p| p[3] = token("x", 3, "\"stop\"")),
            Reason::Malformed,
        ),
        (
            "event after [DONE]",
            broken(|p| p.push(usage(10, 4))),
            Reason::Malformed,
        ),
        (
            "second choice",
            broken(|p| p[2] = p[2].replace("\"index\":0", "\"index\":1")),
            Reason::Malformed,
        ),
        (
            "two choices in a chunk",
            broken(|p| p[2] = r#"{"choices":[{"index":0},{"index":1}]}"#.into()),
            Reason::Malformed,
        ),
        (
            "HTML with 200",
            with_head("HTTP/1.1 200 OK\r\ncontent-type: text/html", html),
            Reason::Malformed,
        ),
        ("HTML as an event stream", raw(&format!("{html}\n")), Reason::Malformed),
        (
            "wrong content type",
            whole(&answer(&good(4)).replace("text/event-stream", "text/plain")),
            Reason::Malformed,
        ),
        (
            "compressed",
            whole(&answer(&good(4)).replace("\r\ntransfer", "\r\ncontent-encoding: gzip\r\ntransfer")),
            Reason::Malformed,
        ),
        (
            "gzip bomb",
            {
                // Nothing is unpacked, and what is kept of it is bounded.
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n";
                vec![
                    Step::Bytes([head.as_bytes(), &[0x1f, 0x8b, 8], &[0; 900_000][..]].concat(), AT),
                    Step::Eof(AT),
                ]
            },
            Reason::Malformed,
        ),
        (
            "completions: stall after the first text",
            vec![
                Step::Bytes(
                    format!(
                        "{STREAM_HEAD}{}",
                        http_chunk(&format!("data: {}\n\n", completions("a", 1, "null")))
                    )
                    .into(),
                    AT,
                ),
                Step::Silence(AT + IDLE.0 + 1),
            ],
            Reason::Stalled,
        ),
        (
            "completions: abort, clean end",
            stream(&[
                completions("a", 1, "null"),
                completions("", 1, "\"abort\""),
                usage(10, 1),
                done(),
            ]),
            Reason::AbortedByEngine,
        ),
        (
            "completions: usage missing",
            stream(&[completions("a", 1, "null"), completions("b", 2, "\"stop\""), done()]),
            Reason::NoUsage,
        ),
        (
            "unstreamed completion",
            with_head(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json",
                r#"{"choices":[{"message":{"content":"x"}}]}"#,
            ),
            Reason::Malformed,
        ),
        ("not HTTP", whole("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Reason::Malformed),
        (
            "broken chunk size",
            whole(&format!("{STREAM_HEAD}zz\r\n")),
            Reason::Malformed,
        ),
        (
            "endless line",
            raw(&format!("data: {}", "x".repeat(10_000))),
            Reason::Malformed,
        ),
        (
            "endless stream",
            vec![Step::Bytes(
                format!("{STREAM_HEAD}{}", http_chunk(": x\n").repeat(200_000)).into_bytes(),
                AT,
            )],
            Reason::Malformed,
        ),
        (
            "endless head",
            whole(&format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(20_000))),
            Reason::Malformed,
        ),
    ]
}

#[test]
fn every_broken_answer_has_exactly_one_reason() {
    let table = table();
    assert!(table.len() >= 40, "{}", table.len());
    for (name, steps, expected) in table {
        let outcome = play(expect(10, 4), &steps);
        assert_eq!(reason(&outcome), Some(expected), "{name}: {outcome:?}");
        // `cargo test -p servelab-load every_broken_answer -- --nocapture` shows the table.
        println!("| {name} | {} |", word(expected));
    }
}

/// The reason as it stands in a trace.
pub(crate) fn word(reason: Reason) -> String {
    serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn failures_say_when_and_in_whose_words() {
    let Outcome::Failed(f) = play(expect(10, 4), &cut(3, Step::Silence(AT + IDLE.0 + 99))) else {
        panic!()
    };
    assert_eq!((f.after_ns, f.http_status), (Nanos(AT + IDLE.0 - SENT.0), Some(200)));
    let Outcome::Failed(f) = play(expect(10, 4), &refusal(404, r#"{"detail":"Not Found"}"#)) else {
        panic!()
    };
    assert_eq!((f.http_status, f.detail.as_str()), (Some(404), "Not Found"));
}

/// Plays each payload at its own time.
fn timed(payloads: &[(String, u64)]) -> Outcome {
    let mut steps = vec![Step::Bytes(STREAM_HEAD.into(), AT)];
    steps.extend(
        payloads
            .iter()
            .map(|(p, at)| Step::Bytes(http_chunk(&format!("data: {p}\n\n")).into_bytes(), *at)),
    );
    let last = payloads.last().unwrap().1;
    steps.push(Step::Bytes(b"0\r\n\r\n".to_vec(), last));
    play(expect(10, 0), &steps)
}

fn completion(outcome: Outcome) -> servelab_schema::Completion {
    match outcome {
        Outcome::Completed(c) => c,
        Outcome::Failed(f) => panic!("{f:?}"),
    }
}

#[test]
fn the_role_chunk_is_no_token_and_empty_text_may_be_one() {
    let s = SENT.0;
    let c = completion(timed(&[
        (role(), s + 100),
        (token("", 1, "null"), s + 500),
        (token("é🚀", 3, "null"), s + 700),
        (token("", 3, "null"), s + 750),
        (token("", 4, "\"stop\""), s + 800),
        (usage(10, 4), s + 801),
        (done(), s + 802),
    ]));
    assert_eq!(
        (c.ttft_kind(), c.first_chunk(), c.ttft_content(), c.e2e()),
        (TtftKind::Token, Nanos(500), Some(Nanos(700)), Nanos(800))
    );
    let chunks: Vec<(u64, u32)> = c.chunks().iter().map(|&c| c.into()).collect();
    assert_eq!(chunks, [(0, 1), (200, 2), (100, 1)]);
    assert_eq!(c.finish_reason(), FinishReason::Stop);
    assert_eq!(c.text_sha256().as_str(), sha256("é🚀"));
}

#[test]
fn a_role_chunk_that_counts_a_token_still_carries_none() {
    let s = SENT.0;
    let early = role().replace("\"completion_tokens\":0", "\"completion_tokens\":1");
    let c = completion(timed(&[
        (early, s + 100),
        (token("a", 2, "\"length\""), s + 300),
        (usage(10, 2), s + 301),
        (done(), s + 302),
    ]));
    assert_eq!((c.first_chunk(), c.chunks()[0].tokens), (Nanos(300), 2));
}

#[test]
fn without_continuous_usage_only_text_counts() {
    let s = SENT.0;
    let c = completion(timed(&[
        (
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#.into(),
            s + 100,
        ),
        (text("a", "null"), s + 200),
        (text("", "null"), s + 300),
        (text("b", "null"), s + 400),
        (text("", "\"length\""), s + 500),
        (usage(10, 4), s + 501),
        (done(), s + 502),
    ]));
    assert_eq!(
        (c.ttft_kind(), c.first_chunk(), c.e2e()),
        (TtftKind::Content, Nanos(200), Nanos(400))
    );
    assert_eq!((c.completion_tokens().unwrap().get(), c.chunks().len()), (4, 2));
}

#[test]
fn usage_on_the_last_chunk_alone_is_not_continuous() {
    let s = SENT.0;
    let c = completion(timed(&[
        (text("a", "null"), s + 200),
        (token("b", 2, "\"stop\""), s + 400),
        (done(), s + 401),
    ]));
    assert_eq!(
        (c.ttft_kind(), c.first_chunk(), c.completion_tokens().unwrap().get()),
        (TtftKind::Content, Nanos(200), 2)
    );
}

#[test]
fn continuous_usage_does_not_stand_for_the_final_one() {
    let s = SENT.0;
    let outcome = timed(&[
        (role(), s + 1),
        (token("a", 1, "null"), s + 200),
        (token("b", 2, "\"stop\""), s + 400),
        (done(), s + 401),
    ]);
    assert!(matches!(outcome, Outcome::Failed(f) if f.reason == Reason::NoUsage));
}

#[test]
fn reasoning_and_tool_calls_are_content() {
    let s = SENT.0;
    for delta in [
        r#"{"reasoning_content":"hm"}"#,
        r#"{"reasoning":"hm"}"#,
        r#"{"tool_calls":[{"index":0}]}"#,
    ] {
        let chunk = format!(
            r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":{{"prompt_tokens":10,"completion_tokens":1}}}}"#
        );
        let c = completion(timed(&[
            (role(), s + 1),
            (chunk, s + 200),
            (token("b", 2, "\"stop\""), s + 400),
            (usage(10, 2), s + 401),
            (done(), s + 401),
        ]));
        assert_eq!(c.ttft_content(), Some(Nanos(200)), "{delta}");
    }
}

fn sha256(text: &str) -> String {
    // Known answer, computed with sha256sum.
    assert_eq!(text, "é🚀");
    "5db4d7b036b83313f6bf71b894e20df431c6641a66b76a9a34f09025568468d2".to_owned()
}

/// Parts of the bytes, cut at the given places.
fn split(bytes: &[u8], cuts: &[usize]) -> Vec<Step> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut steps = Vec::new();
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        steps.push(Step::Bytes(bytes[from..cut].to_vec(), AT));
        from = cut;
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Also with one byte at a time, and for every broken answer of the table.
    #[test]
    fn any_splitting_gives_the_same_outcome(which in 0usize..200, cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        let table = table();
        let bytes = table.get(which).and_then(|(_, steps, _)| match steps.as_slice() {
            [Step::Bytes(bytes, _), ..] if bytes.len() < 50_000 => Some(bytes.clone()),
            _ => None,
        }).unwrap_or_else(|| answer(&good(4)).into_bytes());
        let end = [Step::Eof(AT)];
        let outcome = |steps: Vec<Step>| play(expect(10, 4), &[steps, end.to_vec()].concat());
        let all_at_once = outcome(vec![Step::Bytes(bytes.clone(), AT)]);
        prop_assert_eq!(&outcome(split(&bytes, &cuts)), &all_at_once);
        prop_assert_eq!(&outcome(bytes.chunks(1).map(|b| Step::Bytes(b.to_vec(), AT)).collect()), &all_at_once);
    }

    /// Whatever arrives, there is an outcome and no panic.
    #[test]
    fn any_bytes_have_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..300), in_stream in any::<bool>()) {
        let mut all = if in_stream { format!("{STREAM_HEAD}{:x}\r\n", bytes.len()).into_bytes() } else { Vec::new() };
        all.extend_from_slice(&bytes);
        let outcome = play(expect(10, 4), &[Step::Bytes(all, AT), Step::Eof(AT), Step::Eof(AT)]);
        prop_assert!(reason(&outcome).is_some());
    }
}
