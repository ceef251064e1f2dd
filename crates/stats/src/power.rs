//! How many blocks it would take to see an effect.

use crate::{Probability, special::t_quantile};

/// Most blocks that are worth naming; beyond it the answer is "too noisy".
pub const MAX_BLOCKS: u32 = 10_000;

/// Smallest k ≥ 2 at which a true effect of size `effect` is found by a two-sided t test at level `alpha` with probability
/// `power`, for differences with standard deviation `sd`: √k·effect/sd ≥ t(1 − α/2) + t(power), both with k − 1 degrees of
/// freedom (the usual approximation of the noncentral t). None where it would take more than [`MAX_BLOCKS`].
#[must_use]
pub fn blocks_to_detect(sd: f64, effect: f64, alpha: Probability, power: Probability) -> Option<u32> {
    let level = Probability::new(1.0 - alpha.get() / 2.0).ok()?;
    let effect = effect.abs();
    let enough = |k: u32| {
        let df = f64::from(k.saturating_sub(1));
        f64::from(k).sqrt() * effect >= sd * (t_quantile(level, df) + t_quantile(power, df))
    };
    if !(sd.is_finite() && sd >= 0.0 && effect > 0.0 && enough(MAX_BLOCKS)) {
        return None;
    }
    Some(smallest(enough))
}

/// The smallest k in 2..=[`MAX_BLOCKS`] that is enough, where more is always enough and the most is.
pub(crate) fn smallest(enough: impl Fn(u32) -> bool) -> u32 {
    let mut low = 1_u32;
    let mut high = MAX_BLOCKS;
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SplitMix64, num::count, paired_t};

    #[test]
    fn close_to_the_tables() {
        // Effect of one SD, α 5 %, power 80 %: the noncentral t gives 10.
        let k = blocks_to_detect(
            1.0,
            1.0,
            Probability::new(0.05).unwrap(),
            Probability::new(0.8).unwrap(),
        )
        .unwrap();
        assert!((10..=11).contains(&k), "{k}");
        assert_eq!(
            blocks_to_detect(1.0, 1e-6, Probability::new(0.05).unwrap(), Probability::P90),
            None
        );
        assert_eq!(
            blocks_to_detect(1.0, 0.0, Probability::new(0.05).unwrap(), Probability::P90),
            None
        );
        assert_eq!(
            blocks_to_detect(0.0, 0.1, Probability::new(0.05).unwrap(), Probability::P90),
            Some(2)
        );
    }

    #[test]
    fn the_promised_power_is_there() {
        let alpha = Probability::new(0.05).unwrap();
        let k = blocks_to_detect(0.06, 0.05, alpha, Probability::new(0.8).unwrap()).unwrap();
        let mut rng = SplitMix64::new(11);
        let found = (0..2000)
            .filter(|_| {
                let d: Vec<f64> = (0..k).map(|_| rng.normal().mul_add(0.06, 0.05)).collect();
                paired_t(&d, Probability::P95).unwrap().p <= 0.05
            })
            .count();
        let power = count(found) / 2000.0;
        assert!((0.77..0.88).contains(&power), "k = {k}: {power}");
    }
}
