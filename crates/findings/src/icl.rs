//! Gaps between token chunks: so many that only a histogram of three significant digits is kept.

use hdrhistogram::Histogram;
use servelab_schema::findings::Summary;

/// Gaps of a trial. Mean, spread and extremes are exact; percentiles are those of the histogram.
#[derive(Debug)]
pub(crate) struct Gaps {
    ns: Histogram<u64>,
    n: u64,
    mean_ns: f64,
    squares: f64,
    min_ns: u64,
    max_ns: u64,
}

/// Longest gap that the histogram tells apart: an hour. A longer one counts as that long, and `max` still is exact.
const LONGEST_NS: u64 = 3_600_000_000_000;

impl Gaps {
    #[expect(clippy::expect_used, reason = "the bounds are constants that hdrhistogram accepts")]
    pub(crate) fn new() -> Self {
        Self {
            ns: Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds of hdrhistogram"),
            n: 0,
            mean_ns: 0.0,
            squares: 0.0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }

    pub(crate) fn add(&mut self, gap_ns: u64) {
        self.ns.saturating_record(gap_ns.max(1));
        self.n += 1;
        let x = crate::num::count(gap_ns);
        let distance = x - self.mean_ns;
        self.mean_ns += distance / crate::num::count(self.n);
        self.squares = distance.mul_add(x - self.mean_ns, self.squares);
        self.min_ns = self.min_ns.min(gap_ns);
        self.max_ns = self.max_ns.max(gap_ns);
    }

    /// In seconds; none where there was no gap.
    pub(crate) fn summary_s(&self) -> Option<Summary> {
        let seconds = |ns: u64| servelab_schema::Nanos(ns).as_secs_f64();
        let at = |q: f64| seconds(self.ns.value_at_quantile(q).clamp(self.min_ns, self.max_ns));
        (self.n > 0).then(|| Summary {
            n: self.n,
            mean: self.mean_ns / 1e9,
            sd: (self.n > 1).then(|| (self.squares.max(0.0) / crate::num::count(self.n - 1)).sqrt() / 1e9),
            min: seconds(self.min_ns),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: seconds(self.max_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_of_every_percentile_and_exact_moments() {
        let mut gaps = Gaps::new();
        assert_eq!(gaps.summary_s(), None);
        for i in 1..=100_000_u64 {
            gaps.add(i * 1_000);
        }
        let s = gaps.summary_s().unwrap();
        assert_eq!(s.n, 100_000);
        assert!((s.mean - 0.050_000_5).abs() < 1e-12);
        assert!((s.min - 1e-6).abs() < 1e-15 && (s.max - 0.1).abs() < 1e-15);
        for (got, true_value) in [(s.p50, 0.05), (s.p95, 0.095), (s.p99, 0.099)] {
            assert!((got / true_value - 1.0).abs() < 1e-3, "{got} for {true_value}");
        }
        assert!((s.sd.unwrap() - 0.028_867_6).abs() < 1e-6);
    }

    #[test]
    fn gaps_of_nothing_and_of_days_are_counted() {
        let mut gaps = Gaps::new();
        gaps.add(0);
        gaps.add(LONGEST_NS * 30);
        let s = gaps.summary_s().unwrap();
        assert_eq!(s.n, 2);
        assert!(s.min.abs() < f64::EPSILON && s.max > 3600.0 * 29.0);
    }
}
