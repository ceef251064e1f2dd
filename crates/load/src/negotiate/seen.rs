//! What one small request showed: the bytes of its answer in, facts out. Pure.
//!
//! It is read more leniently than a measured answer, because what a server leaves out is what is looked for here.

use crate::{
    http::{BodyEnd, HttpError, Part, ResponseReader},
    stream::{
        AnswerForm, Event, SseParser, error_text,
        wire::{ChunkWire, UsageWire},
    },
};
use serde_json::Value;
use std::ops::ControlFlow;

/// How much of a body that is no stream is kept, in bytes.
const MOST_BODY: usize = 16 * 1024;

/// What the events of one stream showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StreamSeen {
    /// Chunks that brought text, reasoning or a tool call.
    pub(super) texts: u32,
    /// Their text.
    pub(super) answer: String,
    /// Chunks before the last one that brought some with risen counts beside them.
    pub(super) counted: u32,
    /// Chunks before the last one that brought some without counts.
    pub(super) uncounted: u32,
    /// The counts in the chunk that ended the answer, or after it.
    pub(super) usage: Option<(Option<u32>, Option<u32>)>,
    /// They came in a chunk of their own.
    pub(super) usage_alone: bool,
    /// Why the answer ended, in the server's word.
    pub(super) finish: Option<String>,
    /// `[DONE]` came.
    pub(super) done: bool,
    /// The words of an error event.
    pub(super) error: Option<String>,
    cumulative: u32,
}

/// What one answer showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: u16,
    /// In lower case, without parameters.
    pub(super) content_type: String,
    pub(super) is_encoded: bool,
    /// Of a stream.
    pub(super) stream: Option<StreamSeen>,
    /// The beginning of any other body.
    pub(super) body: Vec<u8>,
    /// The body ended by its own rules.
    pub(super) clean: bool,
    /// It ran on beyond what was asked for, and was cut.
    pub(super) ran_on: bool,
    /// Its head lets the connection carry another request.
    pub(super) may_reuse: bool,
}

impl Seen {
    /// The words of a body that is no stream.
    pub(super) fn words(&self) -> String {
        error_text::error_message(&self.body).unwrap_or_else(|| String::from_utf8_lossy(&self.body).trim().to_owned())
    }
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Listener {
    form: AnswerForm,
    /// Chunks with text after which an answer counts as running on.
    most_texts: u32,
    http: ResponseReader,
    sse: SseParser,
    seen: Seen,
}

impl Listener {
    pub(super) fn new(form: AnswerForm, most_texts: u32) -> Self {
        Self {
            form,
            most_texts,
            http: ResponseReader::default(),
            sse: SseParser::default(),
            seen: Seen::default(),
        }
    }

