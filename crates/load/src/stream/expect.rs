//! What must hold of an answer besides the protocol.

use super::chat::Fault;
use servelab_schema::{Reason, StreamEnd, UsageReport};
use std::num::NonZeroU32;

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnswerForm {
    /// An event stream of chunks with choices.
    #[default]
    Chunks,
    /// An event stream of `/v1/responses`.
    Responses,
    /// One JSON document.
    Whole,
}

impl AnswerForm {
    /// The type of its body.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Chunks | Self::Responses => "text/event-stream",
            Self::Whole => "application/json",
        }
    }
}

/// What must hold of a completion besides the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expectation {
    /// The packed prompt length, in tokens; none where it is not known (multi-turn, no tokenizer).
    pub prompt_tokens: Option<NonZeroU32>,
    /// The exact number of tokens that must come (`ignore_eos`); none where the model decides.
    pub completion_tokens: Option<NonZeroU32>,
    /// What the answer is made of.
    pub form: AnswerForm,
    /// The counts that the server sends. Continuous ones are used where they come, and only then.
    pub usage: UsageReport,
    /// How its streams end.
    pub end: StreamEnd,
}

impl Expectation {
    /// Holds counts of the server's against what must be.
    ///
    /// # Errors
    /// The [`Fault`] of the first one that differs.
    pub(super) fn check(&self, prompt: Option<NonZeroU32>, completion: Option<NonZeroU32>) -> Result<(), Fault> {
        if let (Some(packed), Some(prompt)) = (self.prompt_tokens, prompt)
            && packed != prompt
        {
            let detail = format!("packed as {packed} tokens, the engine counted {prompt}");
            return Err(Fault::new(Reason::PromptTokenMismatch, detail));
        }
        if let (Some(asked), Some(came)) = (self.completion_tokens, completion)
            && asked != came
        {
            let reason = if came < asked {
                Reason::ShortOutput
            } else {
                Reason::Malformed
            };
            let detail = format!("{asked} tokens asked for under ignore_eos, {came} came");
            return Err(Fault::new(reason, detail));
        }
        Ok(())
    }
}
