//! Rows and how they are printed.

use super::Document;
use serde::Serialize;
use std::fmt::Write as _;

/// How a row came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Came {
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
    pub(super) fn at_most(value: f64, bound: f64, aim: f64) -> Self {
        if value <= aim {
            Self::Aim
        } else if value <= bound {
            Self::Bound
        } else {
            Self::Missed
        }
    }

    /// For a figure that is to be at least these.
    pub(super) fn at_least(value: f64, bound: f64, aim: f64) -> Self {
        // NaN is within nothing.
        Self::at_most(-value, -bound, -aim)
    }

    const fn word(self) -> &'static str {
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
pub(super) struct Row {
    /// What is measured.
    pub(super) what: String,
    /// The bound; empty for information.
    pub(super) bound: String,
    /// The aim.
    pub(super) aim: String,
    /// The figure that is held against them.
    pub(super) measured: String,
    /// The load generator's own figure.
    pub(super) tool: String,
    /// The bare client's.
    pub(super) bare: String,
    /// How it came out.
    pub(super) came: Came,
    /// What to know, such as that the server was the limit.
    pub(super) note: String,
    /// The figure of each round.
    pub(super) rounds: Vec<f64>,
}

/// The median: the middle one, or the lower of the two in the middle; NaN of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The table with the facts about the machine above it.
pub(super) fn markdown(document: &Document) -> String {
    let host = &document.host;
    let mut out = String::new();
    let cpu = host.cpu.as_deref().unwrap_or("unknown CPU");
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "servelab {} on {} × {cpu}, {}; load average before: {}; medians of {} rounds, {:.0} s.\n",
        document.servelab_version,
        host.cpus,
        host.kernel.as_deref().unwrap_or("unknown kernel"),
        document.load_average,
        document.rounds,
        document.seconds
    );
    out.push_str("| what | bound | aim | measured | tool | bare client | | note |\n");
    out.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for row in &document.rows {
        let Row {
            what,
            bound,
            aim,
            measured,
            tool,
            bare,
            came,
            note,
            ..
        } = row;
        let _ = writeln!(
            out,
            "| {what} | {bound} | {aim} | {measured} | {tool} | {bare} | {} | {note} |",
            came.word()
        );
    }
    out
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
