//! What makes going on with a run pointless.

use servelab_engine::EngineError;
use servelab_evidence::EvidenceError;
use servelab_load::LoadError;
use servelab_provider::ProviderError;
use std::path::PathBuf;

/// A run cannot go on. Whatever was written before stays on the disk.
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
    /// The plan contradicts itself.
    #[error("plan.json: {0}; make the plan again with `servelab plan`")]
    Plan(String),
}
