//! `findings.json`: everything a run says, decided once.
//!
//! Parts: [`TrialFindings`] one take, settled over the whole run; [`VariantFindings`] what became of a setting; [`CellFindings`]
//! one variant under one load; [`Comparison`] a variant against a control; [`Change`] a cell of one run against that of
//! another; [`Headline`] and [`Brief`] what is said first.
//!
//! Format: canonical JSON, one document a run, written at the seal and listed in the manifest. Made by
//! `servelab_findings::evaluate` and by nothing else; exit code, SQL, CSV, JSON, terminal and page render it.
//!
//! Traps: what was not observed is null or absent, never 0. Times are engine time. A percentile that its n does not certify
//! is there as a description, and says so.

mod cell;
mod change;
mod comparison;
mod engine;
mod headline;
mod numbers;
mod quality;
mod treatment;
mod trial;

pub use cell::{
    CellFindings, Described, DescribedMetric, DescribedStatistic, Distribution, GpuFindings, LatencyKind,
    OutsideFindings, PooledGroup, PooledQuantile,
};
pub use change::{
    BlockValues, Change, ChangeEstimate, ChangeLosses, ChangeOf, ChangeSide, ChangeVerdict, Common, Measured,
    MeasuredCell, MeasuredEffect, Unlike,
};
pub use comparison::{
    AaOutcome, AaResult, Autocorrelation, BlockEffect, Claim, Comparison, ControlArm, Estimate, EstimatedBy, Hindrance,
    LossCause, LossReason, LossTest, Lost, Note, OutlierLabel, PooledRequests, Study, Verdict, Withheld, WorseBy,
};
pub use engine::{
    Acceptance, BucketQuantile, EngineCounts, EngineTimes, GpuUse, KvUse, NoTriangle, Throttled, TimeOutside, TrialGpus,
};
pub use headline::{Brief, BriefEffect, Caveats, Headline};
pub use numbers::{Certification, Interval, OrInfinite, OverBlocks, Proportion, Quantile, Summary};
pub use quality::{AnswerChange, ArmQuality, LengthShift, QualityChange};
pub use treatment::{
    ChangedField, CheckCount, Confounded, ObservedTreatment, ServerFindings, VariantFindings, WhichServer,
};
pub use trial::{
    Descriptive, FailureWords, GroupMetrics, KindSeen, MetricValue, Timeline, TrialFindings, TrialMetrics,
};

use crate::{EngineKind, LoadId, MetricName, RunEnd, RunId, V, Validity, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which run findings are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunIdentity {
    /// Name of the run.
    pub run_id: RunId,
    /// Name of the matrix.
    pub name: String,
    /// Where the numbers come from.
    pub engine_kind: EngineKind,
    /// Version of the measuring method: runs of two versions are not compared.
    pub method_version: u32,
    /// How it ended.
    pub end: RunEnd,
    /// Distinct measured prompts that were sent in trials that stand.
    pub prompts_served: u32,
    /// Measured prompts of the plan.
    pub prompts_planned: u32,
    /// Trials of which some take was not cut off, however often each was taken.
    pub trials_executed: u32,
    /// Trials of the plan.
    pub trials_planned: u32,
}

/// Everything a run says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// Format version.
    pub v: V<1>,
    /// The run.
    pub run: RunIdentity,
    /// The run in a line.
    pub brief: Brief,
    /// What to say first, in this order.
    pub headlines: Vec<Headline>,
    /// The comparisons, with the A/A check.
    pub study: Study,
    /// The variants, in the plan's order.
    pub variants: Vec<VariantFindings>,
    /// By load and variant, in the plan's order; those without a trial are absent.
    pub cells: Vec<CellFindings>,
    /// The takes, in the order they were executed.
    pub trials: Vec<TrialFindings>,
}

impl Findings {
    /// One variant under one load.
    #[must_use]
    pub fn cell(&self, load: &LoadId, variant: &VariantId) -> Option<&CellFindings> {
        self.cells.iter().find(|c| &c.load == load && &c.variant == variant)
    }

    /// One variant over the whole run.
    #[must_use]
    pub fn variant(&self, id: &VariantId) -> Option<&VariantFindings> {
        self.variants.iter().find(|v| &v.variant == id)
    }

    /// Comparisons on the primary metric under one load.
    pub fn primary<'s>(&'s self, load: &'s LoadId) -> impl Iterator<Item = &'s Comparison> + 's {
        self.study
            .comparisons
            .iter()
            .filter(move |c| c.primary && &c.load == load)
    }

    /// The comparison of a variant with one control.
    #[must_use]
    pub fn comparison(
        &self,
        load: &LoadId,
        variant: &VariantId,
        control: &VariantId,
        metric: MetricName,
    ) -> Option<&Comparison> {
        let of = |c: &&Comparison| {
            &c.load == load && &c.variant == variant && &c.control.control == control && c.metric == metric
        };
        self.study.comparisons.iter().find(of)
    }

    /// What became of a variant's answers against one control.
    #[must_use]
    pub fn quality_change(&self, load: &LoadId, variant: &VariantId, control: &VariantId) -> Option<&QualityChange> {
        let cell = self.cell(load, variant)?;
        cell.quality.against.iter().find(|change| &change.control == control)
    }

    /// Takes that repeat one that had run to its end. A take that was cut off is not repeated, its trial is taken anew.
    #[must_use]
    pub fn retakes(&self) -> usize {
        let mut ended: BTreeMap<(u32, &VariantId, &LoadId), usize> = BTreeMap::new();
        for t in self
            .trials
            .iter()
            .filter(|t| !matches!(t.validity, Validity::Aborted { .. }))
        {
            *ended.entry((t.block, &t.variant, &t.load)).or_default() += 1;
        }
        ended.into_values().map(|takes| takes.saturating_sub(1)).sum()
    }

    /// Trials of which the instrument lost every take.
    #[must_use]
    pub fn lost_to_the_instrument(&self) -> usize {
        let mut all_lost: BTreeMap<(u32, &VariantId, &LoadId), bool> = BTreeMap::new();
        for t in &self.trials {
            let lost = all_lost.entry((t.block, &t.variant, &t.load)).or_insert(true);
            *lost &= t.validity.is_lost_to_the_instrument();
        }
        all_lost.into_values().filter(|lost| *lost).count()
    }

    /// Cells of which no trial counts: the run says nothing of them.
    pub fn cells_without_valid_trial(&self) -> impl Iterator<Item = &CellFindings> {
        self.cells.iter().filter(|c| c.blocks == 0)
    }
}
