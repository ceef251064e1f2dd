//! Declares experiments: TOML in, a fully resolved [`Plan`] out, with nothing left to a default.
//!
//! Every error of every file is reported at once, each at file:line:column with its key and a remedy. This room reads
//! the matrix, the prompt sets it names and the tokenizer files they are checked against; it runs nothing, asks no
//! engine, reads no clock, and draws no random number that does not follow from the plan's seed.
//!
//! Parts, in the order data takes: `document` (TOML with places) → `merge` and `layers` → `reader` and `values` (types,
//! units, unknown keys) → `wire` (sections) → `variants` (one factor each, by `factors`; flags held against the engine's own
//! catalogue by `flags` and `lint`; another checkpoint by `models`; what an attached server can serve by `attached`),
//! `prompts`, `order`, `predict` → `resolve` (the plan), which `contradictions` looks over as a whole. `servers` makes the plan of
//! servers that are up already, without a file. `further` makes plans of a plan, without its matrix. `explain` and `notes` say what came of it.
//!
//! Formats: a matrix is TOML; the manual of every key is `defaults.toml`, which is embedded and read like any other layer.
//! The plan's type is in `schema`. Factors are in `factors.toml`; flag catalogues are embedded from `matrix/engines/`, and a
//! project may have its own there.
//!
//! Traps: the order of trials and prompts is pinned by golden vectors (`tests/golden.rs`); whoever changes it changes every
//! plan. Serde stops at the first error, so `reader` reads by hand: a new key goes through it, never through a derive, and
//! into `defaults.toml`.

mod attached;
mod contradictions;
mod document;
mod error;
mod explain;
mod factors;
mod flags;
mod further;
mod layers;
mod lint;
mod merge;
mod models;
mod notes;
mod order;
mod paths;
mod predict;
mod prompts;
mod reader;
mod resolve;
mod servers;
mod simulated;
mod values;
mod variants;
mod version;
mod wire;

pub use error::{MatrixError, MatrixErrors, Place, Problem};
pub use explain::{CellRow, Explanation, FlagRow, explain, needs_confirmation};
pub use further::{Duel, FurtherError, duel, more_blocks};
pub use notes::Note;
pub use resolve::{Resolved, Setting, resolve_with_origins};
pub use servers::{Compared, FreshPrompts, MOST_SERVERS, servers, servers_output};

use servelab_schema::Plan;
use std::path::Path;

/// What the command line changes of a matrix. Texts are read by the same rules as in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Engine version to resolve the flags for, such as `0.32.0`.
    pub engine_version: Option<String>,
    /// Most money in US dollars, such as `12.50`.
    pub max_cost: Option<String>,
    /// Longest predicted wall time, such as `30m`.
    pub max_duration: Option<String>,
    /// Engine seconds per wall second of the simulated engine.
    pub time_scale: Option<u32>,
    /// Number of blocks.
    pub blocks: Option<u32>,
    /// Measured requests of each block.
    pub requests_per_block: Option<u32>,
}

/// Resolves a matrix into a plan. `file` is relative to `project_root`, or absolute and inside it.
///
/// # Errors
/// [`MatrixErrors`]: every error of every file, each with its place, key and remedy.
pub fn resolve(project_root: &Path, file: &Path, overrides: &Overrides) -> Result<Plan, MatrixErrors> {
    resolve_with_origins(project_root, file, overrides).map(|resolved| resolved.plan)
}

/// A commented matrix to begin with, for `servelab init`.
#[must_use]
pub const fn starter() -> &'static str {
    include_str!("starter.toml")
}

/// The commented defaults: the manual of every key of a matrix.
#[must_use]
pub const fn defaults() -> &'static str {
    layers::DEFAULTS
}
