//! Adjusted p values for many tests at once.

use crate::num::count;

/// Holm's step-down adjustment (1979): comparing each result with α keeps the family-wise error rate at α under any
/// dependence. In the order of the input; NaN counts as 1.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let m = p.len();
    let mut running = 0.0_f64;
    let mut adjusted = vec![1.0; m];
    for (rank, (index, p)) in ascending(p).into_iter().enumerate() {
        running = running.max(p * count(m.saturating_sub(rank))).min(1.0);
        if let Some(slot) = adjusted.get_mut(index) {
            *slot = running;
        }
    }
    adjusted
}

/// Benjamini and Hochberg's step-up adjustment (1995): comparing each result with α keeps the false discovery rate at α for
/// independent or positively dependent tests. In the order of the input; NaN counts as 1.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let m = p.len();
    let mut running = 1.0_f64;
    let mut adjusted = vec![1.0; m];
    for (rank, (index, p)) in ascending(p).into_iter().enumerate().rev() {
        running = running.min(p * count(m) / count(rank + 1));
        if let Some(slot) = adjusted.get_mut(index) {
            *slot = running;
        }
    }
    adjusted
}

/// Each p with its position, smallest first.
fn ascending(p: &[f64]) -> Vec<(usize, f64)> {
    let mut order: Vec<(usize, f64)> = p
        .iter()
        .map(|p| if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) })
        .enumerate()
        .collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-12, "{got:?}, not {expected:?}");
        }
    }

    #[test]
    fn known_answers() {
        // R: p.adjust(c(.01, .04, .03, .005), "holm") and "BH".
        check(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]);
        check(
            &benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005]),
            &[0.02, 0.04, 0.04, 0.02],
        );
        check(&holm(&[]), &[]);
        check(&holm(&[0.2]), &[0.2]);
        check(&holm(&[f64::NAN, 0.01]), &[1.0, 0.02]);
    }

    proptest! {
        #[test]
        fn holm_lies_between_plain_and_bonferroni(p in prop::collection::vec(0.0..1.0_f64, 1..30)) {
            let (h, bh) = (holm(&p), benjamini_hochberg(&p));
            for ((p0, h), bh) in p.iter().zip(&h).zip(&bh) {
                prop_assert!(*p0 <= *bh + 1e-15 && *bh <= *h + 1e-12);
                prop_assert!(*h <= (p0 * count(p.len())).min(1.0) + 1e-12 || *h <= 1.0);
            }
            // Order is kept: a smaller p is never adjusted above a larger one.
            for i in 0..p.len() {
                for j in 0..p.len() {
                    if p[i] < p[j] {
                        prop_assert!(h[i] <= h[j] && bh[i] <= bh[j]);
                    }
                }
            }
        }
    }
}
