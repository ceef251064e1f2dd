//! What can go wrong between rows and pages.

use std::{io, path::PathBuf};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No run was named.
    #[error("no run to report on; ingest one first: `servelab ingest runs/ID`")]
    NoRun,
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] servelab_store::StoreError),
    /// A file cannot be written.
    #[error("{}: cannot write: {source}; choose another folder with --out", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of somebody else is where a file of the report would be.
    #[error(
        "{} is there already, and no report of servelab wrote it; give another folder with --out, or move the file away",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A plot cannot be drawn.
    #[error("cannot draw {plot} of run {run}: {why}; this is a fault of servelab, please report it with the run")]
    Plot {
        /// Which plot.
        plot: &'static str,
        /// Of which run.
        run: String,
        /// What the plotting library said.
        why: String,
    },
    /// The page's template does not fit its view.
    #[error("cannot write the page: {0:#}; this is a fault of servelab, please report it with the run")]
    Template(#[from] minijinja::Error),
    /// `summary.csv` cannot be written.
    #[error("cannot write summary.csv: {0}")]
    Csv(String),
    /// `summary.json` cannot be written.
    #[error("cannot write summary.json: {0}")]
    Json(#[from] serde_json::Error),
}
