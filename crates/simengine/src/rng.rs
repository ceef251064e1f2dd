//! Seeded numbers without state: every draw is a hash of what it is for, so that the same request gets the same text, length
//! and speculation whatever else runs beside it.

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): spreads every input bit over the output.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
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
#[expect(clippy::as_conversions, reason = "53 bits fit an f64")]
pub fn unit(hash: u64) -> f64 {
    (mix(hash) >> 11) as f64 / 9_007_199_254_740_992.0
}

/// A number below `bound` from a hash; 0 for a bound of 0.
#[must_use]
pub fn below(hash: u64, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    let wide = (u128::from(mix(hash)) * u128::from(bound)) >> 64;
    usize::try_from(wide).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_enough() {
        let n = 20_000u64;
        let mean = (0..n).map(unit).sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let mut counts = [0u32; 7];
        for i in 0..n {
            counts[below(i, 7)] += 1;
        }
        assert!(counts.iter().all(|c| (2_600..3_120).contains(c)), "{counts:?}");
        assert_ne!(mix_all(&[1, 2]), mix_all(&[2, 1]));
        assert_eq!(below(3, 0), 0);
    }
}
