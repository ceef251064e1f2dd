//! What makes going on with a run pointless.

use crate::{LockError, StopReason};
use servelab_engine::EngineError;
use servelab_evidence::EvidenceError;
use servelab_load::LoadError;
use servelab_provider::ProviderError;
use servelab_schema::RunId;
use std::path::PathBuf;

/// A run cannot go on. What was measured before is sealed as Aborted, but for [`RunError::Unsealed`].
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The run directory cannot be written.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The engine cannot be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The place that the engine runs in cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The load generator cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The prompts are not those of the plan.
    #[error("{path}: {message}")]
    Prompts {
        /// The prompt file.
        path: PathBuf,
        /// What is wrong and the remedy.
        message: String,
    },
    /// It was told to stop before it had a directory.
    #[error("{0} before the first trial: nothing was measured, nothing is kept")]
    Stopped(StopReason),
    /// Another run measures here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What was measured could not be sealed.
    #[error(
        "{}{source}; {dir} stays open with all that was written: once that is mended, `servelab seal {run}` closes it (with \
         the --runs of this run)", .earlier.as_ref().map(|e| format!("{e}; then, while sealing: ")).unwrap_or_default()
    )]
    Unsealed {
        /// The run.
        run: RunId,
        /// Its directory.
        dir: PathBuf,
        /// What ended the run before, where it was an error.
        earlier: Option<Box<Self>>,
        /// Why it could not be sealed.
        source: Box<EvidenceError>,
    },
    /// The plan contradicts itself.
    #[error("plan.json: {0}; make the plan again with `servelab plan`")]
    Plan(String),
}
