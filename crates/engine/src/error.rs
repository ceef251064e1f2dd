//! What can go wrong when an engine is asked.

/// An engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An HTTP exchange failed.
    #[error("{url}: {message}")]
    Http {
        /// The address asked.
        url: String,
        /// What went wrong.
        message: String,
    },
    /// The API key is not there.
    #[error("engine.api-key-env: the environment has no variable `{name}` that holds text; export it first")]
    NoKey {
        /// The variable.
        name: String,
    },
}
