//! What a run says at its end: how it went, what was found, where the page is, and what to do next.

use super::super::{ingest::ingest, results};
use crate::{
    exit::Failure,
    output::{self, Format},
    project::Project,
};
use serde::Serialize;
use servelab_runner::RunOutcome;
use servelab_schema::{Bytes, EngineKind, LoadId, Plan, RunEnd, RunId, Sha256Hex, VariantId, findings::Findings};
use std::path::{Path, PathBuf};

/// Where the report is written, as `servelab report` does.
const OUT: &str = "report/out";

/// Puts the run into the database and writes its report; the page. The run is sealed by now: trouble here costs nothing of it, is
/// said, and changes no exit code.
pub(super) fn report(project: &Project, outcome: &RunOutcome) -> Option<PathBuf> {
    let written = || -> Result<PathBuf, Failure> {
        let mut store = project.store()?;
        ingest(&mut store, &outcome.dir)?;
        let ids = std::slice::from_ref(&outcome.run_id);
        let files = servelab_report::build(&store, ids, &project.path(Path::new(OUT)));
        Ok(files.map_err(Failure::environment)?.html)
    };
    match written() {
        Ok(page) => Some(page),
        Err(failure) => {
            let (why, again) = (failure.words(), outcome.dir.display());
            output::warn(&format!(
                "the run is sealed, but there is no report of it: {why}; `servelab report {again}` tries again"
            ));
            None
        }
    }
}

#[derive(Debug, Serialize)]
struct Answer<'r> {
    engine_kind: EngineKind,
    run_id: &'r RunId,
    dir: String,
    fingerprint: &'r Sha256Hex,
    /// Traces and telemetry.
    rows_bytes: Bytes,
    /// What they take on the disk.
    rows_packed_bytes: Bytes,
    end: &'r RunEnd,
    retakes: usize,
    lost: usize,
    cells_without_valid_trial: Vec<String>,
    /// The report's page; null where none was written.
    page: Option<String>,
    findings: &'r Findings,
}

/// Every cell of which no trial counts, in the plan's order: those that the run did not come to have no findings at all.
fn empty_cells(plan: &Plan, findings: &Findings) -> Vec<String> {
    let counts = |cell: (&VariantId, &LoadId)| {
        let mut found = findings.cells.iter().filter(|c| (&c.variant, &c.load) == cell);
        found.any(|c| c.blocks > 0)
    };
    let cells = plan
        .variants
        .iter()
        .flat_map(|v| plan.loads.iter().map(move |load| (&v.id, &load.id)));
    let planned = |cell: &(&VariantId, &LoadId)| {
        let mut trials = plan.blocks.iter().flat_map(|block| &block.trials);
        trials.any(|t| (&t.variant, &t.load) == *cell)
    };
    let empty = cells.filter(planned).filter(|cell| !counts(*cell));
    empty.map(|(variant, load)| format!("{variant} {load}")).collect()
}

/// Prints it.
pub(super) fn print(format: Format, plan: &Plan, outcome: &RunOutcome, page: Option<&Path>) -> anyhow::Result<()> {
    let findings = &outcome.findings;
    let page = page.map(|page| page.display().to_string());
    if format == Format::Json {
        return output::json(&Answer {
            engine_kind: plan.engine_kind,
            run_id: &outcome.run_id,
            dir: outcome.dir.display().to_string(),
            fingerprint: &outcome.fingerprint,
            rows_bytes: outcome.packing.plain,
            rows_packed_bytes: outcome.packing.packed,
            end: &outcome.end,
            retakes: findings.retakes(),
            lost: findings.lost_to_the_instrument(),
            cells_without_valid_trial: empty_cells(plan, findings),
            page,
            findings,
        });
    }
    output::answer(&output::facts(facts(plan, outcome)));
    let said = servelab_report::headlines(plan, findings);
    if !said.is_empty() {
        output::answer("\n");
    }
    results::headlines(&said);
    let not_counted = servelab_report::not_counted(findings);
    if !not_counted.is_empty() {
        output::answer("\n");
    }
    results::sentences(&not_counted);
    output::answer("\n");
    output::answer(&output::facts(next(outcome, page)));
    Ok(())
}

fn facts(plan: &Plan, outcome: &RunOutcome) -> Vec<(&'static str, String)> {
    let findings = &outcome.findings;
    let brief = &findings.brief;
    let end = match &outcome.end {
        RunEnd::Complete => "complete".to_owned(),
        RunEnd::Aborted { why } => format!("aborted: {why}"),
    };
    let mut rows = vec![
        ("run", format!("{} ({})", outcome.run_id, plan.engine_kind)),
        ("directory", outcome.dir.display().to_string()),
        ("fingerprint", outcome.fingerprint.to_string()),
        (
            "takes",
            format!(
                "{} ({} valid, {} invalid, {} aborted)",
                brief.takes, brief.valid, brief.invalid, brief.aborted
            ),
        ),
        ("end", end),
    ];
    rows.extend(outcome.packing.words().map(|words| ("compressed", words)));
    let (retakes, lost) = (findings.retakes(), findings.lost_to_the_instrument());
    if retakes > 0 || lost > 0 {
        let lost = match lost {
            0 => "none stays lost to the instrument".to_owned(),
            lost => format!("{lost} stay lost to the instrument: a calmer machine would give them"),
        };
        rows.push(("taken again", format!("{retakes} of them; {lost}")));
    }
    let empty = empty_cells(plan, findings);
    if !empty.is_empty() {
        rows.push(("no valid trial", empty.join(", ")));
    }
    rows
}

/// Where to read on, and the command that goes on from here.
fn next(outcome: &RunOutcome, page: Option<String>) -> Vec<(&'static str, String)> {
    let run = &outcome.run_id;
    let mut rows = match page {
        Some(page) => vec![
            ("page", format!("{page} (open it in a browser)")),
            ("next", format!("servelab results show {run}")),
        ],
        None => vec![("next", format!("servelab report {}", outcome.dir.display()))],
    };
    if matches!(outcome.end, RunEnd::Aborted { .. }) {
        rows.push(("go on", format!("servelab run --resume {}", outcome.dir.display())));
    }
    rows
}
