//! What a load measured of itself, and what it says at its end.

use crate::{
    clock::{self, TrialClock},
    control::Stop,
    probe::Grid,
};
use servelab_schema::{
    ClockReading, Instrument, Nanos, Ratio, Starvation, TrialCounts, TrialInstant, WallInstant, Window,
};

/// What a load came to. The traces have gone to the sink.
#[derive(Debug, Clone)]
pub struct LoadResult {
    /// How many requests ended how.
    pub counts: TrialCounts,
    /// From the first to the last request of any kind; none where nothing was sent.
    pub span: Option<Window>,
    /// From the first measured request's sending to the last measured request's end: the held window.
    pub held: Option<Window>,
    /// What the instrument measured of itself.
    pub instrument: Instrument,
    /// Rate of the schedule's measured arrivals in requests per second of engine time, which
    /// `instrument.achieved_rate_per_s` is to be compared with: n over the horizon that they fill, a ramp included. Of a
    /// recording and of a load that was stopped, the gaps over the time from the first to the last. None in a closed loop,
    /// and where such a load had fewer than two arrivals.
    pub scheduled_rate_per_s: Option<f64>,
    /// When the last measured request might be sent, engine time; none unless time decides how many there are.
    pub until: Option<TrialInstant>,
    /// CPU use of each client thread.
    pub threads: Vec<ThreadCpu>,
    /// Why it ended early; none where it ran to its end.
    pub stopped: Option<Stop>,
}

/// CPU use of one client thread.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadCpu {
    /// What it does.
    pub name: &'static str,
    /// Share of one core.
    pub ratio: f64,
}

impl ThreadCpu {
    /// Use of the calling thread since its CPU time was `cpu_ns` and the monotonic clock was at `since`.
    pub(crate) fn since(name: &'static str, cpu_ns: u64, since: WallInstant) -> Self {
        let cpu = Nanos(clock::thread_cpu_ns().saturating_sub(cpu_ns)).as_secs_f64();
        let wall = clock::monotonic().since(since).as_secs_f64();
        // Below a millisecond the two clocks' grains decide, and nothing can be said.
        Self {
            name,
            ratio: if wall < 1e-3 { 0.0 } else { cpu / wall },
        }
    }

    pub(crate) const fn unknown(name: &'static str) -> Self {
        Self { name, ratio: 0.0 }
    }
}

/// The value below which a share `q` of the sorted values lies (nearest rank); 0 where there is none.
pub(crate) fn nearest_rank<T: Copy + Default>(sorted: &[T], q: f64) -> T {
    let Some(last) = sorted.len().checked_sub(1) else {
        return T::default();
    };
    #[expect(
        clippy::as_conversions,
        reason = "a rank is far below 2^53 and float to integer saturates"
    )]
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(last))
        .copied()
        .unwrap_or_default()
}

/// The larger of a ratio and a number.
pub(crate) fn at_least(ratio: Ratio, other: f64) -> Ratio {
    Ratio::new(ratio.get().max(other)).unwrap_or(ratio)
}

/// What the load's driver knows of itself at its end.
#[derive(Debug)]
pub(crate) struct SelfFacts {
    /// Ticks of the event loop's grid.
    pub(crate) grid: Grid,
    /// What kept the client off its core.
    pub(crate) starvation: Starvation,
    /// Both clocks when the load began, and when it had ended.
    pub(crate) clocks: (ClockReading, ClockReading),
}

impl SelfFacts {
    /// The instrument's own errors as they go into `trial.json`. Ticks count while the load was held; where no measured
    /// request was sent, all of them.
    pub(crate) fn instrument(
        self,
        clock: &TrialClock,
        held: Option<Window>,
        mut schedule_lags_ns: Vec<u64>,
        threads: &[ThreadCpu],
        achieved_rate_per_s: Option<f64>,
    ) -> Instrument {
        schedule_lags_ns.sort_unstable();
        let (from, to) = held.map_or((WallInstant(0), WallInstant(u64::MAX)), |held| {
            (clock.moment(held.start_ns), clock.moment(held.end_ns))
        });
        let late = self.grid.between(from, to);
        let busiest = threads.iter().map(|t| t.ratio).fold(0.0, f64::max);
        Instrument {
            schedule_lag_p50_ns: Nanos(nearest_rank(&schedule_lags_ns, 0.5)),
            schedule_lag_p99_ns: Nanos(nearest_rank(&schedule_lags_ns, 0.99)),
            schedule_lag_max_ns: Nanos(schedule_lags_ns.last().copied().unwrap_or(0)),
            event_loop_ticks: late.ticks,
            event_loop_missed_ticks: late.missed,
            event_loop_lag_p50_ns: clock.span(late.p50),
            event_loop_lag_p99_ns: clock.span(late.p99),
            event_loop_lag_max_ns: clock.span(late.max),
            starvation: self.starvation,
            client_thread_cpu_ratio: Ratio::new(busiest).unwrap_or_default(),
            achieved_rate_per_s,
            stale_connections: 0,
            clocks_start: self.clocks.0,
            clocks_end: self.clocks.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let values: Vec<u64> = (1..=100).collect();
        for (q, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)] {
            assert_eq!(nearest_rank(&values, q), expected, "{q}");
        }
        assert_eq!(nearest_rank(&[7], 0.99), 7);
        assert_eq!(nearest_rank::<u64>(&[], 0.5), 0);
    }
}
