//! One attempt at one request, without I/O: bytes and their stamps in, the outcome out.
//!
//! Joins [`http`](crate::http) and [`stream`](crate::stream), and holds every deadline, so that all of it can be tested and
//! fuzzed on plain bytes and numbers. Times are engine time in ns since the trial's start.

use crate::{
    http::{BodyEnd, Part, ResponseHead, ResponseReader},
    stream::{ChatStream, Expectation, Fault, SseParser, error_text},
};
use servelab_schema::{Completion, Failure, Nanos, Outcome, Reason, TrialInstant};
use std::ops::ControlFlow;

/// Deadlines of one attempt, in engine time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// To open a connection.
    pub connect: Nanos,
    /// From sent to the first token.
    pub ttft: Nanos,
    /// Between two reads once tokens flow.
    pub idle: Nanos,
    /// From sent to the end of the body.
    pub total: Nanos,
}

impl From<servelab_schema::Timeouts> for Deadlines {
    fn from(t: servelab_schema::Timeouts) -> Self {
        Self {
            connect: t.connect_ns,
            ttft: t.ttft_ns,
            idle: t.idle_ns,
            total: t.total_ns,
        }
    }
}

/// Bounds on what one answer may cost in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Longest line or event of the stream, in bytes.
    pub event_bytes: usize,
    /// Longest response, head and framing included, in bytes.
    pub response_bytes: u64,
    /// How much of a body that is no stream is kept for its message, in bytes.
    pub error_body_bytes: usize,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self {
            event_bytes: crate::stream::sse::DEFAULT_MAX_EVENT_BYTES,
            response_bytes: 64 << 20,
            error_body_bytes: 64 << 10,
        }
    }
}

/// What the body is, by the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Status 200 and an event stream.
    Stream,
    /// Status 200, but something else: HTML, JSON, compressed bytes.
    NotAStream,
    /// Any other status.
    Refusal,
}

fn body_kind(head: &ResponseHead) -> Body {
    match head.status {
        200 if head.is_event_stream() && !head.is_encoded => Body::Stream,
        200 => Body::NotAStream,
        _ => Body::Refusal,
    }
}

/// Whether the attempt wants more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Go on reading.
    More,
    /// It is decided; `reusable` says whether the connection may carry another request.
    Ended {
        /// The connection may be used again.
        reusable: bool,
    },
}

/// What an attempt came to.
#[derive(Debug)]
pub struct AttemptEnd {
    /// Completed, or failed with one reason.
    pub outcome: Outcome,
    /// When the response head arrived.
    pub headers: Option<TrialInstant>,
    /// End of the body, or of the attempt.
    pub finished: TrialInstant,
    /// The content of a completion, where it was to be kept.
    pub text: Option<String>,
}

/// The machine. Create it when the first byte is about to be sent.
#[derive(Debug)]
pub struct Attempt {
    sent: TrialInstant,
    last_read: TrialInstant,
    deadlines: Deadlines,
    limits: SizeLimits,
    received: u64,
    http: ResponseReader,
    sse: SseParser,
    chat: ChatStream,
    headers: Option<TrialInstant>,
    other_body: Vec<u8>,
    fault: Option<(Fault, TrialInstant)>,
}

impl Attempt {
    /// An attempt whose first byte is sent at `sent`.
    #[must_use]
    pub fn new(expect: Expectation, deadlines: Deadlines, limits: SizeLimits, sent: TrialInstant) -> Self {
        Self {
            sent,
            last_read: sent,
            deadlines,
            limits,
            received: 0,
            http: ResponseReader::default(),
            sse: SseParser::new(limits.event_bytes),
            chat: ChatStream::new(expect),
            headers: None,
            other_body: Vec::new(),
            fault: None,
        }
    }

    /// Keeps the answer's content for the next turn of its conversation.
    pub fn keep_text(&mut self) {
        self.chat.keep_text();
    }

    /// The next deadline and what passing it means.
    #[must_use]
    pub fn deadline(&self) -> (TrialInstant, Reason) {
        let total = self.sent.after(self.deadlines.total);
        let (next, reason) = if self.chat.has_started() {
            (self.last_read.after(self.deadlines.idle), Reason::Stalled)
        } else {
            (self.sent.after(self.deadlines.ttft), Reason::TtftTimeout)
        };
        if total <= next {
            (total, Reason::TotalTimeout)
        } else {
            (next, reason)
        }
    }

