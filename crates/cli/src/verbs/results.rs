//! `servelab results list` and `servelab results show`.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use clap::{Args, Subcommand};
use servelab_schema::RunId;

/// The results verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Results {
    /// Every run in the database, latest first.
    List(List),
    /// One run: verdicts of every variant.
    Show(Show),
}

/// Arguments of `servelab results list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Arguments of `servelab results show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of the run.
    #[arg(value_name = "RUN")]
    run: RunId,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Results {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let store = project.store()?;
        match self {
            Self::List(args) => {
                let rows = servelab_report::results_list(&store).map_err(Failure::environment)?;
                args.format.list(&rows)
            }
            Self::Show(args) => {
                let view = servelab_report::results_show(&store, &args.run).map_err(Failure::environment)?;
                args.format.show(&view)
            }
        }
        .map_err(Failure::environment)?;
        Ok(Exit::Ok)
    }
}
