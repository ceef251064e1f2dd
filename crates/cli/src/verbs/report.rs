//! `servelab report`: pages, plots and summaries.

use super::ingest::ingest;
use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::anyhow;
use clap::Args;
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
        let mut store = project.store()?;
        let mut ids: Vec<RunId> = Vec::new();
        if self.runs.is_empty() {
            let dir = project.newest_sealed_run()?.ok_or_else(|| {
                Failure::environment(anyhow!("there is no sealed run; first `servelab run matrix/demo.toml`"))
            })?;
            let (run, _) = ingest(&mut store, &dir)?;
            ids.push(run.manifest().run_id.clone());
        } else {
            for name in &self.runs {
                let (run, _) = ingest(&mut store, &project.run_dir(name)?)?;
                ids.push(run.manifest().run_id.clone());
            }
        }
        let out = project.path(&self.out);
        let files = servelab_report::build(&store, &ids, &out).map_err(Failure::environment)?;
        for path in [&files.html, &files.csv, &files.json] {
            output::answer(&format!("{}\n", path.display()));
        }
        Ok(Exit::Ok)
    }
}
