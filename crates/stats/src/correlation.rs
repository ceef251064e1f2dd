//! How many independent values a series in order is worth.
//!
//! Requests that follow each other meet the same queue, so n of them are fewer than n facts. Their integrated autocorrelation
//! time τ says how many make one: the mean of n has the variance of n/τ independent values. τ is 1 + 2 Σ ρ(k), summed by
//! Geyer's initial monotone sequence (Practical Markov chain Monte Carlo, Statistical Science 7, 1992): pairs ρ(2m) + ρ(2m + 1), each at
//! most its predecessor, until one is not positive. Correlations are those of ranks, so that neither a long tail nor an
//! infinite value decides.

use crate::num::count;

/// Integrated autocorrelation time of a series, in values: 1 where they are independent, never below. Ties share their
/// rank; a series without two different values has nothing to correlate, and gives 1.
#[must_use]
pub fn correlation_time(series: &[f64]) -> f64 {
    let ranks = centred_ranks(series);
    let at = |lag: usize| -> f64 {
        let later = ranks.get(lag..).unwrap_or_default();
        ranks.iter().zip(later).map(|(a, b)| a * b).sum()
    };
    let variance = at(0);
    if variance <= 0.0 {
        return 1.0;
    }
    let mut sum = -1.0;
    let mut before = f64::INFINITY;
    for lag in (0..ranks.len() / 2).step_by(2) {
        let pair = (at(lag) + at(lag + 1)) / variance;
        if pair <= 0.0 {
            break;
        }
        before = pair.min(before);
        sum += 2.0 * before;
    }
    sum.max(1.0)
}

/// Ranks less their mean, in the order of the series.
fn centred_ranks(series: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = series.iter().copied().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let middle = count(series.len().saturating_sub(1)) / 2.0;
    let mut ranked = Vec::with_capacity(series.len());
    let mut first = 0;
    for tied in order.chunk_by(|(_, a), (_, b)| a.total_cmp(b).is_eq()) {
        let rank = count(first) + count(tied.len() - 1) / 2.0 - middle;
        ranked.extend(tied.iter().map(|(at, _)| (*at, rank)));
        first += tied.len();
    }
    ranked.sort_by_key(|(at, _)| *at);
    ranked.into_iter().map(|(_, rank)| rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SplitMix64;
    use proptest::prelude::*;

    /// x(i + 1) = φ x(i) + noise, whose τ is (1 + φ) / (1 − φ).
    fn autoregressive(phi: f64, n: usize, seed: u64) -> Vec<f64> {
        let mut rng = SplitMix64::new(seed);
        let mut x = 0.0;
        std::iter::repeat_with(|| {
            x = phi * x + rng.normal();
            x
        })
        .take(n)
        .collect()
    }

    #[test]
    fn known_correlation_times() {
        for (phi, expected) in [(0.0, 1.0), (0.5, 3.0), (0.8, 9.0)] {
            let mean = (0..10)
                .map(|seed| correlation_time(&autoregressive(phi, 8000, seed)))
                .sum::<f64>()
                / 10.0;
            assert!((mean / expected - 1.0).abs() < 0.15, "φ {phi}: {mean}, not {expected}");
        }
    }

    #[test]
    fn what_does_not_vary_or_alternates_is_not_correlated() {
        let is_one = |series: &[f64]| assert!((correlation_time(series) - 1.0).abs() < 1e-12);
        is_one(&[]);
        is_one(&[3.0; 50]);
        let alternating: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        is_one(&alternating);
    }

    #[test]
    fn failures_weigh_as_ranks() {
        let mut series = autoregressive(0.5, 4000, 3);
        let before = correlation_time(&series);
        let top = series.iter().copied().fold(f64::MIN, f64::max);
        series
            .iter_mut()
            .filter(|x| **x >= top)
            .for_each(|x| *x = f64::INFINITY);
        assert!((correlation_time(&series) - before).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn neither_scale_nor_direction_matters(seed in 0_u64..1000, n in 0_usize..300) {
            let series = autoregressive(0.6, n, seed);
            let turned: Vec<f64> = series.iter().rev().map(|x| 5.0 - 2.0 * x).collect();
            let (a, b) = (correlation_time(&series), correlation_time(&turned));
            prop_assert!(a >= 1.0 && (a - b).abs() < 1e-6, "{} {}", a, b);
        }
    }
}
