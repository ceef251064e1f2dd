//! The null server's clock: whole nanoseconds of `CLOCK_MONOTONIC`, which every program of a machine shares, so that a
//! client's stamp of a read can be held against the server's stamp of the write.

use rustix::time::{ClockId, Timespec, clock_gettime};

fn ns(at: Timespec) -> u64 {
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(at.tv_nsec).unwrap_or(0))
}

/// `CLOCK_MONOTONIC` in ns.
#[must_use]
pub fn monotonic_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// CPU time of this process so far, in ns.
#[must_use]
pub fn process_cpu_ns() -> u64 {
    ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// A point of `CLOCK_MONOTONIC` as the kernel takes it.
#[must_use]
pub fn timespec(at_ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(at_ns % 1_000_000_000).unwrap_or(0),
    }
}
