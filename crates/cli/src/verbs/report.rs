//! `servelab report`: pages, plots and summaries.

use super::ingest::ingest;
use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::anyhow;
use clap::Args;
use servelab_report::ReportError;
use servelab_schema::RunId;
use std::path::PathBuf;

/// Arguments of `servelab report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Names or directories of runs; by default the latest sealed run.
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
    /// Folder of the report.
    #[arg(long, default_value = "report/out", value_name = "DIR")]
    out: PathBuf,
}

impl Report {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let dirs = if self.runs.is_empty() {
            let newest = project.newest_sealed_run()?.ok_or_else(|| {
                Failure::environment(anyhow!("there is no sealed run; first `servelab run matrix/demo.toml`"))
            })?;
            vec![newest]
        } else {
            let dirs = self.runs.iter().map(|name| project.run_dir(name));
            dirs.collect::<Result<Vec<_>, _>>()?
        };
        // Only now: without a run there shall be no database either.
        let mut store = project.store()?;
        let mut ids: Vec<RunId> = Vec::new();
        for dir in dirs {
            let (run, _) = ingest(&mut store, &dir)?;
            ids.push(run.manifest().run_id.clone());
        }
        let out = project.path(&self.out);
        let files = servelab_report::build(&store, &ids, &out).map_err(|error| match error {
            ReportError::Foreign { .. } => Failure::usage(error),
            error => Failure::environment(error),
        })?;
        for path in [&files.html, &files.csv, &files.json] {
            output::answer(&format!("{}\n", path.display()));
        }
        Ok(Exit::Ok)
    }
}
