//! Numbers with what stands behind them: n, interval, certification.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An interval; whoever makes one says of what and with what confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Lower end, in the values' unit.
    pub low: f64,
    /// Upper end, in the values' unit.
    pub high: f64,
}

/// The usual figures of a sample, all in the sample's unit. A percentile here is a description: nothing certifies it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Number of values.
    pub n: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with divisor n − 1; null for a single value.
    pub sd: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// What the number of values says about a percentile (MLPerf's early-stopping bound at 99 % confidence). Failed requests count
/// as +∞.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Certification {
    /// The percentile is at most `bound`.
    Certified {
        /// The bound, in the sample's unit: the `rank_from_top`-th largest value, failures on top.
        bound: OrInfinite,
        /// 1 for the maximum.
        rank_from_top: u32,
    },
    /// Too few values.
    NotCertifiable {
        /// Smallest number of values that certifies this percentile.
        needs: u32,
    },
}

impl Certification {
    /// True for [`Certification::Certified`].
    #[must_use]
    pub const fn is_certified(&self) -> bool {
        matches!(self, Self::Certified { .. })
    }

    /// The certified bound; none where there are too few values, and where failures reach it.
    #[must_use]
    pub const fn finite_bound(&self) -> Option<f64> {
        match self {
            Self::Certified { bound, .. } => bound.finite(),
            Self::NotCertifiable { .. } => None,
        }
    }
}

/// A percentile with what certifies it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// Which one, as a share: 0.95 for p95.
    pub p: f64,
    /// Number of values.
    pub n: u32,
    /// Point estimate: Hyndman and Fan's type 7, in the sample's unit.
    pub point: f64,
    /// What n certifies.
    pub certified: Certification,
}

/// A number, or +∞ where failures reach that far down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OrInfinite {
    /// A number.
    Finite(f64),
    /// +∞.
    Infinite,
}

impl OrInfinite {
    /// The number, where it is one.
    #[must_use]
    pub const fn finite(self) -> Option<f64> {
        match self {
            Self::Finite(x) => Some(x),
            Self::Infinite => None,
        }
    }
}

/// A share with Clopper and Pearson's interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proportion {
    /// How many of the n.
    pub hits: u32,
    /// All.
    pub n: u32,
    /// hits / n.
    pub ratio: f64,
    /// The 95 % interval, as if the n were independent.
    pub interval: Interval,
}

/// A mean of one value a block, with the lowest and the highest block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverBlocks {
    /// Mean of the blocks' values.
    pub mean: f64,
    /// Lowest block.
    pub low: f64,
    /// Highest block.
    pub high: f64,
    /// Blocks.
    pub n: u32,
}

impl OverBlocks {
    /// Of one value a block; none where there is no block.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut sum, mut low, mut high, mut n) = (0.0, f64::INFINITY, f64::NEG_INFINITY, 0_u32);
        for value in values {
            sum += value;
            low = f64::min(low, value);
            high = f64::max(high, value);
            n += 1;
        }
        (n > 0).then(|| Self {
            mean: sum / f64::from(n),
            low,
            high,
            n,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!(OverBlocks::of(std::iter::empty()), None);
        let two = OverBlocks::of([1.0, 3.0].into_iter()).unwrap();
        assert_eq!((two.mean, two.low, two.high, two.n), (2.0, 1.0, 3.0, 2));
    }
}
