//! The only clock of the simulator: monotonic nanoseconds, the map between wall time and engine time, and the two
//! calendar forms that the wire needs. Nothing outside this module may read a clock or sleep.
//!
//! Engine time runs `scale` times faster than wall time: `engine = (wall − epoch) × scale`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second.
pub const NS_PER_S: f64 = 1e9;

/// A monotonic wall clock that starts at 0 when it is created.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    start: Instant,
}

impl WallClock {
    /// A clock that reads 0 now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the simulator's clock module")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Wall nanoseconds since [`WallClock::start`].
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the simulator's clock module")]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Sleeps until the wall clock reads at least `deadline_ns`.
    pub fn sleep_until_ns(&self, deadline_ns: u64) {
        loop {
            let now = self.now_ns();
            if now >= deadline_ns {
                return;
            }
            std::thread::sleep(Duration::from_nanos(deadline_ns.saturating_sub(now)));
        }
    }

    /// Spins until the wall clock reads at least `deadline_ns`, and says what it reads then. For the last microseconds only.
    #[must_use]
    pub fn spin_until_ns(&self, deadline_ns: u64) -> u64 {
        loop {
            let now = self.now_ns();
            if now >= deadline_ns {
                return now;
            }
            std::hint::spin_loop();
        }
    }
}

/// The map from wall time to engine time; pure, so that it can be tested without waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeMap {
    epoch_ns: u64,
    scale: f64,
}

impl TimeMap {
    /// Engine time 0 is wall time `epoch_ns`; one wall second is `scale` engine seconds.
    #[must_use]
    pub fn new(epoch_ns: u64, scale: f64) -> Self {
        Self { epoch_ns, scale }
    }

    /// How many engine seconds one wall second is.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Engine seconds at wall time `wall_ns`; 0 before the epoch.
    #[must_use]
    #[expect(
        clippy::as_conversions,
        reason = "nanoseconds of a run fit an f64's 53 bits (104 days)"
    )]
    pub fn engine_s(&self, wall_ns: u64) -> f64 {
        wall_ns.saturating_sub(self.epoch_ns) as f64 / NS_PER_S * self.scale
    }

    /// The wall time, rounded up to a whole nanosecond, at which the engine's clock reads `engine_s`.
    #[must_use]
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative; saturates"
    )]
    pub fn wall_ns(&self, engine_s: f64) -> u64 {
        let ns = (engine_s.max(0.0) / self.scale * NS_PER_S).ceil();
        self.epoch_ns.saturating_add(ns as u64)
    }

    /// Wall nanoseconds that `engine_s` engine seconds last.
    #[must_use]
    pub fn span_ns(&self, engine_s: f64) -> u64 {
        self.wall_ns(engine_s).saturating_sub(self.epoch_ns)
    }
}

/// Seconds since 1970 (UTC), for `created` fields.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the simulator's clock module")]
pub fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The same with its fraction.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the simulator's clock module")]
pub fn unix_exact_s() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// A UTC calendar date and time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    weekday: u64,
}

/// The Gregorian date of `unix_s`, by the era method (400 years are 146,097 days) on years that start in March.
fn civil(unix_s: u64) -> Civil {
    let days = unix_s / 86_400;
    let of_day = unix_s % 86_400;
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    Civil {
        year,
        month,
        day,
        hour: of_day / 3_600,
        minute: of_day / 60 % 60,
        second: of_day % 60,
        // 1 January 1970 was a Thursday.
        weekday: (days + 4) % 7,
    }
}

fn nth(names: &[&'static str], index: u64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|i| names.get(i))
        .copied()
        .unwrap_or("")
}

/// The `date` header (RFC 9110 IMF-fixdate) for `unix_s`.
#[must_use]
pub fn http_date(unix_s: u64) -> String {
    let c = civil(unix_s);
    let weekday = nth(&["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"], c.weekday);
    let month = nth(
        &[
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ],
        c.month.saturating_sub(1),
    );
    format!(
        "{weekday}, {:02} {month} {} {:02}:{:02}:{:02} GMT",
        c.day, c.year, c.hour, c.minute, c.second
    )
}

/// `MM-DD HH:MM:SS`, the stamp of vLLM's log lines, for `unix_s` (UTC).
#[must_use]
pub fn log_stamp(unix_s: u64) -> String {
    let c = civil(unix_s);
    format!(
        "{:02}-{:02} {:02}:{:02}:{:02}",
        c.month, c.day, c.hour, c.minute, c.second
    )
}

/// `YYYY-MM-DD HH:MM:SS`, the stamp of SGLang's log lines, for `unix_s` (UTC).
#[must_use]
pub fn iso_stamp(unix_s: u64) -> String {
    let c = civil(unix_s);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_gregorian() {
        // The date header of the recorded vLLM captures and its `created` second.
        assert_eq!(http_date(1_795_301_081), "Sat, 21 Nov 2026 22:44:41 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(log_stamp(1_795_301_081), "11-21 22:44:41");
        assert_eq!(iso_stamp(1_795_301_081), "2026-11-21 22:44:41");
    }

    #[test]
    fn time_scale_maps_both_ways() {
        let map = TimeMap::new(1_000, 20.0);
        assert_eq!(map.wall_ns(0.0), 1_000);
        assert_eq!(map.wall_ns(20.0), 1_000_001_000);
        assert_eq!(map.span_ns(0.06), 3_000_000);
        assert!((map.engine_s(1_000_001_000) - 20.0).abs() < 1e-9);
        assert!(map.engine_s(0).abs() < f64::EPSILON);
        // Rounding up never puts a deadline before its engine time.
        for ms in [0.1, 0.33, 7.7, 1234.567] {
            assert!(map.engine_s(map.wall_ns(ms / 1e3)) >= ms / 1e3 - 1e-12);
        }
    }
}
