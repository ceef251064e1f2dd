//! Findings in; view structs with n, interval and unit; then plots, one HTML page, CSV, JSON, terminal. It decides nothing.
//!
//! Parts: `summary` lays findings out as `summary.json`, `csv` as `summary.csv`; `headline` says them in sentences; `view`
//! makes the page's finished texts, `plot` its pictures, `html` places them by the templates; `list` is the terminal's view;
//! `earlier` takes away what an earlier report left in the folder.
//! `number`, `label`, `remarks` and `table` are the only places where a number, a name, a note and a table become text.
//!
//! Traps: no statistic is computed here, and templates do no arithmetic. The same findings give the same bytes: no clock, no
//! randomness. Whatever comes from data is escaped where it is placed, and nothing on the page comes from the network.

mod csv;
mod earlier;
mod error;
mod headline;
mod html;
mod label;
mod list;
mod number;
mod plot;
mod remarks;
mod summary;
mod table;
mod view;

pub use error::ReportError;
pub use headline::{HeadlineText, headlines};
pub use list::{ResultsRow, ResultsView, not_counted, results_list, results_show, stored_run};

use earlier::Earlier;
use servelab_schema::RunId;
use servelab_store::{RunData, Store};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFiles {
    /// The page.
    pub html: PathBuf,
    /// Every number, one row each.
    pub csv: PathBuf,
    /// Every number, for programs.
    pub json: PathBuf,
    /// The plots of the page as files.
    pub svgs: Vec<PathBuf>,
}

/// The page.
const PAGE: &str = "index.html";
/// Every number, one row each.
const SUMMARY_CSV: &str = "summary.csv";
/// Every number, for programs.
const SUMMARY_JSON: &str = "summary.json";

/// Writes the report of one or several ingested runs into `out_dir`, in the order given.
///
/// # Errors
/// [`ReportError::NoRun`] without a run, [`ReportError::Store`] for one that is not in the database,
/// [`ReportError::Foreign`] where `out_dir` holds a page or summary that no report wrote, [`ReportError::Write`] where a file
/// cannot be written.
pub fn build(store: &Store, runs: &[RunId], out_dir: &Path) -> Result<ReportFiles, ReportError> {
    if runs.is_empty() {
        return Err(ReportError::NoRun);
    }
    let all: Vec<RunData> = runs.iter().map(|id| store.load_run(id)).collect::<Result<_, _>>()?;
    let docs: Vec<summary::RunDoc> = all.iter().map(summary::run).collect();
    let views = all
        .iter()
        .zip(&docs)
        .map(|(r, d)| view::run(r, d))
        .collect::<Result<Vec<_>, _>>()?;

    fs::create_dir_all(out_dir).map_err(|source| ReportError::Write {
        path: out_dir.to_owned(),
        source,
    })?;
    let earlier = Earlier::claim(out_dir)?;
    let mut svgs = Vec::new();
    for figure in views.iter().flat_map(view::RunView::figures) {
        svgs.push(write(out_dir, &format!("{}.svg", figure.name), &figure.svg)?);
    }
    let page = view::page(&all, &docs, views);
    let html = write(out_dir, PAGE, &html::page(&page)?)?;
    let document = summary::document(docs);
    let csv = write(out_dir, SUMMARY_CSV, &csv::summary(&document)?)?;
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    let json = write(out_dir, SUMMARY_JSON, &text)?;
    let files = ReportFiles { html, csv, json, svgs };
    earlier.replace(out_dir, &files)?;
    Ok(files)
}

/// What `summary.json` says of a run: an entry of its `runs`.
///
/// # Errors
/// [`ReportError::Json`], which is our own bug.
pub fn summary_entry(run: &RunData) -> Result<serde_json::Value, ReportError> {
    // Through text: that is what a reader of the file has.
    let text = serde_json::to_string(&summary::run(run))?;
    Ok(serde_json::from_str(&text)?)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, ReportError> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(|source| ReportError::Write {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}
