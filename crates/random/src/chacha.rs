//! Streams for everything that is drawn ahead of a load.

use crate::seed::key;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use rand_distr::{Distribution, Exp1, Gamma};

/// A stream of random numbers that depends on a seed and a name alone.
#[derive(Debug, Clone)]
pub struct ChaChaStream(ChaCha8Rng);

/// A gamma distribution with mean 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitGamma(Gamma<f64>);

impl UnitGamma {
    /// The one of this shape; its coefficient of variation is `1/√shape`. None for a shape that is not positive, or so far
    /// from 1 (beyond 1e±300) that shape or 1/shape is no finite number.
    #[must_use]
    pub fn new(shape: f64) -> Option<Self> {
        Gamma::new(shape, shape.recip()).ok().map(Self)
    }
}

impl ChaChaStream {
    /// The stream called `name` under `seed`.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        Self(ChaCha8Rng::from_seed(key(seed, name)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, from 32 bits; 0 where `n` is 0. The bias of the multiplication is below n / 2^32.
    pub fn below(&mut self, n: u32) -> u32 {
        let wide = u64::from(self.0.next_u32()) * u64::from(n);
        u32::try_from(wide >> 32).unwrap_or(0)
    }

    /// An exponentially distributed number with mean 1.
    pub fn exponential(&mut self) -> f64 {
        Exp1.sample(&mut self.0)
    }

    /// A gamma-distributed number with mean 1.
    pub fn gamma(&mut self, gamma: &UnitGamma) -> f64 {
        gamma.0.sample(&mut self.0)
    }
}
