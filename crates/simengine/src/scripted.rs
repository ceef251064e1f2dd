//! Faults that need no engine: the connection's own thread plays them.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::api::Refusal;
use crate::chunk::{DONE, Event, LAST_CHUNK, Template, push_http_chunk};
use crate::clock::WallClock;
use crate::faults::{Fault, Kind, Overflow};
use crate::http::{self, EVENT_STREAM};
use crate::pacer::Outcome;

/// What a scripted answer may use.
pub struct Stage<'a> {
    /// The connection.
    pub socket: &'a TcpStream,
    /// The wall clock.
    pub clock: &'a WallClock,
    /// The answer's wire form.
    pub template: &'a Template,
    /// The context length, for overflows.
    pub max_model_len: u32,
    /// Blocks until the client or the server goes.
    pub wait_for_end: &'a dyn Fn(),
    /// Is the server going down?
    pub stopping: &'a dyn Fn() -> bool,
}

/// Plays `fault` and says how the connection goes on.
#[must_use]
pub fn play(fault: &Fault, stage: &Stage<'_>) -> Outcome {
    match fault.kind {
        Kind::ResetBeforeHeaders => {
            let _ = rustix::net::sockopt::set_socket_linger(stage.socket, Some(Duration::ZERO));
            Outcome::Reset
        }
        Kind::CloseBeforeHeaders => Outcome::Close,
        Kind::NoAnswer => {
            (stage.wait_for_end)();
            Outcome::Close
        }
        Kind::SilentAfterHeaders => {
            send(stage, &http::stream_head(EVENT_STREAM, &[]));
            (stage.wait_for_end)();
            Outcome::Close
        }
        Kind::HttpStatus => http_status(fault, stage),
        Kind::ContextOverflow => {
            let (message, param) = overflow(fault.overflow, stage.max_model_len);
            let refusal = Refusal::bad_request(&message, Some(param));
            let body = refusal.body(stage.template.dialect());
            send(stage, &http::response(400, "application/json", body.as_bytes(), &[]));
            Outcome::Reuse
        }
        Kind::Redirect => {
            let to = [(
                "location".to_owned(),
                "http://127.0.0.1:1/v1/chat/completions".to_owned(),
            )];
            send(stage, &http::response(307, "", b"", &to));
            Outcome::Reuse
        }
        Kind::Html => {
            let page = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
            send(stage, &http::response(200, "text/html", page, &[]));
            Outcome::Reuse
        }
        Kind::EmptyCompletion => {
            send(stage, &canned(stage.template, 0));
            Outcome::Reuse
        }
        Kind::EndlessLine => endless_line(stage),
        Kind::SlowDrip => slow_drip(fault, stage),
        _ => Outcome::Close,
    }
}

fn send(stage: &Stage<'_>, bytes: &[u8]) -> bool {
    let mut socket = stage.socket;
    socket.write_all(bytes).is_ok()
}

fn http_status(fault: &Fault, stage: &Stage<'_>) -> Outcome {
    let kind = match fault.status {
        400 => "BadRequestError",
        401 => "AuthenticationError",
        404 => "NotFoundError",
        429 => "RateLimitError",
        _ => "InternalServerError",
    };
    let body = fault
        .text
        .clone()
        .unwrap_or_else(|| stage.template.error_body("SIMULATED fault", kind, fault.status));
    let mut extra = Vec::new();
    if matches!(fault.status, 429 | 503 | 529) {
        extra.push(("retry-after".to_owned(), "1".to_owned()));
    }
    send(
        stage,
        &http::response(fault.status, "application/json", body.as_bytes(), &extra),
    );
    Outcome::Reuse
}

fn overflow(form: Overflow, limit: u32) -> (String, &'static str) {
    match form {
        Overflow::Input => {
            let seen = limit + 1;
            (
                format!(
                    "This model's maximum context length is {limit} tokens. However, your prompt contains at least {seen} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={seen})"
                ),
                "input_tokens",
            )
        }
        Overflow::MaxTokens => (
            format!(
                "max_tokens=100000 cannot be greater than max_model_len={limit}. Please request fewer output tokens. (parameter=max_tokens, value=100000)"
            ),
            "max_tokens",
        ),
    }
}

/// A whole short stream of `tokens` tokens.
fn canned(template: &Template, tokens: u32) -> Vec<u8> {
    let mut out = http::stream_head(EVENT_STREAM, &[]);
    if template.is_chat() {
        push_http_chunk(&template.role(&[]), &mut out);
    }
    for n in 0..=tokens {
        let last = n == tokens;
        let mut event = String::new();
        let text = if last { "" } else { "word " };
        template.token(
            &Event {
                text,
                ids: &[],
                completion_tokens: (n + 1).min(tokens),
                finish: last.then_some(("stop", None)),
            },
            &mut event,
        );
        push_http_chunk(&event, &mut out);
    }
    if let Some(end) = template.end(("stop", None)) {
        push_http_chunk(&end, &mut out);
    }
    if template.wants_usage() {
        push_http_chunk(&template.usage(tokens), &mut out);
    }
    push_http_chunk(DONE, &mut out);
    out.extend_from_slice(LAST_CHUNK);
    out
}

/// 256 MiB of one line at most, so that a client without a limit does not fill the machine for ever.
fn endless_line(stage: &Stage<'_>) -> Outcome {
    let mut ok = send(stage, &http::stream_head(EVENT_STREAM, &[]));
    let mut first = Vec::new();
    push_http_chunk("data: {\"id\":\"", &mut first);
    ok = ok && send(stage, &first);
    let block = "x".repeat(64 * 1024);
    let mut chunk = Vec::new();
    push_http_chunk(&block, &mut chunk);
    for _ in 0..4096 {
        if !ok || (stage.stopping)() {
            break;
        }
        ok = send(stage, &chunk);
    }
    Outcome::Close
}

fn slow_drip(fault: &Fault, stage: &Stage<'_>) -> Outcome {
    let bytes = canned(stage.template, 8);
    for byte in &bytes {
        if (stage.stopping)() || !send(stage, std::slice::from_ref(byte)) {
            return Outcome::Close;
        }
        let until = stage
            .clock
            .now_ns()
            .saturating_add(fault.interval_ms.saturating_mul(1_000_000));
        stage.clock.sleep_until_ns(until);
    }
    Outcome::Reuse
}

/// Closes a connection after `outcome`.
pub fn close(socket: &TcpStream, outcome: Outcome) {
    if outcome == Outcome::Close {
        let _ = socket.shutdown(Shutdown::Both);
    }
}
