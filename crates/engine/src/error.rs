//! What can go wrong with an engine.

use std::{io, path::PathBuf};

/// An engine could not be started, asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The program could not be launched.
    #[error("cannot start `{program}`: {source}; is it installed and on PATH?")]
    Launch {
        /// The program.
        program: String,
        /// The refusal.
        source: io::Error,
    },
    /// No free port.
    #[error("no free port on 127.0.0.1: {0}")]
    Port(io::Error),
    /// It ended before it was ready.
    #[error("the engine ended before it was ready ({status}): {cause}; see {log}")]
    Died {
        /// Exit status in words.
        status: String,
        /// The first root cause in its log.
        cause: String,
        /// Its log.
        log: PathBuf,
    },
    /// It was not ready in time.
    #[error(
        "the engine was not ready within {seconds} s; last line of its log: {last}; raise timeouts.startup or see {log}"
    )]
    NotReady {
        /// The deadline, seconds of wall time.
        seconds: u64,
        /// Last line of its log.
        last: String,
        /// Its log.
        log: PathBuf,
    },
    /// servelab was told to stop.
    #[error("stopped while the engine was starting")]
    Stopped,
    /// An HTTP exchange failed.
    #[error("{url}: {message}")]
    Http {
        /// The address asked.
        url: String,
        /// What went wrong.
        message: String,
    },
    /// It could not be stopped.
    #[error("process group {group} of the engine is still there after SIGKILL; end it by hand: kill -9 -- -{group}")]
    Leak {
        /// Its process group.
        group: i32,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The refusal.
        source: io::Error,
    },
}
