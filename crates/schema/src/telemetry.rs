//! Rows of `telemetry.jsonl`.

use crate::{Bytes, Nanos, Ratio, TrialInstant, V};
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

/// Why a GPU's clocks are below what they could be; NVML's "clock event reasons".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ThrottleReason {
    /// Nothing runs on the GPU.
    Idle,
    /// The clocks were set by hand.
    ApplicationsClocksSetting,
    /// The display's setting limits the clocks.
    DisplayClockSetting,
    /// The power limit holds the clocks down.
    SwPowerCap,
    /// Too hot, too much power, or an external brake: the clocks are halved or worse.
    HwSlowdown,
    /// Another GPU of the sync boost group holds this one down.
    SyncBoost,
    /// The GPU or its memory is above its highest operating temperature.
    SwThermalSlowdown,
    /// Too hot: the clocks are halved or worse.
    HwThermalSlowdown,
    /// The power supply asks for less: the clocks are halved or worse.
    HwPowerBrakeSlowdown,
}

impl ThrottleReason {
    /// True where a GPU with work is slower than its settings allow; false for idleness and for settings made by hand.
    #[must_use]
    pub const fn is_throttling(self) -> bool {
        !matches!(
            self,
            Self::Idle | Self::ApplicationsClocksSetting | Self::DisplayClockSetting
        )
    }

    /// The word that stands in the files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::ApplicationsClocksSetting => "applications-clocks-setting",
            Self::DisplayClockSetting => "display-clock-setting",
            Self::SwPowerCap => "sw-power-cap",
            Self::HwSlowdown => "hw-slowdown",
            Self::SyncBoost => "sync-boost",
            Self::SwThermalSlowdown => "sw-thermal-slowdown",
            Self::HwThermalSlowdown => "hw-thermal-slowdown",
            Self::HwPowerBrakeSlowdown => "hw-power-brake-slowdown",
        }
    }
}

/// One GPU at one moment, as NVML tells it. What the GPU does not tell is null, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuSample {
    /// NVML's index, as in `gpus` of environment.json.
    pub index: u32,
    /// Memory in use, of all processes.
    pub memory_used_bytes: Option<Bytes>,
    /// Share of the driver's last sample period in which a kernel ran.
    pub utilisation_ratio: Option<Ratio>,
    /// Power draw of the board, mW.
    pub power_milliwatts: Option<u64>,
    /// Energy since the driver was loaded, mJ: a counter.
    pub energy_millijoules: Option<u64>,
    /// Temperature of the GPU, °C.
    pub temperature_celsius: Option<u32>,
    /// Clock of the streaming multiprocessors, MHz.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<u32>,
    /// Why the clocks are not higher; empty where nothing holds them down, null where the GPU does not say.
    pub throttle: Option<Vec<ThrottleReason>>,
    /// Memory errors that ECC corrected since the driver was loaded.
    pub ecc_corrected_errors: Option<u64>,
    /// Memory errors that ECC could not correct since the driver was loaded.
    pub ecc_uncorrected_errors: Option<u64>,
    /// Sent over PCIe, as the driver measured it over some 20 ms.
    pub pcie_tx_bytes_per_s: Option<u64>,
    /// Received over PCIe, as the driver measured it over some 20 ms.
    pub pcie_rx_bytes_per_s: Option<u64>,
    /// Processes with a compute context, by process id as the driver numbers them.
    pub compute_pids: Option<Vec<u32>>,
}

/// What one moment of a trial looked like from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySample {
    /// Format version.
    pub v: V<1>,
    /// Engine time since the trial's start.
    pub t_ns: TrialInstant,
    /// The machine.
    pub host: HostSample,
    /// Requests that the engine says it works on; null where it does not say.
    pub engine_running: Option<u32>,
    /// Requests that the engine says wait.
    pub engine_waiting: Option<u32>,
    /// Share of the KV cache in use.
    pub kv_cache_used_ratio: Option<Ratio>,
    /// The GPUs; empty where none was asked (see `gpu_note` of environment.json) or where the driver no longer answers.
    #[serde(default)]
    pub gpus: Vec<GpuSample>,
    /// Why the GPUs are not read from here on, at the moment when that was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_note: Option<String>,
}
