//! Wall time and engine time as different types, so that a forgotten × time scale does not compile.
//!
//! Engine time is [`Nanos`], a span, and [`TrialInstant`](crate::TrialInstant), a moment of a trial. Wall time is [`WallNanos`], a span, and
//! [`WallInstant`], a moment of `CLOCK_MONOTONIC`. Only a [`TimeScale`] leads from one to the other.

use crate::Nanos;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU32, time::Duration};

/// A span of wall time in whole nanoseconds: what a stopwatch beside the machine would show, whatever the engine's clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WallNanos(pub u64);

/// A moment of wall time: nanoseconds of `CLOCK_MONOTONIC`, which all programs of a machine share until its reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallInstant(pub u64);

/// Engine seconds per wall second: 1 for a real engine, more for a simulated one that runs faster than life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeScale(NonZeroU32);

impl WallInstant {
    /// The span since `earlier`; 0 where that is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> WallNanos {
        WallNanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment a span later; the end of the clock where it would lie behind that.
    #[must_use]
    pub const fn after(self, span: WallNanos) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl WallNanos {
    /// A duration that somebody wrote and that means wall time.
    #[must_use]
    pub const fn given(span: Nanos) -> Self {
        Self(span.0)
    }

    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self::given(Nanos::from_secs(s))
    }

    /// In seconds.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        Duration::from(self).as_secs_f64()
    }
}

impl fmt::Display for WallNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Nanos(self.0).fmt(f)
    }
}

impl From<WallNanos> for Duration {
    fn from(span: WallNanos) -> Self {
        Self::from_nanos(span.0)
    }
}

impl TimeScale {
    /// That of a real engine.
    pub const REAL: Self = Self(NonZeroU32::MIN);

    /// So many engine seconds per wall second.
    #[must_use]
    pub const fn new(scale: NonZeroU32) -> Self {
        Self(scale)
    }

    /// Engine seconds per wall second.
    #[must_use]
    pub const fn get(self) -> NonZeroU32 {
        self.0
    }

    /// What `wall` lasts on the engine's clock; `u64::MAX` where it does not fit.
    #[must_use]
    pub fn engine(self, wall: WallNanos) -> Nanos {
        Nanos(wall.0.saturating_mul(u64::from(self.0.get())))
    }

    /// What `engine` lasts on the wall, rounded up: whoever waits that long has waited enough.
    #[must_use]
    pub fn wall(self, engine: Nanos) -> WallNanos {
        WallNanos(engine.0.div_ceil(u64::from(self.0.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(scale: u32) -> TimeScale {
        TimeScale::new(NonZeroU32::new(scale).unwrap())
    }

    #[test]
    fn a_span_there_and_back_is_itself_or_just_above() {
        for n in [1, 3, 20, 1000] {
            for engine in [0, 1, 7, 999, 1_000_000_007, 123_456_789_012] {
                let back = scale(n).engine(scale(n).wall(Nanos(engine)));
                assert!(
                    (engine..engine + u64::from(n)).contains(&back.0),
                    "{n} {engine} {back:?}"
                );
            }
        }
        assert_eq!(scale(20).engine(WallNanos(100)), Nanos(2000));
        assert_eq!(scale(20).wall(Nanos(2001)), WallNanos(101));
        assert_eq!(TimeScale::REAL.engine(WallNanos(7)), Nanos(7));
        assert_eq!(
            scale(20).engine(WallNanos(u64::MAX)),
            Nanos(u64::MAX),
            "never stays never"
        );
    }

    #[test]
    fn instants_differ_by_spans() {
        let (early, late) = (WallInstant(50), WallInstant(150));
        assert_eq!((late.since(early), early.since(late)), (WallNanos(100), WallNanos(0)));
        assert_eq!(early.after(late.since(early)), late);
    }
}
