//! The C interface: as much of NVML as servelab asks for, with the layouts of the driver's `nvml.h`.

use crate::script::{Scene, Values, read};
use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_uint, c_ulonglong, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
};

const SUCCESS: c_uint = 0;
const INVALID_ARGUMENT: c_uint = 2;
const NOT_SUPPORTED: c_uint = 3;
const INSUFFICIENT_SIZE: c_uint = 7;

/// A GPU's handle: its index plus one, so that it is never null.
type Handle = *mut c_void;

#[repr(C)]
struct DlInfo {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
}

#[repr(C)]
struct MemoryV2 {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[repr(C)]
struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

#[repr(C)]
struct Process {
    pid: c_uint,
    memory: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// The script beside the file that this very function was loaded from: copies of the library have scripts of their own.
fn now() -> Scene {
    let mut info = DlInfo {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    let here: *const c_void = nvmlInit_v2 as *const c_void;
    // SAFETY: `here` is a function of a loaded object and `info` is ours to write.
    let found = unsafe { dladdr(here, &raw mut info) } != 0 && !info.file.is_null();
    if !found {
        return Scene::default();
    }
    // SAFETY: dladdr succeeded, so `file` is a C string that lives as long as the object is loaded.
    let file = unsafe { CStr::from_ptr(info.file) };
    let path = Path::new(OsStr::from_bytes(file.to_bytes()));
    path.parent().map(read).unwrap_or_default()
}

fn gpu(handle: Handle) -> Option<Values> {
    let index = (handle as usize).checked_sub(1)?;
    let values = now().gpus.into_iter().nth(index)?;
    while values.contains_key("hang") {
        std::thread::park();
    }
    Some(values)
}

/// Writes a number of the script, or says why not.
///
/// # Safety
/// `to` is null or may be written.
unsafe fn put<T: std::str::FromStr>(handle: Handle, key: &str, to: *mut T) -> c_uint {
    let Some(values) = gpu(handle) else {
        return INVALID_ARGUMENT;
    };
    let Some(value) = values.get(key).and_then(|v| v.parse().ok()) else {
        return NOT_SUPPORTED;
    };
    if to.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: the caller's promise, and not null.
    unsafe { to.write(value) };
    SUCCESS
}

/// Writes a text of the script with its final zero.
///
/// # Safety
/// `to` has room for `size` bytes.
unsafe fn put_text(values: Option<&Values>, key: &str, to: *mut c_char, size: c_uint) -> c_uint {
    let Some(text) = values.and_then(|v| v.get(key)) else {
        return NOT_SUPPORTED;
    };
    if text.len() >= size as usize {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: the caller's promise, and the text with its zero fits.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        to.add(text.len()).write(0);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> c_uint {
    now().init.unwrap_or(SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> c_uint {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> c_uint {
    let found = c_uint::try_from(now().gpus.len()).unwrap_or(c_uint::MAX);
    // SAFETY: NVML's contract: the caller gives a place to write to.
    unsafe { count.write(found) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut Handle) -> c_uint {
    let scene = now();
    // A GPU that the script says is `lost` has an index but answers no more.
    if scene.gpus.get(index as usize).is_none_or(|g| g.contains_key("lost")) {
        return INVALID_ARGUMENT;
    }
    // SAFETY: as above.
    unsafe { device.write((index as usize + 1) as Handle) };
    SUCCESS
}

/// Texts of the whole machine: the first GPU's script speaks for it.
macro_rules! system_text {
    ($($name:ident = $key:literal),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(to: *mut c_char, size: c_uint) -> c_uint {
            // SAFETY: NVML's contract: the caller gives room for `size` bytes.
            unsafe { put_text(now().gpus.first(), $key, to, size) }
        }
    )*};
}
system_text!(nvmlSystemGetDriverVersion = "driver");

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> c_uint {
    // SAFETY: NVML's contract: the caller gives a place to write to.
    unsafe { put(1 as Handle, "cuda", version) }
}

/// Texts of one GPU.
macro_rules! text {
    ($($name:ident = $key:literal),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(gpu_handle: Handle, to: *mut c_char, size: c_uint) -> c_uint {
            // SAFETY: NVML's contract: the caller gives room for `size` bytes.
            unsafe { put_text(gpu(gpu_handle).as_ref(), $key, to, size) }
        }
    )*};
}
text!(nvmlDeviceGetName = "name", nvmlDeviceGetUUID = "uuid");

/// One number of one GPU.
macro_rules! number {
    ($($name:ident: $type:ty = $key:literal),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(gpu: Handle, to: *mut $type) -> c_uint {
            // SAFETY: NVML's contract: the caller gives a place to write to.
            unsafe { put(gpu, $key, to) }
        }
    )*};
}
number!(
    nvmlDeviceGetPowerUsage: c_uint = "power",
    nvmlDeviceGetEnforcedPowerLimit: c_uint = "limit",
    nvmlDeviceGetTotalEnergyConsumption: c_ulonglong = "energy",
    nvmlDeviceGetCurrentClocksThrottleReasons: c_ulonglong = "throttle"
);

/// One number of one GPU that the caller chooses by a small number.
macro_rules! chosen {
    ($($name:ident = [$($key:literal),*]),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(gpu: Handle, which: c_uint, to: *mut c_uint) -> c_uint {
            match [$($key),*].get(which as usize) {
                // SAFETY: NVML's contract: the caller gives a place to write to.
                Some(key) => unsafe { put(gpu, key, to) },
                None => INVALID_ARGUMENT,
            }
        }
    )*};
}
chosen!(
    nvmlDeviceGetTemperature = ["temperature"],
    nvmlDeviceGetClockInfo = ["graphics-clock", "sm-clock", "memory-clock"],
    nvmlDeviceGetMaxClockInfo = ["max-graphics-clock", "max-sm-clock", "max-memory-clock"],
    nvmlDeviceGetPcieThroughput = ["pcie-tx", "pcie-rx"]
);

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(handle: Handle, memory: *mut MemoryV2) -> c_uint {
    let (mut total, mut used) = (0, 0);
    // SAFETY: both are ours.
    let codes = unsafe { (put(handle, "total", &raw mut total), put(handle, "used", &raw mut used)) };
    if codes != (SUCCESS, SUCCESS) {
        return NOT_SUPPORTED;
    }
    // SAFETY: NVML's contract: the caller gives a place to write to, with the version filled in.
    unsafe {
        let version = (*memory).version;
        let free = c_ulonglong::saturating_sub(total, used);
        memory.write(MemoryV2 {
            version,
            total,
            reserved: 0,
            free,
            used,
        });
    }
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUtilizationRates(handle: Handle, to: *mut Utilization) -> c_uint {
    let mut busy = 0;
    // SAFETY: `busy` is ours; NVML's contract for `to`.
    unsafe {
        let code = put(handle, "busy", &raw mut busy);
        if code == SUCCESS {
            to.write(Utilization { gpu: busy, memory: 0 });
        }
        code
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetEccMode(handle: Handle, current: *mut c_uint, pending: *mut c_uint) -> c_uint {
    // SAFETY: NVML's contract: the caller gives places to write to.
    unsafe {
        let code = put(handle, "ecc", current);
        if code == SUCCESS {
            pending.write(current.read());
        }
        code
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    handle: Handle,
    kind: c_uint,
    _since: c_uint,
    count: *mut c_ulonglong,
) -> c_uint {
    let key = if kind == 0 { "ecc-corrected" } else { "ecc-uncorrected" };
    // SAFETY: NVML's contract: the caller gives a place to write to.
    unsafe { put(handle, key, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    handle: Handle,
    count: *mut c_uint,
    to: *mut Process,
) -> c_uint {
    let Some(pids) = gpu(handle).and_then(|v| v.get("pids").cloned()) else {
        return NOT_SUPPORTED;
    };
    let pids: Vec<c_uint> = pids.split(',').filter_map(|p| p.parse().ok()).collect();
    let wanted = c_uint::try_from(pids.len()).unwrap_or(c_uint::MAX);
    // SAFETY: NVML's contract: `count` says for how many `to` has room, and is answered with how many there are.
    unsafe {
        let room = count.read();
        count.write(wanted);
        if room < wanted {
            return INSUFFICIENT_SIZE;
        }
        for (i, pid) in pids.into_iter().enumerate() {
            to.add(i).write(Process {
                pid,
                memory: 0,
                gpu_instance: c_uint::MAX,
                compute_instance: c_uint::MAX,
            });
        }
    }
    SUCCESS
}
