//! What makes going on with a run pointless.

use crate::{LockError, StopReason, selection::NamesNothing};
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
    /// What a run began with is not what is here now.
    #[error(
        "run {run} cannot go on, since it is not the same any more:\n  {}\nPut that back, or run it anew under another name", 
        what.join("\n  ")
    )]
    Changed {
        /// The run.
        run: RunId,
        /// Each thing that changed, with what it was and is.
        what: Vec<String>,
    },
    /// A limit of the plan leaves nothing for another session.
    #[error(
        "{0} by the run's earlier sessions: give the matrix with a larger one, such as `servelab run MATRIX.toml --resume RUN \
         --max-duration 2h`"
    )]
    UsedUp(StopReason),
    /// A word of `--only` or `--skip` is wrong.
    #[error(transparent)]
    Selection(#[from] NamesNothing),
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
