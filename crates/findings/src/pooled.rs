//! All valid trials of one variant under one load together: distributions, tails, failures.
//!
//! Pooling describes; verdicts come from [`compare`](mod@crate::compare), where the block is the unit. Beside each
//! percentile stand what its n certifies (as if requests were independent) and an interval from resampling whole blocks
//! (because they are not).

use crate::TrialData;
use crate::metrics::{KindSeen, e2e_s, tpot_s, ttft_s};
use crate::num::len_u32;
use servelab_schema::{
    Bucket, Completion, LoadId, Outcome, Plan, PromptId, PromptRef, Reason, Task, Trace, Treatment, TtftKind,
    VariantId, VariantRole,
};
use servelab_stats::{Ecdf, Interval, OrInfinite, Probability, Quantile, Sample, Summary, block_bootstrap_quantiles};
use std::collections::BTreeMap;

/// Which latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LatencyKind {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// End-to-end time.
    E2e,
}

impl LatencyKind {
    /// Every latency, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Tpot, Self::E2e];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }

    fn of(self, c: &Completion) -> Option<f64> {
        match self {
            Self::Ttft => ttft_s(c),
            Self::Tpot => tpot_s(c),
            Self::E2e => e2e_s(c),
        }
    }
}

/// How much work to spend on describing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PooledOptions {
    /// Resamples of the block bootstrap.
    pub resamples: u32,
    /// Most points of an ECDF, about.
    pub ecdf_points: usize,
}

impl Default for PooledOptions {
    fn default() -> Self {
        Self {
            resamples: 1000,
            ecdf_points: 400,
        }
    }
}

/// One percentile of pooled requests, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PooledQuantile {
    /// Of the completed requests, with what n certifies, failures as +∞.
    pub success_only: Quantile,
    /// With every failed request as +∞.
    pub with_failures: OrInfinite,
    /// 95 % interval of the success-only percentile from resampling whole blocks; none for fewer than two blocks.
    pub block_interval: Option<Interval>,
}

/// The distribution of one latency over pooled requests, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Which latency.
    pub latency: LatencyKind,
    /// Mean, spread and extremes of the completed requests.
    pub summary_s: Summary,
    /// Failed measured requests: those that `with_failures` counts as +∞.
    pub failed: u32,
    /// p50, p90, p95 and p99, in this order.
    pub quantiles: Vec<PooledQuantile>,
    /// Points (seconds, share of measured requests at or below); ends below 1 where requests failed.
    pub ecdf: Vec<(f64, f64)>,
}

/// Pooled measured requests of one task and bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct PooledGroup {
    /// What was asked for.
    pub task: Task,
    /// Length class.
    pub bucket: Bucket,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed.
    pub failed: u32,
    /// Distributions, without ECDF points; a latency without data is absent.
    pub latencies: Vec<Distribution>,
}

/// One variant under one load, all its valid trials together.
#[derive(Debug, Clone, PartialEq)]
pub struct PooledArm {
    /// The variant.
    pub variant: VariantId,
    /// The load.
    pub load: LoadId,
    /// Trials that count, one per block.
    pub blocks: u32,
    /// Trials that do not count: invalid, aborted or void.
    pub left_out: u32,
    /// What the first timestamps are; none where they are mixed or there are none.
    pub ttft_kind: Option<TtftKind>,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed, by reason, in the trials that count.
    pub failures: BTreeMap<Reason, u32>,
    /// Measured requests that failed, by reason, in every trial, counted or not.
    pub failures_everywhere: BTreeMap<Reason, u32>,
    /// Distributions; a latency without data is absent, and all are where kinds of timestamps are mixed.
    pub latencies: Vec<Distribution>,
    /// The same by task and bucket.
    pub groups: Vec<PooledGroup>,
}

const QUANTILES: [Probability; 4] = [Probability::P50, Probability::P90, Probability::P95, Probability::P99];

/// Pools the trials of each variant under each load, in the plan's order; arms without a trial are absent.
#[must_use]
pub fn pooled(plan: &Plan, trials: &[TrialData<'_>], options: &PooledOptions) -> Vec<PooledArm> {
    let prompts: BTreeMap<&PromptId, &PromptRef> = plan.prompts.prompts.iter().map(|p| (&p.id, p)).collect();
    let cells = plan
        .loads
        .iter()
        .flat_map(|l| plan.variants.iter().map(move |v| (l, v)));
    cells
        .filter_map(|(load, variant)| {
            let of_cell = |t: &&TrialData<'_>| t.record.load == load.id && t.record.variant == variant.id;
            let all: Vec<&TrialData<'_>> = trials.iter().filter(of_cell).collect();
            (!all.is_empty()).then(|| {
                let voidable = variant.role == VariantRole::Treatment;
                let all = Arm {
                    variant: &variant.id,
                    load: &load.id,
                    voidable,
                    trials: &all,
                };
                arm(plan.seed, &all, &prompts, options)
            })
        })
        .collect()
}

/// The trials of one variant under one load.
struct Arm<'a> {
    variant: &'a VariantId,
    load: &'a LoadId,
    /// True where a treatment that did not take effect makes a trial void.
    voidable: bool,
    trials: &'a [&'a TrialData<'a>],
}

