//! The few conversions between counts and floating point that statistics needs, in one place.
#![expect(
    clippy::as_conversions,
    reason = "counts below 2^53 and indices checked to be within range"
)]

/// A count as a number; exact below 2^53.
pub(crate) const fn count(n: usize) -> f64 {
    n as f64
}

/// A length as `u32`, at most `u32::MAX`.
pub(crate) fn len_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The largest index not above `x`; 0 for negative numbers and NaN.
pub(crate) const fn floor_index(x: f64) -> usize {
    x as usize
}
