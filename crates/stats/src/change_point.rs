//! Where the level of a series changed: binary segmentation on logarithms, each split tested by permutation.
//!
//! The place of a change is where the CUSUM statistic √(t(n − t)/n)·|mean before − mean after| is largest (Page 1954); a segment in which
//! there is one is split there, and both sides are searched in turn (binary segmentation: Scott & Knott 1974, Vostrikova 1981). Whether
//! there is one is asked of the series itself: were the values of a segment exchangeable, its largest statistic would be as large in
//! any other order, so p is the share of random orders in which it is (the permutation test of E-divisive, Matteson & James 2014, with
//! the difference of means in place of the energy distance; DataStax's Hunter, Fleming et al. 2023, does likewise for benchmarks). On
//! logarithms a change is a ratio, and a series has the same changes in whatever unit.
//!
//! What it is not: a verdict. Values that drift, or hang together, are not exchangeable, and a drift is shown as one or several
//! changes. Nor does it know what changed along. Two changes that undo each other within few values can hide each other from the first
//! split. A series shorter than two [`FEWEST`] has no change; with fewer than about ten values no order is rare enough to show one.

use crate::num::count;
use servelab_random::SplitMix64;

/// Fewest values of a level.
pub const FEWEST: usize = 3;

/// A split is one where its p is at most this.
pub const ALPHA: f64 = 0.01;

/// Random orders that a segment is held against.
pub const ORDERS: u32 = 999;

/// One seed for all: the same series has the same changes.
const SEED: u64 = 0x5eed_c4a9;

/// Statistics that differ by less than this share are equal: they are sums in another order.
const EQUAL: f64 = 1e-9;

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level.
    pub at: usize,
    /// Geometric mean of the new level over that of the level before.
    pub ratio: f64,
    /// p of the split that found it, by permutation; not corrected for the others.
    pub p: f64,
}

