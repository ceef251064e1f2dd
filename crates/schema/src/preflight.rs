//! What an installed engine makes of each variant's flags, without being started: `servelab plan --check-engine`.

use crate::{Dialect, Treatment, V, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the engine's own parser and configuration said to one variant's flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PreflightOutcome {
    /// It built its configuration. That it will reach `/health` or that the setting will take effect is not shown by this.
    Accepted {
        /// The effective configuration, by field, as the engine prints its values.
        fields: BTreeMap<String, String>,
    },
    /// It refused.
    Refused {
        /// The engine's words.
        words: String,
    },
}

/// A field that differs from the control's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldDifference {
    /// The field of the effective configuration.
    pub field: String,
    /// The control's value; null where the control has no such field.
    pub control: Option<String>,
    /// The variant's value; null where the variant has no such field.
    pub variant: Option<String>,
}

/// One variant before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreflightVariant {
    /// The variant.
    pub variant: VariantId,
    /// The arm it is compared with; null for the baseline.
    pub control: Option<VariantId>,
    /// What the engine said.
    pub outcome: PreflightOutcome,
    /// Fields that differ from the control's; empty for the baseline.
    pub differs: Vec<FieldDifference>,
    /// What is to be expected: CONFIRMED where its flags changed a field, NO-OP where they changed none, SUBSTITUTED where
    /// a field has another value than its flag, REJECTED where it refused. Null for the baseline and its copy.
    pub planned: Option<Treatment>,
    /// Warnings that the engine printed on the way.
    pub warnings: Vec<String>,
}

/// What an installed engine makes of a plan's variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preflight {
    /// Format version.
    pub v: V<1>,
    /// Whose flags.
    pub dialect: Dialect,
    /// The installed engine's version, in its own words.
    pub engine_version: String,
    /// The platform that it found, such as `cpu` or `cuda`: defaults depend on it.
    pub platform: String,
    /// The variants, in the plan's order.
    pub variants: Vec<PreflightVariant>,
}
