//! What the kernel says of the time in which the client could not run: stolen by the hypervisor, throttled by a CPU quota,
//! waiting for a core.
//!
//! Parts: pure parsers of the kernel's texts; [`Look`], what they said at one moment; [`starvation`], what came in between.
//! Both looks are taken on the event loop's own thread, outside the held window.
//!
//! Formats, all under `/proc`: `stat` (steal per CPU, in ticks of 1/100 s), `self/status` (the CPUs that may be used),
//! `self/cgroup` and `self/mountinfo` (where the cgroup's `cpu.stat` lies, v1 and v2), `thread-self/schedstat` (ns on a core, ns
//! waiting for one, times it got one), `thread-self/status` (involuntary switches).
//!
//! Traps: a container sees its own cgroup as `/`, and a quota may stand on any group above, so each one up to the mount is
//! read. cgroup v1 counts throttled time in ns, v2 in µs. A root cgroup of v2 has a `cpu.stat` without throttling: absent, not 0.
//! Steal has a grain of 10 ms, which is much of a short load: one tick of each CPU is not held against it.

use crate::clock::monotonic;
use servelab_schema::{Ratio, Starvation, WallInstant};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the kernel had counted at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    at: Option<WallInstant>,
    /// Stolen ticks of each CPU that may be used.
    steal: Option<Vec<u64>>,
    /// Of the own cgroup and of those above it, in one order.
    throttled: Vec<Throttled>,
    queue: Option<RunQueue>,
    involuntary: Option<u64>,
}

/// Of one cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Throttled {
    times: u64,
    ns: u64,
}

/// Of one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RunQueue {
    wait_ns: u64,
    turns: u64,
}

impl Look {
    /// What is counted now, of the calling thread.
    pub(crate) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let status = read("/proc/self/status").unwrap_or_default();
        let groups = read("/proc/self/cgroup").zip(read("/proc/self/mountinfo"));
        Self {
            at: Some(monotonic()),
            steal: read("/proc/stat").and_then(|stat| steal(&stat, &allowed_cpus(&status)?)),
            throttled: groups
                .map(|(own, mounts)| cpu_groups(&own, &mounts))
                .unwrap_or_default()
                .iter()
                .filter_map(|dir| throttled(&fs::read_to_string(dir.join("cpu.stat")).ok()?))
                .collect(),
            queue: read("/proc/thread-self/schedstat").and_then(|text| run_queue(&text)),
            involuntary: read("/proc/thread-self/status")
                .and_then(|text| field(&text, "nonvoluntary_ctxt_switches:")?.parse().ok()),
        }
    }
}

/// What came between two looks.
pub(crate) fn starvation(before: &Look, after: &Look) -> Starvation {
    let wall_ns = after.at.zip(before.at).map_or(0, |(a, b)| a.since(b).0);
    let ratio = |ns: u64| {
        (wall_ns > 0)
            .then(|| Ratio::new(float(ns) / float(wall_ns)).ok())
            .flatten()
    };
    let groups = before.throttled.iter().zip(&after.throttled).map(|(b, a)| Throttled {
        times: a.times.saturating_sub(b.times),
        ns: a.ns.saturating_sub(b.ns),
    });
    let throttled = groups.max_by_key(|group| (group.ns, group.times));
    let queue = before.queue.zip(after.queue);
    let counted = |b: u64, a: u64| a.saturating_sub(b);
    Starvation {
        wall_ns,
        stolen_ratio: before
            .steal
            .as_ref()
            .zip(after.steal.as_ref())
            .and_then(|(b, a)| ratio(stolen_ns(b, a)?)),
        throttled_count: throttled.map(|t| t.times),
        throttled_ratio: throttled.and_then(|t| ratio(t.ns)),
        run_queue_wait_ratio: queue.and_then(|(b, a)| ratio(counted(b.wait_ns, a.wait_ns))),
        run_queue_turns: queue.map(|(b, a)| counted(b.turns, a.turns)),
        involuntary_switches: before.involuntary.zip(after.involuntary).map(|(b, a)| counted(b, a)),
    }
}

