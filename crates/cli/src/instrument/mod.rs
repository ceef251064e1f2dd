//! The load generator measured against the null server: capacity, and the error of its times.
//!
//! `load` and `nullserver` share nothing, so the two are joined here: the null server runs as a process of its own, the load
//! generator (or a bare client that only drains bytes, for comparison) loads it, and the stamps of both sides are held
//! against each other. Used by `servelab calibrate`, `servelab run` and `make bench-instrument`.

pub(crate) mod bare;
pub(crate) mod certify;
pub(crate) mod null_server;
pub(crate) mod tool;
pub(crate) mod truth;

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
