//! Target lengths: log-uniform inside a bucket, one from each of n equal strata.

use servelab_random::HashStream;

/// `n` lengths between `shortest` and `longest` tokens, both inclusive, in random order.
///
/// Only multiplication and square roots are used: IEEE 754 rounds them the same way everywhere, which it does not
/// promise of logarithms and powers.
pub(crate) fn log_uniform(n: usize, shortest: u32, longest: u32, stream: &mut HashStream) -> Vec<u32> {
    const BITS: u32 = 40;
    let count = u64::try_from(n).unwrap_or(u64::MAX).max(1);
    let mut targets: Vec<u32> = (0..count)
        .map(|stratum| {
            // the quantile as a binary fraction of 40 bits: (stratum + jitter) / count
            let jitter = stream.bits() >> (64 - BITS);
            let quantile = ((u128::from(stratum) << BITS) + u128::from(jitter)) / u128::from(count);
            let (mut low, mut high) = (f64::from(shortest), f64::from(longest) + 1.0);
            for bit in (0..BITS).rev() {
                let middle = (low * high).sqrt();
                if (quantile >> bit) & 1 == 1 {
                    low = middle
                } else {
                    high = middle
                }
            }
            floor(low, shortest, longest)
        })
        .take(n)
        .collect();
    stream.shuffle(&mut targets);
    targets
}

/// The largest whole number not above `x`, by bisection between two bounds.
fn floor(x: f64, shortest: u32, longest: u32) -> u32 {
    let (mut low, mut high) = (shortest, longest);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if f64::from(middle) <= x {
            low = middle
        } else {
            high = middle - 1
        }
    }
    low
}

/// Kolmogorov–Smirnov distance between lengths and the log-uniform distribution over `shortest..=longest`, 0 to 1.
#[must_use]
pub fn ks_distance(lengths: &[u32], shortest: u32, longest: u32) -> f64 {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let span = ((f64::from(longest) + 1.0) / f64::from(shortest)).ln();
    // A whole number stands for the interval up to the next one.
    let below = |x: f64| ((x / f64::from(shortest)).ln() / span).clamp(0.0, 1.0);
    let Ok(n) = u32::try_from(sorted.len()) else { return 1.0 };
    (0..n)
        .zip(&sorted)
        .map(|(i, &x)| {
            let over = f64::from(i + 1) / f64::from(n) - below(f64::from(x) + 1.0);
            let under = below(f64::from(x)) - f64::from(i) / f64::from(n);
            over.max(under)
        })
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_log_uniform() {
        for (shortest, longest) in [(128, 512), (513, 2048), (2049, 7936)] {
            let targets = log_uniform(200, shortest, longest, &mut HashStream::new(1, "lengths"));
            assert_eq!(targets.len(), 200);
            assert!(targets.iter().all(|t| (shortest..=longest).contains(t)));
            let distance = ks_distance(&targets, shortest, longest);
            assert!(distance <= 0.005 + 1e-9, "one of each stratum: {distance}");
        }
    }

    #[test]
    fn the_distance_sees_other_distributions() {
        let uniform: Vec<u32> = (0..200).map(|i| 513 + i * 7).collect();
        assert!(ks_distance(&uniform, 513, 2048) > 0.1);
        assert!(ks_distance(&[513; 50], 513, 2048) > 0.9);
    }

    #[test]
    fn degenerate_ranges() {
        assert_eq!(log_uniform(3, 7, 7, &mut HashStream::new(1, "x")), [7, 7, 7]);
        assert!(log_uniform(0, 1, 2, &mut HashStream::new(1, "x")).is_empty());
        assert_eq!(floor(3.999, 1, 10), 3);
        assert_eq!(floor(99.0, 1, 10), 10);
    }
}
