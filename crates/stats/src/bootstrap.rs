//! Intervals from resampling whole blocks. Requests of one engine start move together, so a block is the unit.

use crate::{
    Probability, Sample, SplitMix64,
    num::{count, floor_index},
};

/// An interval; whoever makes one says with what confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, in the values' unit.
    pub low: f64,
    /// Upper end, in the values' unit.
    pub high: f64,
}

/// Percentile intervals of several quantiles of the pooled values, from `resamples` draws of whole blocks with
/// replacement. One interval per quantile, in the order given. None for fewer than two blocks with values, or no resamples.
///
/// With ten blocks such an interval covers a little less than it says; it describes how far blocks disagree and decides
/// no verdict.
#[must_use]
pub fn block_bootstrap_quantiles(
    blocks: &[Vec<f64>],
    quantiles: &[Probability],
    confidence: Probability,
    resamples: u32,
    seed: u64,
) -> Option<Vec<Interval>> {
    let filled: Vec<&Vec<f64>> = blocks.iter().filter(|b| !b.is_empty()).collect();
    if filled.len() < 2 || resamples == 0 || filled.iter().flat_map(|b| *b).any(|x| !x.is_finite()) {
        return None;
    }
    let pool = Pool::new(&filled);
    let mut rng = SplitMix64::new(seed);
    let mut draws: Vec<Vec<f64>> = vec![Vec::new(); quantiles.len()];
    for _ in 0..resamples {
        let weights = draw(&mut rng, filled.len());
        for (&p, values) in quantiles.iter().zip(&mut draws) {
            values.extend(pool.quantile(&weights, p));
        }
    }
    let tail = Probability::new(confidence.complement() / 2.0).ok()?;
    let upper = Probability::new(1.0 - tail.get()).ok()?;
    let interval = |values: Vec<f64>| {
        let s = Sample::new(values).ok()?;
        Some(Interval {
            low: s.quantile(tail),
            high: s.quantile(upper),
        })
    };
    draws.into_iter().map(interval).collect()
}

/// How often each of `n` blocks was drawn in n draws with replacement.
pub(crate) fn draw(rng: &mut SplitMix64, n: usize) -> Vec<usize> {
    let mut weights = vec![0_usize; n];
    for _ in 0..n {
        if let Some(w) = weights.get_mut(rng.below(n)) {
            *w += 1;
        }
    }
    weights
}

/// Every how many pooled values it is noted how many of each block have gone by.
const STRIDE: usize = 64;

/// The values of all blocks, sorted, with marks by which a weighted quantile is found without going through all of them.
struct Pool {
    /// Each value with its block, smallest first.
    values: Vec<(f64, usize)>,
    /// How many values each block has.
    sizes: Vec<usize>,
    /// How many of each block are among the first `STRIDE`, 2 · `STRIDE`, … values; one row after the other.
    marks: Vec<usize>,
}

impl Pool {
    fn new(blocks: &[&Vec<f64>]) -> Self {
        let mut values: Vec<(f64, usize)> = blocks
            .iter()
            .enumerate()
            .flat_map(|(i, b)| b.iter().map(move |&x| (x, i)))
            .collect();
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut marks = Vec::new();
        let mut so_far = vec![0_usize; blocks.len()];
        for stretch in values.chunks_exact(STRIDE) {
            for (_, block) in stretch {
                if let Some(n) = so_far.get_mut(*block) {
                    *n += 1;
                }
            }
            marks.extend_from_slice(&so_far);
        }
        Self {
            values,
            sizes: blocks.iter().map(|b| b.len()).collect(),
            marks,
        }
    }

    /// Where to begin so that at most `below` weighted values lie before: the place, and how many do.
    fn begin(&self, weights: &[usize], below: usize) -> (usize, usize) {
        let k = self.sizes.len().max(1);
        let (mut low, mut high, mut seen) = (0, self.marks.len() / k, 0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let row = self.marks.get((middle - 1) * k..middle * k).unwrap_or_default();
            let before = weighted(row, weights);
            if before <= below {
                (low, seen) = (middle, before);
            } else {
                high = middle - 1;
            }
        }
        (low * STRIDE, seen)
    }

