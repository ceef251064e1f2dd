//! Quantities with their unit in the type: nanoseconds, bytes, ratios.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A span of time in whole nanoseconds of *engine time*.
///
/// For a real engine that is the monotonic clock. For a simulated one that runs `time_scale` times faster, it is the
/// monotonic clock × `time_scale`, so that every number downstream has one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    /// In seconds, for statistics and display.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "u64 to f64 has no From; 2^53 ns is 104 days")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// In milliseconds, for statistics and display.
    #[must_use]
    pub fn as_millis_f64(self) -> f64 {
        self.as_secs_f64() * 1e3
    }

    /// Difference, 0 where `earlier` is the later one.
    #[must_use]
    pub const fn saturating_sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Sum, at most `u64::MAX`.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A moment of a trial: whole nanoseconds of engine time since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TrialInstant(pub u64);

impl TrialInstant {
    /// When the trial began.
    pub const START: Self = Self(0);

    /// So many milliseconds after the trial's start.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self::START.after(Nanos::from_millis(ms))
    }

    /// So many seconds after the trial's start.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self::START.after(Nanos::from_secs(s))
    }

    /// The span since `earlier`; 0 where that is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0).saturating_sub(Nanos(earlier.0))
    }

    /// The moment a span later; the end of the clock where it would lie behind that.
    #[must_use]
    pub const fn after(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// In seconds since the trial's start, for statistics and display.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.since(Self::START).as_secs_f64()
    }
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration; write a number and a unit, such as \"90s\", \"250ms\", \"5m\" or \"1h\"")]
pub struct ParseDurationError(pub String);

impl FromStr for Nanos {
    type Err = ParseDurationError;

    /// Reads `"90s"`, `"1.5s"`, `"250ms"`, `"40us"`, `"10ns"`, `"5m"`, `"2h"`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let err = || ParseDurationError(s.to_owned());
        let split = s.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(err)?;
        let (number, unit) = s.split_at_checked(split).ok_or_else(err)?;
        let ns_per_unit: u64 = match unit.trim() {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(err()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 9 {
            return Err(err());
        }
        let whole: u64 = whole.parse().map_err(|_| err())?;
        let mut ns = whole.checked_mul(ns_per_unit).ok_or_else(err)?;
        let mut place = ns_per_unit;
        for digit in fraction.chars() {
            place /= 10;
            let digit = u64::from(digit.to_digit(10).ok_or_else(err)?);
            ns = ns.checked_add(digit.saturating_mul(place)).ok_or_else(err)?;
        }
        Ok(Self(ns))
    }
}

/// In the unit that people would choose, such as `2h05m`, `1m30s`, `8.00s`, `12.34ms`, `96.1µs` or `250ns`.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns >= 3_600_000_000_000 => {
                let min = ns / 60_000_000_000;
                write!(f, "{}h{:02}m", min / 60, min % 60)
            }
            ns if ns >= 60_000_000_000 => {
                let s = ns / 1_000_000_000;
                write!(f, "{}m{:02}s", s / 60, s % 60)
            }
            ns if ns >= 1_000_000_000 => write!(f, "{:.2}s", self.as_secs_f64()),
            ns if ns >= 1_000_000 => write!(f, "{:.2}ms", self.as_millis_f64()),
            ns if ns >= 1_000 => write!(f, "{:.1}µs", self.as_secs_f64() * 1e6),
            ns => write!(f, "{ns}ns"),
        }
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// For people, in decimal units: `512 B`, `12.3 MB`.
impl fmt::Display for Bytes {
    #[expect(clippy::as_conversions, reason = "three digits of it are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        let bytes = self.0 as f64;
        // What would be shown as 1000.0 of a unit is 1.0 of the next.
        match units.into_iter().find(|(size, _)| bytes >= size * 0.99995) {
            Some((size, unit)) if bytes >= 1000.0 => f.pad(&format!("{:.1} {unit}", bytes / size)),
            _ => f.pad(&format!("{} B", self.0)),
        }
    }
}

/// A finite, non-negative number without unit, such as 0.03 for 3 %.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64")]
pub struct Ratio(f64);

/// Why a number is no ratio.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0} is not a ratio; give a finite number of at least 0, such as 0.03 for 3 %")]
pub struct RatioError(pub f64);

impl Ratio {
    /// A checked ratio.
    ///
    /// # Errors
    /// Refuses NaN, infinities and negative numbers.
    pub fn new(value: f64) -> Result<Self, RatioError> {
        if value.is_finite() && value >= 0.0 {
            Ok(Self(value))
        } else {
            Err(RatioError(value))
        }
    }

    /// A ratio written in this room's source: finite and not negative, as everybody can see.
    pub(crate) const fn known(value: f64) -> Self {
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = RatioError;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        Self::new(value)
    }
}

impl From<Ratio> for f64 {
    fn from(value: Ratio) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(text.parse::<Nanos>().ok().map(|n| n.0), expected, "{text}");
    }

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        let said = |bytes: u64| Bytes(bytes).to_string();
        assert_eq!([said(0), said(999), said(1000)], ["0 B", "999 B", "1.0 kB"]);
        assert_eq!([said(999_949), said(999_950)], ["999.9 kB", "1.0 MB"]);
        assert_eq!([said(12_340_000), said(2_500_000_000)], ["12.3 MB", "2.5 GB"]);
    }

    #[test]
    fn durations() {
        check("90s", Some(90_000_000_000));
        check("1.5s", Some(1_500_000_000));
        check("250ms", Some(250_000_000));
        check("0.25us", Some(250));
        check("2h", Some(7_200_000_000_000));
        check("5 m", Some(300_000_000_000));
        for bad in [
            "90",
            "",
            "s",
            "-1s",
            "1.s",
            ".5s",
            "1e3s",
            "1 parsec",
            "99999999999999999999s",
            "NaNs",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn spans_are_shown_in_a_unit_that_people_read() {
        for (ns, expected) in [
            (0, "0ns"),
            (250, "250ns"),
            (96_103, "96.1µs"),
            (1_500_000, "1.50ms"),
            (8_000_000_000, "8.00s"),
            (90_000_000_000, "1m30s"),
            (7_500_000_000_000, "2h05m"),
        ] {
            assert_eq!(Nanos(ns).to_string(), expected);
        }
        check("96.1µs", Some(96_100));
    }

    #[test]
    fn ratios_are_finite() {
        assert!(Ratio::new(0.03).is_ok());
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(Ratio::new(bad).is_err());
        }
    }
}
