//! The state machine of one streamed completion: events with arrival stamps in, a completion or exactly one reason out.
//!
//! A token chunk is a chunk at which cumulative `usage.completion_tokens` rises; its text may be empty and it may hold
//! several tokens. The chunk that only names the role carries no token, whatever its usage says. `[DONE]` proves nothing:
//! engines send it after an error event and after an abort. What of this a server is known to leave out ([`Expectation`]) is
//! not asked of it. No I/O, no clock.

use super::{
    error_text,
    expect::Expectation,
    scan::{Payload, Scanner},
    shape::KnownChunk,
    sse::Event,
    timeline::{KeepText, Keeper, Said, Timeline},
    wire::{ChoiceWire, ChunkWire, UsageWire},
};
use servelab_schema::{
    Completion, FinishReason, Reason, Sha256Hex, StreamEnd, TokenCounts, TrialInstant, TtftKind, UsageReport,
};
use sha2::{Digest, Sha256};
use std::{cell::RefCell, num::NonZeroU32};

thread_local! {
    /// Its memory of shapes only makes it faster; what it reads depends on the payload alone.
    static SCANNER: RefCell<Scanner> = RefCell::default();
}

/// Why an attempt failed: one of the closed set, and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The reason.
    pub reason: Reason,
    /// The engine's or the operating system's own words, or ours.
    pub detail: String,
}

impl Fault {
    /// A fault with its words.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Reason::Malformed, detail)
    }
}

/// Whether the engine counts tokens in every chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    /// No chunk but the role chunk has come.
    Unknown,
    /// Chunks carry cumulative usage.
    Continuous,
    /// A chunk came without usage: only text shows progress.
    Final,
}

/// The machine. Feed it events until the body ends or it returns a fault, then call [`finish`](Self::finish).
#[derive(Debug)]
pub struct ChatStream {
    expect: Expectation,
    counting: Counting,
    tokens: Timeline,
    texts: Timeline,
    /// Cumulative completion tokens so far.
    cumulative: u32,
    text_first: Option<TrialInstant>,
    choice_chunks: u64,
    /// Of the choice of the chunk before.
    index: u32,
    finish: Option<FinishReason>,
    usage: Option<UsageWire>,
    /// Usage came in a chunk of its own, as `include_usage` promises; continuous usage beside a choice is only the count
    /// so far.
    final_usage: bool,
    done: bool,
    hash: Sha256,
    /// The text itself, where it is wanted.
    keeper: Keeper,
}

