//! `run_manifest.json`: the last file of a run; without it a run is unfinished.

use crate::{Bytes, ClockAnchor, EngineKind, RunId, Sha256Hex, TrialId, V, Validity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunEnd {
    /// Every planned trial was executed.
    Complete,
    /// It was stopped before the last trial.
    Aborted {
        /// Why.
        why: String,
    },
}

/// One file of the run and its hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedFile {
    /// Path relative to the run directory, with `/`.
    pub path: String,
    /// Size.
    pub bytes: Bytes,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Hex,
}

/// One trial's take and whether it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialSummary {
    /// Name of its folder under `trials/`.
    pub id: TrialId,
    /// Whether it counts.
    pub validity: Validity,
}

/// What a run directory holds. The SHA-256 of this document's bytes is the run's fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    /// Format version.
    pub v: V<1>,
    /// Name of the run.
    pub run_id: RunId,
    /// Name of the matrix.
    pub name: String,
    /// Where the numbers come from.
    pub engine_kind: EngineKind,
    /// Engine seconds per wall second.
    pub time_scale: NonZeroU32,
    /// Version of the measuring method.
    pub method_version: u32,
    /// Version of servelab.
    pub servelab_version: String,
    /// SHA-256 of `plan.json`.
    pub plan_sha256: Sha256Hex,
    /// SHA-256 of the measured prompts' file.
    pub prompts_sha256: Sha256Hex,
    /// Clock readings at the start.
    pub started: ClockAnchor,
    /// Clock readings at the end.
    pub finished: ClockAnchor,
    /// How it ended.
    pub end: RunEnd,
    /// The takes, in the order they were executed.
    pub trials: Vec<TrialSummary>,
    /// Every other file of the directory, sorted by path. An unlisted file is an error.
    pub files: Vec<SealedFile>,
}
