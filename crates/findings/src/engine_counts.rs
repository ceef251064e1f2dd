//! What engines counted of themselves over the trials of a variant: caches, preemptions, speculation, times.
//!
//! Counts are of every request that reached the engine, warm-up and fillers too. Percentiles from histograms lie somewhere
//! in a bucket; its ends stand beside them. What an engine does not tell is absent, never 0.

use crate::num::{count, len_u32};
use servelab_schema::{
    EngineMetrics, HistogramRise, SpeculationRise,
    findings::{Acceptance, BucketQuantile, EngineCounts, EngineTimes, KvUse},
};
use servelab_stats::{Probability, Sample};

/// One trial's part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineTrial<'a> {
    /// What its engine counted; none where it has no metrics.
    pub(crate) metrics: Option<&'a EngineMetrics>,
    /// Shares of its KV cache in use, sampled over the held window.
    pub(crate) kv_used: &'a [f64],
}

/// The counts of several trials together.
#[must_use]
pub(crate) fn engine_counts(trials: &[EngineTrial<'_>]) -> EngineCounts {
    let told: Vec<&EngineMetrics> = trials.iter().filter_map(|t| t.metrics).collect();
    // A sum that one trial is missing from would be of fewer trials than it says.
    let sum = |of: fn(&EngineMetrics) -> Option<u64>| -> Option<u64> {
        (!told.is_empty()).then_some(())?;
        told.iter().map(|m| of(m)).try_fold(0_u64, |sum, x| sum.checked_add(x?))
    };
    let (queries, hits) = (sum(|m| m.prefix_cache_queries), sum(|m| m.prefix_cache_hits));
    let by_count = queries.zip(hits).filter(|(q, _)| *q > 0);
    let times = |of: fn(&EngineMetrics) -> Option<&HistogramRise>| -> Option<EngineTimes> {
        (!told.is_empty()).then_some(())?;
        let rises: Option<Vec<&HistogramRise>> = told.iter().map(|m| of(m)).collect();
        engine_times(&rises?)
    };
    EngineCounts {
        trials: len_u32(told.len()),
        prefix_hit_ratio: by_count.map_or_else(|| mean_ratio(&told), |(q, h)| Some(count(h) / count(q))),
        prefix_queries: by_count.map(|(q, _)| q),
        preemptions: sum(|m| m.preemptions),
        speculation: acceptance(&told),
        ttft: times(|m| m.ttft.as_ref()),
        queue: times(|m| m.queue.as_ref()),
        prefill: times(|m| m.prefill.as_ref()),
        decode: times(|m| m.decode.as_ref()),
        itl: times(|m| m.itl.as_ref()),
        e2e: times(|m| m.e2e.as_ref()),
        kv_use: kv_use(trials),
    }
}

fn mean_ratio(told: &[&EngineMetrics]) -> Option<f64> {
    let ratios: Option<Vec<f64>> = told.iter().map(|m| m.prefix_cache_hit_ratio.map(|r| r.get())).collect();
    let ratios = ratios.filter(|r| !r.is_empty())?;
    Some(ratios.iter().sum::<f64>() / f64::from(len_u32(ratios.len())))
}

fn acceptance(told: &[&EngineMetrics]) -> Option<Acceptance> {
    let rises = told.iter().filter_map(|m| m.speculation.as_ref());
    let rises: Vec<&SpeculationRise> = rises.filter(|r| r.draft_tokens > 0).collect();
    let total = |of: fn(&SpeculationRise) -> u64| rises.iter().map(|r| of(r)).fold(0_u64, u64::saturating_add);
    let (draft_tokens, accepted_tokens) = (total(|r| r.draft_tokens), total(|r| r.accepted_tokens));
    (draft_tokens > 0).then_some(())?;
    let drafts: Option<u64> = rises
        .iter()
        .map(|r| r.drafts)
        .try_fold(0_u64, |sum, d| sum.checked_add(d?));
    // A trial that does not tell its positions, or fewer, would count as drafts without an accepted token there.
    let positions = rises.first().map_or(0, |r| r.accepted_per_position.len());
    let alike = rises.iter().all(|r| r.accepted_per_position.len() == positions);
    let at = |i: usize| {
        let accepted = rises.iter().filter_map(|r| r.accepted_per_position.get(i));
        count(accepted.fold(0_u64, |sum, n| sum.saturating_add(*n)))
    };
    let per_position = drafts
        .filter(|d| *d > 0 && alike)
        .map(|d| (0..positions).map(|i| at(i) / count(d)).collect());
    Some(Acceptance {
        drafts,
        draft_tokens,
        accepted_tokens,
        ratio: Some(count(accepted_tokens) / count(draft_tokens)),
        per_position: per_position.unwrap_or_default(),
    })
}

/// Histograms of several trials as one; none where nothing was observed.
fn engine_times(rises: &[&HistogramRise]) -> Option<EngineTimes> {
    let n = rises.iter().map(|r| r.count).fold(0_u64, u64::saturating_add);
    (n > 0).then_some(())?;
    let sum: f64 = rises.iter().map(|r| r.sum_s).sum();
    let merged = merged(rises);
    let quantile = |p: f64| merged.as_ref().and_then(|m| bucket_quantile(m, n, p));
    Some(EngineTimes {
        n,
        mean_s: sum / count(n),
        p50: quantile(0.5),
        p95: quantile(0.95),
    })
}

/// Buckets added up; none where the bounds are not the same everywhere.
fn merged(rises: &[&HistogramRise]) -> Option<Vec<(f64, u64)>> {
    let mut all: Vec<(f64, u64)> = rises.first()?.at_most.clone();
    for rise in rises.iter().skip(1) {
        let same =
            rise.at_most.len() == all.len() && rise.at_most.iter().zip(&all).all(|(a, b)| a.0.total_cmp(&b.0).is_eq());
        same.then_some(())?;
        for (sum, (_, n)) in all.iter_mut().zip(&rise.at_most) {
            sum.1 = sum.1.saturating_add(*n);
        }
    }
    (!all.is_empty()).then_some(all)
}

/// The p-quantile of cumulative buckets with `n` observations; bounds are taken to begin at 0.
fn bucket_quantile(at_most: &[(f64, u64)], n: u64, p: f64) -> Option<BucketQuantile> {
    let rank = p * count(n);
    let (mut low_s, mut below) = (0.0, 0_u64);
    for &(bound, so_far) in at_most {
        if count(so_far) >= rank && so_far > below {
            let share = ((rank - count(below)) / count(so_far.saturating_sub(below))).clamp(0.0, 1.0);
            return Some(BucketQuantile {
                point_s: Some(low_s + share * (bound - low_s)),
                low_s,
                high_s: Some(bound),
            });
        }
        (low_s, below) = (bound, so_far.max(below));
    }
    Some(BucketQuantile {
        point_s: None,
        low_s,
        high_s: None,
    })
}

fn kv_use(trials: &[EngineTrial<'_>]) -> Option<KvUse> {
    let used: Vec<f64> = trials.iter().flat_map(|t| t.kv_used).copied().collect();
    let max = used.iter().copied().reduce(f64::max)?;
    let sample = Sample::new(used).ok()?;
    Some(KvUse {
        n: sample.n(),
        p50: sample.quantile(Probability::P50),
        p95: sample.quantile(Probability::P95),
        max,
    })
}

#[cfg(test)]
mod tests;
