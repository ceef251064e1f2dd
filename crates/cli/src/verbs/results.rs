//! `servelab results`: what has been run, what of it no longer counts, what it takes on the disk, and off with it.

mod correct;
mod du;
mod list;
mod remove;

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde::Serialize;
use servelab_report::{HeadlineText, ResultsView};
use servelab_schema::{Correction, EngineKind, RunId, Sha256Hex, findings::Findings, foreign::one_line};
use servelab_store::RunData;

/// The results verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Results {
    /// Every run: those in the database, latest first, and those under runs/ that are not in it.
    List(list::List),
    /// One run: verdicts of every variant.
    Show(Show),
    /// Say that a run, a take or a cell no longer counts, and why: a file under runs/corrections/.
    Correct(correct::Correct),
    /// Remove a run from the disk and from the database. Asks first; refuses what is pinned.
    Rm(remove::Remove),
    /// What each run takes on the disk: traces, telemetry, logs, and what compression saves.
    Du(du::DiskUse),
}

/// Arguments of `servelab results show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of the run.
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Show every column of the verdicts: the other p values, and the remarks.
    #[arg(long)]
    explain: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Results {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        match self {
            Self::List(args) => args.execute(project)?,
            Self::Correct(args) => args.execute(project)?,
            Self::Rm(args) => return args.execute(project),
            Self::Du(args) => args.execute(project)?,
            Self::Show(args) => {
                let store = project.existing_store()?.ok_or_else(|| {
                    let run = &args.run;
                    Failure::environment(anyhow!(
                        "there is no run `{run}`: nothing was ingested here yet; `servelab ingest {run}` reads it in, \
                         `servelab results list` shows what there is"
                    ))
                })?;
                let run = servelab_report::stored_run(&store, &args.run).map_err(Failure::environment)?;
                let corrections = store.corrections().map_err(Failure::environment)?;
                let corrections: Vec<&Correction> = corrections.of_run(&run.fingerprint).collect();
                show(args, &run, &corrections).map_err(Failure::environment)?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// One run for programs: findings.json, with the fingerprint that findings cannot hold of themselves.
#[derive(Debug, Serialize)]
struct RunAnswer<'r> {
    engine_kind: EngineKind,
    fingerprint: &'r Sha256Hex,
    findings: &'r Findings,
    superseded: &'r [&'r Correction],
}

/// What no longer counts of the run, in a sentence.
fn superseded(correction: &Correction) -> String {
    let by = correction
        .by
        .as_ref()
        .map(|by| format!(" by `{}`", by.run_id))
        .unwrap_or_default();
    let said = format!(
        "SUPERSEDED: {}{by}. {} (correction {}, {}, {})",
        correction.superseded, correction.reason, correction.number, correction.who, correction.utc
    );
    one_line(&said).into_owned()
}

fn show(args: &Show, run: &RunData, corrections: &[&Correction]) -> anyhow::Result<()> {
    if args.format == Format::Json {
        return output::json(&RunAnswer {
            engine_kind: run.plan.engine_kind,
            fingerprint: &run.fingerprint,
            findings: &run.findings,
            superseded: corrections,
        });
    }
    let view = servelab_report::results_show(run);
    sentences(
        &corrections
            .iter()
            .map(|correction| superseded(correction))
            .collect::<Vec<_>>(),
    );
    output::answer(&output::facts(view.facts.iter().map(|(label, value)| (label, value))));
    output::answer("\n");
    headlines(&view.headlines);
    output::answer("\n");
    output::answer(&verdicts(&view, args.explain));
    sentences(&view.not_counted);
    sentences(&view.notes);
    Ok(())
}

/// What the run says, one sentence a paragraph.
pub(crate) fn headlines(said: &[HeadlineText]) {
    for headline in said {
        let line = format!("{} {}: {}", headline.icon, headline.word, headline.text);
        output::answer(&output::paragraph(&line, 2));
    }
}

/// Columns that are not needed to read a verdict, and that 80 columns have no room for. What the remarks say of a verdict stands in
/// its headline.
const MORE: [&str; 3] = ["p, t", "p, sign-flip", "Note"];

/// The table of verdicts, with every column where they are to be explained.
fn verdicts(view: &ResultsView, explain: bool) -> String {
    let is_shown = |column: &&String| explain || !MORE.contains(&column.as_str());
    let shown = |row: &Vec<String>| -> Vec<String> {
        let cells = view.columns.iter().zip(row).filter(|(column, _)| is_shown(column));
        cells.map(|(_, cell)| cell.clone()).collect()
    };
    let rows = view.verdicts.iter().map(shown).collect();
    output::table(view.columns.iter().filter(is_shown).cloned(), rows)
}

/// One paragraph each.
pub(crate) fn sentences(said: &[String]) {
    for sentence in said {
        output::answer(&output::paragraph(sentence, 2));
    }
}
