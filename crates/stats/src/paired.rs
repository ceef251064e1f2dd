//! The t interval and test on paired differences: interval and p come from the same statistic and never disagree.

use crate::{
    Probability,
    num::{count, len_u32},
    sample::mean_and_squares,
    special::{t_quantile, t_two_sided_p},
};

/// One-sample t statistics of k differences, in the differences' unit (log ratios here).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedT {
    /// Number of differences.
    pub k: u32,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, divisor k − 1.
    pub sd: f64,
    /// Standard error of the mean; more than sd/√k where neighbours hang together.
    pub standard_error: f64,
    /// Degrees of freedom: k − 1, or fewer where neighbours hang together.
    pub df: f64,
    /// Two-sided p of "the mean is 0". 0 where all differences are equal and not 0, 1 where all are 0.
    pub p: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The t interval with the given two-sided confidence, and the p of "mean = 0". None for fewer than two differences or
/// any that is not finite.
#[must_use]
pub fn paired_t(differences: &[f64], confidence: Probability) -> Option<PairedT> {
    let k = differences.len();
    if k < 2 || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let (mean, squares) = mean_and_squares(differences);
    let df = count(k.saturating_sub(1));
    let sd = (squares / df).sqrt();
    let spread = Spread {
        sd,
        standard_error: sd / count(k).sqrt(),
        df,
    };
    with_spread(len_u32(k), mean, spread, confidence)
}

/// How sure a mean is.
pub(crate) struct Spread {
    pub(crate) sd: f64,
    pub(crate) standard_error: f64,
    pub(crate) df: f64,
}

/// What a t statistic says of a mean, or of a difference.
pub(crate) struct Inferred {
    /// Two-sided p of "it is 0".
    pub(crate) p: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The test and its interval, both from the same statistic.
pub(crate) fn inferred(mean: f64, standard_error: f64, df: f64, confidence: Probability) -> Option<Inferred> {
    let p = if mean.abs() > 0.0 {
        t_two_sided_p(mean / standard_error, df)
    } else {
        1.0
    };
    let upper = Probability::new(confidence.get().midpoint(1.0)).ok()?;
    let half = t_quantile(upper, df) * standard_error;
    Some(Inferred {
        p,
        low: mean - half,
        high: mean + half,
    })
}

/// The t statistics of a mean of that spread.
pub(crate) fn with_spread(k: u32, mean: f64, spread: Spread, confidence: Probability) -> Option<PairedT> {
    let Spread { sd, standard_error, df } = spread;
    let Inferred { p, low, high } = inferred(mean, standard_error, df, confidence)?;
    Some(PairedT {
        k,
        mean,
        sd,
        standard_error,
        df,
        p,
        low,
        high,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SplitMix64;
    use proptest::prelude::*;

    const C95: Probability = Probability::P95;

    #[test]
    fn sleep_data_of_student() {
        // The classic: R's t.test(extra ~ group, paired) on `sleep`: t = -4.0621, df = 9, p = 0.002833,
        // interval -2.4598858 to -0.7001142, mean -1.58.
        let d = [-1.2, -2.4, -1.3, -1.3, 0.0, -1.0, -1.8, -0.8, -4.6, -1.4];
        let t = paired_t(&d, C95).unwrap();
        assert_eq!(t.k, 10);
        for (got, expected) in [
            (t.mean, -1.58),
            (t.p, 0.002_832_89),
            (t.low, -2.459_885_8),
            (t.high, -0.700_114_2),
            (t.df, 9.0),
        ] {
            assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
        }
    }

    #[test]
    fn degenerate_inputs() {
        assert!(paired_t(&[], C95).is_none() && paired_t(&[1.0], C95).is_none());
        assert!(paired_t(&[1.0, f64::NAN], C95).is_none());
        let same = paired_t(&[0.5, 0.5, 0.5], C95).unwrap();
        assert!(same.p.abs() < 1e-300 && (same.low - 0.5).abs() < 1e-12);
        let zero = paired_t(&[0.0, 0.0], C95).unwrap();
        assert!((zero.p - 1.0).abs() < 1e-12 && zero.high.abs() < 1e-12);
    }

    #[test]
    fn interval_covers_the_truth_as_often_as_it_says() {
        let mut rng = SplitMix64::new(20_260_101);
        for k in [4, 10] {
            let mut covered = 0_u32;
            for _ in 0..2000 {
                let d: Vec<f64> = (0..k).map(|_| rng.normal().mul_add(0.06, 0.1)).collect();
                let t = paired_t(&d, C95).unwrap();
                covered += u32::from(t.low <= 0.1 && 0.1 <= t.high);
            }
            // 95 % ± 3 standard errors of 2000 repetitions.
            assert!((1871..=1929).contains(&covered), "k = {k}: {covered} of 2000");
        }
    }

    proptest! {
        #[test]
        fn interval_and_p_agree(d in prop::collection::vec(-1.0..1.0_f64, 2..20)) {
            let t = paired_t(&d, C95).unwrap();
            prop_assume!((t.p - 0.05).abs() > 1e-9);
            prop_assert_eq!(t.p < 0.05, t.low > 0.0 || t.high < 0.0);
        }
    }
}
