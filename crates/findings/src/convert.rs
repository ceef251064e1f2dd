//! From the statistics' types to those of the files.

use servelab_schema::findings::{Certification, Interval, OrInfinite, Proportion, Quantile, Summary};
use servelab_stats::{self as stats, Probability, Sample};

pub(crate) const fn interval(i: stats::Interval) -> Interval {
    Interval {
        low: i.low,
        high: i.high,
    }
}

pub(crate) fn summary(s: stats::Summary) -> Summary {
    Summary {
        n: u64::from(s.n),
        mean: s.mean,
        sd: s.sd,
        min: s.min,
        p50: s.p50,
        p90: s.p90,
        p95: s.p95,
        p99: s.p99,
        max: s.max,
    }
}

pub(crate) const fn or_infinite(x: stats::OrInfinite) -> OrInfinite {
    match x {
        stats::OrInfinite::Finite(x) => OrInfinite::Finite(x),
        stats::OrInfinite::Infinite => OrInfinite::Infinite,
    }
}

pub(crate) const fn proportion(p: stats::Proportion) -> Proportion {
    Proportion {
        hits: p.hits,
        n: p.n,
        ratio: p.ratio,
        interval: interval(p.interval),
    }
}

/// What the values and `failed` failures, each +∞, certify of their p-quantile.
pub(crate) fn certified(sample: &Sample, p: Probability, failed: u32) -> Certification {
    match stats::certify(sample, failed, p) {
        stats::Certification::Certified { bound, rank_from_top } => Certification::Certified {
            bound: or_infinite(bound),
            rank_from_top,
        },
        stats::Certification::NotCertifiable { needs } => Certification::NotCertifiable { needs },
    }
}

pub(crate) fn quantile(sample: &Sample, p: Probability, failed: u32) -> Quantile {
    Quantile {
        p: p.get(),
        n: sample.n(),
        point: sample.quantile(p),
        certified: certified(sample, p, failed),
    }
}

/// The figures of some values; none where there are none.
pub(crate) fn summary_of(values: impl Iterator<Item = f64>) -> Option<Summary> {
    Sample::new(values.collect::<Vec<_>>())
        .ok()
        .map(|s| summary(s.summary()))
}
