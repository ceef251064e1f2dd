//! `engine.json`: what was started for a trial and what it said of itself.

use crate::{ArgValue, EngineKind, EngineMetrics, Nanos, TrialId, V, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Whether a setting took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Treatment {
    /// The engine shows the setting.
    Confirmed,
    /// Its effective value equals the control's.
    NoOp,
    /// The engine took another value than the one given.
    Substituted,
    /// The engine refused it.
    Rejected,
    /// The engine shows nothing that tells.
    Unobservable,
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Confirmed => "CONFIRMED",
            Self::NoOp => "NO-OP",
            Self::Substituted => "SUBSTITUTED",
            Self::Rejected => "REJECTED",
            Self::Unobservable => "UNOBSERVABLE",
        })
    }
}

/// Result of one manipulation check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// Found as expected.
    Found,
    /// Found with another value.
    Differs,
    /// Not found.
    Absent,
}

/// One manipulation check with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What was looked for, such as `cache_config_info cache_dtype="fp8"`.
    pub expected: String,
    /// What was found, in the engine's words; null where nothing was.
    pub found: Option<String>,
    /// The result.
    pub result: CheckResult,
}

/// What was started for a trial and what it said of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineRecord {
    /// Format version.
    pub v: V<1>,
    /// The trial's take.
    pub trial: TrialId,
    /// Variant under test.
    pub variant: VariantId,
    /// Where the numbers come from.
    pub engine_kind: EngineKind,
    /// The command line, secrets redacted; empty where servelab did not start the engine.
    pub argv: Vec<String>,
    /// Environment variables set for it, secrets redacted.
    pub env: BTreeMap<String, String>,
    /// The `cache_salt` that every request of the trial carried, which keeps its prefix cache apart from others'; absent where
    /// none was sent, as to an engine that was started for the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_salt: Option<String>,
    /// Flags of the variant.
    pub flags: BTreeMap<String, ArgValue>,
    /// What `/version` said; null where it did not answer.
    pub version: Option<String>,
    /// What `/v1/models` called the model.
    pub served_model: Option<String>,
    /// Labels of the `cache_config_info` metric.
    pub cache_config: BTreeMap<String, String>,
    /// The effective configuration as its log and pages show it, by field: of its configuration line under the engine's own
    /// names with nested ones dotted, of single lines such as `kv_cache_tokens` and `attention_backend`; `argument.NAME` is
    /// what it was told by its own account, `cache_config.LABEL` what its metric of that name says. Empty where nothing
    /// shows it.
    #[serde(default)]
    pub effective: BTreeMap<String, String>,
    /// What it counted during the trial; null where it has no `/metrics`.
    #[serde(default)]
    pub metrics: Option<EngineMetrics>,
    /// From launch to the first good answer, engine time; null where it never came or servelab did not start the engine.
    pub startup_ns: Option<Nanos>,
    /// Whether the setting took effect.
    pub treatment: Treatment,
    /// The manipulation checks.
    pub checks: Vec<Check>,
    /// How the process ended, such as `SIGTERM, exit 0`.
    pub ended: String,
    /// The engine's own words, where it failed to start or died.
    pub failure: Option<String>,
}
