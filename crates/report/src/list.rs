//! What has been run, for the terminal.

use crate::{
    ReportError,
    headline::{Headline, headlines, one_line},
    label,
    results::Results,
    stored, summary,
};
use servelab_schema::{EngineKind, RunId};
use servelab_store::{RunSummary, Store};

/// One run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultsRow {
    /// Name of the run.
    pub id: RunId,
    /// Wall-clock start, RFC 3339 in UTC.
    pub started_utc: String,
    /// Name of the matrix.
    pub name: String,
    /// Where the numbers come from; its word is printed in capitals.
    pub engine_kind: EngineKind,
    /// Takes that count.
    pub valid_trials: u32,
    /// All takes.
    pub trials: u32,
    /// First twelve digits of the run's fingerprint.
    pub fingerprint: String,
    /// The run's finding in one line.
    pub headline: String,
}

/// One run for the terminal: label and value, findings, verdicts.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultsView {
    /// The run as in the list, with its whole fingerprint.
    pub row: ResultsRow,
    /// Labels and values: what was run.
    pub facts: Vec<(String, String)>,
    /// The findings, the best effects first.
    pub headlines: Vec<Headline>,
    /// Head of the verdict table.
    pub columns: Vec<String>,
    /// Rows of the verdict table: the primary metric, the A/A check last.
    pub verdicts: Vec<Vec<String>>,
    /// What must be known to read it.
    pub notes: Vec<String>,
}

fn row(summary: &RunSummary, results: &Results<'_>) -> ResultsRow {
    ResultsRow {
        id: summary.manifest.run_id.clone(),
        started_utc: summary.manifest.started.utc.clone(),
        name: summary.manifest.name.clone(),
        engine_kind: summary.manifest.engine_kind,
        valid_trials: summary.valid_trials,
        trials: summary.trials,
        fingerprint: summary.fingerprint.short().to_owned(),
        headline: one_line(results),
    }
}

/// Every ingested run with its finding, newest first.
///
/// # Errors
/// [`ReportError::Store`] where the database does not answer.
pub fn results_list(store: &Store) -> Result<Vec<ResultsRow>, ReportError> {
    let rows = store.runs()?.into_iter().map(|summary| {
        let data = stored::load(store, &summary.manifest.run_id)?;
        Ok(row(&summary, &Results::of(&data)))
    });
    rows.collect()
}

/// One run in full.
///
/// # Errors
/// [`ReportError::Store`] where the database does not answer or has no such run.
pub fn results_show(store: &Store, id: &RunId) -> Result<ResultsView, ReportError> {
    let summary = store.run(id)?;
    let data = stored::load(store, id)?;
    let results = Results::of(&data);
    let doc = summary::run(&results);
    let facts = [
        ("run", id.to_string()),
        ("fingerprint", data.fingerprint.to_string()),
        ("numbers", label::kind(data.plan.engine_kind).0.to_owned()),
        ("matrix", data.plan.name.clone()),
        ("model", data.plan.profile.model.clone()),
        (
            "engine",
            format!("{} {}", data.plan.engine.dialect, data.plan.engine.version),
        ),
        ("started", data.manifest.started.utc.clone()),
        ("end", label::end(&data.manifest.end)),
        (
            "trials",
            format!("{} of {} valid", summary.valid_trials, summary.trials),
        ),
        (
            "prompts",
            format!(
                "{} of {} served",
                results.prompts_served(),
                data.plan.prompts.prompts.len()
            ),
        ),
        ("output", label::stop(data.plan.output.stop).to_owned()),
        ("primary metric", label::metric(data.plan.primary_metric).to_owned()),
    ];
    let (columns, verdicts) = crate::view::verdict_texts(&results, &doc);
    Ok(ResultsView {
        row: ResultsRow {
            fingerprint: data.fingerprint.to_string(),
            ..row(&summary, &results)
        },
        facts: facts
            .into_iter()
            .map(|(label, value)| (label.to_owned(), value))
            .collect(),
        headlines: headlines(&results),
        columns,
        verdicts,
        notes: doc.notes,
    })
}
