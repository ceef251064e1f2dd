//! The state machine of one stream of `/v1/responses`: events with arrival stamps in, a completion or exactly one reason out.
//!
//! Form, by OpenAI's description of the API: each event is a JSON object whose `type` names it. Text comes in events whose type
//! ends in `.delta` (of the answer, its reasoning, a refusal, the arguments of a call), the end in one of
//! `response.completed`, `.incomplete`, `.failed` or `.cancelled`, which repeats the whole response with its `usage`. No counts
//! come before that, so TTFT is that of the first text. `[DONE]` is not part of it; servers that send it all the same may.
//! No I/O, no clock.

use super::{
    chat::{Fault, cut, error_event, excerpt},
    expect::Expectation,
    sse::Event,
    timeline::{KeepText, Keeper, Said, Timeline},
    wire::Text,
};
use serde::{Deserialize, de::IgnoredAny};
use servelab_schema::{Completion, FinishReason, Reason, Sha256Hex, TokenCounts, TrialInstant, TtftKind, UsageReport};
use sha2::{Digest, Sha256};
use std::num::NonZeroU32;

#[derive(Deserialize)]
struct KindWire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct DeltaWire<'a> {
    #[serde(borrow)]
    delta: Text<'a>,
}

/// The event that ends a stream, or says that something is wrong.
#[derive(Debug, Deserialize)]
struct EndWire {
    #[serde(default)]
    response: Option<ResponseWire>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Option<ErrorWire>,
}

