//! The numbers that a gate looks at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a gate's number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FigureName {
    /// Median lag.
    P50,
    /// 99th percentile of the lag.
    P99,
    /// Largest lag.
    Max,
    /// Ticks of the event loop's grid.
    Ticks,
    /// Those of them that were missed.
    MissedTicks,
    /// Share of the load in which the client did not run at all, by its missed ticks.
    Stopped,
    /// Share of the load that the hypervisor gave to others.
    Stolen,
    /// Share of the load in which the CPU quota was used up.
    Throttled,
    /// Share of the load in which the event loop waited for a core, beyond what waking takes.
    WaitingForACore,
    /// Busiest client thread, as a share of one core.
    BusiestThread,
    /// Rate of measured arrivals.
    Achieved,
    /// Rate of the schedule.
    Scheduled,
    /// Achieved / scheduled − 1.
    Off,
    /// Rate that was asked for; absent where the arrivals were not to keep it.
    Asked,
    /// Achieved / asked − 1.
    OffAsked,
    /// How long the load was held.
    Held,
    /// The same as a share of the trial.
    HeldRatio,
    /// Measured requests of the trial.
    Measured,
    /// Those of them that completed.
    Completed,
    /// Those of them that failed.
    Failed,
    /// Those of them that never ended.
    NeverEnded,
    /// Failed and never ended / measured.
    FailedRatio,
    /// Requests whose prompt the engine counted otherwise than the packer.
    Mismatches,
    /// Share of prompt tokens from a prefix cache.
    FromCache,
    /// What the wall clock moved by during the load.
    WallElapsed,
    /// What the monotonic clock moved by during the load.
    MonotonicElapsed,
    /// The wall clock's move − the monotonic clock's.
    Step,
    /// Requests of all kinds that the client sent.
    RequestRate,
    /// Token chunks that it received.
    ChunkRate,
    /// Certified error × time scale / median TTFT.
    OfTtft,
    /// Certified error × time scale / median time from the first to the last token.
    OfGeneration,
}

impl FigureName {
    /// Every figure, in the order of gates.
    pub const ALL: [Self; 31] = [
        Self::P50,
        Self::P99,
        Self::Max,
        Self::Ticks,
        Self::MissedTicks,
        Self::Stopped,
        Self::Stolen,
        Self::Throttled,
        Self::WaitingForACore,
        Self::BusiestThread,
        Self::Achieved,
        Self::Scheduled,
        Self::Off,
        Self::Asked,
        Self::OffAsked,
        Self::Held,
        Self::HeldRatio,
        Self::Measured,
        Self::Completed,
        Self::Failed,
        Self::NeverEnded,
        Self::FailedRatio,
        Self::Mismatches,
        Self::FromCache,
        Self::WallElapsed,
        Self::MonotonicElapsed,
        Self::Step,
        Self::RequestRate,
        Self::ChunkRate,
        Self::OfTtft,
        Self::OfGeneration,
    ];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
            Self::Ticks => "ticks",
            Self::MissedTicks => "missed-ticks",
            Self::Stopped => "stopped",
            Self::Stolen => "stolen",
            Self::Throttled => "throttled",
            Self::WaitingForACore => "waiting-for-a-core",
            Self::BusiestThread => "busiest-thread",
            Self::Achieved => "achieved",
            Self::Scheduled => "scheduled",
            Self::Off => "off",
            Self::Asked => "asked",
            Self::OffAsked => "off-asked",
            Self::Held => "held",
            Self::HeldRatio => "held-ratio",
            Self::Measured => "measured",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::NeverEnded => "never-ended",
            Self::FailedRatio => "failed-ratio",
            Self::Mismatches => "mismatches",
            Self::FromCache => "from-cache",
            Self::WallElapsed => "wall-elapsed",
            Self::MonotonicElapsed => "monotonic-elapsed",
            Self::Step => "step",
            Self::RequestRate => "request-rate",
            Self::ChunkRate => "chunk-rate",
            Self::OfTtft => "of-ttft",
            Self::OfGeneration => "of-generation",
        }
    }

    /// Unit of its values.
    const fn unit(self) -> FigureUnit {
        match self {
            Self::P50 | Self::P99 | Self::Max | Self::Held => FigureUnit::Seconds,
            Self::WallElapsed | Self::MonotonicElapsed | Self::Step => FigureUnit::WallSeconds,
            Self::Ticks | Self::MissedTicks => FigureUnit::Ticks,
            Self::Measured | Self::Completed | Self::Failed | Self::NeverEnded | Self::Mismatches => {
                FigureUnit::Requests
            }
            Self::Achieved | Self::Scheduled | Self::Asked => FigureUnit::RequestsPerS,
            Self::RequestRate => FigureUnit::RequestsPerWallS,
            Self::ChunkRate => FigureUnit::ChunksPerWallS,
            Self::Stopped
            | Self::Stolen
            | Self::Throttled
            | Self::WaitingForACore
            | Self::BusiestThread
            | Self::Off
            | Self::OffAsked
            | Self::HeldRatio
            | Self::FailedRatio
            | Self::FromCache
            | Self::OfTtft
            | Self::OfGeneration => FigureUnit::Ratio,
        }
    }
}

