//! Differences that follow each other in time and hang together: how much, and a t test that knows it.
//!
//! Parts: [`Autocorrelation::of`] estimates the correlation of neighbours, [`autocorrelated_t`] widens the t interval by it.
//!
//! For a stationary series whose lag-j correlation is ρ^j the variance of the mean of k values is σ²/k · (1 + ρ)/(1 − ρ), as
//! if there were k(1 − ρ)/(1 + ρ) independent ones (Bayley & Hammersley 1946). The sum of squares about their own mean is then
//! σ²(k − (1 + ρ)/(1 − ρ)) and not σ²(k − 1), and the usual estimate of ρ is too small by about (1 + 4ρ)/k (Marriott & Pope
//! 1954, Kendall 1954): (k·r + 1)/(k − 4) is free of that.
//!
//! Still, ten or twenty values know ρ to ±0.3 only. Where it comes out too small the test errs, where it comes out near 1 the
//! test sees nothing. So what is reckoned with lies between what was measured and [`EXPECTED`], which counts as much as
//! [`EXPECTED_WEIGHT`] values, and the test has half the degrees of freedom of an ordinary one. Both were chosen by simulation:
//! docs/METHODOLOGY.md has the rates. The test is never narrower than the ordinary one on the same values.

use crate::{
    PairedT, Probability,
    num::{count, len_u32},
    paired::{Spread, with_spread},
    sample::mean_and_squares,
};

/// The correlation of neighbours that is expected before anything is measured.
pub const EXPECTED: f64 = 0.6;

/// As many values as the expectation weighs.
pub const EXPECTED_WEIGHT: f64 = 10.0;

/// Fewest values that say anything of it: with fewer the correction of the bias is larger than what it corrects.
pub const FEWEST: usize = 6;

/// What a measured correlation is held within before it is reckoned with.
const MEASURED: (f64, f64) = (-0.5, 0.9);

/// A value and its place in time: neighbours are those whose places follow on each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Place in time, such as the number of a block.
    pub place: u32,
    /// The value.
    pub value: f64,
}

/// How much neighbours in a series correlate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Autocorrelation {
    /// What the values show, corrected for the bias of a short series; none for fewer than [`FEWEST`], for values without
    /// neighbours, and for equal ones.
    pub measured: Option<f64>,
    /// What is reckoned with: at least 0.
    pub used: f64,
}

impl Autocorrelation {
    /// Of values in ascending order of place. Pairs that a gap divides are left out.
    #[must_use]
    pub fn of(values: &[Placed]) -> Self {
        let measured = measured(values);
        let k = measured.map_or(0.0, |_| count(values.len()));
        let within = measured.unwrap_or_default().clamp(MEASURED.0, MEASURED.1);
        let used = k.mul_add(within, EXPECTED_WEIGHT * EXPECTED) / (k + EXPECTED_WEIGHT);
        Self {
            measured,
            used: used.max(0.0),
        }
    }

    /// How many independent values say as much of the mean as `k` of these.
    #[must_use]
    pub fn effective_count(&self, k: u32) -> f64 {
        f64::from(k) / inflation(self.used)
    }
}

fn measured(values: &[Placed]) -> Option<f64> {
    let k = values.len();
    if k < FEWEST || values.iter().any(|v| !v.value.is_finite()) {
        return None;
    }
    let (mean, squares) = mean_and_squares(&values.iter().map(|v| v.value).collect::<Vec<_>>());
    let neighbours = values.windows(2).filter_map(|pair| match pair {
        [a, b] if a.place.checked_add(1) == Some(b.place) => Some((a.value - mean) * (b.value - mean)),
        _ => None,
    });
    let (pairs, products) = neighbours.fold((0_usize, 0.0), |(n, sum), product| (n + 1, sum + product));
    if pairs == 0 || squares <= 0.0 {
        return None;
    }
    // Of k values there are k − 1 pairs of neighbours; where gaps leave fewer, each stands for more.
    let raw = count(k.saturating_sub(1)) / count(pairs) * products / squares;
    let k = count(k);
    Some(k.mul_add(raw, 1.0) / (k - 4.0))
}

/// (1 + ρ)/(1 − ρ) of a ρ from 0 to 0.9.
fn inflation(rho: f64) -> f64 {
    let rho = rho.clamp(0.0, MEASURED.1);
    (1.0 + rho) / (1.0 - rho)
}

