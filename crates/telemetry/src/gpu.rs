//! NVIDIA GPUs through the driver's own library (NVML), loaded at run time: a machine without it has a note, not zeros.

use nvml_wrapper::{
    Device, Nvml,
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{Clock, EccCounter, MemoryError, PcieUtilCounter, TemperatureSensor},
    error::NvmlError,
};
use servelab_schema::{Bytes, GpuFacts, GpuSample, Ratio, ThrottleReason};
use std::path::Path;

/// Names under which the driver installs its library: drivers in containers bring only the first.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// Why no GPU is read.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The driver's library is not there.
    #[error(
        "no NVIDIA driver: {library} cannot be loaded ({message}); \
         install the driver, or start the container with `--gpus all`"
    )]
    NoLibrary {
        /// What was asked for.
        library: String,
        /// The loader's words.
        message: String,
    },
    /// The library is there but does not work.
    #[error("the NVIDIA driver does not answer: {0}; `nvidia-smi` shows more")]
    Driver(#[source] NvmlError),
    /// The driver works and has no GPU.
    #[error("the NVIDIA driver shows no GPU; in a container, start it with `--gpus all`")]
    NoGpu,
}

/// Reads the GPUs of this machine. Has no clock: whoever samples says when.
#[derive(Debug)]
pub struct GpuProbe {
    nvml: Nvml,
    count: u32,
}

impl GpuProbe {
    /// Loads the driver's library, or the one at `library`.
    ///
    /// # Errors
    /// [`GpuError`] says why there is nothing to read.
    pub fn open(library: Option<&Path>) -> Result<Self, GpuError> {
        let nvml = match library {
            Some(path) => load(path)?,
            None => load(Path::new(LIBRARIES[0])).or_else(|first| match first {
                GpuError::NoLibrary { .. } => load(Path::new(LIBRARIES[1])).map_err(|_| first),
                other => Err(other),
            })?,
        };
        match nvml.device_count() {
            Ok(0) => Err(GpuError::NoGpu),
            Ok(count) => Ok(Self { nvml, count }),
            Err(error) => Err(GpuError::Driver(error)),
        }
    }

    fn devices(&self) -> impl Iterator<Item = (u32, Device<'_>)> {
        (0..self.count).filter_map(|index| Some((index, self.nvml.device_by_index(index).ok()?)))
    }

    /// What the GPUs are; their use and power now, which is the floor where nothing has been started yet.
    #[must_use]
    pub fn facts(&self) -> Vec<GpuFacts> {
        let driver = self.nvml.sys_driver_version().ok();
        let cuda = self.nvml.sys_cuda_driver_version().ok().map(|version| {
            let major = nvml_wrapper::cuda_driver_version_major(version);
            let minor = nvml_wrapper::cuda_driver_version_minor(version);
            format!("{major}.{minor}")
        });
        let fact = |(index, gpu): (u32, Device<'_>)| {
            let memory = gpu.memory_info().ok();
            GpuFacts {
                index,
                name: gpu.name().ok(),
                uuid: gpu.uuid().ok(),
                driver: driver.clone(),
                cuda: cuda.clone(),
                memory_total_bytes: memory.as_ref().map(|m| Bytes(m.total)),
                memory_used_at_start_bytes: memory.as_ref().map(|m| Bytes(m.used)),
                power_at_start_milliwatts: gpu.power_usage().ok().map(u64::from),
                power_limit_milliwatts: gpu.enforced_power_limit().ok().map(u64::from),
                max_sm_clock_mhz: gpu.max_clock_info(Clock::SM).ok(),
                max_memory_clock_mhz: gpu.max_clock_info(Clock::Memory).ok(),
                ecc_enabled: gpu.is_ecc_enabled().ok().map(|ecc| ecc.currently_enabled),
            }
        };
        self.devices().map(fact).collect()
    }

