//! A small generator for resampling.

use crate::{
    hash::mix,
    num::{index_below, unit_interval},
};

/// `SplitMix64` (Steele, Lea, Flood 2014): 64 bits of state, every seed is good, the same numbers on every machine.
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
        let state = self.0;
        self.0 = state.wrapping_add(crate::hash::STEP);
        mix(state)
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
