//! Run directories: written append-only, sealed by a manifest that comes last, opened only after every hash was checked.
//!
//! All file access of a run goes through [`FileLayer`], so that a full disk or a lost write can be injected. This room
//! knows names and bytes; what the numbers in them mean is for others.
//!
//! Parts: [`RunWriter`] writes and seals; `hold` locks a directory while a servelab writes to it; [`salvage`] closes what
//! was cut off (`salvage::plan` decides, purely, and `salvage::close` obeys); [`SealedRun`] opens. Documents appear whole or
//! not at all: they are written beside their name, forced to the disk and renamed. Rows are appended.
//!
//! Traps: a file that a child process writes to cannot be compared at the seal. Whoever rewrites every file *and* the manifest is
//! found only by a fingerprint that is kept elsewhere: the report prints it for that reason.

mod beside;
mod corrections;
mod error;
mod hold;
mod layer;
mod look;
mod once;
mod packed;
mod remove;
mod resume;
pub mod salvage;
mod sealed;
mod sessions;
mod take;
mod walk;
mod writer;

pub use beside::write_whole;
pub use corrections::{FOLDER as CORRECTIONS, correct, corrections};
pub use error::EvidenceError;
pub use hold::is_held;
pub use layer::{Disk, FileLayer, RunFile, SharedDisk};
pub use look::{Listing, Lying, Odd, open_file};
pub use once::{Digested, Once, ReadOnce};
pub use packed::Packing;
pub use remove::{half_removed, remove};
pub use resume::{Beginning, EarlierTake, Resumable};
pub use sealed::SealedRun;
pub use take::{Rows, TakeFiles};
pub use walk::{sha256_file, sha256_file_while};
pub use writer::{JsonlWriter, RunWriter, Seal, TrialWriter};

/// Names of the files of a run directory.
pub mod names {
    /// The plan that was executed.
    pub const PLAN: &str = "plan.json";
    /// The machine that executed it.
    pub const ENVIRONMENT: &str = "environment.json";
    /// Everything the run says; written at the seal.
    pub const FINDINGS: &str = "findings.json";
    /// What the directory holds; written last.
    pub const MANIFEST: &str = "run_manifest.json";
    /// SHA-256 of the manifest.
    pub const FINGERPRINT: &str = "run_manifest.sha256";
    /// What happened while the run went on.
    pub const EVENTS: &str = "events.jsonl";
    /// Folder of what belongs to the sessions of a run that went on.
    pub const SESSIONS: &str = "sessions";
    /// That a run went on.
    pub const SESSION: &str = "session.json";
    /// Folder of a session with the seal before it.
    pub const EARLIER: &str = "earlier";
    /// Name of a manifest that is about to go to [`EARLIER`].
    pub(crate) const UNSEALED: &str = "run_manifest.json.earlier";
    /// Ending of a document until it is whole.
    pub(crate) const UNFINISHED: &str = ".tmp";
    /// Ending of what was cut off, set aside by [`salvage`](crate::salvage).
    pub const TORN: &str = ".torn";
    /// Folder of the takes.
    pub const TRIALS: &str = "trials";
    /// What was started for a take.
    pub const ENGINE: &str = "engine.json";
    /// What happened in a take.
    pub const TRIAL: &str = "trial.json";
    /// One row an attempt.
    pub const TRACES: &str = "traces.jsonl";
    /// One row a telemetry sample.
    pub const TELEMETRY: &str = "telemetry.jsonl";
    /// The engine's own output.
    pub const SERVER_LOG: &str = "server.log";
    /// `/metrics` before the first request.
    pub const METRICS_BEFORE: &str = "metrics.before.prom";
    /// `/metrics` after the last request.
    pub const METRICS_AFTER: &str = "metrics.after.prom";
}
