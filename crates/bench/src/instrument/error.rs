//! Why the instrument could not be measured.

use servelab_load::LoadError;
use std::{io, path::PathBuf};

/// The instrument could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum InstrumentError {
    /// The program that is the null server, or a worker, cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The null server said no address.
    #[error("the null server did not start; run `servelab null` to see why")]
    NoAddress,
    /// The null server was asked for its figures and did not give them.
    #[error("the null server does not answer: {0}")]
    Server(String),
    /// The null server's stamps cannot be read.
    #[error("line {line} of the null server's stamps: {why}")]
    Stamps {
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A prompt file of the plan cannot be read.
    #[error("{path}: {why}")]
    Prompts {
        /// The file.
        path: PathBuf,
        /// What is wrong and the remedy.
        why: String,
    },
    /// A request to the null server cannot be made.
    #[error("a request to the null server cannot be made: {0}")]
    Request(String),
    /// The load generator could not go on.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// Streams failed that never should, or the two sides do not agree on what was sent.
    #[error("{0}")]
    Unsound(String),
    /// A worker process ended without figures.
    #[error("a worker's figures cannot be had: {0}")]
    Worker(String),
    /// While something was measured.
    #[error("{source}; this was while {what}")]
    While {
        /// What was measured.
        what: String,
        /// What went wrong.
        source: Box<InstrumentError>,
    },
}

impl InstrumentError {
    pub(crate) fn os(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Os { what, source }
    }

    pub(crate) fn during(what: impl Into<String>) -> impl FnOnce(Self) -> Self {
        let what = what.into();
        move |source| Self::While {
            what,
            source: Box::new(source),
        }
    }
}
