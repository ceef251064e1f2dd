//! How many requests certify a quantile: the early-stopping bound of MLPerf's LoadGen at 99 % confidence.
//!
//! With n independent values of which t are allowed above the bound, the t-th largest is at or above the true p-quantile
//! with 99 % confidence when P(at most t of n lie above the quantile) = I_p(n − t, t + 1) ≤ 0.01. The bound is the t-th largest
//! for the largest such t ≥ 1; where not even t = 1 holds, the quantile is not certifiable. Source: MLCommons inference,
//! loadgen `early_stopping.cc`. A request that failed is one of the n and counts as +∞, above every value. It assumes independent
//! values; values of one engine start are not, so an interval from [resampling blocks](crate::bootstrap) stands beside it.

use crate::{OrInfinite, Probability, Sample};

/// What the number of values says about a quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Certification {
    /// The quantile is at most `bound` with 99 % confidence.
    Certified {
        /// The certified upper bound, in the sample's unit: the `rank_from_top`-th largest value, failures on top.
        bound: OrInfinite,
        /// t: 1 for the maximum.
        rank_from_top: u32,
    },
    /// Too few values.
    NotCertifiable {
        /// Smallest number of values that certifies this quantile.
        needs: u32,
    },
}

impl Certification {
    /// True for [`Certification::Certified`].
    #[must_use]
    pub const fn is_certified(&self) -> bool {
        matches!(self, Self::Certified { .. })
    }
}

/// A quantile, with what certifies it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// Which quantile.
    pub p: Probability,
    /// Number of values.
    pub n: u32,
    /// Point estimate of the values: type 7, in the sample's unit.
    pub point: f64,
    /// What n and the failures certify.
    pub certified: Certification,
}

impl Quantile {
    /// The p-quantile of a sample beside which `failures` requests have no value.
    #[must_use]
    pub fn of(sample: &Sample, failures: u32, p: Probability) -> Self {
        Self {
            p,
            n: sample.n(),
            point: sample.quantile(p),
            certified: certify(sample, failures, p),
        }
    }
}

/// 1 − confidence.
const MISS: f64 = 0.01;

/// Natural logarithm of P(exactly 0 of n above), then of exactly 1, and so on: terms of the binomial distribution.
fn log_terms(n: u32, p: Probability) -> impl Iterator<Item = f64> {
    let odds = p.complement().ln() - p.get().ln();
    let mut term = f64::from(n) * p.get().ln();
    (0..=n).map(move |i| {
        let current = term;
        term += f64::from(n.saturating_sub(i)).ln() - f64::from(i + 1).ln() + odds;
        current
    })
}

/// P(at most `t` of `n` lie above the p-quantile) = I_p(n − t, t + 1).
fn at_most(t: u32, n: u32, p: Probability) -> f64 {
    let terms = log_terms(n, p).take(usize::try_from(t).unwrap_or(usize::MAX).saturating_add(1));
    terms.map(f64::exp).sum()
}

/// Largest t ≥ 1 whose t-th largest of n values bounds the p-quantile; none where n is too small.
fn largest_rank(n: u32, p: Probability) -> Option<u32> {
    let mut sum = 0.0;
    let mut passing = 0_u32;
    for term in log_terms(n, p) {
        sum += term.exp();
        if sum > MISS {
            break;
        }
        passing += 1;
    }
    // `passing` terms 0..=t fitted below the limit, so t is one less.
    passing.checked_sub(1).filter(|&t| t >= 1)
}