/// The changes of level in a series, in its order. None where the series is too short, or holds a value that has no logarithm.
#[must_use]
pub fn change_points(values: &[f64]) -> Vec<ChangePoint> {
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    if logs.iter().any(|log| !log.is_finite()) {
        return Vec::new();
    }
    let mut splits = Vec::new();
    let mut open = vec![(0, logs.as_slice())];
    while let Some((from, segment)) = open.pop() {
        if let Some((at, p)) = split(segment, from) {
            let (before, after) = segment.split_at(at);
            splits.push((from + at, p));
            open.extend([(from, before), (from + at, after)]);
        }
    }
    splits.sort_by_key(|(at, _)| *at);
    let starts = splits.iter().map(|(at, _)| *at);
    let ends: Vec<usize> = starts.clone().skip(1).chain([logs.len()]).collect();
    let before: Vec<usize> = [0].into_iter().chain(starts).collect();
    let levels = splits.iter().zip(before).zip(ends);
    levels
        .map(|((&(at, p), before), end)| {
            let level = |from: usize, to: usize| mean(logs.get(from..to).unwrap_or_default());
            let ratio = (level(at, end) - level(before, at)).exp();
            ChangePoint { at, ratio, p }
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / count(values.len())
}

/// Where a segment changes, and p; none where it does not show that it does.
fn split(segment: &[f64], from: usize) -> Option<(usize, f64)> {
    if segment.len() < 2 * FEWEST {
        return None;
    }
    let centre = mean(segment);
    let mut values: Vec<f64> = segment.iter().map(|value| value - centre).collect();
    let (largest, at) = cusum(&values);
    if largest <= f64::EPSILON {
        return None;
    }
    // Each segment has orders of its own.
    let place = u64::try_from(from).unwrap_or(u64::MAX).wrapping_mul(0x9e37_79b9);
    let mut rng = SplitMix64::new(SEED ^ place ^ u64::try_from(segment.len()).unwrap_or_default());
    let mut as_large = 0_u32;
    for _ in 0..ORDERS {
        shuffle(&mut values, &mut rng);
        as_large += u32::from(cusum(&values).0 >= largest * (1.0 - EQUAL));
    }
    let p = f64::from(as_large + 1) / f64::from(ORDERS + 1);
    (p <= ALPHA).then_some((at, p))
}

/// The largest statistic of values whose mean is 0, and the index of the first value behind it.
fn cusum(values: &[f64]) -> (f64, usize) {
    let n = count(values.len());
    let mut sum = 0.0;
    let mut largest = (0.0, 0);
    for (i, value) in values.iter().enumerate() {
        let t = i + 1;
        sum += value;
        if t < FEWEST || values.len() - t < FEWEST {
            continue;
        }
        let before = count(t);
        // With mean 0 both means follow from the sum so far: their distance is sum · n / (t(n − t)).
        let statistic = sum.abs() * (n / (before * (n - before))).sqrt();
        if statistic > largest.0 {
            largest = (statistic, t);
        }
    }
    largest
}

/// Fisher–Yates.
fn shuffle(values: &mut [f64], rng: &mut SplitMix64) {
    for last in (1..values.len()).rev() {
        let other = rng.below(last + 1);
        values.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series around levels, each with so many values, with a relative spread.
    fn series(levels: &[(usize, f64)], spread: f64, seed: u64) -> Vec<f64> {
        let mut rng = SplitMix64::new(seed);
        let levels = levels.iter().flat_map(|&(n, level)| vec![level; n]);
        levels.map(|level| level * (rng.normal() * spread).exp()).collect()
    }

    #[test]
    fn a_series_without_a_change_has_one_as_rarely_as_it_says() {
        let wrong = (0..150)
            .filter(|seed| !change_points(&series(&[(30, 120.0)], 0.05, *seed)).is_empty())
            .count();
        // 1 % of 150, and 3 standard deviations.
        assert!(wrong <= 5, "{wrong} of 150");
    }

    #[test]
    fn planted_changes_are_found_where_they_are() {
        let mut found = 0;
        for seed in 0..40 {
            let values = series(&[(12, 100.0), (10, 112.0), (14, 95.0)], 0.02, 1_000 + seed);
            let changes = change_points(&values);
            let is_near = |change: &ChangePoint, at: usize| change.at.abs_diff(at) <= 1;
            if let [first, second] = changes.as_slice() {
                found += usize::from(is_near(first, 12) && is_near(second, 22));
                assert!(
                    (1.05..1.2).contains(&first.ratio) && (0.75..0.95).contains(&second.ratio),
                    "{changes:?}"
                );
            }
        }
        assert!(found >= 36, "{found} of 40");
    }

    #[test]
    fn the_unit_changes_nothing_and_the_same_series_has_the_same_changes() {
        let values = series(&[(10, 1.0), (10, 1.3)], 0.03, 7);
        let in_ms: Vec<f64> = values.iter().map(|value| value * 1e3).collect();
        let (a, b) = (change_points(&values), change_points(&in_ms));
        assert_eq!(a.len(), 1);
        assert_eq!((a[0].at, a[0].p.to_bits()), (b[0].at, b[0].p.to_bits()));
        assert_eq!(change_points(&values), a);
    }

    #[test]
    fn what_is_too_short_or_has_no_logarithm_has_no_change() {
        assert_eq!(change_points(&[]), []);
        assert_eq!(change_points(&[1.0, 1.0, 1.0, 9.0, 9.0]), []);
        // Three against three: of 20 splits two are as extreme.
        assert_eq!(change_points(&[1.0, 1.1, 1.0, 9.0, 9.1, 9.0]), []);
        let mut values = vec![1.0; 10];
        values.extend([5.0; 10]);
        assert_eq!(change_points(&values).len(), 1);
        assert_eq!(change_points(&[2.0; 30]), [], "nothing varies");
        values.push(0.0);
        assert_eq!(change_points(&values), []);
    }
}
