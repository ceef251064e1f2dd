//! A small seeded generator for resampling. Not for secrets.

use crate::num::{index_below, unit_interval};

/// SplitMix64 (Steele, Lea, Flood 2014): 64 bits of state, every seed is good, the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number uniform in [0, 1).
    pub const fn uniform(&mut self) -> f64 {
        unit_interval(self.next_u64())
    }

    /// An index uniform below `n`; 0 where n is 0.
    pub const fn below(&mut self, n: usize) -> usize {
        index_below(self.next_u64(), n)
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        // 1 − u lies in (0, 1], so its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_test_vector() {
        let mut rng = SplitMix64::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        for x in expected {
            assert_eq!(rng.next_u64(), x);
        }
    }

    #[test]
    fn ranges_and_moments() {
        let mut rng = SplitMix64::new(7);
        let mut counts = [0_u32; 10];
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..20_000 {
            counts[rng.below(10)] += 1;
            let z = rng.normal();
            sum += z;
            squares += z * z;
        }
        assert!(counts.iter().all(|&c| (1800..2200).contains(&c)), "{counts:?}");
        assert!((sum / 20_000.0).abs() < 0.03 && (squares / 20_000.0 - 1.0).abs() < 0.04);
        assert_eq!(rng.below(0), 0);
    }
}
