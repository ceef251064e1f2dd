//! Before a run: what an installed engine makes of each variant's flags, without being started.
//!
//! The engine's own Python parses the flags and builds the configuration, one import and a fork for each variant
//! (`script.py`). Nothing is served and no weights are read, so that it takes seconds where starts take minutes. What this
//! cannot show is that an accepted configuration reaches `/health` or takes effect.

mod ask;
mod judge;
mod python;

pub use ask::check;
pub use judge::judge;
pub use python::find_python;

use servelab_schema::Dialect;
use std::{collections::BTreeMap, io};

/// What the engine said to one set of flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The fields of the configuration that it built, or why it built none.
    pub outcome: Result<BTreeMap<String, String>, String>,
    /// Warnings on the way, in order, each once.
    pub warnings: Vec<String>,
}

/// What an installed engine said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Its version in its own words.
    pub engine_version: String,
    /// The platform that it found.
    pub platform: String,
    /// One for each variant, in the plan's order.
    pub variants: Vec<Answer>,
}

/// The installed engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Only vLLM can be asked.
    #[error(
        "the engine's configuration can be built beforehand for vllm only, not for {0}; leave --check-engine out and read \
         the treatments of the run"
    )]
    Dialect(Dialect),
    /// No Python was found that could have the engine.
    #[error("no Python of an installed engine: {why}; install the engine, or name its Python with --python PATH")]
    NoPython {
        /// What was looked for.
        why: String,
    },
    /// The model cannot be replaced.
    #[error("--model: nothing in the provider's command says where the model goes; write {{model}} in its place there")]
    NoPlaceholder,
    /// It could not be started.
    #[error("cannot run {python}: {source}; name the Python of the installed engine with --python PATH")]
    Launch {
        /// The Python.
        python: String,
        /// The refusal.
        source: io::Error,
    },
    /// It has no engine.
    #[error("{python} cannot import vLLM ({words}); install it there, or name another Python with --python PATH")]
    NoEngine {
        /// The Python.
        python: String,
        /// Its words.
        words: String,
    },
    /// It took too long.
    #[error("{python} did not answer within {seconds} s; raise --deadline, or look at the machine's load")]
    Late {
        /// The Python.
        python: String,
        /// The deadline, seconds.
        seconds: u64,
    },
    /// It ended before it had said everything.
    #[error(
        "{python} ended after {answered} of {asked} variants: {words}; run `{python} -c 'import vllm'` by hand and see"
    )]
    Ended {
        /// The Python.
        python: String,
        /// Variants that it answered.
        answered: usize,
        /// Variants that it was asked for.
        asked: usize,
        /// The end of what it printed.
        words: String,
    },
}

impl PreflightError {
    /// True where a matrix or the command line asks for what cannot be, false where the machine lacks something.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Dialect(_) | Self::NoPlaceholder)
    }
}
