//! From random bits to indices and numbers in an interval.
#![expect(
    clippy::as_conversions,
    reason = "53 bits fit an f64, and the high half of the product is below n"
)]

/// The top 53 bits of `bits` as a number in [0, 1).
pub(crate) const fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 / 9_007_199_254_740_992.0
}

/// An index below `n` from 64 random bits, 0 where `n` is 0: multiply and shift; the bias is below n / 2^64.
pub(crate) const fn index_below(bits: u64, n: usize) -> usize {
    ((bits as u128 * n as u128) >> 64) as usize
}
