//! `trial.json`: what happened in one take of a trial. Facts only: validity and treatment are settled over the whole run, in
//! `findings.json`.

use crate::{EngineKind, GateFigure, LoadId, Nanos, Ratio, Reason, TrialId, TrialInstant, V, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, num::NonZeroU32};

/// Rules of validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateName {
    /// The load was beyond what the client was certified for on this machine.
    Certificate,
    /// The client sent requests late.
    ScheduleLag,
    /// The error that the client was certified with is too large for what the plan wants to tell apart.
    CertifiedError,
    /// The client's event loop ran late.
    EventLoopLag,
    /// The client was stopped, throttled, or kept off its core.
    Starvation,
    /// A client thread was near a whole core.
    ClientCpu,
    /// The open loop's rate was not reached.
    AchievedRate,
    /// The load was held for too small a part of the trial.
    HeldWindow,
    /// Too few measured requests.
    MinRequests,
    /// Too short.
    MinDuration,
    /// Too many failures.
    Failures,
    /// The engine died or restarted.
    EngineAlive,
    /// The engine counted other prompt tokens than the packer.
    PromptTokens,
    /// The engine answered from a warm prefix cache that the plan does not allow.
    CacheContamination,
    /// The setting under test did not take effect.
    Treatment,
    /// The wall clock was set, or the machine suspended.
    Clock,
}

impl GateName {
    /// Every gate, in the order of tables.
    pub const ALL: [Self; 16] = [
        Self::ScheduleLag,
        Self::EventLoopLag,
        Self::Starvation,
        Self::ClientCpu,
        Self::AchievedRate,
        Self::HeldWindow,
        Self::MinRequests,
        Self::MinDuration,
        Self::Failures,
        Self::EngineAlive,
        Self::PromptTokens,
        Self::CacheContamination,
        Self::Treatment,
        Self::Clock,
        Self::Certificate,
        Self::CertifiedError,
    ];

    /// Whom this gate speaks of when it fails.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Certificate
            | Self::CertifiedError
            | Self::ScheduleLag
            | Self::EventLoopLag
            | Self::Starvation
            | Self::ClientCpu
            | Self::AchievedRate
            | Self::Clock => Blame::Instrument,
            Self::Failures | Self::EngineAlive | Self::PromptTokens => Blame::Engine,
            Self::Treatment => Blame::Setting,
            Self::HeldWindow | Self::MinRequests | Self::MinDuration | Self::CacheContamination => Blame::Plan,
        }
    }

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::CertifiedError => "certified-error",
            Self::ScheduleLag => "schedule-lag",
            Self::EventLoopLag => "event-loop-lag",
            Self::Starvation => "starvation",
            Self::ClientCpu => "client-cpu",
            Self::AchievedRate => "achieved-rate",
            Self::HeldWindow => "held-window",
            Self::MinRequests => "min-requests",
            Self::MinDuration => "min-duration",
            Self::Failures => "failures",
            Self::EngineAlive => "engine-alive",
            Self::PromptTokens => "prompt-tokens",
            Self::CacheContamination => "cache-contamination",
            Self::Treatment => "treatment",
            Self::Clock => "clock",
        }
    }
}

/// Who made a trial Invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The client or its machine: the trial says nothing of the engine and is taken again.
    Instrument,
    /// The engine: an outcome, never taken again.
    Engine,
    /// The setting under test, which did not take effect.
    Setting,
    /// The plan: too little, or from a warm cache. Taking it again would change nothing.
    Plan,
}

impl fmt::Display for GateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Result of one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateOutcome {
    /// Within its limit.
    Passed,
    /// Beyond its limit.
    Failed,
    /// Does not apply to this load or engine.
    NotApplicable,
}

/// One gate, what was observed, and the limit: as numbers, and in words made of the same numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateResult {
    /// The rule.
    pub gate: GateName,
    /// The result.
    pub outcome: GateOutcome,
    /// The numbers that it looked at: one that breaks a bound fails it. Empty where it looks at none, or none was measured.
    pub figures: Vec<GateFigure>,
    /// What was observed, with its unit, for people.
    pub observed: String,
    /// The limit, with its unit, for people.
    pub limit: String,
}

/// Whether a trial counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Validity {
    /// Every gate passed.
    Valid,
    /// Some gates failed: shown, never ranked.
    Invalid {
        /// The gates that failed; never empty.
        gates: Vec<GateName>,
    },
    /// It did not run to its end.
    Aborted {
        /// Why.
        why: String,
    },
}

impl Validity {
    /// Valid where no gate failed.
    #[must_use]
    pub fn from_gates(gates: &[GateResult]) -> Self {
        let failed: Vec<GateName> = gates
            .iter()
            .filter(|g| g.outcome == GateOutcome::Failed)
            .map(|g| g.gate)
            .collect();
        if failed.is_empty() {
            Self::Valid
        } else {
            Self::Invalid { gates: failed }
        }
    }

    /// True where the instrument made the trial Invalid, and neither the engine nor the setting nor the plan did.
    #[must_use]
    pub fn is_lost_to_the_instrument(&self) -> bool {
        match self {
            Self::Invalid { gates } => gates.iter().all(|gate| gate.blame() == Blame::Instrument),
            Self::Valid | Self::Aborted { .. } => false,
        }
    }

    /// True for [`Validity::Valid`].
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        matches!(self, Self::Valid)
    }
}

/// How many requests ended how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialCounts {
    /// Measured requests that the block asks for.
    pub planned: u32,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed, by reason; absent = 0.
    pub failed: BTreeMap<Reason, u32>,
    /// Warm-up and filler requests that completed.
    pub fillers_completed: u32,
    /// Warm-up and filler requests that failed.
    pub fillers_failed: u32,
    /// Set where the load was ended because its first so many measured requests all failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up_after: Option<NonZeroU32>,
}