impl ChatStream {
    /// A machine for one attempt.
    #[must_use]
    pub fn new(expect: Expectation) -> Self {
        Self {
            expect,
            counting: match expect.usage {
                UsageReport::Continuous => Counting::Unknown,
                UsageReport::Final | UsageReport::None | UsageReport::Wrong => Counting::Final,
            },
            tokens: Timeline::of(expect.completion_tokens),
            texts: Timeline::default(),
            cumulative: 0,
            text_first: None,
            choice_chunks: 0,
            index: 0,
            finish: None,
            usage: None,
            final_usage: false,
            done: false,
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

    /// True once the first token (or, without continuous usage, the first text) has come: the TTFT deadline is met.
    #[must_use]
    pub const fn has_started(&self) -> bool {
        self.tokens.first.is_some() || self.text_first.is_some()
    }

    /// True once `[DONE]` has come.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Takes one event that arrived at `at` (engine time, ns).
    ///
    /// # Errors
    /// The [`Fault`] that ends the attempt.
    pub fn on_event(&mut self, event: Event<'_>, at: TrialInstant) -> Result<(), Fault> {
        if self.done {
            return Err(Fault::malformed(format!(
                "an event after [DONE]: {}",
                excerpt(event.data)
            )));
        }
        if event.data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: ChunkWire<'_> = match SCANNER.with_borrow_mut(|s| s.read(event.data)) {
            Ok(Payload::Known(chunk)) if event.name != b"error" => return self.on_known(&chunk, at),
            Ok(Payload::Known(_)) => return Err(error_event(&excerpt(event.data))),
            Ok(Payload::Other(chunk)) => chunk,
            Err(_) if event.name == b"error" => return Err(error_event(&excerpt(event.data))),
            Err(e) => return Err(Fault::malformed(format!("no chunk: {e}: {}", excerpt(event.data)))),
        };
        if let Some(text) = chunk.error_text() {
            return Err(error_event(text));
        }
        if event.name == b"error" {
            return Err(error_event(&excerpt(event.data)));
        }
        let Some(choices) = chunk.choices else {
            return match chunk.usage {
                Some(usage) => {
                    self.final_usage = true;
                    self.on_usage(usage, at, false)
                }
                None => Err(Fault::malformed(format!(
                    "neither choices nor usage: {}",
                    excerpt(event.data)
                ))),
            };
        };
        let Some(choice) = choices.first else {
            self.final_usage |= chunk.usage.is_some();
            return chunk.usage.map_or(Ok(()), |usage| self.on_usage(usage, at, false));
        };
        self.only_choice(choices.count, choice.index)?;
        self.on_choice(&choice, chunk.usage, at)
    }

    /// A chunk of a known shape: the same as for any other, without looking for what such a chunk cannot hold.
    fn on_known(&mut self, chunk: &KnownChunk<'_>, at: TrialInstant) -> Result<(), Fault> {
        let usage = chunk.usage;
        let Some(choice) = &chunk.choice else {
            self.final_usage |= usage.is_some();
            return usage.map_or(Ok(()), |usage| self.on_usage(usage, at, false));
        };
        self.only_choice(1, 0)?;
        let role_only = self.begin_choice(choice.is_role_only(), usage.is_some());
        if let Some(text) = choice.text.filter(|t| !t.is_empty()) {
            self.hash.update(text.as_bytes());
            self.on_text_at(at);
            self.keeper.add(text, choice.is_content);
        }
        if let Some(finish) = choice.finish {
            self.end_choice(finish)?;
        }
        usage.map_or(Ok(()), |usage| self.on_usage(usage, at, role_only))
    }

    fn on_choice(&mut self, choice: &ChoiceWire<'_>, usage: Option<UsageWire>, at: TrialInstant) -> Result<(), Fault> {
        let role_only = self.begin_choice(choice.is_role_only(), usage.is_some());
        let mut has_text = choice.has_tool_call();
        if has_text {
            self.keeper.add_more();
        }
        for text in choice.texts().filter(|t| !t.is_empty()) {
            has_text = true;
            self.hash.update(text.as_bytes());
        }
        choice.reasoning().for_each(|text| self.keeper.add(text, false));
        choice.content().for_each(|text| self.keeper.add(text, true));
        if has_text {
            self.on_text_at(at);
        }
        if let Some(reason) = choice.finish() {
            self.on_finish(reason)?;
        }
        usage.map_or(Ok(()), |usage| self.on_usage(usage, at, role_only))
    }

    /// Refuses a chunk of another choice. Chunks of two choices take turns, so that their index falls again and again; one that
    /// only rises is of one choice: GuideLLM's mock server counts tokens with it.
    fn only_choice(&mut self, count: usize, index: u32) -> Result<(), Fault> {
        if count > 1 || index < self.index {
            return Err(Fault::malformed("more than one choice: n > 1 cannot be measured"));
        }
        self.index = index;
        Ok(())
    }

    /// Counts a chunk with a choice, and says whether it is the one that only names the role.
    fn begin_choice(&mut self, names_role_only: bool, has_usage: bool) -> bool {
        self.choice_chunks += 1;
        let role_only = self.choice_chunks == 1 && names_role_only;
        if self.counting == Counting::Unknown {
            if has_usage {
                self.counting = Counting::Continuous;
            } else if !role_only {
                self.counting = Counting::Final;
            }
        }
        role_only
    }

    fn on_text_at(&mut self, at: TrialInstant) {
        self.text_first.get_or_insert(at);
        if self.counting == Counting::Final {
            self.texts.push(at, 0);
        }
    }

    fn on_finish(&mut self, reason: &str) -> Result<(), Fault> {
        let finish = match reason {
            // The model ended it: by its end token, which TGI's `/v1/completions` names, or with a call.
            "stop" | "eos_token" | "stop_sequence" | "tool_calls" | "function_call" => FinishReason::Stop,
            "length" => FinishReason::Length,
            "abort" | "cancelled" => {
                return Err(Fault::new(Reason::AbortedByEngine, format!("finish_reason {reason}")));
            }
            "error" => return Err(error_event("finish_reason error")),
            other => {
                return Err(Fault::malformed(format!(
                    "finish_reason {} is neither stop nor length",
                    cut(other)
                )));
            }
        };
        self.end_choice(finish)
    }

    fn end_choice(&mut self, finish: FinishReason) -> Result<(), Fault> {
        if self.finish.replace(finish).is_some() {
            return Err(Fault::malformed("a second finish_reason"));
        }
        Ok(())
    }

    fn on_usage(&mut self, usage: UsageWire, at: TrialInstant, role_only: bool) -> Result<(), Fault> {
        let total = usage.completion_tokens.unwrap_or(0);
        let Some(rise) = total.checked_sub(self.cumulative) else {
            return Err(Fault::malformed(format!(
                "completion_tokens fell from {} to {total}",
                self.cumulative
            )));
        };
        if self.counting == Counting::Continuous && rise > 0 && !role_only {
            self.cumulative = total;
            self.tokens.push(at, rise);
        }
        if self.finish.is_some() || self.choice_chunks == 0 {
            self.usage = Some(usage);
        }
        Ok(())
    }

    /// Judges the whole stream. `clean` says that the body ended by its own rules (last HTTP chunk or full length).
    ///
    /// # Errors
    /// The one [`Fault`] that the stream failed by; the order of the checks decides where several hold.
    pub fn finish(self, clean: bool, sent: TrialInstant) -> Result<Completion, Fault> {
        let fail = |reason, detail: &str| Err(Fault::new(reason, detail));
        if !clean {
            let detail = if self.done {
                "[DONE] came, the end of the body did not"
            } else {
                "the body broke off before [DONE]"
            };
            return fail(Reason::Truncated, detail);
        }
        if !self.done && self.expect.end == StreamEnd::Done {
            return fail(Reason::Truncated, "the body ended without [DONE]");
        }
        if self.choice_chunks == 0 {
            return fail(Reason::Empty, "the stream ended without any choice");
        }
        let Some(finish) = self.finish else {
            return fail(Reason::Truncated, "the stream ended without a finish_reason");
        };
        let counted = self
            .usage
            .filter(|_| self.expect.usage != UsageReport::Wrong)
            .and_then(|u| Some((NonZeroU32::new(u.prompt_tokens?)?, u.completion_tokens?)))
            .filter(|_| self.final_usage || self.counting != Counting::Continuous);
        let tokens = match counted {
            Some((_, 0)) => return fail(Reason::Empty, "usage says 0 completion tokens"),
            Some((prompt, completion)) => TokenCounts {
                prompt: Some(prompt),
                completion: NonZeroU32::new(completion),
                ..TokenCounts::unknown()
            },
            None if !self.expect.usage.counts() => TokenCounts::unknown(),
            None => {
                return fail(
                    Reason::NoUsage,
                    "no final usage; the engine must know stream_options.include_usage",
                );
            }
        };
        self.expect.check(tokens.prompt, tokens.completion)?;
        let (kind, timeline) = match self.counting {
            Counting::Continuous => (TtftKind::Token, self.tokens),
            Counting::Unknown | Counting::Final => (TtftKind::Content, self.texts),
        };
        let Some(first) = timeline.first else {
            return fail(
                Reason::Empty,
                "no text, and no continuous usage that would show its tokens",
            );
        };
        let after = |at: TrialInstant| at.since(sent);
        Completion::new(
            kind,
            after(first),
            self.text_first.map(after),
            timeline.chunks,
            tokens,
            finish,
            Sha256Hex::from_bytes(self.hash.finalize().into()),
        )
        .map_err(|e| Fault::malformed(e.to_string()))
    }
}

pub(super) fn error_event(text: &str) -> Fault {
    let reason = if error_text::is_oom(text) {
        Reason::EngineOom
    } else {
        Reason::ErrorEvent
    };
    Fault::new(reason, text)
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}

pub(super) fn excerpt(data: &[u8]) -> String {
    String::from_utf8_lossy(data.get(..120).unwrap_or(data)).into_owned()
}
