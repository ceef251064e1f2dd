//! What a run gives to be compared with another one, from its findings.

use crate::{convert, num::len_u32};
use servelab_schema::{
    LoadId, MetricName, Plan, RunEnd, VariantId,
    findings::{
        BlockValues, Comparison, Findings, LossCause, Lost, Measured, MeasuredCell, MeasuredEffect, TrialFindings,
    },
};
use servelab_stats::{Interval, Probability, paired_t};
use std::collections::{BTreeMap, BTreeSet};

/// What the run measured, cell by cell and effect by effect. Pooled metrics have no value a block and are left out.
#[must_use]
pub fn measured(plan: &Plan, findings: &Findings) -> Measured {
    let metrics: Vec<MetricName> = MetricName::ALL.into_iter().filter(|m| !m.is_pooled()).collect();
    let confidence = confidence(plan);
    let cells = findings.cells.iter().map(|cell| {
        let lost = lost(findings, &cell.load, &cell.variant, plan.primary_metric);
        let values = metrics.iter().filter_map(|metric| {
            let lost = self::lost(findings, &cell.load, &cell.variant, *metric);
            let trials = findings
                .trials
                .iter()
                .filter(|t| t.load == cell.load && t.variant == cell.variant);
            Some((*metric, block_values(*metric, trials, &lost, confidence)?))
        });
        MeasuredCell {
            variant: cell.variant.clone(),
            load: cell.load.clone(),
            ttft_kind: cell.ttft_kind,
            lost_to_engine: len_u32(lost.values().filter(|cause| **cause == LossCause::Engine).count()),
            metrics: values.collect(),
        }
    });
    let effects = findings.study.comparisons.iter().filter(|c| c.own_control);
    Measured {
        suspect: findings.study.suspect,
        complete: findings.run.end == RunEnd::Complete,
        cells: cells.collect(),
        effects: effects.filter_map(effect).collect(),
    }
}

/// The confidence of intervals: 1 − α of the plan.
pub(super) fn confidence(plan: &Plan) -> Probability {
    Probability::new(1.0 - plan.alpha.get()).unwrap_or(Probability::P95)
}

/// The blocks of an arm that have no value, with what they were lost to. Comparisons and the A/A check know it of every arm that
/// takes part in one.
fn lost(findings: &Findings, load: &LoadId, arm: &VariantId, metric: MetricName) -> BTreeMap<u32, LossCause> {
    let study = &findings.study;
    let compared = study.comparisons.iter().map(|c| (&c.load, c.metric, &c.lost));
    let copies = study.aa.iter().map(|a| (&a.load, a.metric, &a.lost));
    let of_cell = compared.chain(copies).filter(|(l, m, _)| *l == load && *m == metric);
    let lost = of_cell
        .flat_map(|(_, _, lost)| lost)
        .filter(|l: &&Lost| &l.variant == arm);
    lost.map(|l| (l.block, l.cause)).collect()
}

fn block_values<'t>(
    metric: MetricName,
    trials: impl Iterator<Item = &'t TrialFindings>,
    lost: &BTreeMap<u32, LossCause>,
    confidence: Probability,
) -> Option<BlockValues> {
    let by_block: BTreeMap<u32, f64> = trials
        .filter(|t| t.counts() && t.treatment.took_effect() && !lost.contains_key(&t.block))
        .filter_map(|t| Some((t.block, t.metrics.as_ref()?.values.get(&metric)?.value)))
        .filter(|(_, value)| value.is_finite() && *value > 0.0)
        .collect();
    let logs: Vec<f64> = by_block.values().map(|v| v.ln()).collect();
    let mean = mean(&logs)?;
    let interval = paired_t(&logs, confidence).map(|t| Interval {
        low: t.low.exp(),
        high: t.high.exp(),
    });
    Some(BlockValues {
        blocks: by_block.keys().copied().collect(),
        values: by_block.into_values().collect(),
        mean: mean.exp(),
        interval: interval.map(convert::interval),
    })
}

/// None of none.
pub(super) fn mean(logs: &[f64]) -> Option<f64> {
    let n = len_u32(logs.len());
    (n > 0).then(|| logs.iter().sum::<f64>() / f64::from(n))
}

fn effect(c: &Comparison) -> Option<MeasuredEffect> {
    let estimate = c.estimate.filter(|_| !c.metric.is_pooled())?;
    Some(MeasuredEffect {
        variant: c.variant.clone(),
        load: c.load.clone(),
        metric: c.metric,
        control: c.control.clone(),
        blocks: c.blocks.iter().map(|b| b.block).collect(),
        log_ratios: c.blocks.iter().map(|b| b.log_ratio).collect(),
        effect_percent: estimate.effect_percent,
        interval_percent: estimate.interval_percent,
        verdict: c.verdict.clone(),
        indicative: c.indicative,
    })
}

/// Cells that were planned and have no block with a value of the primary metric: nothing can be said of them later.
#[must_use]
pub fn cells_without_value(plan: &Plan, measured: &Measured) -> Vec<(VariantId, LoadId)> {
    let has = |variant: &VariantId, load: &LoadId| {
        let cell = measured.cell(variant, load);
        cell.is_some_and(|c| c.metrics.contains_key(&plan.primary_metric))
    };
    let planned: BTreeSet<(&VariantId, &LoadId)> = plan
        .blocks
        .iter()
        .flat_map(|b| b.trials.iter().map(|t| (&t.variant, &t.load)))
        .collect();
    let empty = planned.into_iter().filter(|(v, l)| !has(v, l));
    empty.map(|(v, l)| (v.clone(), l.clone())).collect()
}
