//! The flags of an engine, read off its own help: names, kinds, choices and defaults, and never its sentences.
//!
//! [`parse`] reads the help that Python's argparse prints, [`ask`] has an installed engine print it, [`to_toml`] writes
//! what `servelab plan` checks a matrix against without any engine.

mod ask;
mod parse;
mod python;
mod write;

pub use ask::{Asked, ask, platform_of};
pub use parse::parse;
pub use write::to_toml;

use std::{io, path::PathBuf};

/// Help that cannot be had or read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The program could not be started.
    #[error("cannot run `{command}`: {source}; is the engine installed and on PATH?")]
    Launch {
        /// Program and words.
        command: String,
        /// The refusal.
        source: io::Error,
    },
    /// The program took too long.
    #[error("`{command}` said nothing within {seconds} s; raise --deadline, or save its help and pass --help-file")]
    Late {
        /// Program and words.
        command: String,
        /// The deadline, seconds.
        seconds: u64,
    },
    /// The program failed.
    #[error("`{command}` ended with {status}: {said}; run it by hand and see")]
    Failed {
        /// Program and words.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// What it printed as its version is none.
    #[error("`{command}` printed no version but `{said}`; give it with --engine-version")]
    NoVersion {
        /// Program and words.
        command: String,
        /// The end of what it said.
        said: String,
    },
    /// The text is no help.
    #[error("no flags found: this is not what `{0} --help` prints (vLLM: `vllm serve --help=all`); save that")]
    NoFlags(&'static str),
    /// An entry that is not of argparse's form.
    #[error("line {line}: cannot read `{entry}`; {why}")]
    Entry {
        /// The line of the help, from 1.
        line: usize,
        /// The entry, cut.
        entry: String,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// It could not be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}