/// Unit of a gate's number. Time is engine time where it does not say wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FigureUnit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Seconds of wall time.
    #[serde(rename = "s of wall time")]
    WallSeconds,
    /// A share of 1.
    #[serde(rename = "ratio")]
    Ratio,
    /// A number of requests.
    #[serde(rename = "requests")]
    Requests,
    /// A number of ticks.
    #[serde(rename = "ticks")]
    Ticks,
    /// Requests per second.
    #[serde(rename = "requests/s")]
    RequestsPerS,
    /// Requests per second of wall time.
    #[serde(rename = "requests/s of wall time")]
    RequestsPerWallS,
    /// Token chunks per second of wall time.
    #[serde(rename = "chunks/s of wall time")]
    ChunksPerWallS,
}

impl FigureUnit {
    /// The unit as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::WallSeconds => "s of wall time",
            Self::Ratio => "ratio",
            Self::Requests => "requests",
            Self::Ticks => "ticks",
            Self::RequestsPerS => "requests/s",
            Self::RequestsPerWallS => "requests/s of wall time",
            Self::ChunksPerWallS => "chunks/s of wall time",
        }
    }
}

/// One number that a gate looked at, and the bounds that decide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateFigure {
    /// What it is.
    pub name: FigureName,
    /// The value; finite.
    pub value: f64,
    /// The least that passes, in the same unit; null where nothing of the kind is asked.
    pub at_least: Option<f64>,
    /// The most that passes, in the same unit; null where nothing of the kind is asked.
    pub at_most: Option<f64>,
    /// Unit of the value and its bounds.
    pub unit: FigureUnit,
}

impl GateFigure {
    /// A number of which nothing is asked.
    #[must_use]
    pub const fn new(name: FigureName, value: f64) -> Self {
        Self {
            name,
            value,
            at_least: None,
            at_most: None,
            unit: name.unit(),
        }
    }

    /// One that must not be below `least`.
    #[must_use]
    pub const fn at_least(self, least: f64) -> Self {
        Self {
            at_least: Some(least),
            ..self
        }
    }

    /// One that must not be above `most`.
    #[must_use]
    pub const fn at_most(self, most: f64) -> Self {
        Self {
            at_most: Some(most),
            ..self
        }
    }

    /// True where the value keeps its bounds.
    #[must_use]
    pub fn keeps_bounds(&self) -> bool {
        self.at_least.is_none_or(|least| self.value >= least) && self.at_most.is_none_or(|most| self.value <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_are_the_same_in_every_file() {
        let mut names: Vec<&str> = FigureName::ALL.map(FigureName::as_str).into();
        for name in FigureName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
            assert_eq!(serde_json::to_value(name.unit()).unwrap(), name.unit().as_str());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FigureName::ALL.len());
    }

    #[test]
    fn a_bound_itself_is_kept() {
        let kept = |figure: GateFigure| figure.keeps_bounds();
        let off = GateFigure::new(FigureName::Off, -0.02);
        assert!(kept(off) && kept(off.at_least(-0.02)) && kept(off.at_least(-0.02).at_most(0.02)));
        assert!(!kept(off.at_least(-0.019)) && !kept(off.at_most(-0.021)));
        assert!(!kept(off.at_least(-0.019).at_most(0.02)) && !kept(off.at_least(-0.03).at_most(-0.021)));
    }
}
