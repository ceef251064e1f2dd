//! `environment.json`: the machine that servelab itself ran on.

use crate::{Bytes, Nanos, Sha256Hex, V};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One pair of clock readings, so that drift shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockAnchor {
    /// Wall-clock time, RFC 3339 in UTC.
    pub utc: String,
    /// Monotonic clock at the same moment, ns of wall time since the run's start.
    pub monotonic_ns: Nanos,
}

/// Facts about the machine of the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// CPU model.
    pub cpu: Option<String>,
    /// CPUs this process may use.
    pub cpus: u32,
    /// Memory.
    pub memory_bytes: Option<Bytes>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Distribution, from `/etc/os-release`.
    pub os: Option<String>,
    /// Limit of open files (soft).
    pub open_files_limit: Option<u64>,
}

/// The machine and the program that ran a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentRecord {
    /// Format version.
    pub v: V<1>,
    /// Version of servelab.
    pub servelab_version: String,
    /// SHA-256 of the servelab program; null where it could not be read.
    pub servelab_sha256: Option<Sha256Hex>,
    /// Commit of the project's checkout, with `-dirty` where files differ; null outside a checkout.
    pub git: Option<String>,
    /// The machine of the client.
    pub host: HostFacts,
    /// GPUs found; empty with the reason in `gpu_note`.
    pub gpus: Vec<String>,
    /// Why there is no GPU, or null.
    pub gpu_note: Option<String>,
    /// Clock readings at the start.
    pub started: ClockAnchor,
}
