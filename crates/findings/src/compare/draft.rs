//! The numbers of a comparison, before any family is known and any word given.

use super::{metrics, tail};
use crate::num::len_u32;
use crate::pairing::{Cells, Pairs};
use crate::verdict::{LostToEngine, t_test};
use servelab_schema::findings::{
    Autocorrelation as BlocksHangTogether, BlockEffect, Comparison, ControlArm, Estimate, EstimatedBy, Hindrance,
    Interval, LossTest, PooledRequests, Verdict,
};
use servelab_schema::{LoadId, MetricName, Plan, PlannedVariant, VariantId, VariantRole};
use servelab_stats::{Autocorrelation, PairedT, Placed, Probability, fisher_more_p, sign_flip_p, tost_p};

/// A comparison that waits for its adjusted p and its word.
pub(super) struct Draft {
    pub(super) comparison: Comparison,
    /// The test of its blocks; none for one block and for a pooled metric.
    pub(super) t: Option<PairedT>,
    /// Why nothing can be compared.
    pub(super) hindrance: Option<Hindrance>,
    pub(super) lost_to_engine: LostToEngine,
}

/// What the blocks that count say in one metric.
pub(super) struct Numbers {
    pub(super) k: u32,
    pub(super) blocks: Vec<BlockEffect>,
    pub(super) estimate: Option<Estimate>,
    pub(super) t: Option<PairedT>,
    pub(super) requests: Option<PooledRequests>,
    pub(super) hindrance: Option<Hindrance>,
}

impl Numbers {
    /// The numbers of `pairs`, with intervals of this confidence.
    pub(super) fn of(plan: &Plan, pairs: &Pairs<'_>, metric: MetricName, confidence: Probability) -> Self {
        let mut numbers = Self {
            k: 0,
            blocks: Vec::new(),
            estimate: None,
            t: None,
            requests: None,
            hindrance: pairs.first_tokens_differ(metric),
        };
        if numbers.hindrance.is_some() {
            return numbers;
        }
        if pairs.pairs.is_empty() {
            numbers.hindrance = Some(Hindrance::NoBlock);
            return numbers;
        }
        if metric.is_pooled() {
            let (requests, estimate) = tail::estimate(pairs, confidence, plan.seed);
            numbers.requests = Some(requests);
            match estimate {
                Ok(estimate) => numbers.estimate = estimate,
                Err(hindrance) => numbers.hindrance = Some(hindrance),
            }
        } else {
            numbers.blocks = pairs.effects(metric);
            (numbers.estimate, numbers.t) = tested(plan, &numbers.blocks, confidence);
        }
        if numbers.hindrance.is_none() {
            numbers.k = len_u32(pairs.pairs.len());
        }
        numbers
    }
}

fn tested(plan: &Plan, blocks: &[BlockEffect], confidence: Probability) -> (Option<Estimate>, Option<PairedT>) {
    let logs: Vec<f64> = blocks.iter().map(|b| b.log_ratio).collect();
    let Some(&first) = logs.first() else {
        return (None, None);
    };
    let delta = plan.delta.get();
    let lives_on = plan.engine.lives_on();
    let together = lives_on.then(|| Autocorrelation::of(&placed(blocks)));
    let t = t_test(&logs, together.map(|a| a.used), confidence);
    let percent = |log: f64| log.exp_m1() * 100.0;
    let mean_log_ratio = t.map_or(first, |t| t.mean);
    let estimate = Estimate {
        by: EstimatedBy::PairedT,
        mean_log_ratio,
        sd_log_ratio: t.map(|t| t.sd),
        effect_percent: percent(mean_log_ratio),
        interval_percent: t.map(|t| Interval {
            low: percent(t.low),
            high: percent(t.high),
        }),
        p_t: t.map(|t| t.p),
        autocorrelation: together.map(|a| BlocksHangTogether {
            lag1_measured: a.measured,
            lag1: a.used,
            effective_blocks: a.effective_count(len_u32(logs.len())),
        }),
        p_sign_flip: sign_flip_p(&logs).filter(|_| !lives_on),
        p_adjusted: None,
        p_tost: t.map(|t| tost_p(&t, (1.0 - delta).ln(), delta.ln_1p())),
        p_tost_adjusted: None,
    };
    (Some(estimate), t)
}

