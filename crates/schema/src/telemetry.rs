//! Rows of `telemetry.jsonl`.

use crate::{Bytes, Nanos, Ratio, V};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The machine that the client runs on, and the processes of the engine if it runs there too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSample {
    /// Share of all CPUs that was busy since the sample before; null for the first.
    pub cpu_busy_ratio: Option<Ratio>,
    /// Memory in use (total − available).
    pub memory_used_bytes: Option<Bytes>,
    /// One-minute load average.
    pub load1_ratio: Option<Ratio>,
    /// CPU time of the engine's processes so far, wall ns; null where it runs elsewhere.
    pub engine_cpu_ns: Option<Nanos>,
    /// Resident memory of the engine's processes.
    pub engine_rss_bytes: Option<Bytes>,
    /// CPU time of servelab itself so far, wall ns.
    pub client_cpu_ns: Option<Nanos>,
    /// Resident memory of servelab itself.
    pub client_rss_bytes: Option<Bytes>,
}

/// What one moment of a trial looked like from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySample {
    /// Format version.
    pub v: V<1>,
    /// Engine time since the trial's start.
    pub t_ns: Nanos,
    /// The machine.
    pub host: HostSample,
    /// Requests that the engine says it works on; null where it does not say.
    pub engine_running: Option<u32>,
    /// Requests that the engine says wait.
    pub engine_waiting: Option<u32>,
    /// Share of the KV cache in use.
    pub kv_cache_used_ratio: Option<Ratio>,
}
