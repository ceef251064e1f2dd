//! The only place in this room that reads a clock.
//!
//! Every duration comes from `CLOCK_MONOTONIC`, as whole nanoseconds, so that stamps of other programs on the same machine
//! (a null server's writes) can be compared with ours. The wall clock is read only to say when a run took place.

use rustix::time::{ClockId, clock_gettime};
use servelab_schema::{ClockReading, Nanos, TimeScale, TrialInstant, WallInstant, WallNanos};
use std::time::Duration;
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
pub fn monotonic() -> WallInstant {
    WallInstant(read(ClockId::Monotonic))
}

/// CPU time of the calling thread so far, in ns.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of this process so far, all of its threads, in ns.
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
    /// [`monotonic`] at that moment.
    pub monotonic: WallInstant,
}

impl WallAnchor {
    /// The anchor for now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic: monotonic(),
            utc: utc_now(),
        }
    }
}

/// Both clocks at one moment, for a load to say whether the wall clock was set meanwhile.
///
/// Whoever loses its core between the two readings would call that a moved clock, so the narrowest of a few pairs counts.
#[must_use]
pub fn both_clocks() -> ClockReading {
    let pair = || {
        let (before, unix_ns, after) = (monotonic(), read(ClockId::Realtime), monotonic());
        let reading = ClockReading {
            unix_ns,
            monotonic_ns: before.0.midpoint(after.0),
        };
        (after.since(before), reading)
    };
    let mut best = pair();
    for _ in 0..4 {
        let next = pair();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

/// The clock of one trial. Engine time is (monotonic − the trial's start) × the time scale: for a real engine the scale is
/// 1; a simulated engine that runs 20 times faster than life has scale 20, and its times are stretched back here, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialClock {
    epoch: WallInstant,
    scale: TimeScale,
}

impl TrialClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start(scale: TimeScale) -> Self {
        Self::from_epoch(monotonic(), scale)
    }

    /// A clock that started at `epoch`.
    #[must_use]
    pub const fn from_epoch(epoch: WallInstant, scale: TimeScale) -> Self {
        Self { epoch, scale }
    }

    /// Engine time now.
    #[must_use]
    pub fn now(&self) -> TrialInstant {
        self.at(monotonic())
    }

    /// Engine time at a moment; the start before it.
    #[must_use]
    pub fn at(&self, moment: WallInstant) -> TrialInstant {
        TrialInstant::START.after(self.span(moment.since(self.epoch)))
    }

    /// A span of wall time in engine time.
    #[must_use]
    pub fn span(&self, wall: WallNanos) -> Nanos {
        self.scale.engine(wall)
    }

    /// The moment at which engine time is (at least) `at`.
    #[must_use]
    pub fn moment(&self, at: TrialInstant) -> WallInstant {
        self.epoch.after(self.scale.wall(at.since(TrialInstant::START)))
    }

    /// Wall time from now until engine time `at`; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: TrialInstant) -> Duration {
        self.moment(at).since(monotonic()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const fn clock(epoch: WallInstant, scale: u32) -> TrialClock {
        TrialClock::from_epoch(epoch, TimeScale::new(NonZeroU32::new(scale).unwrap()))
    }

    #[test]
    fn scale_is_exact_both_ways() {
        for scale in [1, 3, 20, 1000] {
            let c = clock(WallInstant(1_000_000_000_000), scale);
            for engine in [0, 1, 7, 999, 1_000_000_007, 123_456_789_012] {
                let back = c.at(c.moment(TrialInstant(engine)));
                assert!(
                    back.0 >= engine && back.0 < engine + u64::from(scale),
                    "{scale} {engine} {back:?}"
                );
            }
        }
        assert_eq!(clock(WallInstant(50), 20).at(WallInstant(150)), TrialInstant(2000));
        assert_eq!(clock(WallInstant(50), 20).at(WallInstant(49)), TrialInstant::START);
    }

    #[test]
    fn clocks_move_forward() {
        let c = clock(monotonic(), 20);
        let (a, b) = (c.now(), c.now());
        assert!(a <= b);
        assert!(c.until(TrialInstant::START).is_zero());
        assert!(c.until(TrialInstant::from_secs(2000)) <= Duration::from_secs(100));
        let (first, second) = (both_clocks(), both_clocks());
        assert!(first.monotonic_ns <= second.monotonic_ns && first.unix_ns > 1_700_000_000_000_000_000);
        assert!(utc_now().starts_with("20") && utc_now().ends_with('Z'));
    }
}
