//! A sample: what every statistic starts from. It is never empty, holds only finite numbers, and is sorted.

use crate::num::{count, floor_index, len_u32};

/// A probability strictly between 0 and 1, such as 0.99 for p99.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Probability(f64);

/// Why a number is no probability.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not strictly between 0 and 1; write p99 as 0.99")]
pub struct ProbabilityError(pub f64);

impl Probability {
    /// The median.
    pub const P50: Self = Self(0.5);
    /// The 90th percentile.
    pub const P90: Self = Self(0.9);
    /// The 95th percentile.
    pub const P95: Self = Self(0.95);
    /// The 99th percentile.
    pub const P99: Self = Self(0.99);
    /// The 99.9th percentile.
    pub const P999: Self = Self(0.999);

    /// A checked probability.
    ///
    /// # Errors
    /// Refuses NaN and what is not strictly between 0 and 1.
    pub fn new(value: f64) -> Result<Self, ProbabilityError> {
        if value > 0.0 && value < 1.0 {
            Ok(Self(value))
        } else {
            Err(ProbabilityError(value))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// 1 − p, also strictly between 0 and 1 unless p is closer to 0 than a number can show.
    #[must_use]
    pub const fn complement(self) -> f64 {
        1.0 - self.0
    }
}

/// A value that failures may push to infinity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OrInfinite {
    /// A finite value, in the sample's unit.
    Finite(f64),
    /// So many failed that the quantile lies among them.
    Infinite,
}

impl OrInfinite {
    /// The finite value, if it is one.
    #[must_use]
    pub const fn finite(self) -> Option<f64> {
        match self {
            Self::Finite(x) => Some(x),
            Self::Infinite => None,
        }
    }
}

/// Why numbers are no sample.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// There is nothing to summarise; absent is not 0.
    #[error("no values: a statistic of nothing does not exist")]
    Empty,
    /// NaN or an infinity.
    #[error("value {index} is {value}; a sample holds finite numbers only, count failures apart")]
    NotFinite {
        /// Position in the input, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
}

/// Finite numbers in ascending order, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Sorts and checks.
    ///
    /// # Errors
    /// [`SampleError`] for no values and for values that are not finite.
    pub fn new(values: impl Into<Vec<f64>>) -> Result<Self, SampleError> {
        let mut values = values.into();
        if values.is_empty() {
            return Err(SampleError::Empty);
        }
        if let Some((index, &value)) = values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(SampleError::NotFinite { index, value });
        }
        values.sort_unstable_by(f64::total_cmp);
        Ok(Self(values))
    }

    /// The values, ascending.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Number of values; at least 1.
    #[must_use]
    pub fn n(&self) -> u32 {
        len_u32(self.0.len())
    }

    /// Smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.order_statistic(0)
    }

    /// Largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.order_statistic(self.0.len().saturating_sub(1))
    }

    /// Arithmetic mean (Welford's recurrence, so that large values do not overflow the sum).
    #[must_use]
    pub fn mean(&self) -> f64 {
        mean_and_squares(&self.0).0
    }

    /// Standard deviation with divisor n − 1; none for a single value.
    #[must_use]
    pub fn sd(&self) -> Option<f64> {
        let (_, squares) = mean_and_squares(&self.0);
        (self.0.len() > 1).then(|| (squares / count(self.0.len().saturating_sub(1))).sqrt())
    }

    /// Quantile of Hyndman and Fan's type 7 (the default of R and NumPy): linear between order statistics, at position
    /// (n − 1)·p from 0.
    #[must_use]
    pub fn quantile(&self, p: Probability) -> f64 {
        type_7(self.0.len(), p, |i| OrInfinite::Finite(self.order_statistic(i)))
            .finite()
            .unwrap_or_else(|| self.max())
    }

    /// Type-7 quantile of these values together with `failures` values of +∞.
    #[must_use]
    pub fn quantile_with_failures(&self, p: Probability, failures: u32) -> OrInfinite {
        let n = self
            .0
            .len()
            .saturating_add(usize::try_from(failures).unwrap_or(usize::MAX));
        type_7(n, p, |i| {
            self.0.get(i).map_or(OrInfinite::Infinite, |&x| OrInfinite::Finite(x))
        })
    }

    /// The t-th largest value, from 1 for the maximum; none past the end.
    #[must_use]
    pub fn nth_largest(&self, t: usize) -> Option<f64> {
        let index = self.0.len().checked_sub(t)?;
        self.0.get(index).copied()
    }

    /// The usual figures in one go.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            n: self.n(),
            mean: self.mean(),
            sd: self.sd(),
            min: self.min(),
            p50: self.quantile(Probability::P50),
            p90: self.quantile(Probability::P90),
            p95: self.quantile(Probability::P95),
            p99: self.quantile(Probability::P99),
            max: self.max(),
        }
    }

    /// The i-th smallest, from 0; the largest past the end. The sample is never empty, so this always is a value.
    fn order_statistic(&self, i: usize) -> f64 {
        self.0.get(i).or_else(|| self.0.last()).copied().unwrap_or(f64::NAN)
    }
}

