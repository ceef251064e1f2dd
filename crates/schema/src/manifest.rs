//! `run_manifest.json`: the last file of a run; without it a run is unfinished. And `sessions/*/session.json`: that a run went on.

use crate::{Bytes, ClockAnchor, EngineKind, RunId, Sha256Hex, TrialId, V, Validity, Versions, WallNanos};
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

/// What a compressed file holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unpacked {
    /// Size.
    pub bytes: Bytes,
    /// SHA-256 of its bytes: the same, however it was compressed.
    pub sha256: Sha256Hex,
}

/// One file of the run and its hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedFile {
    /// Path relative to the run directory, with `/`.
    pub path: String,
    /// Size on the disk.
    pub bytes: Bytes,
    /// SHA-256 of its bytes as they lie on the disk.
    pub sha256: Sha256Hex,
    /// Of a `.zst` file, what it holds; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked: Option<Unpacked>,
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

/// What was asked for when a run went on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Only trials that one of these words names; empty for all. A word is a variant, a load, a block as `b03`, or the beginning of a
    /// trial's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// No trial that one of these words names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
    /// Trials that the instrument lost every take of are taken once more, however often they were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry_invalid: bool,
    /// Blocks that were added to the plan.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_blocks: u32,
}

const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// `sessions/<n>/session.json`: a run that had ended went on. The first session is the run itself and has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRecord {
    /// Format version.
    pub v: V<1>,
    /// Its number, from 2.
    pub session: NonZeroU32,
    /// Fingerprint of the run as it was sealed before, which lies in `earlier/`; null where it was cut off before its seal.
    pub earlier: Option<Sha256Hex>,
    /// What was asked for.
    pub wish: Wish,
    /// SHA-256 of the plan that is executed from here on: `sessions/<n>/plan.json` where blocks were added, else the plan before.
    pub plan_sha256: Sha256Hex,
    /// Wall time that the run had taken in its sessions before, without the gaps between them.
    pub before_ns: WallNanos,
    /// When the session before wrote for the last time, RFC 3339 in UTC: from then to `started` nothing was measured.
    pub earlier_ended_utc: String,
    /// Clock readings at its start; its monotonic clock begins anew.
    pub started: ClockAnchor,
}

/// What a run directory holds. The SHA-256 of this document's bytes is the run's fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    /// Format version. Version 1 had neither compressed files nor sessions.
    pub v: Versions<1, 2>,
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
    /// SHA-256 of the plan: `plan.json`, or the `plan.json` of the last session that added blocks.
    pub plan_sha256: Sha256Hex,
    /// SHA-256 of the measured prompts' file.
    pub prompts_sha256: Sha256Hex,
    /// Clock readings at the start.
    pub started: ClockAnchor,
    /// Clock readings at the end; of a run that went on, those of its last session.
    pub finished: ClockAnchor,
    /// How it ended.
    pub end: RunEnd,
    /// When it went on: `sessions/*/session.json`; absent where it ran in one piece.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionRecord>,
    /// The takes, in the order they were executed.
    pub trials: Vec<TrialSummary>,
    /// Every other file of the directory, sorted by path. An unlisted file is an error.
    pub files: Vec<SealedFile>,
}
