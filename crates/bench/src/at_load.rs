//! A load as a number whose name has its unit: requests in flight, or requests per second. In files it is two members, one of
//! which is null: `{"concurrency": 8, "rate_per_s": null}`.

use crate::find_max::Searched;
use serde::Serialize;
use servelab_schema::Load;
use std::{cmp::Ordering, fmt, num::NonZeroU32};

/// A load as a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(into = "Members")]
pub enum AtLoad {
    /// A closed loop of so many requests in flight.
    Concurrency(NonZeroU32),
    /// An open loop of so many arrivals per second in the mean.
    RatePerS(f64),
}

/// How it is written.
#[derive(Serialize)]
struct Members {
    concurrency: Option<NonZeroU32>,
    rate_per_s: Option<f64>,
}

impl From<AtLoad> for Members {
    fn from(at: AtLoad) -> Self {
        Self {
            concurrency: at.concurrency(),
            rate_per_s: at.rate_per_s(),
        }
    }
}

impl From<Load> for AtLoad {
    fn from(load: Load) -> Self {
        match load {
            Load::Closed { concurrency } => Self::Concurrency(concurrency),
            Load::Open { rate_per_s, .. } => Self::RatePerS(rate_per_s.get()),
        }
    }
}

impl AtLoad {
    /// The load that a search has as a bare number.
    #[must_use]
    pub fn of_search(searched: Searched, load: f64) -> Self {
        match searched {
            Searched::Concurrency => Self::Concurrency(in_flight(load)),
            Searched::Rate => Self::RatePerS(load),
        }
    }

    /// Requests in flight; none of an open loop.
    #[must_use]
    pub const fn concurrency(self) -> Option<NonZeroU32> {
        match self {
            Self::Concurrency(n) => Some(n),
            Self::RatePerS(_) => None,
        }
    }

    /// Arrivals per second; none of a closed loop.
    #[must_use]
    pub const fn rate_per_s(self) -> Option<f64> {
        match self {
            Self::Concurrency(_) => None,
            Self::RatePerS(rate) => Some(rate),
        }
    }

    /// The number alone, in the unit of its kind.
    #[must_use]
    pub fn number(self) -> f64 {
        match self {
            Self::Concurrency(n) => f64::from(n.get()),
            Self::RatePerS(rate) => rate,
        }
    }

    /// By its number: for loads of one kind.
    #[must_use]
    pub fn total_cmp(&self, other: &Self) -> Ordering {
        self.number().total_cmp(&other.number())
    }
}

/// `8`, or `2.5/s`.
impl fmt::Display for AtLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrency(n) => f.pad(&n.to_string()),
            Self::RatePerS(rate) => f.pad(&format!("{rate}/s")),
        }
    }
}

/// A concurrency as a search has it.
#[expect(
    clippy::as_conversions,
    reason = "whole numbers from 1 to 16384; float to integer saturates"
)]
fn in_flight(load: f64) -> NonZeroU32 {
    NonZeroU32::new(load.round() as u32).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_unit_is_in_its_name() {
        let text = |at| serde_json::to_string(&at).unwrap();
        let of = AtLoad::of_search;
        assert_eq!(
            text(of(Searched::Concurrency, 8.0)),
            r#"{"concurrency":8,"rate_per_s":null}"#
        );
        assert_eq!(
            text(of(Searched::Rate, 2.5)),
            r#"{"concurrency":null,"rate_per_s":2.5}"#
        );
        assert_eq!(
            (
                of(Searched::Concurrency, 0.2).to_string(),
                of(Searched::Rate, 2.5).to_string()
            ),
            ("1".to_owned(), "2.5/s".to_owned())
        );
    }
}
