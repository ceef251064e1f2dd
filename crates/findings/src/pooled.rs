//! All valid trials of one variant under one load together: distributions and tails.
//!
//! Pooling describes; verdicts come from [`compare`](mod@crate::compare), where the block is the unit. Beside each
//! percentile stand what its n certifies (as if requests were independent) and an interval from resampling whole blocks
//! (because they are not).

use crate::{
    convert::{interval, or_infinite, quantile, summary},
    num::len_u32,
    request::{Done, Request},
};
use servelab_schema::findings::{Distribution, LatencyKind, PooledQuantile, Summary};
use servelab_stats::{Ecdf, Probability, Sample, block_bootstrap_quantiles};

/// How much work to spend on describing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PooledOptions {
    /// Resamples of the block bootstrap.
    pub(crate) resamples: u32,
    /// Seed of the resampling.
    pub(crate) seed: u64,
    /// Most points of an ECDF, about.
    pub(crate) ecdf_points: usize,
}

const QUANTILES: [Probability; 4] = [Probability::P50, Probability::P90, Probability::P95, Probability::P99];

/// One latency of a completed request, s.
pub(crate) fn latency_s(kind: LatencyKind, done: &Done) -> Option<f64> {
    match kind {
        LatencyKind::Ttft => done.ttft_s(),
        LatencyKind::Tpot => done.tpot_s(),
        LatencyKind::E2e => Some(done.e2e_s()),
    }
}

/// Distributions of the requests of several blocks; a latency without data is absent.
pub(crate) fn distributions<'r>(
    blocks: &[impl Iterator<Item = &'r Request> + Clone],
    options: &PooledOptions,
) -> Vec<Distribution> {
    let failed = blocks.iter().flat_map(|b| b.clone()).filter(|r| r.outcome.is_err());
    let failed = len_u32(failed.count());
    let of = |latency: LatencyKind| {
        let by_block: Vec<Vec<f64>> = blocks
            .iter()
            .map(|b| b.clone().filter_map(|r| latency_s(latency, r.done()?)).collect())
            .collect();
        distribution(latency, by_block, failed, options)
    };
    LatencyKind::ALL.into_iter().filter_map(of).collect()
}

fn distribution(
    latency: LatencyKind,
    by_block: Vec<Vec<f64>>,
    failed: u32,
    options: &PooledOptions,
) -> Option<Distribution> {
    let sample = Sample::new(by_block.concat()).ok()?;
    let intervals = block_bootstrap_quantiles(&by_block, &QUANTILES, Probability::P95, options.resamples, options.seed);
    drop(by_block);
    let intervals = intervals.unwrap_or_default();
    let ecdf = if options.ecdf_points == 0 {
        Vec::new()
    } else {
        let steps = Ecdf::with_failures(&sample, failed).thinned(options.ecdf_points);
        steps.points().to_vec()
    };
    Some(Distribution {
        latency,
        summary_s: summary(sample.summary()),
        failed,
        quantiles: quantiles(&sample, failed, &intervals),
        ecdf,
    })
}

fn quantiles(sample: &Sample, failed: u32, intervals: &[servelab_stats::Interval]) -> Vec<PooledQuantile> {
    let of = |(i, p): (usize, &Probability)| PooledQuantile {
        success_only: quantile(sample, *p, failed),
        with_failures: or_infinite(sample.quantile_with_failures(*p, failed)),
        block_interval: intervals.get(i).copied().map(interval),
    };
    QUANTILES.iter().enumerate().map(of).collect()
}

/// Mean and spread of some values of one load, and their p50, p90, p95 and p99 with what n and the failures certify; none
/// where there is no value.
#[must_use]
pub fn of_one_load(values: Vec<f64>, failed: u32) -> Option<(Summary, Vec<PooledQuantile>)> {
    let sample = Sample::new(values).ok()?;
    Some((summary(sample.summary()), quantiles(&sample, failed, &[])))
}

#[cfg(test)]
mod tests;
