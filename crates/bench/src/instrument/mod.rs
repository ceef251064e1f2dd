//! The load generator measured against the null server: capacity, and the error of its times.
//!
//! `load` and the null server share nothing, so the two are joined here: the null server runs as a process of its own, the
//! load generator (or a bare client that only drains bytes, for comparison) loads it, and the stamps of both sides are held
//! against each other. Used by `servelab calibrate`, `servelab run` and `make bench-instrument`.
//!
//! Parts: [`certify`] makes the certificate, [`Under`] says under which load; `null_server`, `tool` and `bare` are the three
//! programs, `truth` compares what they saw; [`suite`] is what `make bench-instrument` prints. The program that is started as
//! null server or worker is this very program, whose path the caller gives.

mod bare;
mod certify;
mod error;
mod null_server;
pub mod suite;
mod tool;
mod truth;
mod under;

pub use certify::certify;
pub use error::InstrumentError;
pub use under::{USUAL_BODY_BYTES, Under};

/// The value below which a share `q` of the values lies (nearest rank); none where there is no value.
pub(crate) fn quantile<T: Copy + Ord>(values: &mut [T], q: f64) -> Option<T> {
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    #[expect(
        clippy::as_conversions,
        reason = "a rank is far below 2^53, and float to integer saturates"
    )]
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1).min(last)).copied()
}

/// Counts and times of a measurement are far below 2^53.
#[expect(clippy::as_conversions, reason = "exact below 2^53")]
pub(crate) const fn float(n: u64) -> f64 {
    n as f64
}

/// The next whole number.
#[expect(clippy::as_conversions, reason = "float to integer saturates")]
pub(crate) const fn whole(x: f64) -> u32 {
    x.ceil() as u32
}

/// In ms, for tables.
pub(crate) fn ms(ns: i64) -> f64 {
    let magnitude = float(ns.unsigned_abs()) / 1e6;
    if ns < 0 { -magnitude } else { magnitude }
}

/// Events per second over a span in ns.
pub(crate) fn per_second(events: u64, span_ns: u64) -> f64 {
    float(events) / (float(span_ns.max(1)) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let mut values: Vec<i64> = (1..=100).rev().collect();
        for (q, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)] {
            assert_eq!(quantile(&mut values, q), Some(expected), "{q}");
        }
        assert_eq!(quantile::<u64>(&mut [], 0.5), None);
        assert!((per_second(10, 2_000_000_000) - 5.0).abs() < 1e-12);
    }
}
