//! Counts and nanoseconds as floating point, in one place.
#![expect(
    clippy::as_conversions,
    reason = "u64 to f64 has no From; counts here are far below 2^53"
)]

/// A count as a number; exact below 2^53.
pub(crate) const fn count(n: u64) -> f64 {
    n as f64
}

/// Seconds as whole nanoseconds, rounded; 0 for negative numbers and NaN.
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// A length as `u32`, at most `u32::MAX`.
pub(crate) fn len_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The whole part of a number that is not negative; 0 for NaN.
pub(crate) const fn floor(x: f64) -> u64 {
    x as u64
}
