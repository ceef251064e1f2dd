//! `servelab doctor`: what this machine has and lacks, with the remedy for each.

use crate::{
    doctor::{Finding, NeededFor, examine},
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use anyhow::Context;
use clap::Args;

/// Arguments of `servelab doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Doctor {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .context("cannot start an event loop")
            .map_err(Failure::environment)?;
        let findings = runtime.block_on(examine(project));
        if self.format == Format::Json {
            output::json(&findings).map_err(Failure::environment)?;
        } else {
            output::answer(&table(&findings));
        }
        let able = findings.iter().all(|f| f.ok || f.needed_for != NeededFor::EveryRun);
        Ok(if able { Exit::Ok } else { Exit::Environment })
    }
}

fn table(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        vec![
            if finding.ok { "ok" } else { "missing" }.to_owned(),
            finding.name.to_owned(),
            finding.needed_for.words().to_owned(),
            finding.found.clone(),
            finding.remedy.clone().unwrap_or_default(),
        ]
    });
    output::table(["state", "what", "needed for", "found", "remedy"], rows.collect())
}
