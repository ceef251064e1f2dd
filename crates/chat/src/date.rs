//! The date that `strftime_now` prints: fixed by the caller, so that a rendered prompt is the same every day.

use minijinja::{Error, ErrorKind};
use std::fmt::Write;

/// A calendar day at midnight, proleptic Gregorian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedDate {
    year: u16,
    month: u8,
    day: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl FixedDate {
    /// What is printed where nobody chose a date: 1 January 2026.
    pub const DEFAULT: Self = Self {
        year: 2026,
        month: 1,
        day: 1,
    };

    /// A day; none where the calendar has no such day or the year is 0 or above 9999.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        ((1..=9999).contains(&year) && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }

    fn month_name(self) -> &'static str {
        MONTHS.get(usize::from(self.month) - 1).copied().unwrap_or_default()
    }

    fn weekday(self) -> &'static str {
        // Sakamoto's method: January and February count to the year before.
        const SHIFT: [u32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = u32::from(self.year) - u32::from(self.month < 3);
        let shift = SHIFT.get(usize::from(self.month) - 1).copied().unwrap_or_default();
        let day = (year + year / 4 - year / 100 + year / 400 + shift + u32::from(self.day)) % 7;
        usize::try_from(day)
            .ok()
            .and_then(|d| DAYS.get(d))
            .copied()
            .unwrap_or_default()
    }

    /// `strftime` in the C locale; midnight is the time of day.
    pub(crate) fn format(self, format: &str) -> Result<String, Error> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut code = chars.next();
            // glibc's `%-d`: no leading zero
            let bare = code == Some('-');
            if bare {
                code = chars.next();
            }
            let two = |out: &mut String, n: u16| {
                if bare {
                    write!(out, "{n}")
                } else {
                    write!(out, "{n:02}")
                }
            };
            let written = match code {
                Some('Y') => write!(out, "{}", self.year),
                Some('y') => two(&mut out, self.year % 100),
                Some('m') => two(&mut out, self.month.into()),
                Some('d') => two(&mut out, self.day.into()),
                Some('e') => write!(out, "{:2}", self.day),
                Some('H' | 'M' | 'S') => two(&mut out, 0),
                Some('I') => two(&mut out, 12),
                Some('p') => out.write_str("AM"),
                Some('B') => out.write_str(self.month_name()),
                Some('b') => out.write_str(self.month_name().get(..3).unwrap_or_default()),
                Some('A') => out.write_str(self.weekday()),
                Some('a') => out.write_str(self.weekday().get(..3).unwrap_or_default()),
                Some('F') => write!(out, "{}-{:02}-{:02}", self.year, self.month, self.day),
                Some('%') => out.write_str("%"),
                other => {
                    let code = other.map(String::from).unwrap_or_default();
                    let message = format!("strftime_now: `%{code}` is not known here");
                    return Err(Error::new(ErrorKind::InvalidOperation, message));
                }
            };
            written.map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_exist() {
        assert!(FixedDate::new(2024, 2, 29).is_some());
        for (y, m, d) in [
            (2023, 2, 29),
            (1900, 2, 29),
            (2024, 13, 1),
            (2024, 4, 31),
            (2024, 1, 0),
            (0, 1, 1),
        ] {
            assert!(FixedDate::new(y, m, d).is_none(), "{y}-{m}-{d}");
        }
    }

    #[test]
    fn formats_as_strftime() {
        let check = |date: (u16, u8, u8), format: &str, expected: &str| {
            let date = FixedDate::new(date.0, date.1, date.2).unwrap();
            assert_eq!(date.format(format).unwrap(), expected);
        };
        check((2024, 7, 26), "%d %b %Y", "26 Jul 2024");
        check((2024, 7, 6), "%A, %B %-d, %Y %%", "Saturday, July 6, 2024 %");
        check(
            (2000, 2, 29),
            "%a %F %H:%M:%S %I%p %y",
            "Tue 2000-02-29 00:00:00 12AM 00",
        );
        check((2026, 1, 1), "%A %e", "Thursday  1");
        assert!(FixedDate::DEFAULT.format("%Q").is_err());
        assert!(FixedDate::DEFAULT.format("%").is_err());
    }
}
