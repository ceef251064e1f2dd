//! The dataset stage: texts and prompt templates in, token-checked prompt files out.
//!
//! [`build`] packs one prompt for each wanted length from a PRIMARY section that defines the task and a DISTRACTOR section
//! that fills up the length; [`verify()`] recounts a prompt file from scratch and believes nothing that it says of itself.
//!
//! Parts, in the order data takes: `project` (files, hashed as they are read) → `wire` and `config` (the TOML) and `records`
//! (texts in units that are not torn) → `lengths` (which lengths) → `draft` (which text, from `pool`) → `fit` (cut to the
//! token) → `deal` (into blocks) → `output`. `verify`, `verify_prompt`, `verify_set` and `prefix` are the way back.
//!
//! Formats: a dataset's TOML (`datasets/l4.toml`), templates in `prompts/*.j2`, and out of them `prompts/*.jsonl` with a
//! manifest each; their types are in `schema`. Files are written whole or not at all.
//!
//! Traps: the bytes are the same on every machine and for every number of threads, so choices are made in one thread and
//! only counting is spread. Every choice takes a stream of its own name; a stream that is shared moves what comes after.
//! No clock, no network, no randomness but the seed of the TOML; engines, loads and variants are unknown here. Nothing is
//! printed.

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
mod template;
mod verify;
mod verify_prompt;
mod verify_set;
mod wire;

pub use build::{BuildReport, BuildStep, BuiltSet, CellLengths, build};
pub use error::{Problem, WorkloadError};
pub use lengths::ks_distance;
pub use verify::{Rule, VerifyOptions, VerifyReport, Violation, verify};
