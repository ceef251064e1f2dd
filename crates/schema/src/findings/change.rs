//! Two runs without common blocks, as plain data: what each measured, and what became of a cell between them.
//!
//! Parts: [`Measured`] is what a run gives to be compared with another run: of every cell one value a block
//! ([`MeasuredCell`]), of every variant one log ratio a block to its control ([`MeasuredEffect`]). A [`Change`] asks one question
//! of two of them and ends in a [`ChangeVerdict`].
//!
//! Traps: a cell's value moves with the machine, an effect hardly: the control moved too. Blocks of two runs do not belong
//! together, also where their numbers are the same: each block is one start of an engine, and the two runs give two samples of
//! starts.

use super::{ControlArm, Interval, Verdict, Withheld, WorseBy};
use crate::{LoadId, MetricName, TtftKind, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// One metric of a cell, one value a block that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockValues {
    /// Numbers of the blocks, ascending.
    pub blocks: Vec<u32>,
    /// Their values, in [`MetricName::unit`]; each above 0.
    pub values: Vec<f64>,
    /// Their geometric mean.
    pub mean: f64,
    /// Interval of that mean with confidence 1 − α of the plan; null for one block.
    pub interval: Option<Interval>,
}

/// One variant under one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasuredCell {
    /// The variant.
    pub variant: VariantId,
    /// The load.
    pub load: LoadId,
    /// What the first timestamps are; null where they are mixed or there are none.
    pub ttft_kind: Option<TtftKind>,
    /// Blocks lost to the engine.
    pub lost_to_engine: u32,
    /// The metrics that some block has.
    pub metrics: BTreeMap<MetricName, BlockValues>,
}

/// One variant under one load against its control, in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasuredEffect {
    /// The variant.
    pub variant: VariantId,
    /// The load.
    pub load: LoadId,
    /// The metric.
    pub metric: MetricName,
    /// What it was compared with.
    pub control: ControlArm,
    /// Numbers of the blocks, ascending.
    pub blocks: Vec<u32>,
    /// Their ln(variant / control).
    pub log_ratios: Vec<f64>,
    /// exp(mean of the log ratios) − 1, in per cent.
    pub effect_percent: f64,
    /// Its interval with confidence 1 − α of the plan; null for one block.
    pub interval_percent: Option<Interval>,
    /// The word of the run.
    pub verdict: Verdict,
    /// True where the word was only a hint.
    pub indicative: bool,
}

/// What a run gives to be compared with another run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// True where equal arms differed in the run: it gives no verdict.
    pub suspect: bool,
    /// True where every planned trial was executed.
    pub complete: bool,
    /// By load and variant, in the plan's order, copies of a control among them.
    pub cells: Vec<MeasuredCell>,
    /// Every variant against the control that the plan names for it, every metric.
    pub effects: Vec<MeasuredEffect>,
}

impl Measured {
    /// One variant under one load.
    #[must_use]
    pub fn cell(&self, variant: &VariantId, load: &LoadId) -> Option<&MeasuredCell> {
        self.cells.iter().find(|c| &c.variant == variant && &c.load == load)
    }

    /// One variant's effect under one load in one metric.
    #[must_use]
    pub fn effect(&self, variant: &VariantId, load: &LoadId, metric: MetricName) -> Option<&MeasuredEffect> {
        let is = |e: &&MeasuredEffect| &e.variant == variant && &e.load == load && e.metric == metric;
        self.effects.iter().find(is)
    }
}

/// What is asked of a variant between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeOf {
    /// The cell itself, then and now: a slower machine moves it too.
    Absolute,
    /// Its effect over its control, then and now: what slows both arms alike does not move it.
    Relative,
}

impl ChangeOf {
    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Relative => "relative",
        }
    }
}

impl fmt::Display for ChangeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What two runs must have in common for a cell to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Common {
    /// The version of the measuring method.
    Method,
    /// Whether a real or a simulated engine answered.
    EngineKind,
    /// Whose flags and metrics the engine has.
    Dialect,
    /// The model.
    Model,
    /// The measured prompts.
    Prompts,
    /// The prompts that hold the load.
    Fillers,
    /// The load.
    Load,
    /// What is asked of the model.
    Output,
    /// What happens before the first measured request.
    WarmUp,
    /// Engine seconds per wall second.
    TimeScale,
    /// The objectives, where the metric is goodput.
    Objectives,
    /// The flags of the variant.
    Flags,
    /// What the effect is over: the control, or its flags.
    Control,
    /// The GPUs.
    Gpus,
    /// The processor of the machine, and how many CPUs servelab may use.
    Host,
    /// What the first timestamps of answers are.
    FirstTokens,
}

