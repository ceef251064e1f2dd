//! Samples of the machine and of the engine's process group.

use crate::proc_fs::{cpu_jiffies, load1, meminfo, process};
use servelab_schema::{Bytes, HostSample, Nanos, Ratio};
use std::{fs, path::PathBuf};

/// Reads the machine's load; remembers the last reading to give CPU use as a difference.
#[derive(Debug)]
pub struct HostProbe {
    proc_fs: PathBuf,
    engine_group: Option<i32>,
    last_cpu: Option<(u64, u64)>,
    tick_ns: u64,
    page_bytes: u64,
}

impl HostProbe {
    /// A probe of this machine; `engine_group` is the engine's process group, where it runs here.
    #[must_use]
    pub fn new(engine_group: Option<i32>) -> Self {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        Self {
            proc_fs: PathBuf::from("/proc"),
            engine_group,
            last_cpu: None,
            tick_ns: 1_000_000_000_u64.checked_div(ticks).unwrap_or(10_000_000),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.proc_fs.join(name)).ok()
    }

    /// The machine now.
    pub fn sample(&mut self) -> HostSample {
        let cpu = self.read("stat").and_then(|text| cpu_jiffies(&text));
        let busy = self.last_cpu.zip(cpu).and_then(|(last, now)| busy_ratio(last, now));
        self.last_cpu = cpu;
        let memory = self.read("meminfo");
        let used = memory
            .as_deref()
            .and_then(|m| meminfo(m, "MemTotal")?.checked_sub(meminfo(m, "MemAvailable")?));
        let load = self.read("loadavg").and_then(|text| Ratio::new(load1(&text)?).ok());
        let engine = self.engine_group.and_then(|group| self.group(group));
        let client = self
            .read("self/stat")
            .and_then(|text| process(&text))
            .map(|p| (p.cpu_ticks, p.rss_pages));
        HostSample {
            cpu_busy_ratio: busy,
            memory_used_bytes: used.map(Bytes),
            load1_ratio: load,
            engine_cpu_ns: engine.map(|e| self.cpu(e.0)),
            engine_rss_bytes: engine.map(|e| self.rss(e.1)),
            client_cpu_ns: client.map(|c| self.cpu(c.0)),
            client_rss_bytes: client.map(|c| self.rss(c.1)),
        }
    }

    const fn cpu(&self, ticks: u64) -> Nanos {
        Nanos(ticks.saturating_mul(self.tick_ns))
    }

    const fn rss(&self, pages: u64) -> Bytes {
        Bytes(pages.saturating_mul(self.page_bytes))
    }

    /// CPU ticks and resident pages of all processes of a group; none where it has none.
    fn group(&self, group: i32) -> Option<(u64, u64)> {
        let mut sum = None;
        for entry in fs::read_dir(&self.proc_fs).ok()?.flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
                continue;
            }
            // A process may end between the listing and the reading.
            let Some(found) = fs::read_to_string(entry.path().join("stat"))
                .ok()
                .and_then(|text| process(&text))
            else {
                continue;
            };
            if found.group == group {
                let (cpu, rss) = sum.unwrap_or((0_u64, 0_u64));
                sum = Some((cpu.saturating_add(found.cpu_ticks), rss.saturating_add(found.rss_pages)));
            }
        }
        sum
    }
}

#[expect(clippy::as_conversions, reason = "jiffies since the last sample are far below 2^53")]
fn busy_ratio(last: (u64, u64), now: (u64, u64)) -> Option<Ratio> {
    let busy = now.0.checked_sub(last.0)?;
    let total = now.1.checked_sub(last.1).filter(|t| *t > 0)?;
    Ratio::new(busy as f64 / total as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_this_process() {
        let mut probe = HostProbe::new(None);
        let first = probe.sample();
        assert_eq!(first.cpu_busy_ratio, None, "one reading is no difference");
        assert!(first.client_rss_bytes.unwrap().0 > 100_000);
        assert!(first.memory_used_bytes.unwrap().0 > first.client_rss_bytes.unwrap().0);
        assert_eq!(first.engine_rss_bytes, None, "no engine here: absent, not 0");
    }

    #[test]
    fn sums_a_process_group() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        let sample = HostProbe::new(Some(group)).sample();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(sample.engine_rss_bytes.unwrap().0 > sample.client_rss_bytes.unwrap().0 / 2);
        assert_eq!(HostProbe::new(Some(i32::MAX)).sample().engine_rss_bytes, None);
    }

    #[test]
    fn busy_is_a_share() {
        assert_eq!(busy_ratio((10, 100), (35, 150)).map(Ratio::get), Some(0.5));
        assert_eq!(busy_ratio((10, 100), (10, 100)), None);
        assert_eq!(busy_ratio((10, 100), (5, 150)), None, "a counter went back");
    }
}
