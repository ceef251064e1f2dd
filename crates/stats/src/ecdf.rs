//! The empirical distribution function as points for a plot.

use crate::{Sample, num::count};

/// Steps of an empirical distribution function: at each x the share of values ≤ x.
#[derive(Debug, Clone, PartialEq)]
pub struct Ecdf {
    points: Vec<(f64, f64)>,
}

impl Ecdf {
    /// Every distinct value with its share, ascending; the last share is 1.
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        Self::with_failures(sample, 0)
    }

    /// The same among the values and `failures` values of +∞: the curve then ends below 1.
    #[must_use]
    pub fn with_failures(sample: &Sample, failures: u32) -> Self {
        let n = f64::from(sample.n()) + f64::from(failures);
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (i, &x) in sample.values().iter().enumerate() {
            let share = count(i + 1) / n;
            match points.last_mut() {
                // The sample is sorted, so "not above the last" is "equal to it".
                Some(last) if x <= last.0 => last.1 = share,
                _ => points.push((x, share)),
            }
        }
        Self { points }
    }

    /// The points (x, share of values ≤ x).
    #[must_use]
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// At most about `max` points: evenly spaced ones, and always the lowest and the highest `EXTREMES`, because
    /// tails are what is looked at.
    #[must_use]
    pub fn thinned(&self, max: usize) -> Self {
        const EXTREMES: usize = 8;
        let n = self.points.len();
        if n <= max {
            return self.clone();
        }
        let stride = n.div_ceil(max.saturating_sub(2 * EXTREMES).max(1));
        let keep = |i: usize| i < EXTREMES || i >= n.saturating_sub(EXTREMES) || i.is_multiple_of(stride);
        let points = self
            .points
            .iter()
            .enumerate()
            .filter(|(i, _)| keep(*i))
            .map(|(_, p)| *p)
            .collect();
        Self { points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_are_one_step() {
        let e = Ecdf::of(&Sample::new([2.0, 1.0, 2.0, 5.0]).unwrap());
        assert_eq!(e.points(), [(1.0, 0.25), (2.0, 0.75), (5.0, 1.0)]);
        let f = Ecdf::with_failures(&Sample::new([1.0]).unwrap(), 3);
        assert_eq!(f.points(), [(1.0, 0.25)]);
    }

    proptest! {
        #[test]
        fn thinning_keeps_the_ends_and_the_bound(
            values in prop::collection::vec(0.0..1e3_f64, 1..3000), max in 20_usize..400
        ) {
            let full = Ecdf::of(&Sample::new(values).unwrap());
            let thin = full.thinned(max);
            prop_assert!(thin.points().len() <= max.max(full.points().len().min(17)));
            prop_assert_eq!(thin.points().first(), full.points().first());
            prop_assert_eq!(thin.points().last(), full.points().last());
            prop_assert!(thin.points().iter().all(|p| full.points().contains(p)));
        }
    }
}
