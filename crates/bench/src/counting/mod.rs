//! Who counts the tokens of a prompt as the server counts them, before the load begins.
//!
//! Three can: the model's tokenizer on this machine ([`Local`]), the server's own `/tokenize` ([`Tokenize`]), and the server's
//! `usage.prompt_tokens` of requests for one token ([`Usage`]). [`lexicon`] takes the first of them that there is and checks
//! it against a real answer, so that a tokenizer of another model is found out before the load and not by it.
//!
//! Parts: `local`, `tokenize` and `usage` (the counters), `door` (how a server is asked), `choose` (which one counts, and the
//! check), [`cache`] (tokenizers that Hugging Face's tools have left on this machine).
//!
//! Traps: what is counted through `usage` is computed by the engine and may stay in its prefix cache, so that no measured
//! prompt is ever counted that way; what is proven are parts of it (`text`). Counting ends before the load begins.

pub mod cache;
mod choose;
mod door;
mod error;
mod local;
mod tokenize;
mod usage;

pub(crate) use choose::lexicon;
pub(crate) use door::Door;
pub use error::CountError;
pub(crate) use local::Local;

use serde::Serialize;
use std::{fmt, num::NonZeroU32};

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountedBy {
    /// The model's tokenizer, on this machine.
    Tokenizer,
    /// The server's `/tokenize`.
    ServerTokenize,
    /// The server's `usage.prompt_tokens`.
    ServerUsage,
    /// Nobody: lengths are words and marks, not tokens.
    Nobody,
}

impl CountedBy {
    /// False where lengths are no tokens.
    #[must_use]
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Nobody)
    }
}

impl fmt::Display for CountedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tokenizer => "the tokenizer",
            Self::ServerTokenize => "the server's /tokenize",
            Self::ServerUsage => "the server's usage.prompt_tokens",
            Self::Nobody => "nobody",
        })
    }
}

/// Counts the prompt tokens of texts as the server does: with its chat template where the endpoint has one.
pub trait Counter: fmt::Debug {
    /// Tokens of each text when it is all that a request says, in the order of the texts.
    ///
    /// # Errors
    /// [`CountError`] where one of them cannot be counted.
    fn count(&self, texts: &[String]) -> Result<Vec<NonZeroU32>, CountError>;

    /// Who counts.
    fn by(&self) -> CountedBy;

    /// Requests that the server was sent so far.
    fn requests(&self) -> u32;
}