fn arm(seed: u64, cell: &Arm<'_>, prompts: &BTreeMap<&PromptId, &PromptRef>, options: &PooledOptions) -> PooledArm {
    let counts = |t: &&&TrialData<'_>| {
        let took_effect = matches!(t.record.treatment, Treatment::Confirmed | Treatment::Unobservable);
        t.record.validity.is_valid() && (took_effect || !cell.voidable)
    };
    let counted: Vec<&&TrialData<'_>> = cell.trials.iter().filter(counts).collect();
    let blocks: Vec<Vec<&Trace>> = counted
        .iter()
        .map(|t| t.traces.iter().filter(|t| t.measured).collect())
        .collect();
    let mut groups: BTreeMap<(Task, Bucket), Vec<Vec<&Trace>>> = BTreeMap::new();
    for (i, block) in blocks.iter().enumerate() {
        for trace in block {
            if let Some(prompt) = prompts.get(&trace.prompt_id) {
                let group = groups
                    .entry((prompt.task, prompt.bucket))
                    .or_insert_with(|| vec![Vec::new(); blocks.len()]);
                if let Some(block) = group.get_mut(i) {
                    block.push(trace);
                }
            }
        }
    }
    let flat = || blocks.iter().flatten().copied();
    PooledArm {
        variant: cell.variant.clone(),
        load: cell.load.clone(),
        blocks: len_u32(counted.len()),
        left_out: len_u32(cell.trials.len().saturating_sub(counted.len())),
        ttft_kind: KindSeen::of(flat().filter_map(Trace::completion)).kind(),
        completed: completed(flat()),
        failures: failures(flat()),
        failures_everywhere: failures(cell.trials.iter().flat_map(|t| t.traces).filter(|t| t.measured)),
        latencies: distributions(&blocks, seed, options),
        groups: groups
            .into_iter()
            .map(|((task, bucket), blocks)| PooledGroup {
                task,
                bucket,
                completed: completed(blocks.iter().flatten().copied()),
                failed: failures(blocks.iter().flatten().copied()).values().sum(),
                latencies: distributions(
                    &blocks,
                    seed,
                    &PooledOptions {
                        ecdf_points: 0,
                        ..*options
                    },
                ),
            })
            .collect(),
    }
}

fn completed<'a>(traces: impl Iterator<Item = &'a Trace>) -> u32 {
    len_u32(traces.filter(|t| t.completion().is_some()).count())
}

fn failures<'a>(traces: impl Iterator<Item = &'a Trace>) -> BTreeMap<Reason, u32> {
    let mut out: BTreeMap<Reason, u32> = BTreeMap::new();
    for trace in traces {
        if let Outcome::Failed(failure) = &trace.outcome {
            let n = out.entry(failure.reason).or_default();
            *n = n.saturating_add(1);
        }
    }
    out
}

fn distributions(blocks: &[Vec<&Trace>], seed: u64, options: &PooledOptions) -> Vec<Distribution> {
    if KindSeen::of(blocks.iter().flatten().filter_map(|t| t.completion())) == KindSeen::Mixed {
        return Vec::new();
    }
    let failed = failures(blocks.iter().flatten().copied()).values().sum();
    LatencyKind::ALL
        .into_iter()
        .filter_map(|latency| distribution(latency, blocks, failed, seed, options))
        .collect()
}

fn distribution(
    latency: LatencyKind,
    blocks: &[Vec<&Trace>],
    failed: u32,
    seed: u64,
    options: &PooledOptions,
) -> Option<Distribution> {
    let by_block: Vec<Vec<f64>> = blocks
        .iter()
        .map(|b| b.iter().filter_map(|t| latency.of(t.completion()?)).collect())
        .collect();
    let sample = Sample::new(by_block.concat()).ok()?;
    let intervals =
        block_bootstrap_quantiles(&by_block, &QUANTILES, Probability::P95, options.resamples, seed).unwrap_or_default();
    let quantile = |(i, p): (usize, &Probability)| PooledQuantile {
        success_only: Quantile::of(&sample, failed, *p),
        with_failures: sample.quantile_with_failures(*p, failed),
        block_interval: intervals.get(i).copied(),
    };
    let ecdf = if options.ecdf_points == 0 {
        Vec::new()
    } else {
        Ecdf::with_failures(&sample, failed)
            .thinned(options.ecdf_points)
            .points()
            .to_vec()
    };
    Some(Distribution {
        latency,
        summary_s: sample.summary(),
        failed,
        quantiles: QUANTILES.iter().enumerate().map(quantile).collect(),
        ecdf,
    })
}

#[cfg(test)]
mod tests;
