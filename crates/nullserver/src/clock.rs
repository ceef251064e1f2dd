//! The null server's clock: whole nanoseconds of `CLOCK_MONOTONIC`, which every program of a machine shares, so that a
//! client's stamp of a read can be held against the server's stamp of the write.

use rustix::time::{ClockId, Timespec, clock_gettime};

fn ns(at: Timespec) -> u64 {
    // These clocks count from a start and hold 584 years of nanoseconds.
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(at.tv_sec) * 1_000_000_000 + part(at.tv_nsec)
}

/// `CLOCK_MONOTONIC` in ns.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// CPU time of this process so far, in ns.
#[must_use]
pub(crate) fn process_cpu_ns() -> u64 {
    ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// A point of `CLOCK_MONOTONIC` as the kernel takes it.
#[must_use]
pub(crate) fn timespec(at_ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(at_ns % 1_000_000_000).unwrap_or(0),
    }
}
