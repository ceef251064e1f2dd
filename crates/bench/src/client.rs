//! What the client measured of itself, in the units of an answer: seconds and shares.

use serde::Serialize;
use servelab_schema::{Instrument, Nanos, Ratio, WallNanos};

/// What the client measured of itself. Where it is too much a gate fails.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClientFigures {
    /// Median of sent − scheduled, seconds.
    pub schedule_lag_p50_s: f64,
    /// 99th percentile of it, seconds.
    pub schedule_lag_p99_s: f64,
    /// Largest of it, seconds.
    pub schedule_lag_max_s: f64,
    /// Ticks of the event loop's grid, one every 5 ms.
    pub event_loop_ticks: u64,
    /// Those of them that were missed.
    pub event_loop_missed_ticks: u64,
    /// Median delay of the event loop, seconds.
    pub event_loop_lag_p50_s: f64,
    /// 99th percentile of it, seconds.
    pub event_loop_lag_p99_s: f64,
    /// Largest of it, seconds.
    pub event_loop_lag_max_s: f64,
    /// Busiest client thread, as a share of one core.
    pub thread_cpu_ratio: Ratio,
    /// Measured requests that were sent again because the server had closed the kept connection without a byte of an answer.
    pub stale_connections: u32,
    /// What kept it off its core.
    pub starvation: StarvationFigures,
}

/// Time in which the client could not run, as the kernel tells it. Null where the kernel does not say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StarvationFigures {
    /// Length of the load: what the shares are of, seconds.
    pub wall_s: f64,
    /// Share that the hypervisor gave to other machines.
    pub stolen_ratio: Option<Ratio>,
    /// Times that the CPU quota was used up.
    pub throttled_count: Option<u64>,
    /// Share in which it was used up.
    pub throttled_ratio: Option<Ratio>,
    /// Share in which the event loop waited for a core.
    pub run_queue_wait_ratio: Option<Ratio>,
    /// Times that the event loop was given a core.
    pub run_queue_turns: Option<u64>,
    /// Times that a core was taken from it.
    pub involuntary_switches: Option<u64>,
}

impl From<&Instrument> for ClientFigures {
    fn from(of: &Instrument) -> Self {
        let starved = &of.starvation;
        Self {
            schedule_lag_p50_s: Nanos::as_secs_f64(of.schedule_lag_p50_ns),
            schedule_lag_p99_s: Nanos::as_secs_f64(of.schedule_lag_p99_ns),
            schedule_lag_max_s: Nanos::as_secs_f64(of.schedule_lag_max_ns),
            event_loop_ticks: of.event_loop_ticks,
            event_loop_missed_ticks: of.event_loop_missed_ticks,
            event_loop_lag_p50_s: Nanos::as_secs_f64(of.event_loop_lag_p50_ns),
            event_loop_lag_p99_s: Nanos::as_secs_f64(of.event_loop_lag_p99_ns),
            event_loop_lag_max_s: Nanos::as_secs_f64(of.event_loop_lag_max_ns),
            thread_cpu_ratio: of.client_thread_cpu_ratio,
            stale_connections: of.stale_connections,
            starvation: StarvationFigures {
                wall_s: WallNanos(starved.wall_ns).as_secs_f64(),
                stolen_ratio: starved.stolen_ratio,
                throttled_count: starved.throttled_count,
                throttled_ratio: starved.throttled_ratio,
                run_queue_wait_ratio: starved.run_queue_wait_ratio,
                run_queue_turns: starved.run_queue_turns,
                involuntary_switches: starved.involuntary_switches,
            },
        }
    }
}
