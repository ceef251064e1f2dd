//! `servelab ingest`: sealed runs, and the corrections of them, into the database.

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::anyhow;
use clap::Args;
use servelab_evidence::{SealedRun, corrections};
use servelab_store::{Ingested, Store};
use std::path::{Path, PathBuf};

/// Arguments of `servelab ingest`.
#[derive(Debug, Args)]
pub(crate) struct Ingest {
    /// Names or directories of runs; by default every sealed run under runs/.
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
}

/// Opens a run, which re-hashes every file of it, and puts it into the database.
pub(crate) fn ingest(store: &mut Store, dir: &Path) -> Result<(SealedRun, Ingested), Failure> {
    let run = SealedRun::open(dir).map_err(Failure::environment)?;
    let ingested = store.ingest(&run).map_err(Failure::environment)?;
    Ok((run, ingested))
}

/// Why there is nothing to read in. No database is made of it.
fn nothing(project: &Project) -> Result<String, Failure> {
    let runs = project.runs();
    Ok(match project.open_runs()?.len() {
        0 => format!(
            "there is no run under {}: `servelab run MATRIX` makes one, and --project names another folder",
            runs.display()
        ),
        n => format!(
            "there is no sealed run under {}, but {n} that are not sealed: `servelab results list` says what became of them",
            runs.display()
        ),
    })
}

impl Ingest {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let dirs: Vec<PathBuf> = if self.runs.is_empty() {
            project.sealed_runs()?
        } else {
            self.runs
                .iter()
                .map(|name| project.run_dir(name))
                .collect::<Result<_, _>>()?
        };
        // Before anything else: a database whose corrections are old says what is known to be wrong.
        let corrections = corrections(&project.runs()).map_err(Failure::environment)?;
        if dirs.is_empty() && corrections.is_empty() {
            output::note(&nothing(project)?);
            return Ok(Exit::Ok);
        }
        let mut store = project.store()?;
        if store.set_corrections(&corrections).map_err(Failure::environment)? {
            output::note(&format!("corrections read in: {}", corrections.len()));
        }
        let mut refused = 0_usize;
        for dir in dirs {
            // One run that is damaged hinders no other.
            let (run, ingested) = match ingest(&mut store, &dir) {
                Ok(done) => done,
                Err(failure) => {
                    refused += 1;
                    output::warn(&format!("{} is not ingested: {}", dir.display(), failure.words()));
                    continue;
                }
            };
            let what = match ingested {
                Ingested::New => "ingested",
                Ingested::Already => "already there",
            };
            output::answer(&format!(
                "{}\t{}\t{what}\n",
                run.manifest().run_id,
                run.fingerprint().short()
            ));
        }
        match refused {
            0 => Ok(Exit::Ok),
            n => Err(Failure::environment(anyhow!(
                "{n} of the runs could not be ingested; why stands above"
            ))),
        }
    }
}
