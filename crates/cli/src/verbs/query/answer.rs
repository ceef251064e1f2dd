//! The rows of a query, for people and for programs.

use super::{Format, Query};
use crate::{
    exit::{Exit, Failure},
    output::{self, Stream},
};
use anyhow::anyhow;
use servelab_store::{Found, LeftOut, Store, StoreError};
use servelab_table::{Cell, Column, Columns, FileFormat, Sink, TableError, sink};
use std::io::ErrorKind;

/// Why an answer came to an end.
pub(super) enum Stopped {
    Store(StoreError),
    Table(TableError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TableError> for Stopped {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

/// The columns of a row for programs. `value`, `low` and `high` are in `unit`.
fn columns() -> Result<Columns, TableError> {
    let (text, integer, real, yes) = (Column::text, Column::integer, Column::real, Column::boolean);
    Columns::new(vec![
        text("run"),
        text("started_utc"),
        text("kind"),
        text("matrix"),
        text("model"),
        text("engine"),
        text("engine_version"),
        text("gpu"),
        text("scope"),
        text("variant"),
        text("factor"),
        text("load"),
        text("control"),
        text("trial"),
        text("task"),
        text("bucket"),
        text("metric"),
        text("statistic"),
        real("value"),
        text("unit"),
        real("low"),
        real("high"),
        text("interval"),
        integer("n"),
        text("n_of"),
        real("p_adjusted"),
        text("verdict"),
        text("reason"),
        yes("indicative"),
        text("note"),
        text("fingerprint"),
        integer("superseded_by"),
    ])
}

fn cells(found: &Found) -> Vec<Cell<'_>> {
    fn maybe(words: Option<&String>) -> Cell<'_> {
        words.map(String::as_str).into()
    }
    vec![
        found.run.as_str().into(),
        found.started_utc.as_str().into(),
        found.kind.to_string().to_lowercase().into(),
        found.name.as_str().into(),
        maybe(found.model.as_ref()),
        maybe(found.engine.as_ref()),
        maybe(found.engine_version.as_ref()),
        maybe(found.gpu.as_ref()),
        found.scope.as_str().into(),
        found.variant.as_str().into(),
        maybe(found.factor.as_ref()),
        found.load.as_str().into(),
        maybe(found.control.as_ref()),
        maybe(found.trial.as_ref()),
        maybe(found.task.as_ref()),
        maybe(found.bucket.as_ref()),
        found.metric.as_str().into(),
        found.statistic.as_str().into(),
        found.value.into(),
        found.unit.as_str().into(),
        found.low.into(),
        found.high.into(),
        maybe(found.interval.as_ref()),
        found.n.into(),
        found.n_of.as_str().into(),
        found.p_adjusted.into(),
        maybe(found.verdict.as_ref()),
        maybe(found.reason.as_ref()),
        found.indicative.into(),
        found.note.as_str().into(),
        found.fingerprint.as_str().into(),
        found.superseded_by.into(),
    ]
}

pub(super) fn execute(query: &Query, store: &Store) -> Result<(), Failure> {
    if query.format == Format::Table {
        return table(query, store);
    }
    let mut out = Stream::open(query.output.as_deref())?;
    if query.format == Format::Parquet && out.is_terminal() {
        return Err(Failure::usage(anyhow!(
            "Parquet is binary, and a terminal cannot show it; give --output FILE, or send it on: `servelab query --format parquet > \
             findings.parquet`"
        )));
    }
    let written = write(&mut out, query.format, |rows| {
        store.query(&query.question(), |found| Ok::<(), Stopped>(rows.row(&cells(&found))?))
    });
    let left_out = end(out, written)?;
    say(left_out);
    Ok(())
}

/// An answer without rows, where there is no database.
pub(super) fn nothing(query: &Query) -> Result<Exit, Failure> {
    if query.format != Format::Table {
        let mut out = Stream::open(query.output.as_deref())?;
        let written = write(&mut out, query.format, |_| Ok(LeftOut::default()));
        end(out, written)?;
    }
    Ok(Exit::Ok)
}

fn write(
    out: &mut Stream,
    format: Format,
    rows: impl FnOnce(&mut dyn Sink) -> Result<LeftOut, Stopped>,
) -> Result<LeftOut, Stopped> {
    let format = match format {
        Format::Csv => FileFormat::Csv,
        Format::Parquet => FileFormat::Parquet,
        Format::Json | Format::Table => FileFormat::Json,
    };
    let mut sink = sink(format, &columns()?, out)?;
    let left_out = rows(&mut *sink)?;
    sink.finish()?;
    Ok(left_out)
}

/// Ends a file, or takes it back.
fn end(out: Stream, written: Result<LeftOut, Stopped>) -> Result<LeftOut, Failure> {
    match written {
        Ok(left_out) => out.finish().map(|()| left_out),
        Err(stopped) => {
            out.give_up();
            match stopped {
                Stopped::Store(error) => Err(Failure::environment(error)),
                Stopped::Table(error) => match error.io().map(std::io::Error::kind) {
                    // Whoever read it went away.
                    Some(ErrorKind::BrokenPipe) => Ok(LeftOut::default()),
                    _ => Err(Failure::environment(error)),
                },
            }
        }
    }
}

/// What was left out, beside the answer.
fn say(left_out: LeftOut) {
    if left_out.more > 0 {
        let at_least = if left_out.at_least { "at least " } else { "" };
        output::note(&format!(
            "{at_least}{} more; --limit shows more of them, and other options fewer kinds",
            rows(left_out.more)
        ));
    }
    if left_out.superseded > 0 {
        output::note(&format!(
            "{} superseded by a correction and left out; --superseded shows them",
            rows(left_out.superseded)
        ));
    }
}

fn rows(n: u64) -> String {
    format!("{n} row{}", if n == 1 { "" } else { "s" })
}

/// A number for people: four significant digits.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let places = (0..=9)
        .find(|places| value.abs() >= 10_f64.powi(3 - places))
        .unwrap_or(9);
    format!("{value:.*}", usize::try_from(places).unwrap_or_default())
}

