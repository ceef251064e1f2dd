//! Fisher's exact test: whether one arm loses more than another, given how many were lost in all.

use statrs::function::factorial::ln_binomial;

/// One-sided p of "both arms lose alike" against "the first loses more" (Fisher 1935): the probability that at least
/// `lost` of the first arm's `of` are among the losses of both, were the losses dealt out blindly. 1 where nothing was lost
/// or an arm is empty. None where more were lost than there are.
#[must_use]
pub fn fisher_more_p(lost: u32, of: u32, other_lost: u32, other_of: u32) -> Option<f64> {
    if lost > of || other_lost > other_of {
        return None;
    }
    let (of, other_of) = (u64::from(of), u64::from(other_of));
    let losses = u64::from(lost).saturating_add(u64::from(other_lost));
    let all = ln_binomial(of.saturating_add(other_of), losses);
    let most = losses.min(of);
    // More losses than the other arm has room for must lie in the first arm anyway.
    let least = u64::from(lost).max(losses.saturating_sub(other_of));
    let term = |x: u64| (ln_binomial(of, x) + ln_binomial(other_of, losses.saturating_sub(x)) - all).exp();
    Some((least..=most).map(term).sum::<f64>().min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::count;
    use proptest::prelude::*;

    fn check(lost: u32, of: u32, other_lost: u32, other_of: u32, expected: f64) {
        let got = fisher_more_p(lost, of, other_lost, other_of).unwrap();
        assert!(
            (got - expected).abs() <= 1e-9 * expected,
            "{lost}/{of} against {other_lost}/{other_of}: {got}, not {expected}"
        );
    }

    #[test]
    fn published_and_exact_values() {
        // R's example of the tea tasting lady: fisher.test(matrix(c(3, 1, 1, 3), 2), alternative = "greater").
        check(3, 4, 1, 4, 17.0 / 70.0);
        // R's example of convictions among twins, p = 0.0004652: 10 of 13 against 2 of 17.
        check(10, 13, 2, 17, 619.0 / 1_330_665.0);
        // One term each: C(10, x) / C(30, x).
        check(5, 10, 0, 20, 252.0 / 142_506.0);
        check(4, 10, 0, 20, 210.0 / 27_405.0);
        check(1, 10, 0, 20, 1.0 / 3.0);
        check(10, 10, 0, 20, 1.0 / 30_045_015.0);
    }

    #[test]
    fn what_cannot_differ_has_p_1_and_what_cannot_be_has_none() {
        for (lost, of, other_lost, other_of) in
            [(0, 10, 0, 20), (0, 10, 3, 20), (4, 4, 6, 6), (0, 0, 3, 9), (2, 5, 0, 0)]
        {
            check(lost, of, other_lost, other_of, 1.0);
        }
        assert_eq!(fisher_more_p(3, 2, 0, 5), None);
        assert_eq!(fisher_more_p(0, 2, 6, 5), None);
    }

    fn choose(n: u64, k: u64) -> u64 {
        if k > n {
            return 0;
        }
        (0..k).fold(1, |c, i| c * (n - i) / (i + 1))
    }

    proptest! {
        #[test]
        fn same_as_counting(of in 0_u32..16, other_of in 0_u32..16, lost in 0_u32..16, other_lost in 0_u32..16) {
            prop_assume!(lost <= of && other_lost <= other_of);
            let (a, b, k) = (u64::from(of), u64::from(other_of), u64::from(lost + other_lost));
            let ways: u64 = (u64::from(lost)..=k).map(|x| choose(a, x) * choose(b, k - x)).sum();
            let float = |n: u64| count(usize::try_from(n).unwrap());
            let oracle = float(ways) / float(choose(a + b, k));
            let got = fisher_more_p(lost, of, other_lost, other_of).unwrap();
            prop_assert!((got - oracle).abs() < 1e-10, "{} {}", got, oracle);
        }
    }
}
