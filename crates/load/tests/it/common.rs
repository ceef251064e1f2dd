//! Helpers of the integration tests: plays bytes to an attempt, and builds the bytes.

use servelab_load::{
    attempt::{Attempt, Deadlines, Progress, SizeLimits},
    stream::Expectation,
};
use servelab_schema::{Nanos, Outcome, Reason, TrialInstant};
use std::num::NonZeroU32;

pub(crate) const SENT: TrialInstant = TrialInstant(1_000);
pub(crate) const IDLE: Nanos = Nanos(5_000_000);
pub(crate) const TTFT: Nanos = Nanos(10_000_000);
pub(crate) const TOTAL: Nanos = Nanos(50_000_000);

pub(crate) const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

pub(crate) fn deadlines() -> Deadlines {
    Deadlines {
        connect: Nanos(1_000_000),
        ttft: TTFT,
        idle: IDLE,
        total: TOTAL,
    }
}

pub(crate) fn expect(prompt: u32, completion: u32) -> Expectation {
    Expectation {
        prompt_tokens: NonZeroU32::new(prompt),
        completion_tokens: NonZeroU32::new(completion),
        ..Expectation::default()
    }
}

/// What happens on the connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Bytes(Vec<u8>, u64),
    Eof(u64),
    Silence(u64),
}

/// Plays the steps until the attempt has ended.
pub(crate) fn play(expect: Expectation, steps: &[Step]) -> Outcome {
    let limits = SizeLimits {
        event_bytes: 4096,
        response_bytes: 1 << 20,
        error_body_bytes: 1024,
    };
    let mut attempt = Attempt::new(expect, deadlines(), limits, SENT);
    for step in steps {
        let progress = match step {
            Step::Bytes(bytes, at) => attempt.on_bytes(bytes, TrialInstant(*at)),
            Step::Eof(at) => attempt.on_eof(TrialInstant(*at)),
            Step::Silence(until) => attempt.expire(TrialInstant(*until)).unwrap_or(Progress::More),
        };
        if progress != Progress::More {
            return attempt.into_end().outcome;
        }
    }
    panic!("the attempt has not ended after {steps:?}");
}

/// One HTTP chunk.
pub(crate) fn http_chunk(payload: &str) -> String {
    format!("{:x}\r\n{payload}\r\n", payload.len())
}

/// A whole answer: head, each payload as one `data:` event in a chunk of its own, last chunk.
pub(crate) fn answer(payloads: &[String]) -> String {
    let chunks: String = payloads.iter().map(|p| http_chunk(&format!("data: {p}\n\n"))).collect();
    format!("{STREAM_HEAD}{chunks}0\r\n\r\n")
}

/// The first chunk, which only names the role.
pub(crate) fn role() -> String {
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":{"prompt_tokens":10,"total_tokens":10,"completion_tokens":0}}"#.to_owned()
}

/// A chunk whose cumulative usage is `n`; `finish` is JSON.
pub(crate) fn token(text: &str, n: u32, finish: &str) -> String {
    format!(
        r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}],"usage":{{"prompt_tokens":10,"total_tokens":{},"completion_tokens":{n}}}}}"#,
        n + 10
    )
}

/// A chunk of an engine without continuous usage.
pub(crate) fn text(text: &str, finish: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}]}}"#)
}

/// The final usage chunk.
pub(crate) fn usage(prompt: u32, completion: u32) -> String {
    format!(r#"{{"choices":[],"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}}}"#)
}

pub(crate) fn done() -> String {
    "[DONE]".to_owned()
}

/// A good answer of `n` tokens, one a chunk.
pub(crate) fn good(n: u32) -> Vec<String> {
    let tokens = (1..=n).map(|i| token("x", i, if i == n { "\"length\"" } else { "null" }));
    [role()]
        .into_iter()
        .chain(tokens)
        .chain([usage(10, n), done()])
        .collect()
}

pub(crate) fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Completed(_) => None,
        Outcome::Failed(failure) => Some(failure.reason),
    }
}
