//! `environment.json`: the machine that servelab itself ran on.

use crate::{Bytes, Load, Nanos, Ratio, Sha256Hex, V, WallNanos};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// One pair of clock readings, so that drift shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockAnchor {
    /// Wall-clock time, RFC 3339 in UTC.
    pub utc: String,
    /// Monotonic clock at the same moment, ns of wall time since the run's start.
    pub monotonic_ns: WallNanos,
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

/// What the load generator was found able to do on this machine, against a server without an engine that stamps its own
/// writes: capacity, and the error of its times. Wall time throughout; the server shares the machine, so the capacities
/// are what the client reaches at least.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstrumentCertificate {
    /// When it was measured, RFC 3339 in UTC.
    pub measured_utc: String,
    /// Requests per second that it completed against a server that answers at once, each answer in one write.
    pub highest_requests_per_s: u64,
    /// Token chunks per second that it received from such a server, each in a write of its own.
    pub highest_chunks_per_s: u64,
    /// CPU of the server meanwhile, as a share of one core: near 1 the server was the limit and the client could do more.
    pub server_cpu_ratio: Ratio,
    /// The load under which the errors below were measured; an open loop's rate is one of wall time here.
    pub load: Load,
    /// Engine seconds per wall second of the plan that it was measured for; the errors weigh so many times as much there.
    #[serde(default = "real_time")]
    pub time_scale: NonZeroU32,
    /// Mean size of a request's body; null in a certificate of before this was kept.
    #[serde(default)]
    pub request_bytes_mean: Option<u32>,
    /// Size of the largest request's body; null as above.
    #[serde(default)]
    pub request_bytes_max: Option<u32>,
    /// Token chunks of each answer, each in a write of its own.
    pub chunks: u32,
    /// Token chunks received per second of wall time, over all streams; null as above.
    #[serde(default)]
    pub chunks_per_s: Option<u64>,
    /// From the request to its first token, as the server was asked.
    pub ttft_ns: Nanos,
    /// Between two tokens, as the server was asked.
    pub itl_ns: Nanos,
    /// Requests that were compared with the server's stamps.
    pub requests: u32,
    /// Median of measured − true TTFT; the truth runs from the server's read of the request to its write of the token.
    pub ttft_error_p50_ns: Nanos,
    /// 99th percentile of measured − true TTFT.
    pub ttft_error_p99_ns: Nanos,
    /// Median of |measured − true gap between two chunks|.
    pub gap_error_p50_ns: Nanos,
    /// 99th percentile of |measured − true gap between two chunks|.
    pub gap_error_p99_ns: Nanos,
}

const fn real_time() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// One GPU as it was before servelab started an engine. What it does not tell is null, never 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuFacts {
    /// NVML's index.
    pub index: u32,
    /// Product name.
    pub name: Option<String>,
    /// The GPU's own identity, the same on every machine and after every start.
    pub uuid: Option<String>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Highest CUDA version that the driver supports.
    pub cuda: Option<String>,
    /// Memory.
    pub memory_total_bytes: Option<Bytes>,
    /// Memory in use then: what an engine that is started by servelab comes on top of.
    pub memory_used_at_start_bytes: Option<Bytes>,
    /// Power then, mW: the idle baseline, which energy per token includes.
    pub power_at_start_milliwatts: Option<u64>,
    /// Power limit that is enforced, mW.
    pub power_limit_milliwatts: Option<u64>,
    /// Highest clock of the streaming multiprocessors, MHz.
    pub max_sm_clock_mhz: Option<u32>,
    /// Highest clock of the memory, MHz.
    pub max_memory_clock_mhz: Option<u32>,
    /// Whether memory errors are corrected.
    pub ecc_enabled: Option<bool>,
}

/// Whose machine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CloudProvider {
    /// Google Cloud.
    Gcp,
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
}

/// What the cloud's metadata service says of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudFacts {
    /// Whose machine it is.
    pub provider: CloudProvider,
    /// Machine type, such as `g2-standard-8`.
    pub machine_type: String,
    /// Zone, or the region where the machine is in no zone.
    pub zone: Option<String>,
    /// The image that the machine was started from.
    pub image: Option<String>,
}

/// The model that the plan names and the files that fix its token counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// Model id.
    pub id: String,
    /// SHA-256 of the tokenizer that counted the prompts; null where none did.
    pub tokenizer_sha256: Option<Sha256Hex>,
    /// SHA-256 of the chat template that rendered them; null where none was known.
    pub chat_template_sha256: Option<Sha256Hex>,
    /// Revision of the checkpoint, such as the commit of a Hugging Face snapshot; null where none is known.
    #[serde(default)]
    pub revision: Option<String>,
    /// The checkpoint's files of weights, sorted by name; empty with the reason in `weights_note`.
    #[serde(default)]
    pub weights: Vec<WeightFile>,
    /// Why no file of weights was hashed, or null.
    #[serde(default)]
    pub weights_note: Option<String>,
}

/// The checkpoint of a variant with a model of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointFacts {
    /// Model id or folder.
    pub id: String,
    /// Its revision, such as the commit of a Hugging Face snapshot; null where none is known.
    pub revision: Option<String>,
    /// Its files of weights, sorted by name; empty with the reason in `weights_note`.
    pub weights: Vec<WeightFile>,
    /// Why no file of weights was hashed, or null.
    pub weights_note: Option<String>,
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightFile {
    /// Its name inside the checkpoint.
    pub name: String,
    /// Its size.
    pub bytes: Bytes,
    /// SHA-256 of its bytes; in a Hugging Face cache the name that its library gave the file for it.
    pub sha256: Sha256Hex,
}

/// Whether another run could measure on the machine at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineHold {
    /// None could, unless it was told to share the machine.
    Alone {
        /// What was held: `machine`, and each GPU by its UUID.
        held: Vec<String>,
    },
    /// It was told to share the machine.
    Shared {
        /// What was held all the same: each GPU by its UUID.
        held: Vec<String>,
        /// The run that held the machine then, as that one says it; null where none did.
        with: Option<String>,
    },
}

/// The machine and the program that ran a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    pub gpus: Vec<GpuFacts>,
    /// Why there is no GPU, or null.
    pub gpu_note: Option<String>,
    /// What the load generator can do on this machine; null where it was not measured.
    #[serde(default)]
    pub instrument: Option<InstrumentCertificate>,
    /// What the cloud says of the machine; null on no known cloud and for a simulated engine, where it is not asked.
    #[serde(default)]
    pub cloud: Option<CloudFacts>,
    /// The model of the plan.
    #[serde(default)]
    pub model: Option<ModelFacts>,
    /// Checkpoints of variants that have another model than the plan's, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variant_models: Vec<CheckpointFacts>,
    /// Names of the environment variables that servelab was started with, sorted. Their values are never kept.
    #[serde(default)]
    pub env_names: Vec<String>,
    /// Whether another run could measure on the machine at the same time; null where nothing was looked at.
    #[serde(default)]
    pub machine: Option<MachineHold>,
    /// Clock readings at the start.
    pub started: ClockAnchor,
}