#[derive(Debug, Deserialize)]
struct ResponseWire {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<ErrorWire>,
    #[serde(default)]
    incomplete_details: Option<IncompleteWire>,
    #[serde(default)]
    usage: Option<UsageWire>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ErrorWire {
    Object {
        #[serde(default)]
        message: Option<String>,
    },
    Text(String),
    Other(IgnoredAny),
}

impl ErrorWire {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Object { message } => message.unwrap_or_else(|| "error without a message".to_owned()),
            Self::Other(_) => "error of an unknown form".to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct IncompleteWire {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct UsageWire {
    #[serde(default)]
    input_tokens: Option<u32>,
    #[serde(default)]
    output_tokens: Option<u32>,
}

/// The machine. Feed it events until the body ends or it returns a fault, then call [`finish`](Self::finish).
#[derive(Debug)]
pub struct ResponsesStream {
    expect: Expectation,
    texts: Timeline,
    end: Option<FinishReason>,
    usage: Option<UsageWire>,
    hash: Sha256,
    keeper: Keeper,
}

impl ResponsesStream {
    /// A machine for one attempt.
    #[must_use]
    pub fn new(expect: Expectation) -> Self {
        Self {
            texts: Timeline::of(expect.completion_tokens),
            expect,
            end: None,
            usage: None,
            hash: Sha256::new(),
            keeper: Keeper::default(),
        }
    }

    /// Keeps the answer's text besides hashing it.
    pub const fn keep_text(&mut self, keep: KeepText) {
        self.keeper.keep(keep);
    }

    /// The text so far; none unless it is kept.
    pub fn take_text(&mut self) -> Option<Said> {
        self.keeper.take()
    }

    /// True once the first text has come: the TTFT deadline is met.
    #[must_use]
    pub const fn has_started(&self) -> bool {
        self.texts.first.is_some()
    }

    /// Takes one event that arrived at `at` (engine time, ns).
    ///
    /// # Errors
    /// The [`Fault`] that ends the attempt.
    pub fn on_event(&mut self, event: Event<'_>, at: TrialInstant) -> Result<(), Fault> {
        if event.data == b"[DONE]" {
            return Ok(());
        }
        if self.end.is_some() {
            let detail = format!("an event after the response's end: {}", excerpt(event.data));
            return Err(Fault::malformed(detail));
        }
        let bad = |e: serde_json::Error| Fault::malformed(format!("no event: {e}: {}", excerpt(event.data)));
        let kind: KindWire<'_> = match serde_json::from_slice(event.data) {
            Ok(kind) => kind,
            // An error in the form of the other endpoints.
            Err(e) => {
                return Err(super::error_text::error_message(event.data).map_or_else(|| bad(e), |t| error_event(&t)));
            }
        };
        match kind.kind.as_str() {
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" | "error" => {
                let end: EndWire = serde_json::from_slice(event.data).map_err(bad)?;
                self.on_end(kind.kind.as_str(), end)
            }
            delta if delta.ends_with(".delta") => {
                // A delta that is no text, such as one of sound, is nothing that is measured here.
                if let Ok(DeltaWire { delta: text }) = serde_json::from_slice(event.data)
                    && !text.as_str().is_empty()
                {
                    self.on_text(delta, text.as_str(), at);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_text(&mut self, kind: &str, text: &str, at: TrialInstant) {
        self.texts.push(at, 0);
        self.hash.update(text.as_bytes());
        if kind.contains("arguments") || kind.contains("tool_call") {
            self.keeper.add_more();
        } else {
            self.keeper.add(text, !kind.contains("reasoning"));
        }
    }

    fn on_end(&mut self, kind: &str, end: EndWire) -> Result<(), Fault> {
        let status = end.response.as_ref().and_then(|r| r.status.as_deref()).unwrap_or("");
        let incomplete = end
            .response
            .as_ref()
            .and_then(|r| r.incomplete_details.as_ref()?.reason.clone());
        let finish = match (kind, status, incomplete.as_deref()) {
            ("response.completed" | "response.incomplete", "incomplete", Some("max_output_tokens" | "max_tokens")) => {
                FinishReason::Length
            }
            ("response.completed", "" | "completed", _) => FinishReason::Stop,
            ("response.cancelled", ..) | (_, "cancelled", _) => {
                return Err(Fault::new(Reason::AbortedByEngine, "the response was cancelled"));
            }
            ("error" | "response.failed", ..) | (_, "failed", _) => {
                let response = end
                    .response
                    .and_then(|r| r.error)
                    .or(end.error)
                    .map(ErrorWire::into_text);
                let words = response.or(end.message);
                return Err(error_event(words.as_deref().unwrap_or("error without a message")));
            }
            _ => {
                let why = incomplete.as_deref().map_or("no reason given", |why| why);
                return Err(Fault::malformed(format!(
                    "{kind} of status `{}` ({}) is neither complete nor at its limit",
                    cut(status),
                    cut(why)
                )));
            }
        };
        self.end = Some(finish);
        self.usage = end.response.and_then(|r| r.usage);
        Ok(())
    }

    /// Judges the whole stream. `clean` says that the body ended by its own rules (last HTTP chunk or full length).
    ///
    /// # Errors
    /// The one [`Fault`] that the stream failed by.
    pub fn finish(self, clean: bool, sent: TrialInstant) -> Result<Completion, Fault> {
        let finish = match self.end {
            Some(finish) if clean => finish,
            Some(_) => return Err(Fault::new(Reason::Truncated, "the end of the body did not come")),
            None => return Err(Fault::new(Reason::Truncated, "the body ended before the response did")),
        };
        let counted = self
            .usage
            .filter(|_| self.expect.usage != UsageReport::Wrong)
            .and_then(|u| Some((NonZeroU32::new(u.input_tokens?)?, u.output_tokens?)));
        let tokens = match counted {
            Some((_, 0)) => return Err(Fault::new(Reason::Empty, "usage says 0 output tokens")),
            Some((prompt, output)) => TokenCounts {
                prompt: Some(prompt),
                completion: NonZeroU32::new(output),
                ..TokenCounts::unknown()
            },
            None if !self.expect.usage.counts() => TokenCounts::unknown(),
            None => return Err(Fault::new(Reason::NoUsage, "the response ended without usage")),
        };
        self.expect.check(tokens.prompt, tokens.completion)?;
        let Some(first) = self.texts.first.map(|first| first.since(sent)) else {
            return Err(Fault::new(Reason::Empty, "no text"));
        };
        Completion::new(
            TtftKind::Content,
            first,
            Some(first),
            self.texts.chunks,
            tokens,
            finish,
            Sha256Hex::from_bytes(self.hash.finalize().into()),
        )
        .map_err(|e| Fault::malformed(e.to_string()))
    }
}
