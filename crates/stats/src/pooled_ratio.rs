//! The ratio of two arms' pooled quantiles, with an interval from resampling whole blocks of both arms together.
//!
//! A tail needs all requests of an arm, so it has no value per block and no paired test. Drawing the same blocks for both
//! arms keeps what they share (heat, neighbours) out of the ratio, as a paired test would. Values that failed count as +∞.

use crate::{
    Interval, Probability, Sample, SplitMix64,
    bootstrap::draw,
    num::{count, floor_index},
};

/// The values of one arm in one block.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PooledBlock {
    /// Finite values above 0, in any order.
    pub values: Vec<f64>,
    /// How many more there are that lie above every value.
    pub infinite: u32,
}

/// ln of the ratio of two pooled quantiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PooledRatio {
    /// ln(quantile of the first arm / quantile of the second).
    pub log_ratio: f64,
    /// Percentile interval of it; none where some resample has no finite ratio.
    pub interval: Option<Interval>,
}

/// The log ratio of the arms' pooled type-7 `p`-quantiles and its interval from `resamples` draws of whole blocks with
/// replacement, the same blocks for both arms. `first` and `second` hold the same blocks in the same order. None for fewer
/// than two blocks or arms of different length, no resamples, values that are not above 0 and finite, or a quantile that
/// lies among the infinite ones.
///
/// With ten blocks such an interval covers a little less than it says; it describes and decides no verdict.
#[must_use]
pub fn pooled_quantile_ratio(
    first: &[PooledBlock],
    second: &[PooledBlock],
    p: Probability,
    confidence: Probability,
    resamples: u32,
    seed: u64,
) -> Option<PooledRatio> {
    if first.len() < 2 || first.len() != second.len() || resamples == 0 {
        return None;
    }
    let (first, second) = (Tail::new(first)?, Tail::new(second)?);
    let log_ratio = |weights: &[usize]| Some((first.quantile(weights, p)? / second.quantile(weights, p)?).ln());
    let point = log_ratio(&vec![1; first.blocks.len()])?;
    let mut rng = SplitMix64::new(seed);
    let draws: Option<Vec<f64>> = (0..resamples)
        .map(|_| log_ratio(&draw(&mut rng, first.blocks.len())))
        .collect();
    let tail = Probability::new(confidence.complement() / 2.0).ok()?;
    let upper = Probability::new(1.0 - tail.get()).ok()?;
    let sample = draws.and_then(|draws| Sample::new(draws).ok());
    Some(PooledRatio {
        log_ratio: point,
        interval: sample.map(|s| Interval {
            low: s.quantile(tail),
            high: s.quantile(upper),
        }),
    })
}

/// One arm, ready to be read from its largest value down: a tail is reached after few steps.
struct Tail {
    /// Every value with its block, largest first.
    descending: Vec<(f64, usize)>,
    /// Of each block how many there are, and how many of them are infinite.
    blocks: Vec<(usize, usize)>,
}

impl Tail {
    fn new(blocks: &[PooledBlock]) -> Option<Self> {
        let mut descending: Vec<(f64, usize)> = blocks
            .iter()
            .enumerate()
            .flat_map(|(i, b)| b.values.iter().map(move |&x| (x, i)))
            .collect();
        if descending.iter().any(|(x, _)| !(x.is_finite() && *x > 0.0)) {
            return None;
        }
        descending.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let sizes = |b: &PooledBlock| {
            let infinite = usize::try_from(b.infinite).ok()?;
            Some((b.values.len().checked_add(infinite)?, infinite))
        };
        Some(Self {
            descending,
            blocks: blocks.iter().map(sizes).collect::<Option<_>>()?,
        })
    }

