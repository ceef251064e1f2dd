//! Whether a variant still answers as its control does.

use super::{Interval, Proportion};
use crate::{LoadId, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A shift of the mean answer length beyond this, in per cent, is a confound: the arms did not do the same work.
pub const LENGTH_SHIFT_PERCENT: f64 = 2.0;

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
    /// The change in length.
    pub length: Option<LengthShift>,
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
    /// The same after Benjamini and Hochberg over the variants, each against its own control; p itself elsewhere.
    pub p_adjusted: f64,
}

impl AnswerChange {
    /// True where the variant answers fewer questions and chance would rarely do that.
    #[must_use]
    pub fn is_worse(&self, alpha: f64) -> bool {
        self.points < 0.0 && self.p_adjusted <= alpha
    }
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

impl LengthShift {
    /// True where the arms did so unequal work that speeds are not like for like.
    #[must_use]
    pub fn is_confound(&self) -> bool {
        self.percent.abs() > LENGTH_SHIFT_PERCENT
    }
}