    /// Takes bytes; breaks where the answer is over or runs on.
    ///
    /// # Errors
    /// Where they are no HTTP, or no event stream though the head says so.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<ControlFlow<()>, String> {
        let Self {
            form, http, sse, seen, ..
        } = self;
        let mut broken = None;
        let fed: Result<ControlFlow<()>, HttpError> = http.feed(bytes, |part| {
            match part {
                Part::Head(head) => {
                    seen.status = head.status;
                    seen.content_type = head.content_type.clone().into_owned();
                    seen.is_encoded = head.is_encoded;
                    if head.status == 200 && head.is_event_stream() && !head.is_encoded {
                        seen.stream = Some(StreamSeen::default());
                    }
                }
                Part::Body(body) => match &mut seen.stream {
                    Some(stream) => {
                        let fed = sse.feed(body, |event| {
                            stream.on_event(*form, event);
                            ControlFlow::<()>::Continue(())
                        });
                        broken = broken.take().or(fed.err().map(|e| e.to_string()));
                    }
                    None => {
                        let room = MOST_BODY.saturating_sub(seen.body.len());
                        seen.body.extend_from_slice(body.get(..room).unwrap_or(body));
                    }
                },
            }
            ControlFlow::Continue(())
        });
        let _ = fed.map_err(|e| e.to_string())?;
        if let Some(why) = broken {
            return Err(why);
        }
        self.seen.ran_on = self.seen.stream.as_ref().is_some_and(|s| s.texts > self.most_texts);
        let over = matches!(self.http.end(), BodyEnd::Complete { .. });
        Ok(if over || self.seen.ran_on {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// What was seen; none where not even a head came. `closed` says that the peer ended it.
    pub(super) fn finish(self, closed: bool) -> Option<Seen> {
        self.http.head()?;
        let end = self.http.end();
        Some(Seen {
            clean: match end {
                BodyEnd::Complete { .. } => true,
                BodyEnd::UntilClose => closed,
                BodyEnd::Open => false,
            },
            may_reuse: end == BodyEnd::Complete { reusable: true },
            ..self.seen
        })
    }
}

impl StreamSeen {
    fn on_event(&mut self, form: AnswerForm, event: Event<'_>) {
        if event.data == b"[DONE]" {
            self.done = true;
            return;
        }
        match form {
            AnswerForm::Chunks | AnswerForm::Whole => self.on_chunk(event),
            AnswerForm::Responses => self.on_response(event),
        }
    }

    fn on_chunk(&mut self, event: Event<'_>) {
        let chunk: ChunkWire<'_> = match serde_json::from_slice(event.data) {
            Ok(chunk) => chunk,
            Err(e) => {
                let words =
                    error_text::error_message(event.data).unwrap_or_else(|| format!("an event that is no JSON: {e}"));
                self.error.get_or_insert(words);
                return;
            }
        };
        if let Some(text) = chunk.error_text() {
            self.error.get_or_insert(text.to_owned());
            return;
        }
        let usage = chunk
            .usage
            .filter(|u| u.completion_tokens.is_some() || u.prompt_tokens.is_some());
        let counts = |u: UsageWire| (u.prompt_tokens, u.completion_tokens);
        let Some(choice) = chunk.choices.and_then(|c| c.first) else {
            if let Some(usage) = usage {
                (self.usage, self.usage_alone) = (Some(counts(usage)), true);
            }
            return;
        };
        let has_ended = self.finish.is_some();
        if let Some(finish) = choice.finish() {
            self.finish = Some(finish.to_owned());
            self.usage = usage.map(counts).or(self.usage);
        } else if let Some(usage) = usage.filter(|_| has_ended) {
            // LiteLLM's usage chunk has a choice that says nothing.
            (self.usage, self.usage_alone) = (Some(counts(usage)), true);
        }
        let has_text = choice.has_tool_call() || choice.texts().any(|t| !t.is_empty());
        self.answer.extend(choice.texts());
        self.texts += u32::from(has_text);
        let total = usage.and_then(|u| u.completion_tokens).unwrap_or(0);
        let rose = total > self.cumulative;
        self.cumulative = self.cumulative.max(total);
        if choice.finish().is_none() && !has_ended {
            self.counted += u32::from(rose && !choice.is_role_only());
            // Ollama's `/v1/completions` has counts of 0 beside every text.
            self.uncounted += u32::from(has_text && total == 0);
        }
    }

    fn on_response(&mut self, event: Event<'_>) {
        let Ok(value) = serde_json::from_slice::<Value>(event.data) else {
            self.error.get_or_insert_with(|| "an event that is no JSON".to_owned());
            return;
        };
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let response = value.get("response");
        if kind.ends_with(".delta") {
            let text = value.get("delta").and_then(Value::as_str).unwrap_or_default();
            let has_text = !text.is_empty();
            self.answer.push_str(text);
            self.texts += u32::from(has_text);
            self.uncounted += u32::from(has_text);
        }
        if kind == "error" || kind == "response.failed" {
            let place = response.unwrap_or(&value);
            let words = ["/error/message", "/message", "/error"]
                .iter()
                .find_map(|path| place.pointer(path)?.as_str());
            self.error
                .get_or_insert_with(|| words.unwrap_or("error without a message").to_owned());
        }
        if matches!(kind, "response.completed" | "response.incomplete") {
            let incomplete = response.and_then(|r| r.pointer("/incomplete_details/reason")?.as_str());
            self.finish = Some(incomplete.map_or("stop", |_| "length").to_owned());
            let count = |name: &str| {
                let count = response.and_then(|r| r.get("usage")?.get(name)?.as_u64());
                count.and_then(|n| u32::try_from(n).ok())
            };
            self.usage = Some((count("input_tokens"), count("output_tokens"))).filter(|u| *u != (None, None));
        }
    }
}
