//! Every variant against its control, every metric, with the A/A check first: a study.
//!
//! One log ratio per block; t interval and t p of their mean; the exact sign-flip p beside them; Holm over everything said
//! about the primary metric, Benjamini and Hochberg over the rest, which is exploratory. METHOD.md has the rule.

use crate::metrics::TrialMetrics;
use crate::num::len_u32;
use crate::pairing::{BlockEffect, Cells, ControlArm};
use crate::verdict::{Question, Verdict, decide};
use servelab_schema::{
    BlockOrder, LoadId, MetricName, Plan, PlannedVariant, Treatment, TrialRecord, TtftKind, Validity, VariantId,
    VariantRole,
};
use servelab_stats::{Interval, PairedT, Probability, benjamini_hochberg, holm, paired_t, sign_flip_p};
use std::collections::{BTreeMap, BTreeSet};

/// Fewest blocks for a verdict that is more than indicative: the first look of the stopping rule.
pub const FIRST_LOOK: u32 = 4;

/// What a comparison needs of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct CellMetrics {
    /// Block, from 1.
    pub block: u32,
    /// Variant under test.
    pub variant: VariantId,
    /// Load put on it.
    pub load: LoadId,
    /// Position in the block, from 1.
    pub order: u32,
    /// Whether the trial counts.
    pub validity: Validity,
    /// Whether the setting took effect.
    pub treatment: Treatment,
    /// Metrics in [`MetricName::unit`]; absent where there is no data.
    pub metrics: BTreeMap<MetricName, f64>,
    /// What the first timestamps are; none where they are mixed or there are none.
    pub ttft_kind: Option<TtftKind>,
}

impl CellMetrics {
    /// The cell of a finished trial.
    #[must_use]
    pub fn new(record: &TrialRecord, metrics: &TrialMetrics) -> Self {
        Self {
            block: record.block,
            variant: record.variant.clone(),
            load: record.load.clone(),
            order: record.order,
            validity: record.validity.clone(),
            treatment: record.treatment,
            metrics: metrics.values.iter().map(|(name, v)| (*name, v.value)).collect(),
            ttft_kind: metrics.kind.kind(),
        }
    }
}

/// What k log ratios say. Percentages are of ratio − 1: +10 means 10 % more than the control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Mean of ln(variant / control).
    pub mean_log_ratio: f64,
    /// Their standard deviation; none for one block.
    pub sd_log_ratio: Option<f64>,
    /// exp(mean) − 1, in per cent.
    pub effect_percent: f64,
    /// The t interval of the mean, back-transformed, in per cent; confidence is 1 − α of the plan.
    pub interval_percent: Option<Interval>,
    /// Two-sided p of the t test that gave the interval.
    pub p_t: Option<f64>,
    /// Exact two-sided sign-flip p; none above 20 blocks.
    pub p_sign_flip: Option<f64>,
    /// p after Holm (primary metric) or Benjamini and Hochberg (the others); none for one block.
    pub p_adjusted: Option<f64>,
}

/// One variant against one control in one metric under one load.
#[derive(Debug, Clone, PartialEq)]
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
    /// Number of blocks that count.
    pub k: u32,
    /// The blocks that count, ascending.
    pub blocks: Vec<BlockEffect>,
    /// The numbers; none where no block counts or the arms are not comparable.
    pub estimate: Option<Estimate>,
    /// The word.
    pub verdict: Verdict,
    /// True where the word is only a hint: fewer than [`FIRST_LOOK`] blocks, or trials in sequential order.
    pub indicative: bool,
    /// Why blocks are missing.
    pub dropped: Vec<String>,
}

/// How two equal arms compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AaOutcome {
    /// The interval includes 0.
    Agrees,
    /// The interval excludes 0: on the primary metric the run is Suspect.
    Differs,
    /// Fewer than two blocks: nothing is known.
    Unknown,
}

