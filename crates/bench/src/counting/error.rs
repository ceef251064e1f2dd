//! Why prompt tokens cannot be counted.

use super::CountedBy;
use crate::text::TextError;
use servelab_chat::ChatError;
use servelab_load::LoadError;
use std::num::NonZeroU32;

/// No count, or none that can be trusted. A server's words are clean.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The tokenizer fails.
    #[error("--tokenizer: {0}")]
    Tokenizer(#[from] ChatError),
    /// Nothing can be asked.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A prompt cannot be made.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The server did not answer.
    #[error("{url}: {why}; the prompts' tokens are counted by the server before the load begins")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// The server refuses a request for one token.
    #[error("{url}: a short request for one token is refused with HTTP {status}: {words}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// Its words.
        words: String,
    },
    /// The answer has no count.
    #[error("{url}: an answer has no number of tokens")]
    NoCount {
        /// What was asked.
        url: String,
    },
    /// The tokenizer knows too few words as one token.
    #[error(
        "{counter} counts only {words} of the commonest English words as one token, so that no prompt of an exact length can \
         be made; bring prompts of your own with --prompts FILE"
    )]
    NoWords {
        /// Who counted.
        counter: CountedBy,
        /// How many there are.
        words: usize,
    },
    /// The counter does not count a whole prompt as the sum of its parts.
    #[error(
        "{counter} counts {counted} tokens where the parts of the same prompt have {expected}: prompts of an exact length \
         cannot be made for this tokenizer; bring prompts of your own with --prompts FILE"
    )]
    NotTheSum {
        /// Who counted.
        counter: CountedBy,
        /// The whole.
        counted: NonZeroU32,
        /// The sum of the parts.
        expected: NonZeroU32,
    },
    /// The tokenizer is not the server's.
    #[error(
        "--tokenizer counts {expected} tokens where the server counts {counted} of the same prompt: it has another tokenizer \
         or chat template; give the served model's, or leave --tokenizer out, and the server counts"
    )]
    AnotherTokenizer {
        /// What the server counts.
        counted: NonZeroU32,
        /// What the tokenizer counts.
        expected: NonZeroU32,
    },
}
