//! E2E p99: all blocks' requests pooled, the ratio of the two percentiles, its interval from resampling whole blocks.
//!
//! It is described and never tested: a block alone has too few requests for its own p99, and a percentile interval over ten
//! blocks covers less than it says. Failed requests count as +∞, or a timeout would make a tail look short.

use crate::compare::CellMetrics;
use crate::num::len_u32;
use crate::pairing::Pairs;
use servelab_schema::findings::{Estimate, EstimatedBy, Hindrance, Interval, PooledRequests};
use servelab_stats::{PooledBlock, Probability, pooled_quantile_ratio, smallest_certifying_n};

/// Resamples of the block bootstrap.
const RESAMPLES: u32 = 1000;

/// The pooled requests of the pairs' two sides, and what they say; an estimate needs two blocks.
pub(super) fn estimate(
    pairs: &Pairs<'_>,
    confidence: Probability,
    seed: u64,
) -> (PooledRequests, Result<Option<Estimate>, Hindrance>) {
    let variant: Vec<PooledBlock> = pairs.pairs.iter().map(|p| block([p.variant])).collect();
    let control: Vec<PooledBlock> = pairs.pairs.iter().map(|p| block(p.controls.iter().copied())).collect();
    let requests = PooledRequests {
        variant: count(&variant),
        control: count(&control),
    };
    let fewest = requests.variant.min(requests.control);
    let needs = smallest_certifying_n(Probability::P99);
    if fewest < needs {
        let hindrance = Hindrance::NotCertifiable {
            requests: fewest,
            needs,
        };
        return (requests, Err(hindrance));
    }
    if pairs.pairs.len() < 2 {
        return (requests, Ok(None));
    }
    let ratio = pooled_quantile_ratio(&variant, &control, Probability::P99, confidence, RESAMPLES, seed);
    let estimate = ratio.ok_or(Hindrance::AmongFailures).map(|ratio| {
        let percent = |log: f64| log.exp_m1() * 100.0;
        Some(Estimate {
            by: EstimatedBy::BlockBootstrap,
            mean_log_ratio: ratio.log_ratio,
            sd_log_ratio: None,
            effect_percent: percent(ratio.log_ratio),
            interval_percent: ratio.interval.map(|i| Interval {
                low: percent(i.low),
                high: percent(i.high),
            }),
            p_t: None,
            autocorrelation: None,
            p_sign_flip: None,
            p_adjusted: None,
            p_tost: None,
            p_tost_adjusted: None,
        })
    });
    (requests, estimate)
}

fn block<'a>(cells: impl IntoIterator<Item = &'a CellMetrics>) -> PooledBlock {
    let mut all = PooledBlock::default();
    for cell in cells {
        all.values.extend_from_slice(&cell.e2e_s);
        all.infinite = all.infinite.saturating_add(cell.failed);
    }
    all
}

fn count(blocks: &[PooledBlock]) -> u32 {
    let each = blocks
        .iter()
        .map(|b| len_u32(b.values.len()).saturating_add(b.infinite));
    each.fold(0, u32::saturating_add)
}