    /// Type-7 quantile with each block taken as often as its weight; none where it lies among the infinite or there is
    /// nothing.
    fn quantile(&self, weights: &[usize], p: Probability) -> Option<f64> {
        let total = |of: fn(&(usize, usize)) -> usize| -> usize {
            let each = self.blocks.iter().zip(weights);
            each.map(|(b, w)| of(b).saturating_mul(*w)).sum()
        };
        let (n, infinite) = (total(|b| b.0), total(|b| b.1));
        let position = count(n.checked_sub(1)?) * p.get();
        let below = floor_index(position);
        let fraction = position - count(below);
        // How many lie above the two order statistics between which the quantile is.
        let above_low = n.checked_sub(below.checked_add(1)?)?;
        let above_high = if fraction > 0.0 {
            above_low.checked_sub(1)?
        } else {
            above_low
        };
        let mut seen = infinite;
        if above_high < seen {
            return None;
        }
        let mut high = None;
        for &(x, block) in &self.descending {
            seen = seen.saturating_add(weights.get(block).copied().unwrap_or(0));
            if high.is_none() && seen > above_high {
                high = Some(x);
            }
            if let Some(high) = high
                && seen > above_low
            {
                return Some((high - x).mul_add(fraction, x));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blocks(seed: u64, k: usize, n: usize, factor: f64) -> Vec<PooledBlock> {
        let mut rng = SplitMix64::new(seed);
        let mut block = |_| PooledBlock {
            values: (0..n).map(|_| factor * (0.3 * rng.normal()).exp()).collect(),
            infinite: 0,
        };
        (0..k).map(&mut block).collect()
    }

    fn p99(first: &[PooledBlock], second: &[PooledBlock]) -> Option<PooledRatio> {
        pooled_quantile_ratio(first, second, Probability::P99, Probability::P95, 500, 3)
    }

    #[test]
    fn a_scaled_copy_has_its_factor_exactly_in_every_resample() {
        let one = blocks(1, 10, 180, 1.0);
        let mut scaled = one.clone();
        scaled.iter_mut().flat_map(|b| &mut b.values).for_each(|x| *x *= 1.25);
        let r = p99(&scaled, &one).unwrap();
        let i = r.interval.unwrap();
        for got in [r.log_ratio, i.low, i.high] {
            assert!((got - 1.25_f64.ln()).abs() < 1e-12, "{got}");
        }
        let other = p99(&blocks(2, 10, 180, 1.25), &one).unwrap();
        let i = other.interval.unwrap();
        assert!(i.low < 1.25_f64.ln() && 1.25_f64.ln() < i.high && i.low < other.log_ratio && other.log_ratio < i.high);
        assert_eq!(
            p99(&blocks(2, 10, 180, 1.25), &one),
            Some(other),
            "the same seed gives the same interval"
        );
    }

    #[test]
    fn failures_move_the_tail_and_may_lie_in_it() {
        let one = blocks(1, 10, 180, 1.0);
        let mut failing = one.clone();
        failing[0].infinite = 9;
        let r = p99(&failing, &one).unwrap();
        assert!(r.log_ratio > 0.0, "half of the worst hundredth failed");
        // Drawn often enough that block alone fills the tail: no resample may be left out, so there is no interval.
        assert_eq!(r.interval, None);
        failing[1].infinite = 20;
        assert_eq!(p99(&failing, &one), None);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let one = blocks(1, 2, 5, 1.0);
        assert_eq!(p99(&one[..1], &one[..1]), None);
        assert_eq!(p99(&one, &one[..1]), None);
        assert_eq!(p99(&[PooledBlock::default(), PooledBlock::default()], &one), None);
        let mut zero = one.clone();
        zero[0].values[0] = 0.0;
        assert_eq!(p99(&zero, &one), None);
        assert_eq!(
            pooled_quantile_ratio(&one, &one, Probability::P99, Probability::P95, 0, 1),
            None
        );
    }

    proptest! {
        #[test]
        fn weights_are_repetitions(
            values in prop::collection::vec(prop::collection::vec(0.1..100.0_f64, 1..8), 2..6),
            picks in prop::collection::vec(0_usize..6, 6), p in 0.01..0.99_f64
        ) {
            let p = Probability::new(p).unwrap();
            let mut weights = vec![0; values.len()];
            for i in picks {
                weights[i % values.len()] += 1;
            }
            let repeated: Vec<f64> =
                values.iter().zip(&weights).flat_map(|(b, &w)| std::iter::repeat_n(b.clone(), w).flatten()).collect();
            let oracle = Sample::new(repeated).unwrap().quantile(p);
            let blocks: Vec<PooledBlock> =
                values.into_iter().map(|values| PooledBlock { values, infinite: 0 }).collect();
            let got = Tail::new(&blocks).unwrap().quantile(&weights, p).unwrap();
            prop_assert!((got - oracle).abs() < 1e-9, "{} {}", got, oracle);
        }

        #[test]
        fn infinite_ones_are_huge_ones(values in prop::collection::vec(0.1..100.0_f64, 2..40), failed in 0_u32..20, p in 0.01..0.99_f64) {
            let p = Probability::new(p).unwrap();
            let oracle = Sample::new(values.clone()).unwrap().quantile_with_failures(p, failed).finite();
            let got = Tail::new(&[PooledBlock { values, infinite: failed }]).unwrap().quantile(&[1], p);
            match (got, oracle) {
                (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-9),
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }
}
