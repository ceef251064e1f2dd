//! Two samples without pairs: Welch's t, whose spreads need not be equal. Interval, p and the p of equivalence come from the same
//! statistic and never disagree.

use crate::{
    Probability,
    num::{count, len_u32},
    paired::{Inferred, inferred},
    power::{MAX_BLOCKS, smallest},
    sample::mean_and_squares,
    special::t_quantile,
    tost::outside_p,
};

/// Two-sample t statistics of values in one unit (logs here): how far `new` lies above `old`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WelchT {
    /// Values of the old sample.
    pub old_n: u32,
    /// Values of the new sample.
    pub new_n: u32,
    /// Mean of the new − mean of the old.
    pub difference: f64,
    /// Its standard error, √(s₁²/n₁ + s₂²/n₂).
    pub standard_error: f64,
    /// Degrees of freedom by Welch and Satterthwaite: at least min(n₁, n₂) − 1, at most n₁ + n₂ − 2.
    pub df: f64,
    /// Two-sided p of "no difference".
    pub p: f64,
    /// Lower end of the difference's interval.
    pub low: f64,
    /// Upper end of the difference's interval.
    pub high: f64,
}

/// Welch's t with a two-sided interval of this confidence. None for fewer than two values on a side, any that is not finite, and
/// where neither side has any spread: nothing then says how sure the difference is.
#[must_use]
pub fn welch_t(old: &[f64], new: &[f64], confidence: Probability) -> Option<WelchT> {
    let all_finite = old.iter().chain(new).all(|x| x.is_finite());
    if old.len() < 2 || new.len() < 2 || !all_finite {
        return None;
    }
    // Squares, divided by their degrees of freedom and by n: the variance of a mean.
    let of_mean = |sample: &[f64]| {
        let (mean, squares) = mean_and_squares(sample);
        let df = count(sample.len().saturating_sub(1));
        (mean, squares / df / count(sample.len()), df)
    };
    let ((old_mean, old_variance, old_df), (new_mean, new_variance, new_df)) = (of_mean(old), of_mean(new));
    let variance = old_variance + new_variance;
    // Shares of the variance, so that neither huge nor tiny squares lose digits.
    let (old_share, new_share) = (old_variance / variance, new_variance / variance);
    if !(variance > 0.0 && old_share.is_finite() && new_share.is_finite()) {
        return None;
    }
    let df = 1.0 / (old_share * old_share / old_df + new_share * new_share / new_df);
    let (difference, standard_error) = (new_mean - old_mean, variance.sqrt());
    let Inferred { p, low, high } = inferred(difference, standard_error, df, confidence)?;
    Some(WelchT {
        old_n: len_u32(old.len()),
        new_n: len_u32(new.len()),
        difference,
        standard_error,
        df,
        p,
        low,
        high,
    })
}

impl WelchT {
    /// p of "the difference lies outside (`low`, `high`)": two one-sided tests, the larger p. At or below α it is shown to lie
    /// inside.
    #[must_use]
    pub fn tost_p(&self, low: f64, high: f64) -> f64 {
        outside_p(self.difference, self.standard_error, self.df, (low, high))
    }
}

