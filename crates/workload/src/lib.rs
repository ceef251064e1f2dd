//! The dataset stage: texts and prompt templates in, token-checked prompt files out.
//!
//! [`build`] reads a dataset's TOML (`datasets/l4.toml`), packs one prompt for each wanted length from a PRIMARY section
//! that defines the task and a DISTRACTOR section that fills up the length, and writes `prompts/*.jsonl` with a manifest
//! each. The bytes are the same on every machine and for every number of threads. [`verify()`] recounts a prompt file
//! from scratch.
//!
//! This room has no clock, no network and no randomness but the seed of the TOML. It reads files of the project only
//! and knows nothing of engines, loads or variants. Nothing is printed.

mod build;
mod config;
mod deal;
mod draft;
mod error;
mod fit;
mod lengths;
mod output;
mod pool;
mod prefix;
mod project;
mod records;
mod rng;
mod template;
mod verify;
mod verify_prompt;
mod verify_set;
mod wire;

pub use build::{BuildReport, BuildStep, BuiltSet, CellLengths, build};
pub use error::{Problem, WorkloadError};
pub use lengths::ks_distance;
pub use verify::{Rule, VerifyOptions, VerifyReport, Violation, verify};
