//! Why the simulator cannot go on.

use std::path::PathBuf;

use crate::dialect::Dialect;

/// The simulator cannot start or cannot go on. The texts of flag errors are vLLM's, because a runner reads them.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// vLLM's argument parser would refuse these flags (exit code 2).
    #[error("vllm serve: error: {0}")]
    Flags(String),
    /// SGLang's argument parser would refuse these flags (exit code 2).
    #[error("launch_server.py: error: {0}")]
    SglangFlags(String),
    /// The engine would refuse this configuration while it starts (exit code 1).
    #[error("SIMULATED: {0}")]
    Config(String),
    /// The profile is not one of the simulator's.
    #[error("unknown profile `{given}`; use one of: {known}")]
    Profile {
        /// What was asked for.
        given: String,
        /// The names that exist.
        known: String,
    },
    /// A simulator option is out of its range.
    #[error("--{option} {value}: {remedy}")]
    Option {
        /// The option without its dashes.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        remedy: &'static str,
    },
    /// A hidden treatment names what the engine does not have.
    #[error("--{option} {given}: {detail}")]
    Hidden {
        /// The option without its dashes.
        option: &'static str,
        /// What was given.
        given: String,
        /// Why not, with the remedy.
        detail: String,
    },
    /// The fault script does not parse or does not make sense.
    #[error("{path}: {detail}")]
    Faults {
        /// The script.
        path: PathBuf,
        /// Where and why, with the remedy.
        detail: String,
    },
    /// The tokenizer directory cannot be used.
    #[error(
        "cannot load the tokenizer in {path}: {detail}; give --tokenizer-dir a directory with tokenizer.json, tokenizer_config.json and a chat template"
    )]
    Tokenizer {
        /// The directory.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// The address cannot be bound.
    #[error(
        "cannot listen on {address}: {detail}; choose another --port (0 = any free one) or stop the program that holds it"
    )]
    Listen {
        /// Host and port.
        address: String,
        /// The system's words.
        detail: String,
    },
    /// The timing model refused the configuration.
    #[error("the timing model refuses this configuration: {0}")]
    Model(String),
    /// A system call failed.
    #[error("{what}: {detail}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        detail: String,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {detail}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
}

impl SimError {
    /// The refusal of `dialect`'s argument parser.
    #[must_use]
    pub fn flags(dialect: Dialect, text: String) -> Self {
        match dialect {
            Dialect::Vllm => Self::Flags(text),
            Dialect::Sglang => Self::SglangFlags(text),
        }
    }

    /// The exit code. Where the imitated engine refuses, its own: 2 for refused arguments, 1 for a refused configuration. Where the
    /// simulator itself cannot go on, servelab's: 2 usage, 3 a script that is wrong, 4 what this machine lacks.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Model(_) => 1,
            Self::Flags(_)
            | Self::SglangFlags(_)
            | Self::Option { .. }
            | Self::Profile { .. }
            | Self::Hidden { .. } => 2,
            Self::Faults { .. } => 3,
            Self::Tokenizer { .. } | Self::Listen { .. } | Self::System { .. } | Self::Write { .. } => 4,
        }
    }
}
