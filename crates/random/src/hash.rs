//! Seeded numbers without state: every draw is a hash of what it is for, so that the same request gets the same text,
//! length and speculation whatever else runs beside it.

use crate::num::{index_below, unit_interval};

/// 2^64 / φ, odd: the step of `SplitMix64`.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// `SplitMix64`'s finaliser (Steele, Lea, Flood 2014) after one step: spreads every input bit over the output.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of several numbers, order-sensitive.
#[must_use]
pub fn mix_all(values: &[u64]) -> u64 {
    values.iter().fold(0x5e71_ab00, |h, v| mix(h ^ mix(*v)))
}

/// A uniform number in [0, 1) from a hash.
#[must_use]
pub const fn unit(hash: u64) -> f64 {
    unit_interval(mix(hash))
}

/// A number below `bound` from a hash; 0 for a bound of 0.
#[must_use]
pub const fn below(hash: u64, bound: usize) -> usize {
    index_below(mix(hash), bound)
}
