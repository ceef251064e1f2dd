//! Shares of yes and no: Clopper and Pearson's exact interval, and the exact sign test on pairs that differ.

use crate::{
    Interval, Probability,
    special::{bisect, regularised_beta},
};

/// A share with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proportion {
    /// How many of the n.
    pub hits: u32,
    /// All.
    pub n: u32,
    /// hits / n.
    pub ratio: f64,
    /// Clopper and Pearson's interval, which covers at least as often as it says if the n are independent.
    pub interval: Interval,
}

impl Proportion {
    /// The share of `hits` among `n` with its two-sided interval; none where n is 0 or hits exceed it.
    #[must_use]
    pub fn of(hits: u32, n: u32, confidence: Probability) -> Option<Self> {
        let misses = n.checked_sub(hits).filter(|_| n > 0)?;
        let tail = confidence.complement() / 2.0;
        let (hits_f, misses_f) = (f64::from(hits), f64::from(misses));
        // P(X ≥ hits | p) = I_p(hits, misses + 1) rises with p; the lower end is where it reaches the tail.
        let low = if hits == 0 {
            0.0
        } else {
            bisect(0.0, 1.0, |p| regularised_beta(p, hits_f, misses_f + 1.0) < tail)
        };
        let high = if misses == 0 {
            1.0
        } else {
            bisect(0.0, 1.0, |p| regularised_beta(p, hits_f + 1.0, misses_f) < 1.0 - tail)
        };
        Some(Self {
            hits,
            n,
            ratio: hits_f / f64::from(n),
            interval: Interval { low, high },
        })
    }
}

/// McNemar's exact test on pairs of yes and no: two-sided p of "both kinds of disagreement are equally likely", from the
/// numbers of pairs in which only the first, and only the second, said yes. 1 where none disagree.
#[must_use]
pub fn mcnemar_exact_p(only_first: u32, only_second: u32) -> f64 {
    let (more, fewer) = (only_first.max(only_second), only_first.min(only_second));
    if more == 0 {
        return 1.0;
    }
    // P(X ≥ more) of a binomial with p = 1/2.
    let tail = regularised_beta(0.5, f64::from(more), f64::from(fewer) + 1.0);
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(hits: u32, n: u32, low: f64, high: f64) {
        let p = Proportion::of(hits, n, Probability::P95).unwrap();
        assert!((p.interval.low - low).abs() < 1e-6, "{hits}/{n}: {p:?}");
        assert!((p.interval.high - high).abs() < 1e-6, "{hits}/{n}: {p:?}");
    }

    #[test]
    fn intervals_of_the_tables() {
        // R: binom.test(x, n)$conf.int
        check(7, 10, 0.347_547_1, 0.933_260_5);
        check(0, 10, 0.0, 0.308_497_1);
        check(10, 10, 0.691_502_9, 1.0);
        check(1, 2, 0.012_579_1, 0.987_420_9);
        assert!(Proportion::of(0, 0, Probability::P95).is_none());
        assert!(Proportion::of(3, 2, Probability::P95).is_none());
    }

    #[test]
    fn disagreements() {
        let check = |a: u32, b: u32, p: f64| assert!((mcnemar_exact_p(a, b) - p).abs() < 1e-9, "{a} {b}");
        // R: binom.test(x, n)$p.value
        check(1, 9, 0.021_484_375);
        check(0, 6, 0.031_25);
        check(5, 5, 1.0);
        check(0, 0, 1.0);
        check(0, 1, 1.0);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_the_test_is_symmetric(a in 0_u32..200, b in 0_u32..200) {
            prop_assume!(a + b > 0);
            let p = Proportion::of(a, a + b, Probability::P95).unwrap();
            prop_assert!(p.interval.low <= p.ratio && p.ratio <= p.interval.high);
            let (ab, ba) = (mcnemar_exact_p(a, b), mcnemar_exact_p(b, a));
            prop_assert!((ab - ba).abs() < 1e-12 && ab > 0.0 && ab <= 1.0);
            // The same question asked through the interval: 1/2 lies outside exactly where p is small.
            prop_assume!((ab - 0.05).abs() > 1e-9);
            prop_assert_eq!(ab < 0.05, p.interval.low > 0.5 || p.interval.high < 0.5);
        }
    }
}