/// The log ratios with their place in time: blocks follow each other by number.
fn placed(blocks: &[BlockEffect]) -> Vec<Placed> {
    let place = |b: &BlockEffect| Placed {
        place: b.block,
        value: b.log_ratio,
    };
    blocks.iter().map(place).collect()
}

/// Every comparison of a run: by load, variant, control and metric. In a Suspect run the control stands alone.
pub(super) fn drafts(plan: &Plan, cells: &Cells<'_>, suspect: bool, confidence: Probability) -> Vec<Draft> {
    let baseline = plan.variants.iter().find(|v| v.role == VariantRole::Baseline);
    let baseline = baseline.map(|v| &v.id);
    let mut out = Vec::new();
    for load in &plan.loads {
        for variant in plan.variants.iter().filter(|v| v.role == VariantRole::Treatment) {
            let mut controls: Vec<&VariantId> = variant.control.iter().chain(baseline).collect();
            controls.dedup();
            for control in controls {
                let copies = ControlArm {
                    control: control.clone(),
                    with_aa: copies(plan, control),
                };
                for metric in metrics(plan).filter(|m| cells.knows(&load.id, *m)) {
                    let question = Pairing {
                        load: &load.id,
                        variant,
                        copies: &copies,
                        metric,
                        suspect,
                    };
                    let mut draft = question.draft(plan, cells, confidence);
                    draft.comparison.own_control = variant.control.as_ref() == Some(control);
                    draft.comparison.against_baseline = baseline == Some(control);
                    out.push(draft);
                }
            }
        }
    }
    out
}

/// The copies of a control, in the plan's order.
fn copies(plan: &Plan, control: &VariantId) -> Vec<VariantId> {
    let copies = plan.variants.iter().filter(|v| v.role == VariantRole::Aa);
    let copies = copies.filter(|v| v.control.as_ref() == Some(control));
    copies.map(|v| v.id.clone()).collect()
}

/// What is to be compared with what.
struct Pairing<'a> {
    load: &'a LoadId,
    variant: &'a PlannedVariant,
    /// The control with all its copies.
    copies: &'a ControlArm,
    metric: MetricName,
    suspect: bool,
}

impl Pairing<'_> {
    fn draft(&self, plan: &Plan, cells: &Cells<'_>, confidence: Probability) -> Draft {
        let (load, variant, metric) = (self.load, &self.variant.id, self.metric);
        let mut control = self.copies.clone();
        if self.suspect {
            control.with_aa.clear();
        }
        let pairs = cells.pair(load, variant, &control, metric);
        let lost_to_engine = LostToEngine {
            variant: pairs.variant_lost,
            control: pairs.control_lost,
        };
        let numbers = Numbers::of(plan, &pairs, metric, confidence);
        let hindrance = if cells.has_trials(load, variant) {
            numbers.hindrance
        } else {
            Some(Hindrance::NoTrial)
        };
        let comparison = Comparison {
            load: load.clone(),
            variant: variant.clone(),
            control,
            own_control: false,
            against_baseline: false,
            metric,
            primary: metric == plan.primary_metric,
            exploratory: metric != plan.primary_metric,
            k: numbers.k,
            planned: cells.planned(),
            blocks: numbers.blocks,
            lost: pairs.lost,
            losses: self.losses(cells),
            requests: numbers.requests,
            estimate: numbers.estimate,
            verdict: Verdict::NoEvidence {
                blocks_to_show: None,
                withheld: None,
            },
            indicative: true,
        };
        Draft {
            comparison,
            t: numbers.t,
            hindrance,
            lost_to_engine,
        }
    }

    /// The variant's losses beside those of its control and all its copies; none for a pooled metric, which is not tested.
    fn losses(&self, cells: &Cells<'_>) -> Option<LossTest> {
        let own = cells.tally(self.load, std::iter::once(&self.variant.id), self.metric);
        let control = cells.tally(self.load, self.copies.arms(), self.metric);
        if self.metric.is_pooled() || own.of == 0 || control.of == 0 {
            return None;
        }
        let p = fisher_more_p(own.lost, own.of, control.lost, control.of)?;
        Some(LossTest {
            lost: own.lost,
            of: own.of,
            control_lost: control.lost,
            control_of: control.of,
            p,
            p_adjusted: p,
        })
    }
}