/// The t interval with the given two-sided confidence, and the p of "mean = 0", of differences whose neighbours correlate by
/// `rho`. None where [`paired_t`](crate::paired_t) has none.
#[must_use]
pub fn autocorrelated_t(differences: &[f64], rho: f64, confidence: Probability) -> Option<PairedT> {
    let k = differences.len();
    if k < 2 || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let (mean, squares) = mean_and_squares(differences);
    let (inflation, n) = (inflation(rho), count(k));
    let of_one = squares / (n - inflation).clamp(1.0, n - 1.0);
    let spread = Spread {
        sd: (squares / (n - 1.0)).sqrt(),
        standard_error: (of_one * inflation / n).sqrt(),
        df: (n - 1.0) / 2.0,
    };
    with_spread(len_u32(k), mean, spread, confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SplitMix64, paired_t};
    use proptest::prelude::*;

    /// A stationary series of SD 1 whose neighbours correlate by `rho`.
    fn series(rng: &mut SplitMix64, k: u32, rho: f64) -> Vec<Placed> {
        let mut x = rng.normal();
        let step = |place| {
            let value = x;
            x = rho * x + (1.0 - rho * rho).sqrt() * rng.normal();
            Placed { place, value }
        };
        (1..=k).map(step).collect()
    }

    fn values(series: &[Placed]) -> Vec<f64> {
        series.iter().map(|p| p.value).collect()
    }

    #[test]
    fn what_is_measured_is_right_on_average() {
        for rho in [0.0, 0.3, 0.6] {
            let mut rng = SplitMix64::new(17);
            let all: f64 = (0..2000)
                .map(|_| Autocorrelation::of(&series(&mut rng, 20, rho)).measured.unwrap())
                .sum();
            let mean = all / 2000.0;
            assert!((mean - rho).abs() < 0.03, "{mean}, not {rho}");
        }
    }

    /// Lag-1 autocorrelation by hand: 1, −1, 1, … has raw −(k − 1)/k.
    #[test]
    fn an_alternating_series_by_hand() {
        let values: Vec<Placed> = (1..=8)
            .map(|place| Placed {
                place,
                value: if place % 2 == 0 { 1.0 } else { -1.0 },
            })
            .collect();
        let got = Autocorrelation::of(&values);
        assert!(
            (got.measured.unwrap() - (8.0 * -0.875 + 1.0) / 4.0).abs() < 1e-12,
            "{got:?}"
        );
        assert!((got.used - (8.0 * -0.5 + 6.0) / 18.0).abs() < 1e-12, "{got:?}");
        // Every second one is lost: no two are neighbours, and the expectation alone is left.
        let gaps: Vec<Placed> = values
            .iter()
            .map(|p| Placed {
                place: 2 * p.place,
                ..*p
            })
            .collect();
        let got = Autocorrelation::of(&gaps);
        assert_eq!((got.measured, got.used), (None, EXPECTED));
        assert!((got.effective_count(20) - 5.0).abs() < 1e-12);
        assert_eq!(Autocorrelation::of(&values[..5]).measured, None);
        let equal: Vec<Placed> = (1..=9).map(|place| Placed { place, value: 0.5 }).collect();
        assert_eq!(Autocorrelation::of(&equal).measured, None);
    }

    /// Of how many series of 1000 without an effect the test says that there is one, at 5 %.
    fn errs(k: u32, rho: f64) -> (u32, u32) {
        let mut rng = SplitMix64::new(2026);
        let (mut knows, mut plain) = (0, 0);
        for _ in 0..1000 {
            let series = series(&mut rng, k, rho);
            let d = values(&series);
            let used = Autocorrelation::of(&series).used;
            knows += u32::from(autocorrelated_t(&d, used, Probability::P95).unwrap().p <= 0.05);
            plain += u32::from(paired_t(&d, Probability::P95).unwrap().p <= 0.05);
        }
        (knows, plain)
    }

    #[test]
    fn the_test_holds_its_rate_where_the_ordinary_one_errs_six_times_as_often() {
        for k in [16, 20, 30] {
            for (rho, most) in [(0.0, 50), (0.3, 55), (0.6, 85)] {
                let (knows, plain) = errs(k, rho);
                assert!(knows <= most, "k {k}, ρ {rho}: {knows} of 1000");
                if rho > 0.5 {
                    assert!(plain > 250, "k {k}: {plain} of 1000");
                }
            }
        }
    }

    #[test]
    fn degenerate_inputs() {
        assert!(autocorrelated_t(&[1.0], 0.5, Probability::P95).is_none());
        assert!(autocorrelated_t(&[1.0, f64::NAN], 0.5, Probability::P95).is_none());
        let zero = autocorrelated_t(&[0.0; 7], 0.5, Probability::P95).unwrap();
        assert!((zero.p - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn never_narrower_than_the_ordinary_test(d in prop::collection::vec(-1.0..1.0_f64, 2..20), rho in -0.5..1.0_f64) {
            let ordinary = paired_t(&d, Probability::P95).unwrap();
            let wide = autocorrelated_t(&d, rho, Probability::P95).unwrap();
            prop_assert!(wide.low <= ordinary.low && wide.high >= ordinary.high, "{:?} {:?}", wide, ordinary);
            prop_assert!(wide.p >= ordinary.p && (wide.sd - ordinary.sd).abs() < 1e-12);
            prop_assume!((wide.p - 0.05).abs() > 1e-9);
            prop_assert_eq!(wide.p < 0.05, wide.low > 0.0 || wide.high < 0.0);
        }
    }
}
