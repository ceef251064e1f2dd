//! `engine.json`: what was started for a trial and what it said of itself. Facts of one start; nothing is judged here.

use crate::{ArgValue, Capabilities, EngineKind, EngineMetrics, Nanos, TrialId, V, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
};

/// Whether a setting took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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

impl Treatment {
    /// True for treatments whose trials are compared.
    #[must_use]
    pub const fn took_effect(self) -> bool {
        matches!(self, Self::Confirmed | Self::Unobservable)
    }
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
    /// Not found, where it would be if it were so.
    Absent,
    /// What would tell is not there: no log, no page, no such field.
    Unknown,
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
    /// The field of the effective configuration that it looks at; null for log lines and counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// True where it only repeats what the engine was told: that a flag arrived proves no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
}

/// What a field of the effective configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FieldKind {
    /// A setting.
    #[default]
    Setting,
    /// An argument that it was given, by its own account.
    Argument,
    /// The room for tokens that it found, which follows from settings and free memory.
    Room,
    /// The same room in another unit.
    RoomDetail,
}

/// One field of the effective configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EffectiveField {
    /// Its value in the one spelling of [`normal_value`](crate::normal_value).
    pub value: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "FieldKind::is_setting")]
    pub kind: FieldKind,
    /// Flags that set it, where their names are not in its own: with underscores and without a leading `no_`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_by: Vec<String>,
}

impl FieldKind {
    /// True for [`FieldKind::Setting`].
    #[must_use]
    pub fn is_setting(&self) -> bool {
        *self == Self::Setting
    }
}

impl EffectiveField {
    /// A setting of that value, in the one spelling.
    #[must_use]
    pub fn setting(value: &str) -> Self {
        Self {
            value: crate::normal_value(value),
            kind: FieldKind::Setting,
            set_by: Vec::new(),
        }
    }
}

/// What an engine's prefix cache can have given a trial that it did not put there itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CacheState {
    /// Nothing: the engine was started for the trial, or shows that it has no such cache or found nothing in it.
    Empty,
    /// Nothing: every request carried a salt of this trial.
    Salted,
    /// Nobody knows, and the plan accepts that.
    Accepted,
    /// Nobody knows.
    Unknown,
}

/// What tells a server that was up already from another one, as far as can be seen: what is not seen is empty or null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerShown {
    /// Its address as asked.
    pub url: String,
    /// The processes of this machine that serve its port, as `PID@START` with the start in clock ticks of the machine.
    pub processes: BTreeSet<String>,
    /// When the process that gave its page of metrics began, Unix seconds.
    pub page_start_s: Option<f64>,
    /// Context of the model, prompt and answer together, as its list of models says.
    pub context_tokens: Option<NonZeroU32>,
}

/// What was started for a trial and what it said of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineRecord {
    /// Format version.
    pub v: V<2>,
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
    /// What the server takes and does, as a few small requests before the load have shown; absent for an engine that servelab
    /// started, which is taken to do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// What it lacks and what that costs; absent = nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capability_notes: Vec<String>,
    /// Flags of the variant.
    pub flags: BTreeMap<String, ArgValue>,
    /// Which server it is, where servelab did not start it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerShown>,
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
    pub effective: BTreeMap<String, EffectiveField>,
    /// What it counted during the trial; null where it has no `/metrics`.
    pub metrics: Option<EngineMetrics>,
    /// From launch to the first good answer, engine time; null where it never came or servelab did not start the engine.
    pub startup_ns: Option<Nanos>,
    /// True where the variant asks for a cache of prompt beginnings by name: shared tokens are then no contamination.
    pub prefix_cache_wanted: bool,
    /// What its prefix cache can have held of others when the trial began.
    pub cache_at_start: CacheState,
    /// True where a restart during the trial would have been seen: its processes, its container, or the start that its page of
    /// metrics names were seen before the first and after the last request.
    pub restart_would_show: bool,
    /// The manipulation checks of this start. Whether the setting took effect is settled over the whole run, in findings.json.
    pub checks: Vec<Check>,
    /// The engine's own words about the setting under test, where it refused to start because of it; null otherwise.
    pub refusal: Option<String>,
    /// How the process ended, such as `SIGTERM, exit 0`.
    pub ended: String,
    /// The engine's own words, where it failed to start or died.
    pub failure: Option<String>,
}