impl Common {
    /// The words for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method version",
            Self::EngineKind => "engine kind",
            Self::Dialect => "dialect",
            Self::Model => "model",
            Self::Prompts => "measured prompts",
            Self::Fillers => "filler prompts",
            Self::Load => "load",
            Self::Output => "output policy",
            Self::WarmUp => "warm-up",
            Self::TimeScale => "time scale",
            Self::Objectives => "objectives",
            Self::Flags => "flags of the variant",
            Self::Control => "control",
            Self::Gpus => "GPUs",
            Self::Host => "host",
            Self::FirstTokens => "first tokens",
        }
    }
}

/// Why a cell of two runs is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unlike {
    /// What must be the same is not.
    Differs {
        /// What.
        what: Common,
        /// In the old run.
        old: String,
        /// In the new run.
        new: String,
    },
    /// Engines lived on from block to block: blocks are no independent starts.
    EnginesLiveOn,
    /// A run has fewer than two blocks with a value.
    TooFewBlocks {
        /// Blocks of the old run.
        old: u32,
        /// Blocks of the new run.
        new: u32,
    },
    /// The blocks that count would say a word that the blocks lost to the engine could turn.
    LostToEngine {
        /// Blocks that the old run lost.
        old: u32,
        /// Blocks that the new run lost.
        new: u32,
    },
}

/// The outcome of one question. The words are those of a run's own comparisons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeVerdict {
    /// Adjusted p ≤ α and a change of at least δ in the better direction of the metric.
    Better,
    /// The same in the worse direction, or more blocks lost to the engine than before.
    Worse {
        /// What it rests on.
        by: WorseBy,
    },
    /// Two one-sided tests show the change to lie within ±δ.
    Equivalent,
    /// The data do not decide.
    NoEvidence {
        /// Blocks of the new run at which a change of the size measured would be shown with 80 % probability at the family's
        /// strictest level; null where that size is below δ, where so many are there already, and where the old run alone is too
        /// uncertain.
        starts_to_show: Option<u32>,
        /// Set where a word is withheld for another reason than the numbers.
        withheld: Option<Withheld>,
    },
    /// There is nothing to compare.
    NotComparable {
        /// Everything that stands against it.
        why: Vec<Unlike>,
    },
}

impl ChangeVerdict {
    /// The word, as printed.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Better => "Better",
            Self::Worse { .. } => "Worse",
            Self::Equivalent => "Equivalent",
            Self::NoEvidence { .. } => "NoEvidence",
            Self::NotComparable { .. } => "NotComparable",
        }
    }
}

/// What the two samples say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeEstimate {
    /// Mean of the logs now − mean of the logs then.
    pub log_difference: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Degrees of freedom by Welch and Satterthwaite.
    pub df: f64,
    /// exp(`log_difference`) − 1, in per cent: +10 means 10 % more than then.
    pub change_percent: f64,
    /// Its interval with confidence 1 − α of the plan, in per cent.
    pub interval_percent: Interval,
    /// Two-sided p of Welch's t test that gave the interval.
    pub p: f64,
    /// `p` after Holm (primary metric) or Benjamini and Hochberg (the others).
    pub p_adjusted: f64,
    /// p of two one-sided tests against "the change lies outside ±δ".
    pub p_tost: f64,
    /// `p_tost` adjusted like `p`.
    pub p_tost_adjusted: f64,
}

/// Fisher's one-sided exact test: does the cell lose more blocks to the engine than then?
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeLosses {
    /// Blocks lost then.
    pub old_lost: u32,
    /// Blocks then with a value or lost.
    pub old_of: u32,
    /// Blocks lost now.
    pub new_lost: u32,
    /// Blocks now with a value or lost.
    pub new_of: u32,
    /// p of "both lose alike".
    pub p: f64,
    /// p after Holm (primary metric) or Benjamini and Hochberg (the others).
    pub p_adjusted: f64,
}

/// One side of a change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSide {
    /// Blocks with a value.
    pub n: u32,
    /// Absolute: the geometric mean, in the metric's unit. Relative: the effect over the control, in per cent. Null without a
    /// block.
    pub value: Option<f64>,
    /// Interval of it; null for fewer than two blocks.
    pub interval: Option<Interval>,
}

/// What became of a cell, or of an effect, between two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The variant.
    pub variant: VariantId,
    /// The load.
    pub load: LoadId,
    /// What is asked.
    pub of: ChangeOf,
    /// The control that a relative question is about; null for an absolute one.
    pub control: Option<VariantId>,
    /// The metric.
    pub metric: MetricName,
    /// True for the plan's primary metric; every other one is exploratory.
    pub primary: bool,
    /// The old run.
    pub old: ChangeSide,
    /// The new run.
    pub new: ChangeSide,
    /// The numbers; null where the sides cannot be tested.
    pub estimate: Option<ChangeEstimate>,
    /// Whether it loses more blocks to the engine; null for a relative question and where a side has neither value nor loss.
    pub losses: Option<ChangeLosses>,
    /// The word.
    pub verdict: ChangeVerdict,
    /// True where the word is only a hint and no exit code may rest on it: fewer blocks on a side than the first look of the
    /// stopping rule, trials in sequential order, or a run that was stopped before its end.
    pub indicative: bool,
}
