//! `servelab results list`: what has been run, and what became of it. It only looks: it makes no database, and takes no lock.

use crate::{
    exit::Failure,
    output::{self, Format},
    project::{Project, sealed_as},
};
use clap::Args;
use serde::Serialize;
use servelab_evidence::{is_held, names};
use servelab_report::ResultsRow;
use servelab_schema::{EngineKind, Plan, RunEnd, Sha256Hex, Superseded, findings::Brief};
use servelab_store::Corrections;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Arguments of `servelab results list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Every trial was executed.
    Complete,
    /// It was ended before its last trial, and sealed.
    Aborted,
    /// Sealed after its last trial, or with a manifest that does not read, but not in the database.
    NotIngested,
    /// A servelab writes to it now.
    Running,
    /// Nobody writes to it, and it has no manifest.
    NotSealed,
}

impl State {
    const fn words(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Aborted => "ABORTED",
            Self::NotIngested => "not ingested",
            Self::Running => "running",
            Self::NotSealed => "NOT SEALED",
        }
    }
}

/// One run of a list, for programs: the brief's own fields and not their words. What is not in the database is null.
#[derive(Debug, Serialize)]
struct Listed {
    engine_kind: Option<EngineKind>,
    run_id: String,
    started_utc: Option<String>,
    name: Option<String>,
    state: State,
    complete: bool,
    fingerprint: Option<Sha256Hex>,
    dir: String,
    directory_gone: bool,
    headline: String,
    brief: Option<Brief>,
    /// What a correction says no longer counts.
    superseded: Vec<Superseded>,
}

impl From<ResultsRow> for Listed {
    fn from(row: ResultsRow) -> Self {
        let run = row.run;
        Self {
            engine_kind: Some(run.engine_kind),
            run_id: run.id.to_string(),
            started_utc: Some(run.started_utc),
            name: Some(run.name),
            state: if run.complete { State::Complete } else { State::Aborted },
            complete: run.complete,
            fingerprint: Some(run.fingerprint),
            dir: run.dir.display().to_string(),
            directory_gone: row.directory_gone,
            headline: row.headline,
            brief: Some(run.brief),
            superseded: Vec::new(),
        }
    }
}

fn name_of(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A sealed directory that the database does not know. Why a manifest does not read is said by who ingests it.
fn sealed(dir: &Path) -> Listed {
    let ingest = format!("`servelab ingest {}` reads it in", name_of(dir));
    let told = sealed_as(dir).ok();
    let (state, headline) = match told.as_ref().map(|told| &told.end) {
        Some(RunEnd::Aborted { why }) => (State::Aborted, format!("aborted: {why}; {ingest}")),
        Some(RunEnd::Complete) | None => (State::NotIngested, ingest),
    };
    Listed {
        complete: told.as_ref().is_some_and(|told| told.end == RunEnd::Complete),
        started_utc: told.map(|told| told.started.utc),
        ..unknown(dir, state, headline)
    }
}

/// A directory without a manifest, with what can be done.
fn open(dir: &Path) -> Listed {
    let (state, headline) = if is_held(dir) {
        (State::Running, "it goes on".to_owned())
    } else {
        let seal = format!(
            "it was cut off; `servelab run --resume {0}` goes on with it, `servelab seal {0}` closes it",
            name_of(dir)
        );
        (State::NotSealed, seal)
    };
    unknown(dir, state, headline)
}

/// A directory that the database does not know.
fn unknown(dir: &Path, state: State, headline: String) -> Listed {
    let plan = fs::read_to_string(dir.join(names::PLAN)).ok();
    let plan = plan.and_then(|text| serde_json::from_str::<Plan>(&text).ok());
    Listed {
        engine_kind: plan.as_ref().map(|plan| plan.engine_kind),
        started_utc: None,
        name: plan.map(|plan| plan.name),
        state,
        complete: false,
        fingerprint: None,
        dir: dir.display().to_string(),
        directory_gone: false,
        headline,
        brief: None,
        superseded: Vec::new(),
        run_id: name_of(dir),
    }
}

/// Every run, those of the database first.
fn all(project: &Project) -> Result<Vec<Listed>, Failure> {
    let (rows, corrections) = match project.existing_store()? {
        Some(store) => {
            let rows = servelab_report::results_list(&store).map_err(Failure::environment)?;
            (rows, store.corrections().map_err(Failure::environment)?)
        }
        None => (Vec::new(), Corrections::default()),
    };
    let known: BTreeSet<PathBuf> = rows.iter().map(|row| row.run.dir.clone()).collect();
    let is_new = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| !known.contains(&dir));
    let sealed = project
        .sealed_runs()?
        .into_iter()
        .filter(is_new)
        .map(|dir| sealed(&dir));
    let open = project.open_runs()?.into_iter().map(|dir| open(&dir));
    let known = rows.into_iter().map(|row| {
        let of_run = corrections.of_run(&row.run.fingerprint);
        let superseded = of_run.map(|correction| correction.superseded.clone()).collect();
        Listed {
            superseded,
            ..Listed::from(row)
        }
    });
    Ok(open.chain(sealed).chain(known).collect())
}

fn cells(run: &Listed) -> Vec<String> {
    let started = run.started_utc.as_deref().unwrap_or("–");
    let started = started.get(..19).unwrap_or(started).replace('T', " ");
    let brief = run.brief.as_ref();
    let kind = run.engine_kind.map_or_else(String::new, |kind| format!("{kind}, "));
    let beside = match (run.state, brief) {
        (State::Aborted, None) => ", not ingested",
        _ if run.directory_gone => ", directory gone",
        _ => "",
    };
    let superseded = match run.superseded.as_slice() {
        [] => "",
        all if all.contains(&Superseded::Run) => ", SUPERSEDED",
        _ => ", partly superseded",
    };
    vec![
        run.run_id.clone(),
        started,
        format!("{kind}{}{beside}{superseded}", run.state.words()),
        brief.map_or_else(|| "–".to_owned(), |b| format!("{}/{}", b.valid, b.takes)),
        run.headline.clone(),
    ]
}

impl List {
    pub(super) fn execute(&self, project: &Project) -> Result<(), Failure> {
        let runs = all(project)?;
        if self.format == Format::Json {
            return output::json(&runs).map_err(Failure::environment);
        }
        if runs.is_empty() {
            output::note("nothing has been run here yet; `servelab run MATRIX` makes a run");
            return Ok(());
        }
        let header = ["run", "started (UTC)", "state", "valid takes", "finding"];
        output::answer(&output::table(header, runs.iter().map(cells).collect()));
        Ok(())
    }
}
