//! Copies of a control against that control: what no difference looks like in this run.

use super::draft::Numbers;
use super::metrics;
use crate::pairing::Cells;
use servelab_schema::findings::{AaOutcome, AaResult, ControlArm, Withheld};
use servelab_schema::{LoadId, MetricName, Plan, VariantRole};
use servelab_stats::Probability;

/// Two-sided p at or below which two equal arms differ, and the run is Suspect.
pub const SUSPECT_P: f64 = 0.01;

/// Every copy, under every load, in every metric.
pub(super) fn results(plan: &Plan, cells: &Cells<'_>, confidence: Probability) -> Vec<AaResult> {
    let mut out = Vec::new();
    for load in &plan.loads {
        for copy in plan.variants.iter().filter(|v| v.role == VariantRole::Aa) {
            let Some(control) = &copy.control else { continue };
            let arm = ControlArm {
                control: control.clone(),
                with_aa: Vec::new(),
            };
            for metric in metrics(plan).filter(|m| cells.knows(&load.id, *m)) {
                let pairs = cells.pair(&load.id, &copy.id, &arm, metric);
                let Numbers {
                    k, blocks, estimate, ..
                } = Numbers::of(plan, &pairs, metric, confidence);
                let outcome = match estimate.and_then(|e| e.p_t) {
                    None => AaOutcome::Unknown,
                    Some(p) if p <= SUSPECT_P => AaOutcome::Differs,
                    Some(_) => AaOutcome::Agrees,
                };
                let percent = plan.delta.get() * 100.0;
                out.push(AaResult {
                    load: load.id.clone(),
                    variant: copy.id.clone(),
                    control: control.clone(),
                    metric,
                    primary: metric == plan.primary_metric,
                    k,
                    planned: cells.planned(),
                    blocks,
                    lost: pairs.lost,
                    estimate,
                    outcome,
                    within_delta: estimate
                        .and_then(|e| e.interval_percent)
                        .map(|i| i.low >= -percent && i.high <= percent),
                });
            }
        }
    }
    out
}

/// Why nothing can be called Equivalent in this metric and load; none where a known A/A interval lies within ±δ and none
/// reaches beyond.
pub(super) fn no_equivalent(aa: &[AaResult], load: &LoadId, metric: MetricName) -> Option<Withheld> {
    let known = || {
        let of_cell = aa.iter().filter(|a| &a.load == load && a.metric == metric);
        of_cell.filter_map(|a| a.within_delta)
    };
    if known().any(|within| !within) {
        Some(Withheld::AaBeyondDelta)
    } else if known().next().is_none() {
        Some(Withheld::AaUnknown)
    } else {
        None
    }
}
