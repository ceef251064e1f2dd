//! `servelab db`: a copy of the database, and whether it is whole.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde::Serialize;
use servelab_store::{Check, Store, StoreError};
use std::path::PathBuf;

/// The database verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Copy the database into a new file, while others read and write it.
    Backup(Backup),
    /// Check the file, and that what it says of each run is what the run says. Exit code 4 where something is wrong.
    Check(CheckArgs),
}

/// Arguments of `servelab db backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The new file. A file that is there already is not written over.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Arguments of `servelab db check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Leave out what takes longest: deciding every run's findings again from its requests.
    #[arg(long)]
    quick: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What was found, for programs.
#[derive(Debug, Serialize)]
struct CheckAnswer {
    troubles: usize,
    database: Vec<String>,
    runs: Vec<RunAnswer>,
}

#[derive(Debug, Serialize)]
struct RunAnswer {
    run_id: String,
    directory_gone: bool,
    troubles: Vec<String>,
}

impl From<&Check> for CheckAnswer {
    fn from(check: &Check) -> Self {
        let words = |troubles: &[servelab_store::Trouble]| troubles.iter().map(ToString::to_string).collect();
        let run = |run: &servelab_store::Checked| RunAnswer {
            run_id: run.run.to_string(),
            directory_gone: run.directory_gone,
            troubles: words(&run.troubles),
        };
        Self {
            troubles: check.troubles(),
            database: words(&check.database),
            runs: check.runs.iter().map(run).collect(),
        }
    }
}

fn store(project: &Project) -> Result<Store, Failure> {
    project.existing_store()?.ok_or_else(|| {
        Failure::environment(anyhow!(
            "there is no database here yet; `servelab ingest` makes it from what lies under runs/"
        ))
    })
}

impl Db {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        match self {
            Self::Backup(args) => {
                output::outside_runs(&args.file)?;
                let bytes = store(project)?.backup(&args.file).map_err(|error| match error {
                    StoreError::There { .. } => Failure::usage(error),
                    error => Failure::environment(error),
                })?;
                output::answer(&format!("{}\t{bytes} bytes\n", args.file.display()));
                Ok(Exit::Ok)
            }
            Self::Check(args) => check(args, &store(project)?),
        }
    }
}

fn check(args: &CheckArgs, store: &Store) -> Result<Exit, Failure> {
    let check = store.check(args.quick).map_err(Failure::environment)?;
    let answer = CheckAnswer::from(&check);
    if args.format == Format::Json {
        output::json(&answer).map_err(Failure::environment)?;
    } else {
        for trouble in &answer.database {
            output::answer(&output::paragraph(&format!("database: {trouble}"), 2));
        }
        let rows = answer.runs.iter().map(|run| {
            let gone = run.directory_gone.then(|| "its directory is gone".to_owned());
            let said: Vec<String> = run.troubles.iter().cloned().chain(gone).collect();
            let word = if run.troubles.is_empty() { "ok" } else { "WRONG" };
            vec![run.run_id.clone(), word.to_owned(), said.join("; ")]
        });
        output::answer(&output::table(["run", "check", "what was found"], rows.collect()));
    }
    match answer.troubles {
        0 => Ok(Exit::Ok),
        n => Err(Failure::environment(anyhow!(
            "{n} troubles in {}. It holds nothing but what the runs hold: delete it, and `servelab ingest` makes it again; what has no \
             directory any more is in a copy that `servelab db backup` made",
            store.path().display()
        ))),
    }
}
