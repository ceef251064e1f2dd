//! `servelab bench-instrument` (`make bench-instrument`): the load generator beside a bare client that only drains bytes,
//! against the same server in the same run. Every row has its bound, its aim and both sides.
//!
//! Server, load generator and bare client are processes of their own; a round runs both clients, in turn first; the median
//! over the rounds is what counts, and shares are taken within a round, so that a machine's mood moves both sides.

mod cases;
mod table;
mod worker;

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use servelab_load::clock::{monotonic_ns, utc_now};
use servelab_schema::HostFacts;
use std::path::PathBuf;
use table::Row;

/// Arguments of `servelab bench-instrument`.
#[derive(Debug, Args)]
pub(crate) struct BenchInstrument {
    /// One short round of each: shows that it works, measures little.
    #[arg(long)]
    quick: bool,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5, conflicts_with = "quick")]
    rounds: u32,
    /// Only the rows whose group has this in its name.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench-instrument.json", value_name = "FILE")]
    out: PathBuf,
    /// Run one measurement, given as JSON, and print its figures: what the child processes do.
    #[arg(long, hide = true)]
    worker: Option<String>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Document {
    servelab_version: &'static str,
    measured_utc: String,
    host: HostFacts,
    load_average: String,
    rounds: u32,
    seconds: f64,
    rows: Vec<Row>,
}

impl BenchInstrument {
    pub(crate) fn execute(self, project: &Project) -> Result<Exit, Failure> {
        if let Some(job) = &self.worker {
            worker::execute(job).map_err(Failure::environment)?;
            return Ok(Exit::Ok);
        }
        let began = monotonic_ns();
        let program = Project::servelab()?;
        let rounds = if self.quick { 1 } else { self.rounds.max(1) };
        let load_average = std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
            .to_owned();
        let suite = cases::Suite {
            program: &program,
            rounds,
            quick: self.quick,
        };
        let rows = suite.run(self.only.as_deref()).map_err(Failure::environment)?;
        let document = Document {
            servelab_version: env!("CARGO_PKG_VERSION"),
            measured_utc: utc_now(),
            host: servelab_telemetry::host_facts(),
            load_average,
            rounds,
            seconds: crate::instrument::float(monotonic_ns().saturating_sub(began)) / 1e9,
            rows,
        };
        let out = project.path(&self.out);
        let write = || -> anyhow::Result<()> {
            if let Some(folder) = out.parent() {
                std::fs::create_dir_all(folder)?;
            }
            Ok(std::fs::write(&out, serde_json::to_string_pretty(&document)? + "\n")?)
        };
        write()
            .with_context(|| out.display().to_string())
            .map_err(Failure::environment)?;
        output::answer(&table::markdown(&document));
        output::note(&format!("figures of every round: {}", out.display()));
        Ok(Exit::Ok)
    }
}
