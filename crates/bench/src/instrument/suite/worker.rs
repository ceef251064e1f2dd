//! One measurement in a process of its own, so that its CPU time and memory are its own.

use super::super::{
    InstrumentError, bare,
    tool::{self, Done, Job},
};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Side {
    /// The load generator.
    Tool,
    /// The client that only drains bytes.
    Bare,
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    side: Side,
    job: Job,
}

/// What a worker measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    /// The client's own figures.
    pub(super) done: Done,
    /// Most memory that the process held, in bytes.
    pub(super) peak_memory_bytes: u64,
}

/// Most memory that this process held, in bytes.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The worker's side: measures what the order says, and gives its figures as one line of JSON.
///
/// # Errors
/// Where the order cannot be read or a measurement fails.
pub fn work(order: &str) -> Result<String, InstrumentError> {
    let unread = |e: serde_json::Error| InstrumentError::Worker(e.to_string());
    let Order { side, job } = serde_json::from_str(order).map_err(unread)?;
    let done = match side {
        Side::Tool => tool::run(&job)?,
        Side::Bare => {
            raise_open_files();
            bare::run(&job)?
        }
    };
    let figures = Figures {
        done,
        peak_memory_bytes: peak_memory_bytes(),
    };
    serde_json::to_string(&figures).map_err(unread)
}

/// Each stream needs a descriptor; the load generator raises its limit itself.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}

/// Runs a measurement in a child process.
pub(super) fn measure(program: &Path, side: Side, job: &Job) -> Result<Figures, InstrumentError> {
    let unread = |e: serde_json::Error| InstrumentError::Worker(e.to_string());
    let order = serde_json::to_string(&Order { side, job: job.clone() }).map_err(unread)?;
    let mut command = Command::new(program);
    command
        .args(["bench-instrument", "--worker", &order])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let said = command.output().map_err(|source| InstrumentError::Start {
        program: program.to_owned(),
        source,
    })?;
    if !said.status.success() {
        let why = format!("the {side:?} worker ended with {}", said.status);
        return Err(InstrumentError::Worker(why));
    }
    serde_json::from_slice(&said.stdout).map_err(unread)
}
