//! Whether a variant still answers as its control does.

use super::{Interval, Proportion};
use crate::{LoadId, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answers of one variant under one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmQuality {
    /// The load.
    pub load: LoadId,
    /// The variant.
    pub variant: VariantId,
    /// Trials that count.
    pub trials: u32,
    /// Measured requests that completed in them.
    pub completed: u32,
    /// Questions whose known answer is in the text; null where no text was kept or no answer is known.
    pub answers: Option<Proportion>,
    /// Mean length of a measured answer, tokens.
    pub mean_output_tokens: Option<f64>,
    /// Against its own control, then against the baseline where that is another arm.
    pub against: Vec<QualityChange>,
}

/// A variant's answers beside those of one control, prompt by prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityChange {
    /// The control.
    pub control: VariantId,
    /// True where the plan names it as the variant's control.
    pub own_control: bool,
    /// True where it is the baseline.
    pub against_baseline: bool,
    /// Prompts that both completed in the same block with the same text, of all that both completed.
    pub same_text: Option<Proportion>,
    /// The share of the A/A copy, where this variant's is clearly lower: their intervals do not meet.
    pub same_text_of_copy: Option<Proportion>,
    /// The change in known answers.
    pub answers: Option<AnswerChange>,
    /// True where the variant answers fewer questions and the adjusted p is at most the plan's α; never on a p that is not adjusted.
    pub answers_worse: bool,
    /// The change in length.
    pub length: Option<LengthShift>,
    /// True where the model stops by itself and the lengths differ so much that the arms did not do the same work.
    pub length_confounds: bool,
}

/// The same questions put to both arms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerChange {
    /// Questions that both completed.
    pub n: u32,
    /// Of these, answered by the variant alone.
    pub only_variant: u32,
    /// Of these, answered by the control alone.
    pub only_control: u32,
    /// Share answered by the variant − share answered by the control, in percentage points.
    pub points: f64,
    /// Its 95 % interval, exact given the number of questions on which the arms disagree; null where there is none.
    pub interval_points: Option<Interval>,
    /// Two-sided p of McNemar's exact test.
    pub p: f64,
    /// The same after Benjamini and Hochberg over the variants, each against its own control; null for every other change, which
    /// belongs to no family.
    pub p_adjusted: Option<f64>,
}

/// Mean answer length against the control's, over blocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthShift {
    /// Blocks.
    pub blocks: u32,
    /// Prompts that both completed.
    pub n: u32,
    /// exp(mean of the log ratios) − 1, in per cent.
    pub percent: f64,
    /// The 95 % t interval over blocks, in per cent; null for one block.
    pub interval_percent: Option<Interval>,
}
