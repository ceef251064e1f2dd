//! `servelab results list` and `servelab results show`.

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    project::Project,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use servelab_report::{ResultsRow, ResultsView};
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
                list(args.format, &rows)
            }
            Self::Show(args) => {
                let view = servelab_report::results_show(&store, &args.run).map_err(Failure::environment)?;
                show(args.format, &view)
            }
        }
        .map_err(Failure::environment)?;
        Ok(Exit::Ok)
    }
}

fn row_json(row: &ResultsRow) -> Value {
    json!({
        "engine_kind": row.engine_kind,
        "run_id": row.id,
        "started_utc": row.started_utc,
        "name": row.name,
        "trials": row.trials,
        "valid_trials": row.valid_trials,
        "fingerprint": row.fingerprint,
        "headline": row.headline,
    })
}

fn list(format: Format, rows: &[ResultsRow]) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&rows.iter().map(row_json).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        output::note("nothing is in the database yet; `servelab run` makes runs, `servelab ingest` reads them in");
        return Ok(());
    }
    let cells = rows.iter().map(|r| {
        let started = r.started_utc.get(..19).unwrap_or(&r.started_utc).replace('T', " ");
        let trials = format!("{}/{}", r.valid_trials, r.trials);
        vec![
            r.id.to_string(),
            started,
            r.engine_kind.to_string(),
            trials,
            r.fingerprint.clone(),
            r.headline.clone(),
        ]
    });
    let header = ["run", "started (UTC)", "kind", "valid trials", "fingerprint", "finding"];
    output::answer(&output::table(header, cells.collect()));
    Ok(())
}

fn show(format: Format, view: &ResultsView) -> anyhow::Result<()> {
    if format == Format::Json {
        let mut value = row_json(&view.row);
        if let Some(object) = value.as_object_mut() {
            let facts: serde_json::Map<String, Value> = view
                .facts
                .iter()
                .map(|(label, value)| (label.clone(), Value::from(value.clone())))
                .collect();
            let findings: Vec<&str> = view.headlines.iter().map(|h| h.text.as_str()).collect();
            object.insert("facts".into(), facts.into());
            object.insert("findings".into(), json!(findings));
            object.insert("verdict_columns".into(), json!(view.columns));
            object.insert("verdicts".into(), json!(view.verdicts));
            object.insert("notes".into(), json!(view.notes));
        }
        return output::json(&value);
    }
    output::answer(&output::facts(view.facts.iter().map(|(label, value)| (label, value))));
    output::answer("\n");
    for headline in &view.headlines {
        output::answer(&format!("{} {}: {}\n", headline.icon, headline.word, headline.text));
    }
    output::answer("\n");
    output::answer(&output::table(view.columns.clone(), view.verdicts.clone()));
    for note in &view.notes {
        output::answer(&format!("{note}\n"));
    }
    Ok(())
}
