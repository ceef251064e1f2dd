//! Why the null server cannot go on.

use std::io;

/// The null server cannot start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NullServerError {
    /// The port cannot be had.
    #[error(
        "the null server cannot listen on 127.0.0.1:{port}: {source}; choose another --port (0 = any free one) or stop the program that holds it"
    )]
    Listen {
        /// What was asked for.
        port: u16,
        /// The system's words.
        source: io::Error,
    },
    /// A system call failed.
    #[error("the null server failed at {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

/// Names what was tried when a call failed.
pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> NullServerError {
    move |source| NullServerError::System { what, source }
}
