//! Headlines as data: which facts are said first. Whoever prints them finds the words.

use super::{LengthShift, Proportion};
use crate::{LoadId, MetricName, Treatment, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What must be said beside a comparison of speeds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Caveats {
    /// True where the variant answers fewer known questions than its control.
    pub answers_worse: bool,
    /// The shares of texts equal to the control's, of the variant and of the A/A copy, where the variant's is clearly lower.
    pub other_texts: Option<(Proportion, Proportion)>,
    /// The shift in answer length, where the model stops by itself and the shift is a confound.
    pub length: Option<LengthShift>,
    /// Settings that changed along with the one under test.
    pub changed_along: Vec<String>,
    /// True where nothing shows whether the setting took effect.
    pub unobservable: bool,
}

/// One thing to say of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Headline {
    /// Two copies of one configuration differ: no verdict is given.
    Suspect,
    /// A comparison on the primary metric, against the variant's own control.
    Compared {
        /// The load.
        load: LoadId,
        /// The variant.
        variant: VariantId,
        /// Its control.
        control: VariantId,
        /// What must be said beside it.
        caveats: Caveats,
    },
    /// A variant whose setting took no effect in any trial.
    Void {
        /// The load.
        load: LoadId,
        /// The variant.
        variant: VariantId,
        /// Its control.
        control: VariantId,
        /// What became of the setting.
        treatment: Treatment,
        /// What its engine said, where it said something.
        words: Option<String>,
    },
}

/// One effect of [`Brief`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BriefEffect {
    /// The load.
    pub load: LoadId,
    /// The variant.
    pub variant: VariantId,
    /// True for Better, false for Worse.
    pub better: bool,
    /// Effect on the primary metric, in per cent of the control; null where the engine lost the blocks that would say.
    pub effect_percent: Option<f64>,
    /// True where it answers worse.
    pub answers_worse: bool,
    /// True where the word is only a hint, as in its comparison.
    pub indicative: bool,
}

/// A run in a line, for lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Brief {
    /// Takes: a trial that was taken again is more than one.
    pub takes: u32,
    /// Takes that are Valid.
    pub valid: u32,
    /// Takes that are Invalid.
    pub invalid: u32,
    /// Takes that were aborted.
    pub aborted: u32,
    /// True where two copies of one configuration differ.
    pub suspect: bool,
    /// The metric of the effects.
    pub primary_metric: MetricName,
    /// For each load the best and the worst finding on the primary metric, where one is Better or Worse.
    pub effects: Vec<BriefEffect>,
}
