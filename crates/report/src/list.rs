//! What has been run, for the terminal.

use crate::{
    ReportError,
    headline::{HeadlineText, headlines, one_line},
    label, number, summary,
};
use servelab_findings::{advice, failed_gate};
use servelab_schema::{
    GateName, RunId, Validity,
    findings::{Findings, TrialFindings},
};
use servelab_store::{RunData, RunSummary, Store};
use std::collections::BTreeMap;

/// One run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultsRow {
    /// The run as the database lists it.
    pub run: RunSummary,
    /// The run's finding in one line.
    pub headline: String,
    /// True where its directory is no longer where it was read in.
    pub directory_gone: bool,
}

/// One run for the terminal: label and value, findings, verdicts.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultsView {
    /// Labels and values: what was run.
    pub facts: Vec<(String, String)>,
    /// The findings, the best effects first.
    pub headlines: Vec<HeadlineText>,
    /// Why takes do not count, one sentence for each gate that failed.
    pub not_counted: Vec<String>,
    /// Head of the verdict table.
    pub columns: Vec<String>,
    /// Rows of the verdict table: the primary metric, the A/A check last.
    pub verdicts: Vec<Vec<String>>,
    /// What must be known to read it.
    pub notes: Vec<String>,
}

/// Every ingested run with its finding, newest first.
///
/// # Errors
/// [`ReportError::Store`] where the database does not answer.
pub fn results_list(store: &Store) -> Result<Vec<ResultsRow>, ReportError> {
    let row = |run: RunSummary| ResultsRow {
        headline: one_line(&run.brief),
        directory_gone: !run.dir.is_dir(),
        run,
    };
    Ok(store.runs()?.into_iter().map(row).collect())
}

/// One run in words.
#[must_use]
pub fn results_show(data: &RunData) -> ResultsView {
    let doc = summary::run(data);
    let brief = &data.findings.brief;
    let identity = &data.findings.run;
    let facts = [
        ("run", data.manifest.run_id.to_string()),
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
        ("takes", format!("{} of {} valid", brief.valid, brief.takes)),
        (
            "prompts",
            format!("{} of {} served", identity.prompts_served, identity.prompts_planned),
        ),
        ("output", label::stop(data.plan.output.stop).to_owned()),
        ("primary metric", label::metric(data.plan.primary_metric).to_owned()),
    ];
    let (columns, verdicts) = crate::view::verdict_texts(data, &doc);
    ResultsView {
        facts: facts
            .into_iter()
            .map(|(label, value)| (label.to_owned(), value))
            .collect(),
        headlines: headlines(&data.plan, &data.findings),
        not_counted: not_counted(&data.findings),
        columns,
        verdicts,
        notes: doc.notes,
    }
}

/// Why takes of a run do not count: for each gate and cause how many failed it, with what was seen in the first of them and its
/// remedy. A take that was aborted failed nothing: whoever ended the run did.
#[must_use]
pub fn not_counted(findings: &Findings) -> Vec<String> {
    let mut found: BTreeMap<(GateName, &str), (u32, &TrialFindings, String)> = BTreeMap::new();
    let aborted = |trial: &&TrialFindings| matches!(trial.validity, Validity::Aborted { .. });
    for trial in findings.trials.iter().filter(|trial| !aborted(trial)) {
        for gate in &trial.gates {
            if let (Some(advice), Some(words)) = (advice(gate, &trial.gates), failed_gate(gate, &trial.gates)) {
                let key = (gate.gate, advice.cause);
                found.entry(key).or_insert((0, trial, words)).0 += 1;
            }
        }
    }
    let takes = findings.brief.takes;
    found
        .into_values()
        .map(|(n, first, words)| {
            format!(
                "{n} of {} failed {words} (First: {}.)",
                number::count(takes, "take"),
                first.id
            )
        })
        .collect()
}

/// One stored run.
///
/// # Errors
/// [`ReportError::Store`] where the database does not answer or has no such run.
pub fn stored_run(store: &Store, id: &RunId) -> Result<RunData, ReportError> {
    Ok(store.load_run(id)?)
}
