//! What a study says, as plain data: comparisons, A/A results, lost blocks, verdicts and what must be known beside them.
//!
//! Parts: [`Study`] holds [`Comparison`]s and [`AaResult`]s; both hold an [`Estimate`] and their [`Lost`] blocks; a
//! comparison ends in a [`Verdict`]. Everything can be written and read back, nothing is a sentence: whoever prints finds
//! the words. Traps: `k` counts blocks with a value on both sides, `planned` those of the plan; a pooled metric has no
//! values per block, so its `blocks` are empty although `k` is not 0.

use super::Interval;
use crate::{GateName, LoadId, MetricName, Treatment, TtftKind, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The arm, or the arms together, that a variant is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlArm {
    /// The control that the plan names.
    pub control: VariantId,
    /// Its copies, unless the run is Suspect: the mean of the logs of all is what the variant is compared with.
    pub with_aa: Vec<VariantId>,
}

impl ControlArm {
    /// The control, then its copies.
    pub fn arms(&self) -> impl Iterator<Item = &VariantId> {
        std::iter::once(&self.control).chain(&self.with_aa)
    }
}

impl fmt::Display for ControlArm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.control)?;
        self.with_aa.iter().try_for_each(|aa| write!(f, " + {aa}"))
    }
}

/// Tukey's label of a block among the blocks of its comparison. It drops nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutlierLabel {
    /// More than 1.5, at most 3 interquartile ranges outside the quartiles.
    Mild,
    /// More than 3 interquartile ranges outside the quartiles.
    Extreme,
}

/// One block's effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockEffect {
    /// Number of the block.
    pub block: u32,
    /// ln(variant / control).
    pub log_ratio: f64,
    /// Null inside Tukey's fences, and for fewer than four blocks.
    pub outlier: Option<OutlierLabel>,
}

/// Who or what a block of an arm was lost to. Only what the engine lost says something about the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossCause {
    /// The trial measured badly: missing at random.
    Instrument,
    /// The engine failed under the load or did nothing useful: an outcome, and it counts.
    Engine,
    /// The setting did not take effect: the trial is void.
    Setting,
    /// The trial is not what the plan asked for (too short, too few requests, a warm cache): it says nothing either way.
    Plan,
    /// The trial was stopped.
    Aborted,
    /// There is no trial: the run did not get there.
    NotRun,
    /// The trial counts, but this metric does not exist in it.
    NoValue,
}

/// Why a block of an arm has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossReason {
    /// There is no trial.
    NoTrial,
    /// The trial is Invalid.
    Gates {
        /// The gates that failed.
        gates: Vec<GateName>,
    },
    /// The setting did not take effect.
    Treatment {
        /// What became of it.
        treatment: Treatment,
    },
    /// The trial was stopped.
    Aborted {
        /// Why.
        why: String,
    },
    /// No measured request completed.
    NothingCompleted,
    /// The metric is 0, which has no logarithm.
    Zero,
    /// The trial has no such metric.
    Absent,
}

/// One block of one arm that has no value in a comparison's metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// Number of the block.
    pub block: u32,
    /// The arm: the variant, the control, or a copy of the control. Where another arm of the control has a value, the block
    /// still counts.
    pub variant: VariantId,
    /// Lost to what.
    pub cause: LossCause,
    /// Why.
    pub reason: LossReason,
}

/// Fisher's one-sided exact test: does the variant lose more blocks to the engine than its control and the copies of it?
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LossTest {
    /// Blocks that the variant lost to the engine.
    pub lost: u32,
    /// Blocks of the variant that have a value or were lost to the engine.
    pub of: u32,
    /// The same of the control and all its copies together.
    pub control_lost: u32,
    /// The same of the control and all its copies together.
    pub control_of: u32,
    /// p of "both lose alike".
    pub p: f64,
    /// p after Holm (primary metric) or Benjamini and Hochberg (the others).
    pub p_adjusted: f64,
}

/// What an interval, and the p beside it, come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EstimatedBy {
    /// The t test on one log ratio a block.
    PairedT,
    /// Resampling whole blocks of pooled requests: it describes, and there is no p.
    BlockBootstrap,
}

/// How much blocks on engines that live on are alike: what one block found still holds in the next. Interval, p and p of
/// equivalence are widened by it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autocorrelation {
    /// Lag-1 autocorrelation that the blocks' log ratios show, corrected for the bias of few blocks; null where too few follow on
    /// each other.
    pub lag1_measured: Option<f64>,
    /// The one that is reckoned with: between the measured one and what is expected of servers that live on, at least 0.
    pub lag1: f64,
    /// Independent blocks that would say as much: k(1 − lag1)/(1 + lag1).
    pub effective_blocks: f64,
}

