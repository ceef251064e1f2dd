//! Tokens of answers that the server does not count: counted from their texts, once no request is in flight any more.
//!
//! Trap: what ends an answer is a token too, which servers count and no text shows; so an answer that the model ended has one
//! token fewer here than in a `usage`.

use crate::BenchError;
use servelab_chat::ChatTokenizer;
use servelab_schema::{Outcome, TokenCounts, TokenSource, Trace};
use std::{fmt, num::NonZeroU32, path::Path};

/// Counts answers.
pub(crate) struct AnswerCounter {
    chat: ChatTokenizer,
}

impl fmt::Debug for AnswerCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCounter").finish_non_exhaustive()
    }
}

impl AnswerCounter {
    /// By the tokenizer of this folder.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub(crate) fn load(dir: &Path) -> Result<Self, BenchError> {
        Ok(Self {
            chat: ChatTokenizer::load(dir)?,
        })
    }

    fn count(&self, text: &str) -> Result<Option<NonZeroU32>, BenchError> {
        let tokens = self.chat.encode_ids(text)?.len();
        Ok(u32::try_from(tokens).ok().and_then(NonZeroU32::new))
    }

    /// The trace with its answer's tokens counted; a failure, and an answer of which no text is known, as it is.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub(crate) fn counted(&self, trace: Trace, text: Option<&str>) -> Result<Trace, BenchError> {
        let (Outcome::Completed(completion), Some(text)) = (&trace.outcome, text) else {
            return Ok(trace);
        };
        let counts = TokenCounts {
            prompt: trace.expected_prompt_tokens,
            completion: self.count(text)?,
            source: TokenSource::Tokenizer,
        };
        Ok(Trace {
            outcome: Outcome::Completed(completion.clone().counted(counts)),
            ..trace
        })
    }
}
