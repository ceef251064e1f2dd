//! What this machine is.

use crate::proc_fs::meminfo;
use servelab_schema::{Bytes, HostFacts};
use std::{fs, thread};

fn value_of(text: &str, key: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(separator)?.1.trim().trim_matches('"').to_owned())
}

/// CPU, memory, kernel, distribution and limits of this machine.
#[must_use]
pub fn host_facts() -> HostFacts {
    let read = |path: &str| fs::read_to_string(path).ok();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    HostFacts {
        cpu: read("/proc/cpuinfo").and_then(|text| value_of(&text, "model name", ':')),
        cpus: thread::available_parallelism()
            .ok()
            .and_then(|n| u32::try_from(n.get()).ok())
            .unwrap_or(1),
        memory_bytes: read("/proc/meminfo")
            .and_then(|text| meminfo(&text, "MemTotal"))
            .map(Bytes),
        kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        os: read("/etc/os-release").and_then(|text| value_of(&text, "PRETTY_NAME", '=')),
        open_files_limit: limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_facts() {
        let facts = host_facts();
        assert!(facts.cpus >= 1);
        assert!(facts.memory_bytes.is_some() && facts.kernel.is_some());
    }

    #[test]
    fn keys_and_quotes() {
        assert_eq!(
            value_of("NAME=x\nPRETTY_NAME=\"Debian 12\"", "PRETTY_NAME", '=').as_deref(),
            Some("Debian 12")
        );
        assert_eq!(value_of("", "PRETTY_NAME", '='), None);
    }
}