#[expect(clippy::as_conversions, reason = "ns of a load are far below 2^53")]
const fn float(ns: u64) -> f64 {
    ns as f64
}

/// Mean over the CPUs, without the one tick of each that may have begun before; none where the kernel changed its list.
fn stolen_ns(before: &[u64], after: &[u64]) -> Option<u64> {
    if before.len() != after.len() {
        return None;
    }
    let tick_ns = 1_000_000_000_u64.checked_div(rustix::param::clock_ticks_per_second())?;
    let cpus = u64::try_from(before.len()).ok()?;
    let ticks = before
        .iter()
        .zip(after)
        .map(|(b, a)| a.saturating_sub(*b).saturating_sub(1));
    ticks.sum::<u64>().saturating_mul(tick_ns).checked_div(cpus)
}

/// The value behind a key at the start of a line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// The CPUs of `Cpus_allowed_list`, such as `0-3,8`.
fn allowed_cpus(status: &str) -> Option<Vec<u32>> {
    let mut cpus: Vec<u32> = Vec::new();
    for part in field(status, "Cpus_allowed_list:")?.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Stolen ticks of each of these CPUs, the eighth number of its line; none where the kernel counts no steal.
fn steal(stat: &str, cpus: &[u32]) -> Option<Vec<u64>> {
    let of = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let cpu: u32 = words.next()?.strip_prefix("cpu")?.parse().ok()?;
        cpus.contains(&cpu).then(|| words.nth(7)?.parse::<u64>().ok()).flatten()
    };
    let found: Vec<u64> = stat.lines().filter_map(of).collect();
    (!found.is_empty()).then_some(found)
}

fn run_queue(schedstat: &str) -> Option<RunQueue> {
    let mut numbers = schedstat.split_ascii_whitespace().skip(1).map(str::parse);
    Some(RunQueue {
        wait_ns: numbers.next()?.ok()?,
        turns: numbers.next()?.ok()?,
    })
}

/// Of a `cpu.stat`; none where it counts no throttling.
fn throttled(cpu_stat: &str) -> Option<Throttled> {
    let number = |key: &str| field(cpu_stat, key)?.parse::<u64>().ok();
    let micros = number("throttled_usec ").map(|us| us.saturating_mul(1000));
    Some(Throttled {
        times: number("nr_throttled ")?,
        ns: micros.or_else(|| number("throttled_time "))?,
    })
}

/// The directories of this process's cgroup that has the CPU controller and of those above it, the own one first.
fn cpu_groups(own: &str, mountinfo: &str) -> Vec<PathBuf> {
    let of_v1 = find_group(own, |controllers| controllers.split(',').any(|c| c == "cpu")).and_then(|path| {
        find_mount(
            mountinfo,
            |kind, options| kind == "cgroup" && options.split(',').any(|o| o == "cpu"),
            path,
        )
    });
    let of_v2 =
        || find_group(own, str::is_empty).and_then(|path| find_mount(mountinfo, |kind, _| kind == "cgroup2", path));
    of_v1.or_else(of_v2).unwrap_or_default()
}

/// The path in the line `id:controllers:path` with such controllers.
fn find_group(own: &str, is: impl Fn(&str) -> bool) -> Option<&str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        is(controllers).then_some(path)
    })
}

/// Where a cgroup path lies below such a mount, and the directories above it up to the mount.
fn find_mount(mountinfo: &str, is: impl Fn(&str, &str) -> bool, path: &str) -> Option<Vec<PathBuf>> {
    mountinfo.lines().find_map(|line| {
        // id parent device root mount-point options … - type source super-options
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, mount) = (left.next()?, Path::new(left.next()?));
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1).unwrap_or_default());
        if !is(kind, options) {
            return None;
        }
        // A path outside of the mount's root is hidden by a namespace: then the mount itself is all that can be seen.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let below = if path.contains("..") { Path::new("") } else { below };
        Some(below.ancestors().map(|dir| mount.join(dir)).collect())
    })
}

#[cfg(test)]
mod tests;
