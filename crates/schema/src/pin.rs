//! `runs/pinned/NAME.json`: what a run was, small enough to be committed, so that it can be run again and compared.
//!
//! Parts: the plan without what its hashed prompt files give again, the hash of every input, the arrivals that the plan stands
//! for, and what was measured. Format: canonical JSON, one document a pin.
//!
//! Traps: the prompts of `plan` are left out, so that its bytes are not those of `plan.json`: `plan_sha256` is of the whole plan.
//! A real engine's plan may name folders of the machine that made it; whoever commits a pin commits these.

use crate::{
    Bytes, CheckpointFacts, EngineKind, EnvironmentRecord, LoadId, PinName, Plan, RunId, Sha256Hex, V,
    findings::Measured,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PinnedInputKind {
    /// The measured prompts.
    Prompts,
    /// The prompts that hold the load.
    Fillers,
    /// The tokenizer that the simulated engine counts with.
    Tokenizer,
    /// Its chat template.
    ChatTemplate,
    /// A file that the plan was resolved from.
    Matrix,
}

impl fmt::Display for PinnedInputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Prompts => "measured prompts",
            Self::Fillers => "filler prompts",
            Self::Tokenizer => "tokenizer",
            Self::ChatTemplate => "chat template",
            Self::Matrix => "matrix",
        })
    }
}

/// A file that the run rested on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PinnedInput {
    /// What it is.
    pub kind: PinnedInputKind,
    /// Path relative to the project.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Hex,
}

/// The arrivals of an open loop in one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PinnedArrivals {
    /// The load.
    pub load: LoadId,
    /// Number of the block.
    pub block: u32,
    /// Measured requests.
    pub requests: u32,
    /// SHA-256 of their offsets from the first possible moment, each in nanoseconds of engine time as a decimal number and a line
    /// feed.
    pub sha256: Sha256Hex,
}

/// A GPU as far as it decides how fast an engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineGpu {
    /// Product name.
    pub name: Option<String>,
    /// Memory.
    pub memory_total_bytes: Option<Bytes>,
    /// Power limit that is enforced, mW.
    pub power_limit_milliwatts: Option<u64>,
}

/// Facts of a machine that must be the same for a cell to be compared with itself. No name of the machine is among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// CPU model.
    pub cpu: Option<String>,
    /// CPUs that servelab may use.
    pub cpus: u32,
    /// The GPUs, by index.
    pub gpus: Vec<MachineGpu>,
}

impl Machine {
    /// Those of a run's environment.
    #[must_use]
    pub fn of(environment: &EnvironmentRecord) -> Self {
        let gpus = environment.gpus.iter().map(|gpu| MachineGpu {
            name: gpu.name.clone(),
            memory_total_bytes: gpu.memory_total_bytes,
            power_limit_milliwatts: gpu.power_limit_milliwatts,
        });
        Self {
            cpu: environment.host.cpu.clone(),
            cpus: environment.host.cpus,
            gpus: gpus.collect(),
        }
    }
}

/// A run, pinned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Format version.
    pub v: V<1>,
    /// Name of the pin: that of its file.
    pub name: PinName,
    /// The run.
    pub run_id: RunId,
    /// SHA-256 of its manifest.
    pub fingerprint: Sha256Hex,
    /// When it began, RFC 3339 in UTC.
    pub measured_utc: String,
    /// Version of the servelab that measured it.
    pub servelab_version: String,
    /// Where its numbers come from.
    pub engine_kind: EngineKind,
    /// Version of the measuring method.
    pub method_version: u32,
    /// SHA-256 of its `plan.json`.
    pub plan_sha256: Sha256Hex,
    /// That plan without the prompts of its two sets, which their files give again.
    pub plan: Plan,
    /// The files that it rests on.
    pub inputs: Vec<PinnedInput>,
    /// Arrivals of its open loops, by load and block.
    pub arrivals: Vec<PinnedArrivals>,
    /// Versions of the engine that a re-run may find: those that the run found, and those that were allowed by hand. Empty where
    /// no engine said its version: then none may be said.
    pub engine_versions: Vec<String>,
    /// The checkpoints that were loaded, where their files were known.
    pub checkpoints: Vec<CheckpointFacts>,
    /// The machine; null for a simulated engine, whose times are no machine's.
    pub machine: Option<Machine>,
    /// What was measured.
    pub expected: Measured,
}