/// What the blocks that count say. Percentages are of ratio − 1: +10 means 10 % more than the control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Where the interval comes from.
    pub by: EstimatedBy,
    /// Mean of ln(variant / control); of a pooled metric the ln of the ratio.
    pub mean_log_ratio: f64,
    /// Standard deviation over blocks; null for one block and for a pooled metric.
    pub sd_log_ratio: Option<f64>,
    /// exp(`mean_log_ratio`) − 1, in per cent.
    pub effect_percent: f64,
    /// Interval of the effect, in per cent, with confidence 1 − α of the plan; null for one block.
    pub interval_percent: Option<Interval>,
    /// Two-sided p of the t test that gave the interval.
    pub p_t: Option<f64>,
    /// Set where engines live on between blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autocorrelation: Option<Autocorrelation>,
    /// Exact two-sided sign-flip p; null above 20 blocks, and where engines live on: blocks that hang together cannot be flipped
    /// one by one.
    pub p_sign_flip: Option<f64>,
    /// `p_t` after Holm (primary metric) or Benjamini and Hochberg (the others).
    pub p_adjusted: Option<f64>,
    /// p of two one-sided t tests against "the effect lies outside ±δ".
    pub p_tost: Option<f64>,
    /// `p_tost` adjusted like `p_t`.
    pub p_tost_adjusted: Option<f64>,
}

/// What a Worse rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorseBy {
    /// The measured effect.
    Effect,
    /// More blocks lost to the engine than the control loses ([`LossTest`]).
    LostBlocks,
}

/// Why a word is not given although numbers are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// Two equal arms differ in this run, so it gives no verdict at all.
    Suspect,
    /// It would be Equivalent, but no A/A interval of this metric and load is known.
    AaUnknown,
    /// It would be Equivalent, but an A/A interval of this metric and load reaches beyond ±δ.
    AaBeyondDelta,
    /// A pooled metric is described, not tested.
    Descriptive,
}

/// Why nothing is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hindrance {
    /// The variant has no trial under this load.
    NoTrial,
    /// No block has a value on both sides; the comparison's lost blocks say why.
    NoBlock,
    /// First tokens are stamped differently.
    FirstTokens {
        /// The variant's stamps; null where they are mixed.
        variant: Option<TtftKind>,
        /// The control's stamps; null where they are mixed.
        control: Option<TtftKind>,
    },
    /// The blocks that count would say a word that the blocks lost to the engine could turn.
    LostToEngine {
        /// The word.
        would_be: Claim,
        /// Blocks whose loss bears on it.
        blocks: u32,
    },
    /// Too few requests for the pooled percentile.
    NotCertifiable {
        /// Requests of the arm that has fewer.
        requests: u32,
        /// Requests that each arm needs.
        needs: u32,
    },
    /// So many requests failed that the pooled percentile of an arm lies among them.
    AmongFailures,
}

/// The words that say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// See [`Verdict::Better`].
    Better,
    /// See [`Verdict::Worse`].
    Worse,
    /// See [`Verdict::Equivalent`].
    Equivalent,
}

/// The outcome of one comparison. There is no sixth word, and "no difference" is not one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Adjusted p ≤ α and an effect of at least δ in the better direction of the metric.
    Better,
    /// The same in the worse direction, or more blocks lost to the engine.
    Worse {
        /// What it rests on.
        by: WorseBy,
    },
    /// Two one-sided tests show the effect to lie within ±δ, and so does the A/A interval.
    Equivalent,
    /// The data do not decide.
    NoEvidence {
        /// Blocks at which an effect of the size measured would be shown with 80 % probability, for the primary metric at the
        /// family's strictest level; null where that size is below δ, the spread is not known, or more than anyone would
        /// run.
        blocks_to_show: Option<u32>,
        /// Set where a word is withheld for another reason than the numbers.
        withheld: Option<Withheld>,
    },
    /// There is nothing to compare.
    NotComparable {
        /// Why.
        why: Hindrance,
    },
}

impl Verdict {
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

/// Requests behind a pooled metric, failures included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PooledRequests {
    /// Of the variant.
    pub variant: u32,
    /// Of the control and its copies.
    pub control: u32,
}