    /// The GPUs now; a GPU that no longer answers is left out. Takes some 40 ms per GPU, in which the driver counts PCIe
    /// bytes: not to be called where something else waits.
    #[must_use]
    pub fn sample(&self) -> Vec<GpuSample> {
        let mut samples: Vec<GpuSample> = self.devices().map(|(index, gpu)| read(index, &gpu)).collect();
        // Last, because each of these waits: all else was read at one moment.
        for sample in &mut samples {
            if let Ok(gpu) = self.nvml.device_by_index(sample.index) {
                sample.pcie_tx_bytes_per_s = pcie(&gpu, PcieUtilCounter::Send);
                sample.pcie_rx_bytes_per_s = pcie(&gpu, PcieUtilCounter::Receive);
            }
        }
        samples
    }
}

fn load(path: &Path) -> Result<Nvml, GpuError> {
    let missing = |message: String| GpuError::NoLibrary {
        library: path.display().to_string(),
        message,
    };
    Nvml::builder()
        .lib_path(path.as_os_str())
        .init()
        .map_err(|error| match error {
            NvmlError::LibloadingError(e) => missing(e.to_string()),
            NvmlError::LibraryNotFound => missing("a part of it is missing".to_owned()),
            other => GpuError::Driver(other),
        })
}

fn read(index: u32, gpu: &Device<'_>) -> GpuSample {
    let ecc = |kind| gpu.total_ecc_errors(kind, EccCounter::Volatile).ok();
    let reasons = gpu.current_throttle_reasons().ok();
    let processes = gpu.running_compute_processes().ok();
    let busy = gpu.utilization_rates().ok();
    GpuSample {
        index,
        memory_used_bytes: gpu.memory_info().ok().map(|m| Bytes(m.used)),
        utilisation_ratio: busy.and_then(|u| Ratio::new(f64::from(u.gpu) / 100.0).ok()),
        power_milliwatts: gpu.power_usage().ok().map(u64::from),
        energy_millijoules: gpu.total_energy_consumption().ok(),
        temperature_celsius: gpu.temperature(TemperatureSensor::Gpu).ok(),
        sm_clock_mhz: gpu.clock_info(Clock::SM).ok(),
        memory_clock_mhz: gpu.clock_info(Clock::Memory).ok(),
        throttle: reasons.map(words),
        ecc_corrected_errors: ecc(MemoryError::Corrected),
        ecc_uncorrected_errors: ecc(MemoryError::Uncorrected),
        pcie_tx_bytes_per_s: None,
        pcie_rx_bytes_per_s: None,
        compute_pids: processes.map(|list| list.into_iter().map(|p| p.pid).collect()),
    }
}

/// NVML gives KB/s, which it counts as 1024 bytes.
fn pcie(gpu: &Device<'_>, counter: PcieUtilCounter) -> Option<u64> {
    u64::from(gpu.pcie_throughput(counter).ok()?).checked_mul(1024)
}

fn words(reasons: ThrottleReasons) -> Vec<ThrottleReason> {
    let known = [
        (ThrottleReasons::GPU_IDLE, ThrottleReason::Idle),
        (
            ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
            ThrottleReason::ApplicationsClocksSetting,
        ),
        (
            ThrottleReasons::DISPLAY_CLOCK_SETTING,
            ThrottleReason::DisplayClockSetting,
        ),
        (ThrottleReasons::SW_POWER_CAP, ThrottleReason::SwPowerCap),
        (ThrottleReasons::HW_SLOWDOWN, ThrottleReason::HwSlowdown),
        (ThrottleReasons::SYNC_BOOST, ThrottleReason::SyncBoost),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, ThrottleReason::SwThermalSlowdown),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, ThrottleReason::HwThermalSlowdown),
        (
            ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
            ThrottleReason::HwPowerBrakeSlowdown,
        ),
    ];
    let found = known.into_iter().filter(|(bit, _)| reasons.contains(*bit));
    found.map(|(_, word)| word).collect()
}
