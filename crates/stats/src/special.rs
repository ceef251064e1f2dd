//! Distribution functions of the normal and Student's t, and their quantiles.

use crate::Probability;
use statrs::function::{beta::checked_beta_reg, erf::erfc};

/// Regularised incomplete beta function I_x(a, b) for a, b > 0 and 0 ≤ x ≤ 1; NaN outside.
#[must_use]
pub fn regularised_beta(x: f64, a: f64, b: f64) -> f64 {
    checked_beta_reg(a, b, x).unwrap_or(f64::NAN)
}

/// Two-sided p of a t statistic with `df` > 0 degrees of freedom: P(|T| ≥ |t|) = I_{df/(df+t²)}(df/2, 1/2).
/// An infinite t gives 0.
#[must_use]
pub fn t_two_sided_p(t: f64, df: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    // df/(df + t²), written so that neither a huge nor a tiny t² loses digits.
    regularised_beta(1.0 / (1.0 + t * t / df), df / 2.0, 0.5).clamp(0.0, 1.0)
}

/// P(T ≥ t) of Student's t with `df` > 0 degrees of freedom.
#[must_use]
pub fn t_upper_tail(t: f64, df: f64) -> f64 {
    let half = t_two_sided_p(t, df) / 2.0;
    if t >= 0.0 { half } else { 1.0 - half }
}

/// The t with P(T ≤ t) = p, by bisection on the tail; exact to about 1e-12 of its size.
#[must_use]
pub fn t_quantile(p: Probability, df: f64) -> f64 {
    let tail = p.get().min(p.complement());
    let mut high = 1.0_f64;
    while t_upper_tail(high, df) > tail && high < 1e150 {
        high *= 2.0;
    }
    let size = bisect(0.0, high, |t| t_upper_tail(t, df) > tail);
    if p.get() < 0.5 { -size } else { size }
}

/// Standard normal P(Z ≤ z).
#[must_use]
pub fn normal_cdf(z: f64) -> f64 {
    erfc(-z / std::f64::consts::SQRT_2) / 2.0
}

/// The z with P(Z ≤ z) = p, by bisection on the tail.
#[must_use]
pub fn normal_quantile(p: Probability) -> f64 {
    let tail = p.get().min(p.complement());
    let size = bisect(0.0, 40.0, |z| normal_cdf(-z) > tail);
    if p.get() < 0.5 { -size } else { size }
}

/// Where `too_low` turns from true to false between `low` and `high`.
pub(crate) fn bisect(mut low: f64, mut high: f64, too_low: impl Fn(f64) -> bool) -> f64 {
    // 2^-100 of the first bracket is below the spacing of doubles near any root in it that matters.
    for _ in 0..100 {
        let middle = low.midpoint(high);
        if too_low(middle) {
            low = middle;
        } else {
            high = middle;
        }
        if high - low <= f64::EPSILON * high {
            break;
        }
    }
    low.midpoint(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(got: f64, expected: f64, relative: f64) {
        assert!(
            (got - expected).abs() <= relative * expected.abs(),
            "{got}, not {expected}"
        );
    }

    #[test]
    fn t_quantiles_of_the_tables() {
        for (p, df, t) in [
            (0.975, 1.0, 12.706_204_736_174_7),
            (0.975, 2.0, 4.302_652_729_749_46),
            (0.975, 3.0, 3.182_446_305_284_26),
            (0.975, 9.0, 2.262_157_162_798_21),
            (0.95, 9.0, 1.833_112_932_656_24),
            (0.975, 30.0, 2.042_272_456_301_24),
            (0.995, 9.0, 3.249_835_541_592_14),
            (0.975, 1000.0, 1.962_339_080_826_41),
        ] {
            close(t_quantile(Probability::new(p).unwrap(), df), t, 1e-10);
            close(t_quantile(Probability::new(1.0 - p).unwrap(), df), -t, 1e-10);
        }
    }

    #[test]
    fn t_tails_have_closed_forms_for_few_degrees_of_freedom() {
        for t in [0.0, 0.1, 1.0, 3.0, 50.0, 1e4] {
            // df = 1 is Cauchy, df = 2 is algebraic.
            let cauchy = 0.5 - f64::atan(t) / std::f64::consts::PI;
            assert!((t_upper_tail(t, 1.0) - cauchy).abs() < 1e-13, "{t}");
            let two = 0.5 * (1.0 - t / (2.0 + t * t).sqrt());
            assert!((t_upper_tail(t, 2.0) - two).abs() < 1e-13, "{t}");
        }
        assert!((t_upper_tail(-1.0, 1.0) - 0.75).abs() < 1e-13);
    }

    #[test]
    fn far_tails_keep_their_digits() {
        // df = 2: 1 − t/√(2 + t²) = 1/t² − 3/(2 t⁴) + … for large t.
        close(t_two_sided_p(1e6, 2.0), 1e-12, 1e-9);
        assert!(t_two_sided_p(f64::INFINITY, 9.0).abs() < f64::MIN_POSITIVE);
    }

    #[test]
    fn normal() {
        close(normal_cdf(1.959_963_984_540_05), 0.975, 1e-11);
        close(normal_cdf(-6.0), 9.865_876_450_376_98e-10, 1e-9);
        close(
            normal_quantile(Probability::new(0.975).unwrap()),
            1.959_963_984_540_05,
            1e-10,
        );
        close(
            normal_quantile(Probability::new(0.001).unwrap()),
            -3.090_232_306_167_81,
            1e-10,
        );
        assert!(normal_quantile(Probability::P50).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn quantile_inverts_the_distribution(p in 0.0005..0.9995_f64, df in 1_u32..200) {
            let df = f64::from(df);
            let t = t_quantile(Probability::new(p).unwrap(), df);
            prop_assert!((1.0 - t_upper_tail(t, df) - p).abs() < 1e-9);
        }
    }
}