impl TrialCounts {
    /// Measured requests that failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failed.values().sum()
    }
}

/// A span of the trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Engine time since the trial's start.
    pub start_ns: TrialInstant,
    /// Engine time since the trial's start; not before `start_ns`.
    pub end_ns: TrialInstant,
}

impl Window {
    /// Length of the window.
    #[must_use]
    pub const fn length(self) -> Nanos {
        self.end_ns.since(self.start_ns)
    }
}

/// What the instrument measured of itself. Times are engine time (wall errors × the time scale) unless said; shares have no
/// scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
    /// Median of sent − scheduled.
    pub schedule_lag_p50_ns: Nanos,
    /// 99th percentile of sent − scheduled.
    pub schedule_lag_p99_ns: Nanos,
    /// Largest sent − scheduled.
    pub schedule_lag_max_ns: Nanos,
    /// Ticks of the event loop's grid (every 5 ms of wall time, fixed before the load began) that were due while the load was held.
    pub event_loop_ticks: u64,
    /// Ticks that were served only after the next one was due, or never.
    pub event_loop_missed_ticks: u64,
    /// Median delay of the event loop: from a tick's due time to its service, missed ticks included.
    pub event_loop_lag_p50_ns: Nanos,
    /// 99th percentile of that delay.
    pub event_loop_lag_p99_ns: Nanos,
    /// Largest such delay.
    pub event_loop_lag_max_ns: Nanos,
    /// What kept the client off its core.
    pub starvation: Starvation,
    /// Busiest client thread, as a share of one core over the trial.
    pub client_thread_cpu_ratio: Ratio,
    /// Achieved rate of measured arrivals in requests per second of engine time; null in a closed loop.
    pub achieved_rate_per_s: Option<f64>,
    /// Measured requests that were sent a second time, on a fresh connection, because the server had closed the kept one
    /// without a byte of an answer; absent = 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale_connections: u32,
    /// Both clocks when the load began.
    pub clocks_start: ClockReading,
    /// Both clocks when it had ended.
    pub clocks_end: ClockReading,
}

const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What the kernel says of the time in which the client could not run, from the load's beginning to its end. Null where the
/// kernel does not say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Starvation {
    /// Length of the load: what the shares are of, wall ns.
    pub wall_ns: u64,
    /// Time that the hypervisor gave to other machines: mean over the CPUs that the client may run on.
    pub stolen_ratio: Option<Ratio>,
    /// Times that the CPU quota of the client's cgroup, or of one above it, was used up.
    pub throttled_count: Option<u64>,
    /// Time in which it was used up; the kernel adds up CPUs, so that it may exceed 1.
    pub throttled_ratio: Option<Ratio>,
    /// Time in which the event loop's thread was ready to run and waited for a core.
    pub run_queue_wait_ratio: Option<Ratio>,
    /// Times that this thread was given a core.
    pub run_queue_turns: Option<u64>,
    /// Times that a core was taken from this thread.
    pub involuntary_switches: Option<u64>,
}

/// Both clocks at one moment. Where they moved differently between two readings, the wall clock was set or the machine
/// suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockReading {
    /// Wall clock, ns since 1970 in UTC.
    pub unix_ns: u64,
    /// Monotonic clock, wall ns since the machine's start.
    pub monotonic_ns: u64,
}

/// How a take ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TrialEnd {
    /// By itself: the load ran to its end, or the engine failed it.
    Finished,
    /// It was cut off from outside.
    Interrupted {
        /// Why.
        why: String,
    },
}

const fn first_session() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn is_first_session(session: &NonZeroU32) -> bool {
    *session == NonZeroU32::MIN
}

/// One take of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// Format version.
    pub v: V<2>,
    /// Name of its folder.
    pub id: TrialId,
    /// Block, from 1.
    pub block: u32,
    /// Position in the block, from 1.
    pub order: u32,
    /// Variant under test.
    pub variant: VariantId,
    /// Load put on it.
    pub load: LoadId,
    /// Take, from 1.
    pub take: u32,
    /// Session of the run in which it was taken, from 1; absent = 1. See `sessions` of run_manifest.json.
    #[serde(default = "first_session", skip_serializing_if = "is_first_session")]
    pub session: NonZeroU32,
    /// Where the numbers come from.
    pub engine_kind: EngineKind,
    /// Engine seconds per wall second.
    pub time_scale: NonZeroU32,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started_utc: String,
    /// How it ended.
    pub end: TrialEnd,
    /// From the first to the last request, engine time; null where none was sent.
    pub span: Option<Window>,
    /// While the load was held; null where no measured request was sent.
    pub held: Option<Window>,
    /// How many requests ended how.
    pub counts: TrialCounts,
    /// What the instrument measured of itself; null where the engine never started.
    pub instrument: Option<Instrument>,
    /// Rate of the schedule's measured arrivals in requests per second of engine time, which the achieved rate is held
    /// against: n over the horizon that they fill, so the one that was asked for. Of a load that was stopped, the gaps over
    /// the time from the first to the last. Null in a closed loop.
    pub scheduled_rate_per_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_has_a_name_of_its_own_and_blames_someone() {
        let mut names: Vec<&str> = GateName::ALL.map(GateName::as_str).into();
        for gate in GateName::ALL {
            assert_eq!(serde_json::to_value(gate).unwrap(), gate.as_str());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), GateName::ALL.len());
        let of = |blame| GateName::ALL.into_iter().filter(|g| g.blame() == blame).count();
        assert_eq!(
            [Blame::Instrument, Blame::Engine, Blame::Setting, Blame::Plan].map(of),
            [8, 3, 1, 4]
        );
    }
}
