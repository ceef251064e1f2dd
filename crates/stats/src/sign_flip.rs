//! The exact sign-flip test: no assumption but that each difference could as well have had the other sign.

use crate::num::count;

/// Largest number of differences that is enumerated: 2^19 sums.
pub const MAX_EXACT: usize = 20;

/// Exact two-sided p of "each difference is symmetric about 0": the share of the 2^k sign assignments whose absolute
/// sum is at least the observed one. The smallest possible p is 2/2^k. None for no differences, more than
/// [`MAX_EXACT`], or any that is not finite.
#[must_use]
pub fn sign_flip_p(differences: &[f64]) -> Option<f64> {
    let (&first, rest) = differences.split_first()?;
    if differences.len() > MAX_EXACT || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let scale: f64 = differences.iter().map(|d| d.abs()).sum();
    // Sums that differ only by rounding are ties, and ties count.
    let observed = scale.mul_add(-1e-12, differences.iter().sum::<f64>().abs());
    // Flipping every sign leaves the absolute sum: the first sign may stay.
    let mut signed: Vec<f64> = rest.to_vec();
    let mut sum = first + signed.iter().sum::<f64>();
    let assignments = 1_usize << rest.len();
    let mut extreme = 0_usize;
    for step in 1..=assignments {
        extreme = extreme.saturating_add(usize::from(sum.abs() >= observed));
        // Gray code: each step flips one sign. The last step flips none.
        let flipped = usize::try_from(step.trailing_zeros()).unwrap_or(usize::MAX);
        if let Some(d) = signed.get_mut(flipped) {
            *d = -*d;
            sum = 2.0_f64.mul_add(*d, sum);
        }
    }
    Some(count(extreme) / count(assignments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every assignment, written as plainly as possible.
    fn brute_force(d: &[f64]) -> f64 {
        let observed = d.iter().sum::<f64>().abs();
        let scale: f64 = d.iter().map(|x| x.abs()).sum();
        let all = 1_usize << d.len();
        let extreme = (0..all)
            .filter(|bits| {
                let sum: f64 = d
                    .iter()
                    .enumerate()
                    .map(|(i, x)| if bits >> i & 1 == 1 { -x } else { *x })
                    .sum();
                sum.abs() >= observed - 1e-12 * scale
            })
            .count();
        count(extreme) / count(all)
    }

    #[test]
    fn smallest_p_is_two_in_two_to_the_k() {
        for k in 1..=12 {
            let p = sign_flip_p(&vec![0.1; k]).unwrap();
            assert!((p - 2.0 / f64::from(1_u32 << k)).abs() < 1e-15, "k = {k}: {p}");
        }
        assert!((sign_flip_p(&[0.0, 0.0]).unwrap() - 1.0).abs() < 1e-15);
        assert_eq!(sign_flip_p(&[]), None);
        assert_eq!(sign_flip_p(&[1.0; 21]), None);
        assert!(sign_flip_p(&[1.0; 20]).is_some());
    }

    proptest! {
        #[test]
        fn agrees_with_brute_force(d in prop::collection::vec(-1.0..1.0_f64, 1..11)) {
            prop_assert!((sign_flip_p(&d).unwrap() - brute_force(&d)).abs() < 1e-12);
        }

        #[test]
        fn ties_count(d in prop::collection::vec(-3_i32..4, 1..9)) {
            let d: Vec<f64> = d.into_iter().map(f64::from).collect();
            prop_assert!((sign_flip_p(&d).unwrap() - brute_force(&d)).abs() < 1e-12);
        }
    }
}