/// A copy of a control against that control: what no difference looks like in this run.
#[derive(Debug, Clone, PartialEq)]
pub struct AaResult {
    /// The load.
    pub load: LoadId,
    /// The copy.
    pub variant: VariantId,
    /// What it is a copy of.
    pub control: VariantId,
    /// The metric.
    pub metric: MetricName,
    /// True for the plan's primary metric, the only one that decides.
    pub primary: bool,
    /// Number of blocks that count.
    pub k: u32,
    /// The blocks that count.
    pub blocks: Vec<BlockEffect>,
    /// The numbers, not adjusted.
    pub estimate: Option<Estimate>,
    /// How they compared.
    pub outcome: AaOutcome,
    /// True where the interval reaches beyond ±δ: then no Equivalent is given in this metric and load.
    pub reaches_beyond_delta: bool,
}

/// Everything a run says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Study {
    /// Comparisons by load, variant, control and metric, in the plan's order; the primary metric first.
    pub comparisons: Vec<Comparison>,
    /// The A/A results, in the same order.
    pub aa: Vec<AaResult>,
    /// True where two equal arms differ in the primary metric: no verdict of the run should be trusted.
    pub suspect: bool,
    /// What a reader must know, in sentences.
    pub notes: Vec<String>,
}

/// The comparisons of [`study`].
#[must_use]
pub fn compare(plan: &Plan, cells: &[CellMetrics]) -> Vec<Comparison> {
    study(plan, cells).comparisons
}

/// Compares every variant with its control and with the baseline. Pure: the same cells in any order give the same study.
#[must_use]
pub fn study(plan: &Plan, cells: &[CellMetrics]) -> Study {
    let Ok(alpha) = Probability::new(plan.alpha.get()) else {
        return Study::default();
    };
    let cells = Cells::new(plan, cells);
    let aa = aa_results(plan, &cells, alpha);
    let mut drafts = drafts(plan, &cells, &aa, alpha);
    let primary = adjust(&mut drafts, true, holm);
    adjust(&mut drafts, false, benjamini_hochberg);
    let may_be_equivalent = |load: &LoadId, metric: MetricName| {
        !aa.iter()
            .any(|a| &a.load == load && a.metric == metric && a.reaches_beyond_delta)
    };
    let comparisons: Vec<Comparison> = drafts
        .into_iter()
        .map(|mut draft| {
            let c = &draft.comparison;
            let question = Question {
                metric: c.metric,
                delta: plan.delta.get(),
                alpha,
                // Benjamini and Hochberg's level of one test depends on the others' results: none can be planned for.
                family: if c.primary { primary } else { 1 },
                may_be_equivalent: may_be_equivalent(&c.load, c.metric),
            };
            let adjusted = c.estimate.and_then(|e| e.p_adjusted);
            if let Some((t, p)) = draft.t.zip(adjusted) {
                draft.comparison.verdict = decide(&question, &t, p);
            }
            draft.comparison
        })
        .collect();
    let suspect = aa.iter().any(|a| a.primary && a.outcome == AaOutcome::Differs);
    let notes = notes(plan, &cells, &aa, &comparisons);
    Study {
        comparisons,
        aa,
        suspect,
        notes,
    }
}

/// The primary metric first, then the others in the order of tables.
fn metrics(plan: &Plan) -> impl Iterator<Item = MetricName> {
    let primary = plan.primary_metric;
    std::iter::once(primary).chain(MetricName::ALL.into_iter().filter(move |m| *m != primary))
}

fn estimate(blocks: &[BlockEffect], alpha: Probability) -> (Option<Estimate>, Option<PairedT>) {
    let logs: Vec<f64> = blocks.iter().map(|b| b.log_ratio).collect();
    let Some(&first) = logs.first() else {
        return (None, None);
    };
    let t = Probability::new(alpha.complement())
        .ok()
        .and_then(|confidence| paired_t(&logs, confidence));
    let percent = |log: f64| log.exp_m1() * 100.0;
    let mean_log_ratio = t.map_or(first, |t| t.mean);
    let estimate = Estimate {
        mean_log_ratio,
        sd_log_ratio: t.map(|t| t.sd),
        effect_percent: percent(mean_log_ratio),
        interval_percent: t.map(|t| Interval {
            low: percent(t.low),
            high: percent(t.high),
        }),
        p_t: t.map(|t| t.p),
        p_sign_flip: sign_flip_p(&logs),
        p_adjusted: None,
    };
    (Some(estimate), t)
}

