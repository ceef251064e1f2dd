//! The few lines of `/proc` that servelab reads. Pure: text in, numbers out.

/// Busy and total jiffies of all CPUs, from `/proc/stat`.
pub(crate) fn cpu_jiffies(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .flat_map(str::parse)
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is inside user already (proc_stat(5)).
    let counted = fields.get(..8)?;
    let total: u64 = counted.iter().sum();
    let idle = counted.get(3)?.saturating_add(*counted.get(4)?);
    Some((total.saturating_sub(idle), total))
}

/// A field of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// One-minute load average, from `/proc/loadavg`.
pub(crate) fn load1(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Process group.
    pub(crate) group: i32,
    /// User and system time, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Resident pages.
    pub(crate) rss_pages: u64,
}

/// Reads `/proc/PID/stat`. The command name may hold spaces and brackets, so fields are counted from its last `)`.
pub(crate) fn process(stat: &str) -> Option<Process> {
    let rest = stat.get(stat.rfind(')')?.checked_add(1)?..)?;
    let field: Vec<&str> = rest.split_whitespace().collect();
    let number = |i: usize| field.get(i)?.parse::<u64>().ok();
    Some(Process {
        group: field.get(2)?.parse().ok()?,
        cpu_ticks: number(11)?.checked_add(number(12)?)?,
        rss_pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_line() {
        assert_eq!(cpu_jiffies("cpu  10 1 5 80 4 0 0 0 0 0\ncpu0 1"), Some((16, 100)));
        assert_eq!(cpu_jiffies("cpu  10 1"), None);
        assert_eq!(cpu_jiffies(""), None);
    }

    #[test]
    fn memory() {
        let text = "MemTotal:       100 kB\nMemAvailable:    40 kB\n";
        assert_eq!(meminfo(text, "MemAvailable"), Some(40 * 1024));
        assert_eq!(meminfo(text, "Mem"), None);
        assert_eq!(meminfo("MemTotal: x kB", "MemTotal"), None);
    }

    #[test]
    fn process_names_may_hold_brackets() {
        let stat = "42 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 30 12 0 0 20 0 1 0 100 1000 250 1844";
        assert_eq!(
            process(stat),
            Some(Process {
                group: 7,
                cpu_ticks: 42,
                rss_pages: 250
            })
        );
        assert_eq!(process("42 (a"), None);
    }
}