    /// Type-7 quantile with each value taken as often as its block's weight; none where all weights are 0.
    fn quantile(&self, weights: &[usize], p: Probability) -> Option<f64> {
        let position = count(weighted(&self.sizes, weights).checked_sub(1)?) * p.get();
        let below = floor_index(position);
        let fraction = position - count(below);
        let (begin, mut seen) = self.begin(weights, below);
        let mut low = None;
        for &(x, block) in self.values.get(begin..).unwrap_or_default() {
            seen = seen.saturating_add(weights.get(block).copied().unwrap_or(0));
            if low.is_none() && seen > below {
                low = Some(x);
            }
            if let Some(low) = low
                && (seen > below.saturating_add(1) || fraction <= 0.0)
            {
                return Some((x - low).mul_add(fraction, low));
            }
        }
        low
    }
}

/// Σ count × weight.
fn weighted(counts: &[usize], weights: &[usize]) -> usize {
    counts.iter().zip(weights).map(|(n, w)| n.saturating_mul(*w)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_block_has_no_interval() {
        let args = (&[Probability::P99][..], Probability::P95);
        assert_eq!(
            block_bootstrap_quantiles(&[vec![1.0, 2.0]], args.0, args.1, 100, 1),
            None
        );
        assert_eq!(
            block_bootstrap_quantiles(&[vec![1.0], vec![]], args.0, args.1, 100, 1),
            None
        );
        assert_eq!(
            block_bootstrap_quantiles(&[vec![1.0], vec![2.0]], args.0, args.1, 0, 1),
            None
        );
    }

    #[test]
    fn blocks_that_agree_give_a_narrow_interval_and_same_seed_the_same() {
        let mut rng = SplitMix64::new(3);
        let even: Vec<Vec<f64>> = (0..10).map(|_| (0..180).map(|_| rng.normal()).collect()).collect();
        // The same values, but each block shifted: now the block is what varies.
        let shifted: Vec<Vec<f64>> = even
            .iter()
            .enumerate()
            .map(|(i, b)| b.iter().map(|x| x + count(i) - 4.5).collect())
            .collect();
        let run = |b: &[Vec<f64>]| {
            block_bootstrap_quantiles(b, &[Probability::P50, Probability::P99], Probability::P95, 1000, 9).unwrap()
        };
        let (narrow, wide) = (run(&even), run(&shifted));
        assert!(wide[0].high - wide[0].low > 3.0 * (narrow[0].high - narrow[0].low));
        assert!(narrow[0].low < 0.0 && narrow[0].high > 0.0);
        assert!(narrow[1].low > 2.0 && narrow[1].high < 2.9, "{narrow:?}");
        assert_eq!(run(&even), narrow);
    }

    proptest! {
        #[test]
        fn weights_are_repetitions(
            blocks in prop_oneof![
                prop::collection::vec(prop::collection::vec(0.0..100.0_f64, 1..8), 2..6),
                // Many more than between two marks, many of them equal.
                prop::collection::vec(prop::collection::vec((0_u32..40).prop_map(f64::from), 1..200), 2..6),
            ],
            picks in prop::collection::vec(0_usize..6, 6), p in 0.01..0.99_f64
        ) {
            let p = Probability::new(p).unwrap();
            let mut weights = vec![0; blocks.len()];
            for i in picks {
                weights[i % blocks.len()] += 1;
            }
            let repeated: Vec<f64> =
                blocks.iter().zip(&weights).flat_map(|(b, &w)| std::iter::repeat_n(b.clone(), w).flatten()).collect();
            let oracle = Sample::new(repeated).unwrap().quantile(p);
            let filled: Vec<&Vec<f64>> = blocks.iter().collect();
            let got = Pool::new(&filled).quantile(&weights, p).unwrap();
            prop_assert!((got - oracle).abs() < 1e-9);
        }
    }
}