fn aa_results(plan: &Plan, cells: &Cells<'_>, alpha: Probability) -> Vec<AaResult> {
    let mut out = Vec::new();
    for load in &plan.loads {
        for copy in plan.variants.iter().filter(|v| v.role == VariantRole::Aa) {
            let Some(control) = &copy.control else { continue };
            for metric in metrics(plan).filter(|m| cells.knows(&load.id, *m)) {
                let arm = ControlArm {
                    control: control.clone(),
                    with_aa: Vec::new(),
                };
                let pairs = cells.pair(&load.id, &copy.id, &arm, metric);
                let effects = if pairs.kinds_differ.is_some() {
                    Vec::new()
                } else {
                    pairs.effects
                };
                let (estimate, t) = estimate(&effects, alpha);
                let outcome = match t {
                    None => AaOutcome::Unknown,
                    Some(t) if t.low <= 0.0 && t.high >= 0.0 => AaOutcome::Agrees,
                    Some(_) => AaOutcome::Differs,
                };
                let beyond = |t: &PairedT| t.low.exp_m1() < -plan.delta.get() || t.high.exp_m1() > plan.delta.get();
                out.push(AaResult {
                    load: load.id.clone(),
                    variant: copy.id.clone(),
                    control: control.clone(),
                    metric,
                    primary: metric == plan.primary_metric,
                    k: len_u32(effects.len()),
                    blocks: effects,
                    estimate,
                    outcome,
                    reaches_beyond_delta: t.as_ref().is_some_and(beyond),
                });
            }
        }
    }
    out
}

/// The control of a comparison: with every copy that agreed with it on the primary metric.
fn control_arm(control: &VariantId, load: &LoadId, aa: &[AaResult]) -> ControlArm {
    let passed =
        |a: &&AaResult| a.primary && &a.load == load && &a.control == control && a.outcome == AaOutcome::Agrees;
    ControlArm {
        control: control.clone(),
        with_aa: aa.iter().filter(passed).map(|a| a.variant.clone()).collect(),
    }
}

/// A comparison that waits for its adjusted p.
struct Draft {
    comparison: Comparison,
    t: Option<PairedT>,
}

fn drafts(plan: &Plan, cells: &Cells<'_>, aa: &[AaResult], alpha: Probability) -> Vec<Draft> {
    let baseline = plan
        .variants
        .iter()
        .find(|v| v.role == VariantRole::Baseline)
        .map(|v| &v.id);
    let mut out = Vec::new();
    for load in &plan.loads {
        for variant in plan.variants.iter().filter(|v| v.role == VariantRole::Treatment) {
            let mut controls: Vec<&VariantId> = variant.control.iter().chain(baseline).collect();
            controls.dedup();
            for control in controls {
                let arm = control_arm(control, &load.id, aa);
                for metric in metrics(plan).filter(|m| cells.knows(&load.id, *m)) {
                    let mut draft = draft(plan, cells, &load.id, variant, &arm, metric, alpha);
                    draft.comparison.own_control = variant.control.as_ref() == Some(control);
                    draft.comparison.against_baseline = baseline == Some(control);
                    out.push(draft);
                }
            }
        }
    }
    out
}

