//! One number over time, with the places where its level changed.

use super::{Format, Query, answer::number};
use crate::{exit::Failure, output};
use anyhow::anyhow;
use serde::Serialize;
use servelab_store::{Series, Store};

/// What a change is, said with every history.
const HISTORY: &str = "A change of level is history, no verdict: these runs were not interleaved, and whatever else changed between them \
                       (machine, driver, neighbours) changed along. `servelab compare` and blocks in one run say what is better.";

/// A series for programs.
#[derive(Debug, Serialize)]
struct SeriesAnswer<'s> {
    kind: &'s str,
    time_scale: u32,
    method_version: u32,
    matrix: &'s str,
    model: Option<&'s str>,
    engine: Option<&'s str>,
    gpu: Option<&'s str>,
    prompts_sha256: Option<&'s str>,
    variant: &'s str,
    load: &'s str,
    metric: &'s str,
    statistic: &'s str,
    unit: &'s str,
    points: Vec<Point<'s>>,
    changes: Vec<Change<'s>>,
}

#[derive(Debug, Serialize)]
struct Point<'s> {
    run: &'s str,
    started_utc: &'s str,
    engine_version: Option<&'s str>,
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    n: i64,
    n_of: &'s str,
}

/// A change of level, which is history and no verdict.
#[derive(Debug, Serialize)]
struct Change<'s> {
    /// The first run of the new level.
    run: &'s str,
    /// Its place among the points, from 0.
    at: usize,
    /// Geometric mean of the new level over that of the level before.
    ratio: f64,
    /// p of the split by permutation, not corrected.
    p: f64,
}

impl<'s> From<&'s Series> for SeriesAnswer<'s> {
    fn from(series: &'s Series) -> Self {
        let key = &series.key;
        let point = |found: &'s servelab_store::Found| {
            Some(Point {
                run: &found.run,
                started_utc: &found.started_utc,
                engine_version: found.engine_version.as_deref(),
                value: found.value?,
                low: found.low,
                high: found.high,
                n: found.n,
                n_of: &found.n_of,
            })
        };
        let change = |change: &servelab_stats::ChangePoint| {
            Some(Change {
                run: &series.points.get(change.at)?.run,
                at: change.at,
                ratio: change.ratio,
                p: change.p,
            })
        };
        Self {
            kind: &key.kind,
            time_scale: key.time_scale,
            method_version: key.method_version,
            matrix: &key.name,
            model: key.model.as_deref(),
            engine: key.engine.as_deref(),
            gpu: key.gpu.as_deref(),
            prompts_sha256: key.prompts_sha256.as_deref(),
            variant: &key.variant,
            load: &key.load.0,
            metric: &key.number.0,
            statistic: &key.number.1,
            unit: &key.number.2,
            points: series.points.iter().filter_map(point).collect(),
            changes: series.changes.iter().filter_map(change).collect(),
        }
    }
}

pub(super) fn execute(query: &Query, store: &Store) -> Result<(), Failure> {
    let series = store.history(&query.question()).map_err(Failure::environment)?;
    match query.format {
        Format::Json if query.output.is_none() => {
            let answer: Vec<SeriesAnswer<'_>> = series.iter().map(SeriesAnswer::from).collect();
            output::json(&answer).map_err(Failure::environment)
        }
        Format::Table => {
            for one in &series {
                table(one);
            }
            if series.is_empty() {
                output::note("nothing was found; `servelab query` without options shows what there is");
            } else {
                output::note(HISTORY);
            }
            Ok(())
        }
        Format::Json | Format::Csv | Format::Parquet => Err(Failure::usage(anyhow!(
            "a history is printed as a table or as JSON to standard output; without --history its points are rows of any format"
        ))),
    }
}

fn table(series: &Series) {
    let key = &series.key;
    let (metric, statistic, unit) = &key.number;
    let of = [&key.model, &key.engine, &key.gpu];
    let of: Vec<&str> = of.into_iter().flatten().map(String::as_str).collect();
    let head = format!(
        "{metric} {statistic} of {} under {}, {unit}. {}, matrix {}: {}",
        key.variant,
        key.load.0,
        key.kind.to_uppercase(),
        key.name,
        of.join(", ")
    );
    output::answer(&output::paragraph(&head, 2));
    let rows = series.points.iter().enumerate().map(|(i, found)| {
        let change = series.changes.iter().find(|change| change.at == i);
        let change = change.map(|c| format!("level changed: × {} (p {})", number(c.ratio), number(c.p)));
        vec![
            found
                .started_utc
                .get(..16)
                .unwrap_or(&found.started_utc)
                .replace('T', " "),
            found.run.clone(),
            found.engine_version.clone().unwrap_or_default(),
            found.value.map(number).unwrap_or_default(),
            change.unwrap_or_default(),
        ]
    });
    output::answer(&output::table(
        ["started (UTC)", "run", "engine", "value", "history"],
        rows.collect(),
    ));
    output::answer("\n");
}
