//! Why nothing, or no more, can be measured. A request that fails is a row, never one of these.

use crate::{
    counting::{CountError, cache::CacheError},
    text::TextError,
};
use servelab_chat::ChatError;
use servelab_load::{EndpointError, LoadError};
use servelab_schema::KeyInTheClear;
use std::{io, path::PathBuf};

/// Whom an error asks to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// What was asked contradicts itself or cannot be had.
    Asked,
    /// A file, or a URL, is wrong.
    Given,
    /// The machine or the server lacks something.
    Machine,
}

/// A bench cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Options contradict each other, or ask for what cannot be made.
    #[error("{0}")]
    Options(String),
    /// A header cannot be sent. Its value is never said.
    #[error("--header: {0}")]
    Header(String),
    /// A file is wrong.
    #[error("{at}: {why}")]
    File {
        /// The file, and the line where it is known.
        at: String,
        /// What is wrong and the remedy.
        why: String,
    },
    /// The tokenizer cannot be used.
    #[error("--tokenizer: {0}")]
    Tokenizer(#[from] ChatError),
    /// The tokenizer is not there.
    #[error(transparent)]
    NoTokenizer(#[from] CacheError),
    /// Nobody can count the prompts' tokens.
    #[error(transparent)]
    Counting(#[from] CountError),
    /// Prompts of these lengths cannot be made.
    #[error(transparent)]
    Lengths(#[from] TextError),
    /// The API key would leave this machine in the clear.
    #[error("--url: {0}")]
    InTheClear(#[from] KeyInTheClear),
    /// The API key is not there.
    #[error("--api-key-env: {0}")]
    Key(String),
    /// The URL cannot be loaded.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The server cannot be measured as it was asked for.
    #[error("{url}: {said}; {remedy}")]
    Server {
        /// The server.
        url: String,
        /// What it showed, in its own words where it has some.
        said: String,
        /// What to do about it.
        remedy: String,
    },
    /// The file of the traces cannot be made.
    #[error("--traces {path}: {source}")]
    Traces {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The file of the traces is there already.
    #[error("--traces {0}: this file exists already and is not overwritten; give another name or remove it")]
    TracesExist(PathBuf),
    /// There is nothing to search with.
    #[error("none of the first {requests} requests completed: {example}; try `servelab bench` without --find-max")]
    NothingCompleted {
        /// How many were sent.
        requests: u32,
        /// What became of one of them.
        example: String,
    },
    /// The load cannot go on.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl BenchError {
    /// Whom it asks to do something.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Options(_)
            | Self::Header(_)
            | Self::TracesExist(_)
            | Self::Lengths(_)
            | Self::Counting(CountError::Text(_))
            | Self::Load(LoadError::Spec(_)) => Blame::Asked,
            Self::File { .. }
            | Self::Tokenizer(_)
            | Self::NoTokenizer(_)
            | Self::InTheClear(_)
            | Self::Counting(CountError::Tokenizer(_) | CountError::AnotherTokenizer { .. }) => Blame::Given,
            Self::Key(_)
            | Self::Endpoint(_)
            | Self::Server { .. }
            | Self::NothingCompleted { .. }
            | Self::Traces { .. }
            | Self::Counting(_)
            | Self::Load(_) => Blame::Machine,
        }
    }
}
