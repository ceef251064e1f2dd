//! Variants as planned: one factor away from their control.

use crate::VariantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Value of an engine flag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ArgValue {
    /// A switch: `true` gives `--flag`, `false` gives `--no-flag`.
    Switch(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text; JSON is given as text.
    Text(String),
}

impl ArgValue {
    /// The command-line words of `--name` with this value.
    #[must_use]
    pub fn to_argv(&self, name: &str) -> Vec<String> {
        match self {
            // `no-enable-x = true` and `enable-x = false` are the same words.
            Self::Switch(on) => match (name.strip_prefix("no-"), on) {
                (Some(positive), false) => vec![format!("--{positive}")],
                (None, false) => vec![format!("--no-{name}")],
                (_, true) => vec![format!("--{name}")],
            },
            other => vec![format!("--{name}"), other.to_string()],
        }
    }
}

impl fmt::Display for ArgValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Number(n) => write!(f, "{n}"),
            Self::Text(t) => f.write_str(t),
        }
    }
}

/// What a variant is in the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VariantRole {
    /// The reference (C1).
    Baseline,
    /// A second copy of the baseline: shows how different two equal arms look.
    Aa,
    /// One factor away from its control.
    Treatment,
}

/// Which file, line and key gave a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// File, relative to the project; `default` for the embedded defaults.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Key, dotted.
    pub key: String,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldValue {
    /// The value.
    pub value: ArgValue,
    /// Where it came from.
    pub origin: Origin,
}

/// The manipulation check: what the engine must show for the setting to count as applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Labels of the `cache_config_info` metric.
    pub cache_config: BTreeMap<String, String>,
    /// Fields of the engine's own list of arguments that are not defaults.
    pub non_default_args: BTreeMap<String, String>,
    /// Fields of the effective configuration (`effective` of engine.json).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub effective: BTreeMap<String, String>,
    /// Texts that must occur in `server.log`.
    pub log_contains: Vec<String>,
    /// Counters of `/metrics` that must have risen during the trial.
    pub counters_move: Vec<String>,
}

impl Expectation {
    /// True where nothing is expected: the treatment is then unobservable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cache_config.is_empty()
            && self.non_default_args.is_empty()
            && self.effective.is_empty()
            && self.log_contains.is_empty()
            && self.counters_move.is_empty()
    }
}

/// One arm of the experiment, fully resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedVariant {
    /// Name.
    pub id: VariantId,
    /// What it is in the experiment.
    pub role: VariantRole,
    /// The arm it is compared with; null for the baseline.
    pub control: Option<VariantId>,
    /// The one factor that differs from the control; null for the baseline and its copy.
    pub factor: Option<String>,
    /// What is believed to happen, in one sentence.
    pub hypothesis: String,
    /// Another checkpoint than the profile's, such as an FP8 one, with the same tokenizer and chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Every engine flag, by name without dashes.
    pub flags: BTreeMap<String, FieldValue>,
    /// Flags whose value differs from the control's, or that only one of the two has; `model` where the checkpoint does.
    pub differs_in: Vec<String>,
    /// The manipulation check.
    pub expect: Expectation,
}

impl PlannedVariant {
    /// The engine's command-line words, in order of flag name.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        self.flags
            .iter()
            .flat_map(|(name, field)| field.value.to_argv(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: ArgValue, expected: &[&str]) {
        assert_eq!(value.to_argv(name), expected);
    }

    #[test]
    fn switches_become_words() {
        check("enforce-eager", ArgValue::Switch(true), &["--enforce-eager"]);
        check(
            "enable-chunked-prefill",
            ArgValue::Switch(false),
            &["--no-enable-chunked-prefill"],
        );
        check("no-async-scheduling", ArgValue::Switch(false), &["--async-scheduling"]);
        check("max-num-seqs", ArgValue::Integer(8), &["--max-num-seqs", "8"]);
        check(
            "kv-cache-dtype",
            ArgValue::Text("fp8".into()),
            &["--kv-cache-dtype", "fp8"],
        );
    }
}
