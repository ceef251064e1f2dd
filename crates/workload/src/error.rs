//! Why a dataset cannot be built or a prompt file cannot be verified.

use servelab_chat::ChatError;
use std::path::PathBuf;

/// One thing wrong in a dataset's TOML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key, what is wrong with it, and the remedy.
    pub message: String,
}

/// Why the dataset stage stops.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The dataset's TOML is wrong; every problem that could be found at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// A path leads out of the project.
    #[error("`{0}` leads out of the project; give a path inside it, relative to its folder (--project), without `..`")]
    Escapes(String),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; check the path, which is relative to the project {root}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The project.
        root: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}; check that the folder exists and has room")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A dataset file is not the one that was declared.
    #[error(
        "{path} has sha256 {found}, but {config} declares {declared}; restore the file, or declare the new hash if the text was meant to change"
    )]
    SourceHash {
        /// The dataset file.
        path: String,
        /// The TOML that declares it.
        config: String,
        /// The hash declared.
        declared: String,
        /// The hash of the file.
        found: String,
    },
    /// A dataset file holds something else than its kind says.
    #[error("{path}:{line}: {message}; datasets/README.md shows the format of each kind")]
    Record {
        /// The dataset file.
        path: String,
        /// Line of the unpacked file, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The number of records differs from the declared one.
    #[error("{path} holds {found} records, but `records` of dataset `{dataset}` says {declared}; correct one of them")]
    RecordCount {
        /// The dataset file.
        path: String,
        /// Its id.
        dataset: String,
        /// Records declared.
        declared: usize,
        /// Records found.
        found: usize,
    },
    /// A prompt template is wrong.
    #[error("{path}: {message}")]
    Template {
        /// The template.
        path: String,
        /// What is wrong, and the remedy.
        message: String,
    },
    /// The tokenizer or the model's chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A dataset has too little text.
    #[error("dataset `{dataset}` has no text left for {wanted} tokens of {what}; lower `per_cell` or add records")]
    Exhausted {
        /// The dataset.
        dataset: String,
        /// What was to be taken.
        what: String,
        /// Tokens wanted.
        wanted: usize,
    },
    /// No cut of the text gives a length inside the bucket.
    #[error("a {task} prompt of {target} tokens cannot be packed: {message}")]
    Unpackable {
        /// The task.
        task: String,
        /// Tokens wanted.
        target: usize,
        /// Why.
        message: String,
    },
    /// Two prompts begin with the same tokens.
    #[error(
        "prompts `{first}` and `{second}` share their first {tokens} tokens, more than the {limit} of `longest_common_prefix_tokens`; let the template begin with what differs, such as {{{{ case }}}}"
    )]
    CommonPrefix {
        /// One prompt.
        first: String,
        /// The other.
        second: String,
        /// Tokens shared, from token 0.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// The build came out otherwise than pinned.
    #[error(
        "{set} came out with sha256 {found}, but {config} pins {pinned}; nothing was written. If an input was meant to change, put the new hash there, and say so under Measurement in CHANGELOG.md"
    )]
    Pin {
        /// The prompt set.
        set: String,
        /// The TOML that pins it.
        config: String,
        /// The hash pinned.
        pinned: String,
        /// The hash that came out.
        found: String,
    },
    /// A manifest is no manifest.
    #[error("{path}: {message}; build the prompts again with `servelab dataset build`")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A thread pool could not be started, or a number does not fit: not a matter of the input.
    #[error("internal: {0}")]
    Internal(String),
}