/// Smallest n that certifies the p-quantile: p50 11, p90 64, p95 130, p97 219, p99 662, p99.9 6636.
#[must_use]
pub fn smallest_certifying_n(p: Probability) -> u32 {
    let passes = |n: u32| at_most(1, n, p) <= MISS;
    let mut high = 2_u32;
    while !passes(high) {
        let Some(next) = high.checked_mul(2) else {
            return u32::MAX;
        };
        high = next;
    }
    let mut low = high / 2;
    // low fails (or is 1, which cannot pass); high passes.
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        if passes(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Certified upper bound of the p-quantile at 99 % confidence with `failures` requests as +∞, or how many requests it would
/// take.
#[must_use]
pub fn certify(sample: &Sample, failures: u32, p: Probability) -> Certification {
    let n = sample.n().saturating_add(failures);
    let bound = largest_rank(n, p).and_then(|t| {
        let bound = match t.checked_sub(failures).filter(|&among_values| among_values >= 1) {
            Some(among_values) => OrInfinite::Finite(sample.nth_largest(usize::try_from(among_values).ok()?)?),
            None => OrInfinite::Infinite,
        };
        Some(Certification::Certified {
            bound,
            rank_from_top: t,
        })
    });
    bound.unwrap_or_else(|| Certification::NotCertifiable {
        needs: smallest_certifying_n(p),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::regularised_beta;
    use proptest::prelude::*;

    /// The sample 1, 2, …, n: its values are their own ranks.
    fn ranks(n: u32) -> Sample {
        Sample::new((1..=n).map(f64::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn smallest_numbers_of_mlperf() {
        for (p, n) in [
            (0.5, 11),
            (0.9, 64),
            (0.95, 130),
            (0.97, 219),
            (0.99, 662),
            (0.999, 6636),
        ] {
            assert_eq!(smallest_certifying_n(Probability::new(p).unwrap()), n, "p{p}");
        }
    }

    #[test]
    fn two_hundred_certify_p95_but_not_p99() {
        assert!(certify(&ranks(200), 0, Probability::P95).is_certified());
        assert_eq!(
            certify(&ranks(200), 0, Probability::P99),
            Certification::NotCertifiable { needs: 662 }
        );
        assert_eq!(
            certify(&ranks(600), 0, Probability::P99),
            Certification::NotCertifiable { needs: 662 }
        );
    }

    #[test]
    fn eighteen_hundred_give_p99_as_the_eighth_largest() {
        assert_eq!(
            certify(&ranks(1800), 0, Probability::P99),
            Certification::Certified {
                bound: OrInfinite::Finite(1793.0),
                rank_from_top: 8
            }
        );
        assert_eq!(
            certify(&ranks(662), 0, Probability::P99),
            Certification::Certified {
                bound: OrInfinite::Finite(662.0),
                rank_from_top: 1
            }
        );
    }

    #[test]
    fn failures_lie_above_every_value() {
        let of = |values, failures| match certify(&ranks(values), failures, Probability::P99) {
            Certification::Certified { bound, rank_from_top } => Some((bound, rank_from_top)),
            Certification::NotCertifiable { .. } => None,
        };
        // 1800 requests of which k failed: the 8th largest is the (8 − k)-th of the values.
        for (failed, bound) in [
            (0, OrInfinite::Finite(1793.0)),
            (1, OrInfinite::Finite(1793.0)),
            (7, OrInfinite::Finite(1793.0)),
            (8, OrInfinite::Infinite),
            (1000, OrInfinite::Infinite),
        ] {
            assert_eq!(of(1800 - failed, failed), Some((bound, 8)), "{failed}");
        }
        // Failures are requests: they add to n, and certify nothing finite by that.
        assert_eq!(of(600, 0), None);
        assert_eq!(of(600, 62), Some((OrInfinite::Infinite, 1)));
    }

    #[test]
    fn the_bound_is_rarely_below_the_quantile() {
        // The t-th largest lies below the quantile where at most t − 1 values lie above it.
        assert!(at_most(8 - 1, 1800, Probability::P99) < 0.01);
        assert!(at_most(12 - 1, 1800, Probability::P99) > 0.01);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_incomplete_beta_function(n in 2_u32..3000, t in 0_u32..20, p in 0.05..0.9995_f64) {
            prop_assume!(t < n);
            let p = Probability::new(p).unwrap();
            let oracle = regularised_beta(p.get(), f64::from(n - t), f64::from(t + 1));
            prop_assert!((at_most(t, n, p) - oracle).abs() < 1e-9);
        }

        #[test]
        fn more_values_never_certify_less(n in 2_u32..3000) {
            let t = |n| largest_rank(n, Probability::P95).unwrap_or(0);
            prop_assert!(t(n) <= t(n + 1));
            prop_assert_eq!(t(n) >= 1, n >= 130);
        }
    }
}
