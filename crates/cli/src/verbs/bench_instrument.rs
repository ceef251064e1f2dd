//! `servelab bench-instrument` (`make bench-instrument`): the load generator beside a bare client, as a table.

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use servelab_bench::instrument::suite::{Row, Suite, work};
use servelab_load::clock::{monotonic, utc_now};
use servelab_schema::HostFacts;
use std::{fmt::Write as _, path::PathBuf};

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
            let figures = work(job).map_err(Failure::environment)?;
            output::answer(&figures);
            return Ok(Exit::Ok);
        }
        let began = monotonic();
        let program = Project::servelab()?;
        let rounds = if self.quick { 1 } else { self.rounds.max(1) };
        let load_average = std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
            .to_owned();
        let suite = Suite {
            program: &program,
            rounds,
            quick: self.quick,
            say: &output::note,
        };
        let rows = suite.run(self.only.as_deref()).map_err(Failure::environment)?;
        let document = Document {
            servelab_version: env!("CARGO_PKG_VERSION"),
            measured_utc: utc_now(),
            host: servelab_telemetry::host_facts(),
            load_average,
            rounds,
            seconds: monotonic().since(began).as_secs_f64(),
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
        output::answer(&markdown(&document));
        output::note(&format!("figures of every round: {}", out.display()));
        Ok(Exit::Ok)
    }
}

/// The table with the facts about the machine above it.
fn markdown(document: &Document) -> String {
    let host = &document.host;
    let mut out = String::new();
    let cpu = host.cpu.as_deref().unwrap_or("unknown CPU");
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "servelab {} on {} × {cpu}, {}; load average before: {}; medians of {} rounds, {:.0} s.\n",
        document.servelab_version,
        host.cpus,
        host.kernel.as_deref().unwrap_or("unknown kernel"),
        document.load_average,
        document.rounds,
        document.seconds
    );
    out.push_str("| what | bound | aim | measured | tool | bare client | | note |\n");
    out.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for row in &document.rows {
        let Row {
            what,
            bound,
            aim,
            measured,
            tool,
            bare,
            came,
            note,
            ..
        } = row;
        let _ = writeln!(
            out,
            "| {what} | {bound} | {aim} | {measured} | {tool} | {bare} | {} | {note} |",
            came.word()
        );
    }
    out
}
