//! Two one-sided tests: evidence that an effect lies inside a margin, which "not significant" is not.

use crate::{PairedT, special::t_upper_tail};

/// p of "the mean lies outside (`low`, `high`)" (Schuirmann 1987): the larger of the two one-sided p values. At or below α
/// the mean is shown to lie inside, which is the same as the 1 − 2α interval lying inside.
#[must_use]
pub fn tost_p(t: &PairedT, low: f64, high: f64) -> f64 {
    outside_p(t.mean, t.standard_error, t.df, (low, high))
}

/// The same of any estimate with its standard error.
pub(crate) fn outside_p(estimate: f64, standard_error: f64, df: f64, (low, high): (f64, f64)) -> f64 {
    let one_sided = |distance: f64| {
        if standard_error > 0.0 {
            t_upper_tail(distance / standard_error, df)
        } else {
            f64::from(u8::from(distance <= 0.0))
        }
    };
    one_sided(estimate - low).max(one_sided(high - estimate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Probability, paired_t};
    use proptest::prelude::*;

    #[test]
    fn equal_and_far() {
        let near = paired_t(&[0.001, -0.001, 0.0005, -0.0005], Probability::P95).unwrap();
        assert!(tost_p(&near, -0.03, 0.03) < 0.001);
        let far = paired_t(&[0.1, 0.11, 0.09, 0.1], Probability::P95).unwrap();
        assert!(tost_p(&far, -0.03, 0.03) > 0.99);
        let exact = paired_t(&[0.0; 3], Probability::P95).unwrap();
        assert!(tost_p(&exact, -0.03, 0.03).abs() < 1e-300);
        let outside = paired_t(&[0.05; 3], Probability::P95).unwrap();
        assert!((tost_p(&outside, -0.03, 0.03) - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn same_as_the_ninety_per_cent_interval(d in prop::collection::vec(-0.05..0.05_f64, 3..12)) {
            let t = paired_t(&d, Probability::P90).unwrap();
            let p = tost_p(&t, -0.03, 0.03);
            prop_assume!((p - 0.05).abs() > 1e-9);
            prop_assert_eq!(p < 0.05, t.low > -0.03 && t.high < 0.03);
        }
    }
}
