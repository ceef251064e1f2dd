//! GPU telemetry against the scripted library. Time is what the test says it is.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use servelab_schema::{Bytes, GpuSample, ThrottleReason};
use servelab_telemetry::{GpuError, GpuProbe};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// A copy of the stub with a script of its own.
struct Driver {
    folder: TempDir,
}

impl Driver {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = std::env::current_exe().unwrap();
        let built = built.parent().unwrap().join("libservelab_nvml_stub.so");
        let driver = Self { folder };
        fs::copy(built, driver.library()).unwrap();
        fs::write(driver.folder.path().join("gpu.script"), script).unwrap();
        driver
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    fn at(&self, milliseconds: u64) {
        fs::write(self.folder.path().join("gpu.now"), milliseconds.to_string()).unwrap();
    }

    fn open(&self) -> Result<GpuProbe, GpuError> {
        GpuProbe::open(Some(&self.library()))
    }
}

const L4: &str = "gpu
0 name=NVIDIA_L4 uuid=GPU-1 driver=580.95.05 cuda=13000 total=24000000000 used=300000000 power=16500 limit=72000
0 max-sm-clock=2040 max-memory-clock=6251 ecc=1 energy=1000 temperature=40 sm-clock=300 memory-clock=405 throttle=1 busy=0
0 ecc-corrected=2 ecc-uncorrected=0 pcie-tx=3 pcie-rx=4 pids=
5000 power=70000 used=21000000000 temperature=66 sm-clock=2040 memory-clock=6251 throttle=0 busy=97 pids=4242,4243
10000 throttle=68 sm-clock=900 temperature=88
20000 throttle=0 sm-clock=2040 temperature=80
";

fn only(probe: &GpuProbe) -> GpuSample {
    let mut all = probe.sample();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn a_gpu_tells_what_it_is() {
    let driver = Driver::new(L4);
    let facts = driver.open().unwrap().facts();
    let [gpu] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!(gpu.name.as_deref(), Some("NVIDIA L4"));
    assert_eq!(gpu.uuid.as_deref(), Some("GPU-1"));
    assert_eq!(gpu.driver.as_deref(), Some("580.95.05"));
    assert_eq!(gpu.cuda.as_deref(), Some("13.0"));
    assert_eq!(gpu.memory_total_bytes, Some(Bytes(24_000_000_000)));
    assert_eq!(gpu.memory_used_at_start_bytes, Some(Bytes(300_000_000)));
    assert_eq!(gpu.power_at_start_milliwatts, Some(16_500));
    assert_eq!(gpu.power_limit_milliwatts, Some(72_000));
    assert_eq!(
        (gpu.max_sm_clock_mhz, gpu.max_memory_clock_mhz),
        (Some(2040), Some(6251))
    );
    assert_eq!(gpu.ecc_enabled, Some(true));
}

#[test]
fn values_follow_the_moment() {
    let driver = Driver::new(L4);
    let probe = driver.open().unwrap();
    let idle = only(&probe);
    assert_eq!(idle.throttle, Some(vec![ThrottleReason::Idle]));
    assert_eq!(idle.compute_pids, Some(Vec::new()));
    driver.at(6_000);
    let busy = only(&probe);
    assert_eq!(busy.index, 0);
    assert_eq!(busy.memory_used_bytes, Some(Bytes(21_000_000_000)));
    assert_eq!(busy.utilisation_ratio.map(servelab_schema::Ratio::get), Some(0.97));
    assert_eq!(busy.power_milliwatts, Some(70_000));
    // 5 s at 16.5 W and 1 s at 70 W after 1 J.
    assert_eq!(busy.energy_millijoules, Some(1_000 + 82_500 + 70_000));
    assert_eq!(busy.temperature_celsius, Some(66));
    assert_eq!((busy.sm_clock_mhz, busy.memory_clock_mhz), (Some(2040), Some(6251)));
    assert_eq!(
        busy.throttle,
        Some(Vec::new()),
        "nothing holds it down, and that is known"
    );
    assert_eq!(
        (busy.ecc_corrected_errors, busy.ecc_uncorrected_errors),
        (Some(2), Some(0))
    );
    assert_eq!(
        (busy.pcie_tx_bytes_per_s, busy.pcie_rx_bytes_per_s),
        (Some(3 * 1024), Some(4 * 1024))
    );
    assert_eq!(busy.compute_pids, Some(vec![4242, 4243]));
    driver.at(10_000);
    let hot = only(&probe);
    let reasons = [ThrottleReason::SwPowerCap, ThrottleReason::HwThermalSlowdown];
    assert_eq!(hot.throttle.as_deref(), Some(reasons.as_slice()));
    assert!(reasons.iter().all(|r| r.is_throttling()) && !ThrottleReason::Idle.is_throttling());
}

#[test]
fn what_a_gpu_does_not_tell_is_null() {
    let driver = Driver::new("gpu\n0 power=20000\n1000 power=-\n");
    let probe = driver.open().unwrap();
    assert_eq!(only(&probe).power_milliwatts, Some(20_000));
    driver.at(1_000);
    let sample = only(&probe);
    let nothing = GpuSample {
        index: 0,
        memory_used_bytes: None,
        utilisation_ratio: None,
        power_milliwatts: None,
        energy_millijoules: None,
        temperature_celsius: None,
        sm_clock_mhz: None,
        memory_clock_mhz: None,
        throttle: None,
        ecc_corrected_errors: None,
        ecc_uncorrected_errors: None,
        pcie_tx_bytes_per_s: None,
        pcie_rx_bytes_per_s: None,
        compute_pids: None,
    };
    assert_eq!(sample, nothing);
}

#[test]
fn several_gpus_and_one_that_is_lost() {
    let driver =
        Driver::new("gpu\n0 uuid=A power=1000\ngpu\n0 uuid=B power=2000\n500 lost=1\ngpu\n0 uuid=C power=3000\n");
    let probe = driver.open().unwrap();
    let uuids: Vec<_> = probe.facts().into_iter().filter_map(|g| g.uuid).collect();
    assert_eq!(uuids, ["A", "B", "C"]);
    let powers = |probe: &GpuProbe| {
        let all = probe.sample();
        all.iter().map(|g| (g.index, g.power_milliwatts)).collect::<Vec<_>>()
    };
    assert_eq!(powers(&probe), [(0, Some(1000)), (1, Some(2000)), (2, Some(3000))]);
    driver.at(500);
    assert_eq!(powers(&probe), [(0, Some(1000)), (2, Some(3000))], "no row of zeros");
}

#[test]
fn no_gpu_is_a_note_with_a_remedy() {
    let missing = GpuProbe::open(Some("/nonexistent/libnvidia-ml.so.1".as_ref())).unwrap_err();
    assert!(matches!(missing, GpuError::NoLibrary { .. }), "{missing}");
    assert!(missing.to_string().contains("install the driver"), "{missing}");
    let none = Driver::new("").open().unwrap_err();
    assert!(matches!(none, GpuError::NoGpu), "{none}");
    let refused = Driver::new("init 9\ngpu\n0 power=1\n").open().unwrap_err();
    assert!(refused.to_string().contains("driver is not loaded"), "{refused}");
}
