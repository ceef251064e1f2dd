//! One attempt at one request, without I/O: bytes and their stamps in, the outcome out.
//!
//! Joins [`http`](crate::http) and [`stream`](crate::stream), and holds every deadline, so that all of it can be tested and
//! fuzzed on plain bytes and numbers. Times are engine time in ns since the trial's start.

use crate::{
    http::{BodyEnd, Part, ResponseHead, ResponseReader},
    stream::{
        AnswerForm, ChatStream, Event, Expectation, Fault, KeepText, Said, SseParser, error_text,
        responses::ResponsesStream, whole,
    },
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
    /// Status 200 and a document, where one was asked for.
    Document,
    /// Status 200, but something else: HTML, JSON where a stream was asked for, compressed bytes.
    Unknown,
    /// Any other status.
    Refusal,
}

fn body_kind(head: &ResponseHead, form: AnswerForm) -> Body {
    match (head.status, form) {
        (200, AnswerForm::Whole) if head.content_type == "application/json" && !head.is_encoded => Body::Document,
        (200, AnswerForm::Chunks | AnswerForm::Responses) if head.is_event_stream() && !head.is_encoded => Body::Stream,
        (200, _) => Body::Unknown,
        _ => Body::Refusal,
    }
}

/// What the events of a stream go through.
#[derive(Debug)]
enum Stream {
    Chunks(ChatStream),
    Responses(ResponsesStream),
    /// None comes: the answer is one document.
    None,
}

impl Stream {
    fn of(expect: Expectation) -> Self {
        match expect.form {
            AnswerForm::Chunks => Self::Chunks(ChatStream::new(expect)),
            AnswerForm::Responses => Self::Responses(ResponsesStream::new(expect)),
            AnswerForm::Whole => Self::None,
        }
    }

    fn on_event(&mut self, event: Event<'_>, at: TrialInstant) -> Result<(), Fault> {
        match self {
            Self::Chunks(stream) => stream.on_event(event, at),
            Self::Responses(stream) => stream.on_event(event, at),
            Self::None => Ok(()),
        }
    }

    const fn has_started(&self) -> bool {
        match self {
            Self::Chunks(stream) => stream.has_started(),
            Self::Responses(stream) => stream.has_started(),
            Self::None => false,
        }
    }

    const fn keep_text(&mut self, keep: KeepText) {
        match self {
            Self::Chunks(stream) => stream.keep_text(keep),
            Self::Responses(stream) => stream.keep_text(keep),
            Self::None => {}
        }
    }

    fn take_text(&mut self) -> Option<Said> {
        match self {
            Self::Chunks(stream) => stream.take_text(),
            Self::Responses(stream) => stream.take_text(),
            Self::None => None,
        }
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
    /// What a completion said, where it was to be kept.
    pub text: Option<Said>,
    /// The peer closed or broke the connection before one byte of an answer had come.
    pub unanswered: bool,
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
    expect: Expectation,
    stream: Stream,
    headers: Option<TrialInstant>,
    other_body: Vec<u8>,
    fault: Option<(Fault, TrialInstant)>,
    unanswered: bool,
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
            expect,
            stream: Stream::of(expect),
            headers: None,
            other_body: Vec::new(),
            fault: None,
            unanswered: false,
        }
    }

    /// Keeps the answer's text.
    pub const fn keep_text(&mut self, keep: KeepText) {
        self.stream.keep_text(keep);
    }

    /// The next deadline and what passing it means.
    #[must_use]
    pub fn deadline(&self) -> (TrialInstant, Reason) {
        let total = self.sent.after(self.deadlines.total);
        let (next, reason) = if self.expect.form == AnswerForm::Whole {
            (total, Reason::TotalTimeout)
        } else if self.stream.has_started() {
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
            expect,
            stream,
            headers,
            other_body,
            limits,
            ..
        } = self;
        let mut kind = http.head().map_or(Body::Refusal, |head| body_kind(head, expect.form));
        let fed = http.feed(bytes, |part| match part {
            Part::Head(head) => {
                headers.get_or_insert(at);
                kind = body_kind(head, expect.form);
                ControlFlow::Continue(())
            }
            Part::Body(body) if kind == Body::Stream => {
                let fed = sse.feed(body, |event| match stream.on_event(event, at) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(fault) => ControlFlow::Break(fault),
                });
                fed.unwrap_or_else(|e| ControlFlow::Break(Fault::new(Reason::Malformed, e.to_string())))
            }
            Part::Body(body) => {
                let most = match kind {
                    // The whole response is bounded, and with it this.
                    Body::Document => usize::MAX,
                    Body::Stream | Body::Unknown | Body::Refusal => limits.error_body_bytes,
                };
                let room = most.saturating_sub(other_body.len());
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
            return self.broken(
                Fault::new(Reason::Reset, "the connection was closed without an answer"),
                at,
            );
        }
        if self.http.head().is_none() {
            return self.fail(Fault::new(Reason::Truncated, "the response head broke off"), at);
        }
        Progress::Ended { reusable: false }
    }

    /// The connection broke.
    pub fn broken(&mut self, fault: Fault, at: TrialInstant) -> Progress {
        self.unanswered = self.received == 0 && self.fault.is_none();
        self.fail(fault, at)
    }

    /// The attempt fails for a reason from outside, such as cancellation.
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
        let text = self.stream.take_text();
        let status = self.http.head().map(|h| h.status);
        let (finished, result) = match self.fault {
            Some((fault, at)) => (at, Err(fault)),
            None => (
                self.last_read,
                judge(
                    &self.http,
                    self.stream,
                    &self.expect,
                    &self.other_body,
                    (self.sent, self.last_read),
                ),
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
            unanswered: self.unanswered,
        }
    }
}

/// Judges a response that ended without a fault of its own; `times` are when it was asked for and when its end came.
fn judge(
    http: &ResponseReader,
    stream: Stream,
    expect: &Expectation,
    other_body: &[u8],
    (sent, ended): (TrialInstant, TrialInstant),
) -> Result<Completion, Fault> {
    let Some(head) = http.head() else {
        return Err(Fault::new(Reason::Truncated, "the response head broke off"));
    };
    // A body without framing ends with the connection; then only what a stream says of its end shows that nothing was cut off.
    let clean = !matches!(http.end(), BodyEnd::Open);
    match body_kind(head, expect.form) {
        Body::Stream => match stream {
            Stream::Chunks(stream) => stream.finish(clean, sent),
            Stream::Responses(stream) => stream.finish(clean, sent),
            Stream::None => Err(Fault::new(Reason::Malformed, "a stream where a document was asked for")),
        },
        Body::Document => whole::judge(other_body, clean, expect, ended.since(sent)),
        Body::Refusal => {
            let (reason, detail) = error_text::classify_status(head.status, other_body);
            Err(Fault::new(reason, detail))
        }
        Body::Unknown => Err(match error_text::error_message(other_body) {
            Some(text) if error_text::is_oom(&text) => Fault::new(Reason::EngineOom, text),
            Some(text) => Fault::new(Reason::ErrorEvent, text),
            None if head.is_encoded => Fault::new(Reason::Malformed, "a compressed body, which was not asked for"),
            None => Fault::new(
                Reason::Malformed,
                format!(
                    "content type `{}`, not {}",
                    head.content_type,
                    expect.form.content_type()
                ),
            ),
        }),
    }
}
