//! Rows and how they came out.

use serde::Serialize;

/// How a row came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Came {
    /// Within the aim.
    Aim,
    /// Within the bound.
    Bound,
    /// Beyond the bound.
    Missed,
    /// Has none; for information.
    Info,
}

impl Came {
    /// For a figure that is to be at most these.
    pub(crate) fn at_most(value: f64, bound: f64, aim: f64) -> Self {
        if value <= aim {
            Self::Aim
        } else if value <= bound {
            Self::Bound
        } else {
            Self::Missed
        }
    }

    /// For a figure that is to be at least these.
    pub(crate) fn at_least(value: f64, bound: f64, aim: f64) -> Self {
        // NaN is within nothing.
        Self::at_most(-value, -bound, -aim)
    }

    /// In one word, for a table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Bound => "pass",
            Self::Missed => "MISS",
            Self::Info => "–",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// The bound; empty for information.
    pub bound: String,
    /// The aim.
    pub aim: String,
    /// The figure that is held against them.
    pub measured: String,
    /// The load generator's own figure.
    pub tool: String,
    /// The bare client's.
    pub bare: String,
    /// How it came out.
    pub came: Came,
    /// What to know, such as that the server was the limit.
    pub note: String,
    /// The figure of each round.
    pub rounds: Vec<f64>,
}

/// The median: the middle one, or the lower of the two in the middle; NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_judged_by_bound_and_aim() {
        for (value, expected) in [
            (0.5, Came::Aim),
            (1.0, Came::Aim),
            (2.0, Came::Bound),
            (2.1, Came::Missed),
        ] {
            assert_eq!(Came::at_most(value, 2.0, 1.0), expected, "{value}");
        }
        for (value, expected) in [
            (0.61, Came::Aim),
            (0.5, Came::Bound),
            (0.44, Came::Missed),
            (f64::NAN, Came::Missed),
        ] {
            assert_eq!(Came::at_least(value, 0.45, 0.6), expected, "{value}");
        }
    }

    #[test]
    fn the_median_is_one_of_the_values() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0]) - 1.0).abs() < 1e-12);
        assert!(median(&[]).is_nan());
    }
}
