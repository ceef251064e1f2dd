//! `servelab results list` and `servelab results show`.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use servelab_report::{HeadlineText, ResultsRow};
use servelab_schema::{
    EngineKind, RunId, Sha256Hex,
    findings::{Brief, Findings},
};
use servelab_store::RunData;

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
                list(args.format, &rows)
            }
            Self::Show(args) => {
                let run = servelab_report::stored_run(&store, &args.run).map_err(Failure::environment)?;
                show(args.format, &run)
            }
        }
        .map_err(Failure::environment)?;
        Ok(Exit::Ok)
    }
}

/// One run of a list, for programs: the brief's own fields and not their words.
#[derive(Debug, Serialize)]
struct Listed<'r> {
    engine_kind: EngineKind,
    run_id: &'r RunId,
    started_utc: &'r str,
    name: &'r str,
    complete: bool,
    fingerprint: &'r Sha256Hex,
    dir: String,
    directory_gone: bool,
    headline: &'r str,
    brief: &'r Brief,
}

fn list(format: Format, rows: &[ResultsRow]) -> anyhow::Result<()> {
    if format == Format::Json {
        let listed = rows.iter().map(|row| Listed {
            engine_kind: row.run.engine_kind,
            run_id: &row.run.id,
            started_utc: &row.run.started_utc,
            name: &row.run.name,
            complete: row.run.complete,
            fingerprint: &row.run.fingerprint,
            dir: row.run.dir.display().to_string(),
            directory_gone: row.directory_gone,
            headline: &row.headline,
            brief: &row.run.brief,
        });
        return output::json(&listed.collect::<Vec<_>>());
    }
    if rows.is_empty() {
        output::note("nothing is in the database yet; `servelab run` makes runs, `servelab ingest` reads them in");
        return Ok(());
    }
    let cells = rows.iter().map(|row| {
        let r = &row.run;
        let started = r.started_utc.get(..19).unwrap_or(&r.started_utc).replace('T', " ");
        let takes = format!("{}/{}", r.brief.valid, r.brief.takes);
        let ended = (!r.complete).then_some("aborted");
        let gone = row.directory_gone.then_some("directory gone");
        let state: Vec<&str> = ended.into_iter().chain(gone).collect();
        let state = if state.is_empty() {
            String::new()
        } else {
            format!("[{}] ", state.join(", "))
        };
        vec![
            r.id.to_string(),
            started,
            r.engine_kind.to_string(),
            takes,
            r.fingerprint.short().to_owned(),
            format!("{state}{}", row.headline),
        ]
    });
    let header = ["run", "started (UTC)", "kind", "valid takes", "fingerprint", "finding"];
    output::answer(&output::table(header, cells.collect()));
    Ok(())
}

/// One run for programs: findings.json, with the fingerprint that findings cannot hold of themselves.
#[derive(Debug, Serialize)]
struct RunAnswer<'r> {
    engine_kind: EngineKind,
    fingerprint: &'r Sha256Hex,
    findings: &'r Findings,
}

fn show(format: Format, run: &RunData) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&RunAnswer {
            engine_kind: run.plan.engine_kind,
            fingerprint: &run.fingerprint,
            findings: &run.findings,
        });
    }
    let view = servelab_report::results_show(run);
    output::answer(&output::facts(view.facts.iter().map(|(label, value)| (label, value))));
    output::answer("\n");
    headlines(&view.headlines);
    output::answer("\n");
    output::answer(&output::table(view.columns.clone(), view.verdicts.clone()));
    for note in &view.notes {
        output::answer(&format!("{note}\n"));
    }
    Ok(())
}

/// What the run says, one sentence a line.
pub(crate) fn headlines(said: &[HeadlineText]) {
    for headline in said {
        output::answer(&format!("{} {}: {}\n", headline.icon, headline.word, headline.text));
    }
}
