//! Why a run cannot be pinned, and why a pin cannot be run again.

use servelab_evidence::EvidenceError;
use servelab_matrix::FurtherError;
use servelab_schema::{PinnedInputKind, Sha256Hex};
use std::{fmt, path::PathBuf};

/// An input that is no longer what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// What it is.
    pub what: String,
    /// Its path, relative to the project, or its name.
    pub path: String,
    /// Its hash as pinned.
    pub expected: Sha256Hex,
    /// Its hash now; none where it cannot be read.
    pub found: Option<Sha256Hex>,
}

impl Drift {
    pub(crate) fn of(kind: PinnedInputKind, path: &str, expected: &Sha256Hex, found: Option<Sha256Hex>) -> Self {
        Self {
            what: kind.to_string(),
            path: path.to_owned(),
            expected: expected.clone(),
            found,
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.as_ref().map_or("cannot be read", Sha256Hex::as_str);
        write!(
            f,
            "{} ({}): expected sha256 {}, found {found}",
            self.path, self.what, self.expected
        )
    }
}

fn lines(drifts: &[Drift]) -> String {
    drifts.iter().map(|d| format!("\n  {d}")).collect()
}

/// Why a run is not pinned. Each names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The run directory is not sealed, or not as it was sealed.
    #[error("only a sealed, unchanged run can be pinned: {0}")]
    Evidence(#[from] EvidenceError),
    /// The run is not one that a later one could be held against.
    #[error("run {run} cannot be pinned: {why}")]
    Refused {
        /// The run.
        run: String,
        /// Why, and the remedy.
        why: String,
    },
    /// There is such a pin.
    #[error("{} is there already; give another name, or --replace to pin this run in its place", .0.display())]
    Exists(PathBuf),
    /// The file is no pin.
    #[error("{}: {message}", path.display())]
    NoPin {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// Why a pin is not run again, before or after it ran. The answer is exit code 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriftError {
    /// Inputs changed.
    #[error(
        "what the pin rests on has changed:{}\nput the pinned files back (`servelab dataset build` makes prompts again), or pin a new \
         run with --replace",
        lines(.0)
    )]
    Inputs(Vec<Drift>),
    /// A path of the pin leads out of the project.
    #[error(
        "the pin names `{0}`, which is not inside the project; a pin that servelab wrote has no such path: take it from where it was made"
    )]
    Outside(String),
    /// The plan does not come back.
    #[error(
        "the plan of the pin has sha256 {found} with its prompts, and {expected} is recorded: the pin was edited; take it from where it was \
         made, or pin the run again"
    )]
    Plan {
        /// As recorded.
        expected: Sha256Hex,
        /// As rebuilt.
        found: Sha256Hex,
    },
    /// A prompt file has a row that is none.
    #[error("{path}: {message}")]
    Prompts {
        /// The file.
        path: String,
        /// Which line, and what is wrong.
        message: String,
    },
    /// This servelab draws other arrivals of the same seed.
    #[error(
        "the arrivals of load {load} in block {block} are others than those that were pinned: this servelab draws them in another way; use the \
         servelab that pinned them ({version}), or pin a new run"
    )]
    Arrivals {
        /// The load.
        load: String,
        /// The block.
        block: u32,
        /// Version of the servelab that pinned them.
        version: String,
    },
    /// Another method measures other numbers.
    #[error(
        "the pin was measured by method version {pinned}, this servelab measures by version {ours}: their numbers are not comparable; use the \
         servelab that pinned it ({version}), or pin a new run"
    )]
    Method {
        /// Of the pin.
        pinned: u32,
        /// Of this program.
        ours: u32,
        /// Version of the servelab that pinned it.
        version: String,
    },
    /// The engine said a version that is not allowed.
    #[error(
        "the engine says that it is version {found}, and the pin allows {allowed}; compare with it by --allow-engine-version {found}, here \
         or when the run is pinned"
    )]
    EngineVersion {
        /// What it said.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// No plan for the second stage.
    #[error(transparent)]
    Further(#[from] FurtherError),
}