/// Type-7 quantile over `n` order statistics; a positive weight on an infinite one gives infinity.
fn type_7(n: usize, p: Probability, at: impl Fn(usize) -> OrInfinite) -> OrInfinite {
    let position = count(n.saturating_sub(1)) * p.get();
    let below = floor_index(position);
    let weight = position - count(below);
    match (at(below), weight > 0.0) {
        (OrInfinite::Finite(low), true) => match at(below + 1) {
            // This form never leaves [low, high], which low·(1−w) + high·w can by rounding.
            OrInfinite::Finite(high) => OrInfinite::Finite((high - low).mul_add(weight, low).clamp(low, high.max(low))),
            OrInfinite::Infinite => OrInfinite::Infinite,
        },
        (low, _) => low,
    }
}

/// Mean and sum of squared distances from it; (0, 0) for no values.
pub(crate) fn mean_and_squares(values: &[f64]) -> (f64, f64) {
    let mut mean = 0.0;
    let mut squares = 0.0;
    for (i, &x) in values.iter().enumerate() {
        let distance = x - mean;
        mean += distance / count(i + 1);
        squares = distance.mul_add(x - mean, squares);
    }
    (mean, squares.max(0.0))
}

/// The usual figures of a sample, all in the sample's unit. A quantile here is a description; whether it is certified
/// is said by [`certify`](crate::certify::certify).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub n: u32,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with divisor n − 1; none for a single value.
    pub sd: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[f64], p: f64, expected: f64) {
        let got = Sample::new(values).unwrap().quantile(Probability::new(p).unwrap());
        assert!((got - expected).abs() < 1e-12, "{values:?} p{p}: {got}, not {expected}");
    }

    #[test]
    fn type_7_known_answers() {
        // R: quantile(c(1, 2, 4, 8, 16), c(.25, .5, .9), type = 7)
        check(&[16.0, 1.0, 4.0, 2.0, 8.0], 0.25, 2.0);
        check(&[16.0, 1.0, 4.0, 2.0, 8.0], 0.5, 4.0);
        check(&[16.0, 1.0, 4.0, 2.0, 8.0], 0.9, 12.8);
        check(&[7.0], 0.99, 7.0);
        check(&[1.0, 2.0], 0.5, 1.5);
    }

    #[test]
    fn moments() {
        let s = Sample::new([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert!((s.mean() - 5.0).abs() < 1e-12);
        assert!((s.sd().unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(Sample::new([3.0]).unwrap().sd(), None);
    }

    #[test]
    fn nothing_has_no_statistics() {
        assert_eq!(Sample::new([]), Err(SampleError::Empty));
        assert!(Sample::new([1.0, f64::NAN]).is_err());
        assert!(Sample::new([f64::INFINITY]).is_err());
        for bad in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(Probability::new(bad).is_err());
        }
    }

    #[test]
    fn failures_lie_above_everything() {
        let s = Sample::new([1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(s.quantile_with_failures(Probability::P50, 1), OrInfinite::Finite(3.0));
        assert_eq!(s.quantile_with_failures(Probability::P90, 1), OrInfinite::Infinite);
        assert_eq!(s.quantile_with_failures(Probability::P50, 0), OrInfinite::Finite(2.5));
        assert_eq!(s.quantile_with_failures(Probability::P50, 4), OrInfinite::Infinite);
    }

    #[test]
    fn from_the_top() {
        let s = Sample::new([1.0, 2.0, 3.0]).unwrap();
        assert_eq!(
            (s.nth_largest(1), s.nth_largest(3), s.nth_largest(4)),
            (Some(3.0), Some(1.0), None)
        );
        assert_eq!(s.nth_largest(0), None);
    }

    /// The definition, written as plainly as possible: Hyndman and Fan (1996), type 7.
    fn naive(values: &[f64], p: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let h = count(sorted.len() - 1) * p;
        let (j, g) = (floor_index(h), h.fract());
        let upper = sorted[(j + 1).min(sorted.len() - 1)];
        (1.0 - g) * sorted[j] + g * upper
    }

    proptest! {
        #[test]
        fn quantile_agrees_with_the_definition(
            values in prop::collection::vec(-1e6..1e6_f64, 1..80), p in 0.001..0.999_f64
        ) {
            let got = Sample::new(values.clone()).unwrap().quantile(Probability::new(p).unwrap());
            prop_assert!((got - naive(&values, p)).abs() <= 1e-6);
        }

        #[test]
        fn quantile_is_monotone_and_inside(values in prop::collection::vec(-1e6..1e6_f64, 1..80), p in 0.01..0.98_f64) {
            let s = Sample::new(values).unwrap();
            let (a, b) = (s.quantile(Probability::new(p).unwrap()), s.quantile(Probability::new(p + 0.01).unwrap()));
            prop_assert!(s.min() <= a && a <= b && b <= s.max());
        }

        #[test]
        fn infinities_are_an_ordinary_sample_with_huge_values(
            values in prop::collection::vec(0.0..1e3_f64, 1..40), failures in 0_u32..40, p in 0.01..0.99_f64
        ) {
            let p = Probability::new(p).unwrap();
            let mut huge = values.clone();
            huge.extend(std::iter::repeat_n(1e30, usize::try_from(failures).unwrap()));
            let oracle = Sample::new(huge).unwrap().quantile(p);
            match Sample::new(values).unwrap().quantile_with_failures(p, failures) {
                OrInfinite::Finite(x) => prop_assert!((x - oracle).abs() < 1e-6),
                OrInfinite::Infinite => prop_assert!(oracle > 1e12),
            }
        }
    }
}