/// A value with its interval and unit.
fn value(found: &Found) -> String {
    let Some(value) = found.value else {
        return "–".to_owned();
    };
    let interval = match (found.low, found.high) {
        (Some(low), Some(high)) => format!(" ({} to {})", number(low), number(high)),
        _ => String::new(),
    };
    format!("{}{interval} {}", number(value), unit(&found.unit))
}

/// Units as short as people write them.
fn unit(unit: &str) -> &str {
    if unit.starts_with("percent") { "%" } else { unit }
}

/// What of the runs is the same in all rows is said once, above them.
fn table(query: &Query, store: &Store) -> Result<(), Failure> {
    let mut found = Vec::new();
    let left_out = store
        .query(&query.question(), |row| {
            found.push(row);
            Ok::<(), StoreError>(())
        })
        .map_err(Failure::environment)?;
    if found.is_empty() {
        output::note(
            "nothing was found; `servelab query` without options shows what there is, `servelab results list` the runs",
        );
    } else {
        output::answer(&output::table(
            ["run", "kind", "variant", "load", "metric", "value", "n", "says"],
            found.iter().map(row).collect(),
        ));
    }
    say(left_out);
    Ok(())
}

fn row(found: &Found) -> Vec<String> {
    let superseded = found.superseded_by.map(|n| format!("SUPERSEDED by correction {n}"));
    let against = found.control.as_ref().map(|control| format!("against {control}"));
    let hint = found.indicative.then(|| "indicative".to_owned());
    let take = found.trial.clone();
    let group = found
        .task
        .iter()
        .chain(&found.bucket)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    let says = [superseded, found.verdict.clone(), hint, against, take, Some(group)];
    let says: Vec<String> = says.into_iter().flatten().filter(|words| !words.is_empty()).collect();
    vec![
        found.run.clone(),
        found.kind.to_string(),
        found.variant.clone(),
        found.load.clone(),
        format!("{} {}", found.metric, found.statistic),
        value(found),
        format!("{} {}", found.n, found.n_of),
        says.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_significant_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (1234.56, "1235"),
            (12.3456, "12.35"),
            (-0.012_345_6, "-0.01235"),
            (123_456.7, "123457"),
            (1e-12, "0.000000000"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