/// One variant against one control in one metric under one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The load.
    pub load: LoadId,
    /// The variant.
    pub variant: VariantId,
    /// What it is compared with.
    pub control: ControlArm,
    /// True where the control is the one that the plan names for the variant.
    pub own_control: bool,
    /// True where the control is the baseline; each variant has one such comparison.
    pub against_baseline: bool,
    /// The metric.
    pub metric: MetricName,
    /// True for the plan's primary metric.
    pub primary: bool,
    /// True for every other metric.
    pub exploratory: bool,
    /// Blocks that count: with a value on both sides.
    pub k: u32,
    /// Blocks that there were to be: "k of `planned` blocks".
    pub planned: u32,
    /// The blocks that count, ascending; empty for a pooled metric.
    pub blocks: Vec<BlockEffect>,
    /// Blocks without a value, of the variant and of every arm of its control, by arm and block.
    pub lost: Vec<Lost>,
    /// Whether the variant loses more blocks to the engine; null where an arm has neither value nor such a loss.
    pub losses: Option<LossTest>,
    /// Requests behind a pooled metric; null for any other.
    pub requests: Option<PooledRequests>,
    /// The numbers; null where no block counts or the arms are not comparable.
    pub estimate: Option<Estimate>,
    /// The word.
    pub verdict: Verdict,
    /// True where the word is only a hint and no exit code may rest on it: fewer blocks than the first look of the stopping
    /// rule, trials in sequential order, or a run that was stopped before its end.
    pub indicative: bool,
}

/// How two equal arms compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AaOutcome {
    /// p > 0.01.
    Agrees,
    /// p ≤ 0.01: on the primary metric the run is Suspect.
    Differs,
    /// Not tested: fewer than two blocks, or a pooled metric.
    Unknown,
}

/// A copy of a control against that control: what no difference looks like in this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AaResult {
    /// The load.
    pub load: LoadId,
    /// The copy.
    pub variant: VariantId,
    /// What it is a copy of.
    pub control: VariantId,
    /// The metric.
    pub metric: MetricName,
    /// True for the plan's primary metric, the only one that makes a run Suspect.
    pub primary: bool,
    /// Blocks that count.
    pub k: u32,
    /// Blocks that there were to be.
    pub planned: u32,
    /// The blocks that count, ascending; empty for a pooled metric.
    pub blocks: Vec<BlockEffect>,
    /// Blocks without a value, by arm and block.
    pub lost: Vec<Lost>,
    /// The numbers, not adjusted.
    pub estimate: Option<Estimate>,
    /// How they compared.
    pub outcome: AaOutcome,
    /// Whether the interval lies within ±δ; null where there is none. Without a true one there is no Equivalent in this metric
    /// and load.
    pub within_delta: Option<bool>,
}

/// What a reader must know beside the comparisons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// A copy of a control differs from it in the primary metric.
    Suspect {
        /// The load.
        load: LoadId,
        /// The copy.
        copy: VariantId,
        /// What it is a copy of.
        control: VariantId,
        /// Two-sided p of the t test.
        p: f64,
    },
    /// A copy of a control could not be checked: fewer than two blocks.
    AaUnknown {
        /// The load.
        load: LoadId,
        /// The copy.
        copy: VariantId,
        /// What it is a copy of.
        control: VariantId,
    },
    /// The interval of a copy reaches beyond ±δ in the primary metric: no Equivalent is given there.
    AaBeyondDelta {
        /// The load.
        load: LoadId,
        /// The copy.
        copy: VariantId,
        /// What it is a copy of.
        control: VariantId,
    },
    /// No arm shows what no difference looks like, so nothing is called Equivalent.
    NoAa,
    /// Trials ran in sequential order: drift is not averaged out, every verdict is indicative.
    SequentialOrder,
    /// The run was stopped before its last trial: every verdict is indicative.
    EndedEarly {
        /// Why.
        why: String,
    },
    /// No engine was restarted between blocks: the verdicts are about these servers as they ran, and a restart may differ.
    EnginesLiveOn,
    /// Some verdict rests on fewer blocks than the first look, and is indicative.
    FewBlocks {
        /// Blocks of the first look.
        first_look: u32,
    },
    /// The run was resumed.
    WentOn {
        /// How many sessions it has.
        sessions: u32,
        /// Blocks with takes of several sessions: the arms of these are apart in time by the gap, too.
        blocks: Vec<u32>,
    },
    /// Trials of which there is more than one take.
    TakenAgain {
        /// How many takes do not count for that.
        takes: u32,
    },
    /// Above one request in a hundred was sent a second time, because the server had closed the kept connection without a byte
    /// of an answer.
    StaleConnections {
        /// How many were.
        requests: u32,
        /// Measured requests of the run.
        of: u32,
    },
}

/// Everything that the comparisons of a run say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// By load, variant, control and metric, in the plan's order; the primary metric first.
    pub comparisons: Vec<Comparison>,
    /// The A/A results, in the same order.
    pub aa: Vec<AaResult>,
    /// True where two equal arms differ in the primary metric: there is no Better, Worse or Equivalent.
    pub suspect: bool,
    /// What must be known beside them.
    pub notes: Vec<Note>,
}
