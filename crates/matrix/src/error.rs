//! What can be wrong with a matrix, where it stands, and what to do about it.

use std::{cell::RefCell, collections::BTreeSet, fmt, sync::Arc};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Given on the command line.
    CommandLine,
    /// Written in a file.
    File {
        /// The file, relative to the project; `default` for the embedded defaults.
        path: Arc<str>,
        /// Line, from 1.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
    },
}

impl Place {
    /// The beginning of a file.
    #[must_use]
    pub fn start_of(path: &str) -> Self {
        Self::line_of(path, 1)
    }

    /// The beginning of a line of a file.
    #[must_use]
    pub fn line_of(path: &str, line: u32) -> Self {
        Self::File {
            path: path.into(),
            line,
            column: 1,
        }
    }

    /// True for a value that nobody wrote: that of the embedded defaults.
    #[must_use]
    pub(crate) fn is_default(&self) -> bool {
        matches!(self, Self::File { path, .. } if &**path == crate::layers::DEFAULTS_NAME)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
        }
    }
}

/// What is wrong. Every message ends with the remedy, after a semicolon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// A file cannot be read.
    #[error("cannot be read ({why}); {remedy}")]
    Unreadable {
        /// The operating system's words.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The text is not TOML.
    #[error("not TOML: {0}; correct the syntax here")]
    Syntax(String),
    /// A key that means nothing here.
    #[error("unknown key; {remedy}")]
    UnknownKey {
        /// What was probably meant, or what there is.
        remedy: String,
    },
    /// A value of another type.
    #[error("{found} where {expected} belongs; write {example}")]
    WrongType {
        /// What stands there.
        found: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// A value of the right type.
        example: String,
    },
    /// A key that must be given.
    #[error("missing; add `{example}`")]
    Missing {
        /// A line that would do.
        example: String,
    },
    /// A value that is out of range or of the wrong form. The text holds problem and remedy.
    #[error("{0}")]
    Value(String),
    /// `extends` leads back to a file that it came from.
    #[error("`extends` goes in a circle: {chain}; remove one of these `extends`")]
    ExtendsCycle {
        /// The files, in order.
        chain: String,
    },
    /// A factor that the catalogue does not know.
    #[error("unknown factor `{name}`; {remedy}")]
    UnknownFactor {
        /// The factor as written.
        name: String,
        /// What to write, or the factors there are.
        remedy: String,
    },
    /// A flag that does not belong to the variant's factor.
    #[error(
        "`{flag}` is not part of factor `{factor}` ({flags}), so variant {variant} would change two factors; {remedy}"
    )]
    TwoFactors {
        /// The variant.
        variant: String,
        /// The flag that does not belong.
        flag: String,
        /// The variant's factor.
        factor: String,
        /// The flags of that factor.
        flags: String,
        /// What to do.
        remedy: String,
    },
    /// A treatment that changes nothing.
    #[error("variant {variant} is equal to its control {control}{why}; {remedy}")]
    EqualToControl {
        /// The variant.
        variant: String,
        /// Its control.
        control: String,
        /// Why, where that needs words.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// A flag that the engine version refuses.
    #[error("engine {version} has no flag `--{flag}`; {remedy}")]
    RefusedFlag {
        /// The flag.
        flag: String,
        /// The engine version.
        version: String,
        /// What to do.
        remedy: String,
    },
    /// A prompt file that is not there.
    #[error("there is no prompt file {path}; run `servelab dataset build{dataset}`")]
    NoPrompts {
        /// The file that is missing.
        path: String,
        /// The dataset that it is built from, after a space; empty where none of the project names it.
        dataset: String,
    },
    /// A file that is not the one it should be.
    #[error("{what} is {found}, but {expected} is recorded in {record}; {remedy}")]
    HashDiffers {
        /// What was hashed.
        what: String,
        /// The hash found.
        found: String,
        /// The hash recorded.
        expected: String,
        /// Where that is recorded.
        record: String,
        /// What to do.
        remedy: String,
    },
    /// The run would take more than it may.
    #[error("the run is predicted to {predicted}, more than {limit}; {remedy}")]
    OverLimit {
        /// What it would take or cost, in words.
        predicted: String,
        /// What it may take.
        limit: String,
        /// What to do.
        remedy: String,
    },
}

/// One error of a matrix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatrixError {
    /// Where it stands.
    pub place: Place,
    /// The key, dotted; empty where the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.problem)
    }
}

/// All errors of all files of a matrix, in order of file, line and column; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixErrors(Vec<MatrixError>);

impl MatrixErrors {
    /// The errors.
    #[must_use]
    pub fn errors(&self) -> &[MatrixError] {
        &self.0
    }
}

impl fmt::Display for MatrixErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for MatrixErrors {}

/// Collects errors while reading goes on, each once.
#[derive(Debug, Default)]
pub(crate) struct Errors(RefCell<BTreeSet<MatrixError>>);

impl Errors {
    pub(crate) fn push(&self, place: &Place, key: impl Into<String>, problem: Problem) {
        self.0.borrow_mut().insert(MatrixError {
            place: place.clone(),
            key: key.into(),
            problem,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(crate) fn into_errors(self) -> MatrixErrors {
        MatrixErrors(self.0.into_inner().into_iter().collect())
    }
}
