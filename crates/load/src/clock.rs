//! The only place in this room that reads a clock.
//!
//! Every duration comes from `CLOCK_MONOTONIC`, as whole nanoseconds, so that stamps of other programs on the same machine
//! (a null server's writes) can be compared with ours. The wall clock is read only to say when a run took place.

use rustix::time::{ClockId, clock_gettime};
use servelab_schema::Nanos;
use std::{num::NonZeroU32, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

fn read(id: ClockId) -> u64 {
    let t = clock_gettime(id);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(t.tv_nsec).unwrap_or(0))
}

/// `CLOCK_MONOTONIC` in ns since an arbitrary start that all programs of a machine share until its reboot.
#[must_use]
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// CPU time of the calling thread so far, in ns.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of all threads of this process so far, in ns.
#[must_use]
pub fn process_cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// The wall clock, RFC 3339 in UTC, such as `2026-11-22T00:31:07.123456789Z`.
#[must_use]
pub fn utc_now() -> String {
    // RFC 3339 has years 0 to 9999; a clock beyond that is shown as the epoch rather than stopping a run.
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// A wall-clock stamp and the monotonic clock at the same moment: two of them show how far the wall clock was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WallAnchor {
    /// RFC 3339 in UTC.
    pub utc: String,
    /// [`monotonic_ns`] at that moment.
    pub monotonic_ns: u64,
}

impl WallAnchor {
    /// The anchor for now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic_ns: monotonic_ns(),
            utc: utc_now(),
        }
    }
}

/// The clock of one trial. Engine time is (monotonic − the trial's start) × the time scale: for a real engine the scale is
/// 1; a simulated engine that runs 20 times faster than life has scale 20, and its times are stretched back here, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialClock {
    epoch_ns: u64,
    scale: NonZeroU32,
}

impl TrialClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start(scale: NonZeroU32) -> Self {
        Self::from_epoch(monotonic_ns(), scale)
    }

    /// A clock that started when [`monotonic_ns`] was `epoch_ns`.
    #[must_use]
    pub const fn from_epoch(epoch_ns: u64, scale: NonZeroU32) -> Self {
        Self { epoch_ns, scale }
    }

    /// [`monotonic_ns`] at engine time 0.
    #[must_use]
    pub const fn epoch_ns(&self) -> u64 {
        self.epoch_ns
    }

    /// Engine seconds per wall second.
    #[must_use]
    pub const fn scale(&self) -> NonZeroU32 {
        self.scale
    }

    /// Engine time now.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.at(monotonic_ns())
    }

    /// Engine time at a monotonic stamp; 0 before the start.
    #[must_use]
    pub fn at(&self, monotonic_ns: u64) -> Nanos {
        self.engine_span(monotonic_ns.saturating_sub(self.epoch_ns))
    }

    /// A span of the monotonic clock in engine time.
    #[must_use]
    pub fn engine_span(&self, wall_ns: u64) -> Nanos {
        Nanos(wall_ns.saturating_mul(u64::from(self.scale.get())))
    }

    /// The monotonic stamp at which engine time is (at least) `at`.
    #[must_use]
    pub fn monotonic_of(&self, at: Nanos) -> u64 {
        self.epoch_ns.saturating_add(at.0.div_ceil(u64::from(self.scale.get())))
    }

    /// Wall time from now until engine time `at`; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: Nanos) -> Duration {
        Duration::from_nanos(self.monotonic_of(at).saturating_sub(monotonic_ns()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn clock(epoch_ns: u64, scale: u32) -> TrialClock {
        TrialClock::from_epoch(epoch_ns, NonZeroU32::new(scale).unwrap())
    }

    #[test]
    fn scale_is_exact_both_ways() {
        for scale in [1, 3, 20, 1000] {
            let c = clock(1_000_000_000_000, scale);
            for engine in [0, 1, 7, 999, 1_000_000_007, 123_456_789_012] {
                let back = c.at(c.monotonic_of(Nanos(engine)));
                assert!(
                    back.0 >= engine && back.0 < engine + u64::from(scale),
                    "{scale} {engine} {back:?}"
                );
            }
        }
        assert_eq!(clock(50, 20).at(150), Nanos(2000));
        assert_eq!(clock(50, 20).at(49), Nanos(0));
    }

    #[test]
    fn clocks_move_forward() {
        let c = clock(monotonic_ns(), 20);
        let (a, b) = (c.now(), c.now());
        assert!(a <= b);
        assert!(c.until(Nanos(0)).is_zero());
        assert!(c.until(Nanos::from_secs(2000)) <= Duration::from_secs(100));
        assert!(utc_now().starts_with("20") && utc_now().ends_with('Z'));
    }
}