fn draft(
    plan: &Plan,
    cells: &Cells<'_>,
    load: &LoadId,
    variant: &PlannedVariant,
    control: &ControlArm,
    metric: MetricName,
    alpha: Probability,
) -> Draft {
    let pairs = cells.pair(load, &variant.id, control, metric);
    let why = match pairs.kinds_differ {
        Some(why) => Some(why),
        None if pairs.effects.is_empty() && !cells.has_trials(load, &variant.id) => {
            Some(format!("{} has no trial", variant.id))
        }
        None if pairs.effects.is_empty() => Some(pairs.dropped.join("; ")),
        None => None,
    };
    let blocks = if why.is_some() { Vec::new() } else { pairs.effects };
    let (estimate, t) = estimate(&blocks, alpha);
    let k = len_u32(blocks.len());
    let comparison = Comparison {
        load: load.clone(),
        variant: variant.id.clone(),
        control: control.clone(),
        own_control: false,
        against_baseline: false,
        metric,
        primary: metric == plan.primary_metric,
        exploratory: metric != plan.primary_metric,
        k,
        blocks,
        estimate,
        verdict: why.map_or(Verdict::NoEvidence { blocks_needed: None }, |why| {
            Verdict::NotComparable { why }
        }),
        indicative: k < FIRST_LOOK || plan.order == BlockOrder::Sequential,
        dropped: pairs.dropped,
    };
    Draft { comparison, t }
}

/// Adjusts the p values of one family and says how many tests it has.
fn adjust(drafts: &mut [Draft], primary: bool, method: fn(&[f64]) -> Vec<f64>) -> u32 {
    let mut family: Vec<&mut Estimate> = drafts
        .iter_mut()
        .filter(|d| d.comparison.primary == primary)
        .filter_map(|d| d.comparison.estimate.as_mut())
        .filter(|e| e.p_t.is_some())
        .collect();
    let p: Vec<f64> = family.iter().filter_map(|e| e.p_t).collect();
    for (estimate, adjusted) in family.iter_mut().zip(method(&p)) {
        estimate.p_adjusted = Some(adjusted);
    }
    len_u32(p.len())
}

fn notes(plan: &Plan, cells: &Cells<'_>, aa: &[AaResult], comparisons: &[Comparison]) -> Vec<String> {
    let mut notes = Vec::new();
    for a in aa.iter().filter(|a| a.primary) {
        let (copy, control, load, metric) = (&a.variant, &a.control, &a.load, a.metric);
        match a.outcome {
            AaOutcome::Differs => notes.push(format!(
                "Suspect: {copy} is a copy of {control}, yet its interval of {metric} under {load} excludes 0."
            )),
            AaOutcome::Unknown => {
                notes.push(format!(
                    "{copy} could not be checked against {control} under {load}: fewer than two blocks."
                ));
            }
            AaOutcome::Agrees => {}
        }
        if a.reaches_beyond_delta {
            notes.push(format!(
                "The interval of {copy} against {control} in {metric} under {load} reaches beyond ±{} %: no Equivalent is \
                 given there.",
                plan.delta.get() * 100.0
            ));
        }
    }
    if !plan.variants.iter().any(|v| v.role == VariantRole::Aa) {
        notes.push("There is no A/A arm: nothing shows what no difference looks like in this run.".to_owned());
    }
    if plan.order == BlockOrder::Sequential {
        notes
            .push("Trials ran in sequential order: drift is not averaged out, every verdict is indicative.".to_owned());
    }
    if comparisons.iter().any(|c| c.k < FIRST_LOOK && c.estimate.is_some()) {
        notes.push(format!("Verdicts on fewer than {FIRST_LOOK} blocks are indicative."));
    }
    if cells.duplicates > 0 {
        notes.push(format!(
            "{} trials were taken more than once; the valid, else the last take counts.",
            cells.duplicates
        ));
    }
    let lost: BTreeSet<&String> = comparisons
        .iter()
        .filter(|c| c.primary && c.estimate.is_some())
        .flat_map(|c| &c.dropped)
        .collect();
    notes.extend(lost.into_iter().map(|why| format!("Not counted: {why}.")));
    notes
}

#[cfg(test)]
mod tests;