/// Smallest n ≥ 2 of the new sample at which a true difference of size `effect` is found by a two-sided test at level `alpha`
/// with probability `power`, where both samples have the standard deviation `sd` and the old one `old_n` values (the usual
/// approximation of the noncentral t). None where no n does: the old sample
/// alone is too uncertain.
#[must_use]
pub fn starts_to_detect(sd: f64, effect: f64, old_n: u32, (alpha, power): (Probability, Probability)) -> Option<u32> {
    let level = Probability::new(1.0 - alpha.get() / 2.0).ok()?;
    let old = f64::from(old_n);
    let enough = |n: u32| {
        let n = f64::from(n);
        let (old_share, new_share) = (n / (n + old), old / (n + old));
        let df = 1.0 / (old_share * old_share / (old - 1.0) + new_share * new_share / (n - 1.0));
        let standard_error = sd * (1.0 / old + 1.0 / n).sqrt();
        old_n > 1 && effect.abs() >= standard_error * (t_quantile(level, df) + t_quantile(power, df))
    };
    let sane = sd.is_finite() && sd >= 0.0 && effect.abs() > 0.0;
    (sane && enough(MAX_BLOCKS)).then(|| smallest(enough))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SplitMix64, paired_t};
    use proptest::prelude::*;

    const C95: Probability = Probability::P95;

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
    }

    #[test]
    fn sleep_data_of_student() {
        // R: t.test(extra ~ group, data = sleep): t = -1.8608, df = 17.776, p = 0.07939, interval -3.3654832 to 0.2054832.
        let old = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let new = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let t = welch_t(&old, &new, C95).unwrap();
        assert_eq!((t.old_n, t.new_n), (10, 10));
        close(t.difference / t.standard_error, 1.860_813_5);
        close(t.df, 17.776_473_5);
        close(t.p, 0.079_394_14);
        close(t.low, -0.205_483_2);
        close(t.high, 3.365_483_2);
    }

    #[test]
    fn unequal_sizes_and_spreads() {
        // By hand: variances 5/3 and 1/2, of the means 5/12 and 1/12.
        let t = welch_t(&[1.0, 2.0, 3.0, 4.0], &[10.0, 10.5, 9.5, 11.0, 9.0, 10.0], C95).unwrap();
        close(t.difference, 7.5);
        close(t.standard_error * t.standard_error, 5.0 / 12.0 + 0.5 / 6.0);
        close(t.df, 0.25 / (25.0 / 144.0 / 3.0 + 1.0 / 144.0 / 5.0));
    }

    #[test]
    fn what_cannot_be_said() {
        assert!(welch_t(&[1.0], &[1.0, 2.0], C95).is_none());
        assert!(welch_t(&[1.0, 2.0], &[], C95).is_none());
        assert!(welch_t(&[1.0, f64::NAN], &[1.0, 2.0], C95).is_none());
        assert!(welch_t(&[1.0, f64::INFINITY], &[1.0, 2.0], C95).is_none());
        assert!(
            welch_t(&[1.0, 1.0], &[2.0, 2.0], C95).is_none(),
            "no spread makes no certainty"
        );
        // One side without spread borrows nothing: the other's degrees of freedom count.
        let t = welch_t(&[1.0, 1.0, 1.0], &[2.0, 2.1, 2.2], C95).unwrap();
        close(t.df, 2.0);
    }

    #[test]
    fn the_interval_covers_as_often_as_it_says_where_sizes_and_spreads_differ() {
        let mut rng = SplitMix64::new(20_270_101);
        for (old_n, new_n, new_sd) in [(10, 6, 0.06), (10, 6, 0.18), (6, 6, 0.06), (20, 10, 0.02)] {
            let mut covered = 0_u32;
            for _ in 0..2000 {
                let mut draw = |n: i32, sd: f64, mean: f64| -> Vec<f64> {
                    (0..n).map(|_| rng.normal().mul_add(sd, mean)).collect()
                };
                let (old, new) = (draw(old_n, 0.06, 0.0), draw(new_n, new_sd, 0.1));
                let t = welch_t(&old, &new, C95).unwrap();
                covered += u32::from(t.low <= 0.1 && 0.1 <= t.high);
            }
            // 95 % ± 3 standard errors of 2000 repetitions; Welch's own approximation errs by less than half a per cent.
            assert!(
                (1861..=1939).contains(&covered),
                "{old_n}, {new_n}, {new_sd}: {covered} of 2000"
            );
        }
    }

    #[test]
    fn the_promised_power_is_there() {
        let [alpha, power] = [0.05, 0.8].map(|p| Probability::new(p).unwrap());
        let n = starts_to_detect(0.06, 0.1, 10, (alpha, power)).unwrap();
        let mut rng = SplitMix64::new(12);
        let found = (0..2000)
            .filter(|_| {
                let mut draw =
                    |n: u32, mean: f64| -> Vec<f64> { (0..n).map(|_| rng.normal().mul_add(0.06, mean)).collect() };
                let (old, new) = (draw(10, 0.0), draw(n, 0.1));
                welch_t(&old, &new, C95).unwrap().p <= 0.05
            })
            .count();
        let found = count(found) / 2000.0;
        assert!((0.77..0.92).contains(&found), "n = {n}: {found}");
        assert_eq!(
            starts_to_detect(0.06, 0.01, 10, (alpha, power)),
            None,
            "the old ten are too uncertain"
        );
        assert_eq!(starts_to_detect(0.06, 0.1, 1, (alpha, power)), None);
        assert_eq!(starts_to_detect(0.0, 0.1, 10, (alpha, power)), Some(2));
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-1.0..1.0_f64, 2..14)
    }

    proptest! {
        #[test]
        fn interval_and_both_p_agree(old in values(), new in values()) {
            let Some(t) = welch_t(&old, &new, C95) else { return Ok(()) };
            prop_assume!((t.p - 0.05).abs() > 1e-9);
            prop_assert_eq!(t.p < 0.05, t.low > 0.0 || t.high < 0.0);
            let inside = welch_t(&old, &new, Probability::P90).unwrap();
            let p = t.tost_p(-0.3, 0.3);
            prop_assume!((p - 0.05).abs() > 1e-9);
            prop_assert_eq!(p < 0.05, inside.low > -0.3 && inside.high < 0.3);
        }

        #[test]
        fn the_other_way_round_it_is_the_same_difference(old in values(), new in values(), shift in -5.0..5.0_f64) {
            let Some(t) = welch_t(&old, &new, C95) else { return Ok(()) };
            let back = welch_t(&new, &old, C95).unwrap();
            prop_assert!((t.difference + back.difference).abs() < 1e-12 && (t.p - back.p).abs() < 1e-12);
            let least = f64::from(t.old_n.min(t.new_n)) - 1.0;
            prop_assert!(t.df >= least - 1e-9 && t.df <= f64::from(t.old_n + t.new_n) - 2.0 + 1e-9);
            let moved: Vec<f64> = new.iter().map(|x| x + shift).collect();
            let moved = welch_t(&old, &moved, C95).unwrap();
            prop_assert!((moved.difference - t.difference - shift).abs() < 1e-9);
        }

        /// Where one side is a constant, it is the t test of the other side's mean.
        #[test]
        fn against_a_known_mean_it_is_the_paired_t(new in values()) {
            let (Some(t), Some(paired)) = (welch_t(&[0.0; 9], &new, C95), paired_t(&new, C95)) else { return Ok(()) };
            prop_assert!((t.p - paired.p).abs() < 1e-9 && (t.df - paired.df).abs() < 1e-9);
        }
    }
}