    /// Takes bytes that one read returned at `at`. Bytes that come after a deadline do not count.
    pub fn on_bytes(&mut self, bytes: &[u8], at: TrialInstant) -> Progress {
        if let Some(progress) = self.expire(at) {
            return progress;
        }
        self.last_read = at;
        self.received = self
            .received
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.received > self.limits.response_bytes {
            let detail = format!("the response is longer than {} bytes", self.limits.response_bytes);
            return self.fail(Fault::new(Reason::Malformed, detail), at);
        }
        let Self {
            http,
            sse,
            chat,
            headers,
            other_body,
            limits,
            ..
        } = self;
        let mut kind = http.head().map_or(Body::Refusal, body_kind);
        let fed = http.feed(bytes, |part| match part {
            Part::Head(head) => {
                headers.get_or_insert(at);
                kind = body_kind(head);
                ControlFlow::Continue(())
            }
            Part::Body(body) if kind == Body::Stream => {
                let fed = sse.feed(body, |event| match chat.on_event(event, at) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(fault) => ControlFlow::Break(fault),
                });
                fed.unwrap_or_else(|e| ControlFlow::Break(Fault::new(Reason::Malformed, e.to_string())))
            }
            Part::Body(body) => {
                let room = limits.error_body_bytes.saturating_sub(other_body.len());
                other_body.extend_from_slice(body.get(..room).unwrap_or(body));
                ControlFlow::Continue(())
            }
        });
        match fed {
            Err(e) => self.fail(Fault::new(Reason::Malformed, e.to_string()), at),
            Ok(ControlFlow::Break(fault)) => self.fail(fault, at),
            Ok(ControlFlow::Continue(())) => match self.http.end() {
                BodyEnd::Complete { reusable } => Progress::Ended { reusable },
                BodyEnd::Open | BodyEnd::UntilClose => Progress::More,
            },
        }
    }

    /// The peer closed the connection at `at`.
    pub fn on_eof(&mut self, at: TrialInstant) -> Progress {
        if let Some(progress) = self.expire(at) {
            return progress;
        }
        self.last_read = at;
        if self.received == 0 {
            return self.fail(
                Fault::new(Reason::Reset, "the connection was closed without an answer"),
                at,
            );
        }
        if self.http.head().is_none() {
            return self.fail(Fault::new(Reason::Truncated, "the response head broke off"), at);
        }
        Progress::Ended { reusable: false }
    }

    /// The attempt fails for a reason from outside: an I/O error, cancellation.
    pub fn fail(&mut self, fault: Fault, at: TrialInstant) -> Progress {
        self.fault.get_or_insert((fault, at));
        Progress::Ended { reusable: false }
    }

    /// Fails the attempt if its deadline lies before `at`.
    pub fn expire(&mut self, at: TrialInstant) -> Option<Progress> {
        let (deadline, reason) = self.deadline();
        if at <= deadline {
            return None;
        }
        let limit = match reason {
            Reason::TtftTimeout => self.deadlines.ttft,
            Reason::Stalled => self.deadlines.idle,
            _ => self.deadlines.total,
        };
        Some(self.fail(Fault::new(reason, format!("nothing within {limit}")), deadline))
    }

    /// Judges the attempt.
    #[must_use]
    pub fn into_end(mut self) -> AttemptEnd {
        let text = self.chat.take_text();
        let status = self.http.head().map(|h| h.status);
        let (finished, result) = match self.fault {
            Some((fault, at)) => (at, Err(fault)),
            None => (
                self.last_read,
                judge(&self.http, self.chat, &self.other_body, self.sent),
            ),
        };
        let finished = finished.max(self.sent);
        let outcome = match result {
            Ok(completion) => Outcome::Completed(completion),
            Err(fault) => {
                let after = finished.since(self.sent);
                Outcome::Failed(Failure::new(fault.reason, status, &fault.detail, after))
            }
        };
        AttemptEnd {
            outcome,
            headers: self.headers,
            finished,
            text,
        }
    }
}

/// Judges a response that ended without a fault of its own.
fn judge(http: &ResponseReader, chat: ChatStream, other_body: &[u8], sent: TrialInstant) -> Result<Completion, Fault> {
    let Some(head) = http.head() else {
        return Err(Fault::new(Reason::Truncated, "the response head broke off"));
    };
    match body_kind(head) {
        // A body without framing ends with the connection; then only [DONE] shows that nothing was cut off.
        Body::Stream => chat.finish(!matches!(http.end(), BodyEnd::Open), sent),
        Body::Refusal => {
            let (reason, detail) = error_text::classify_status(head.status, other_body);
            Err(Fault::new(reason, detail))
        }
        Body::NotAStream => Err(match error_text::error_message(other_body) {
            Some(text) if error_text::is_oom(&text) => Fault::new(Reason::EngineOom, text),
            Some(text) => Fault::new(Reason::ErrorEvent, text),
            None if head.is_encoded => Fault::new(Reason::Malformed, "a compressed body, which was not asked for"),
            None => Fault::new(
                Reason::Malformed,
                format!("content type `{}`, not text/event-stream", head.content_type),
            ),
        }),
    }
}
