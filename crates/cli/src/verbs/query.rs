//! `servelab query`: findings of all runs, chosen by whatever they are about; and the history of a cell.

mod answer;
mod history;

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::anyhow;
use clap::{Args, ValueEnum};
use servelab_findings::Scope;
use servelab_schema::{EngineKind, LoadId, RunId, VariantId};
use servelab_store::Question;
use std::path::PathBuf;

/// Rows of a table for people, unless they want others.
const ROWS: u64 = 50;

/// Arguments of `servelab query`.
///
/// Several words of one option mean any of them; several options mean all of them. Without --metric, --statistic, --scope, --verdict
/// and --trial rows: mean output throughput and the medians of TTFT, TPOT and E2E of each cell, latest run first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: `servelab query --variant C7 --metric ttft --since 2026-11-01`; `servelab query --scope comparison \
                        --verdict better`; `servelab query --history --variant C1 --metric output-throughput`. Exit codes: 0 also where \
                        nothing was found, 2 for a date that is none, 4 where the database does not read."
)]
pub(crate) struct Query {
    /// Only these runs.
    #[arg(long, value_name = "RUN")]
    run: Vec<RunId>,
    /// Only models whose name holds this, in whatever case.
    #[arg(long, value_name = "WORDS")]
    model: Vec<String>,
    /// Only these engines, such as vllm.
    #[arg(long, value_name = "DIALECT")]
    engine: Vec<String>,
    /// Only these versions of the engine; 0.32 means 0.32.1 too.
    #[arg(long, value_name = "VERSION")]
    engine_version: Vec<String>,
    /// Only these variants.
    #[arg(long, value_name = "VARIANT")]
    variant: Vec<VariantId>,
    /// Only variants of these factors, such as kv-cache-dtype.
    #[arg(long, value_name = "FACTOR")]
    factor: Vec<String>,
    /// Only GPUs whose name holds this, in whatever case.
    #[arg(long, value_name = "WORDS")]
    gpu: Vec<String>,
    /// Only these loads, such as c16.
    #[arg(long, value_name = "LOAD")]
    load: Vec<LoadId>,
    /// Only these metrics, such as ttft or output-throughput; of the scope gate, gates.
    #[arg(long, value_name = "METRIC")]
    metric: Vec<String>,
    /// Only these statistics, such as mean, p50, p95 or effect.
    #[arg(long, value_name = "STATISTIC")]
    statistic: Vec<String>,
    /// What rows are about; cells, where nothing asks for something else.
    #[arg(long, value_enum, value_name = "SCOPE")]
    scope: Vec<About>,
    /// Only comparisons with this verdict.
    #[arg(long, value_enum, value_name = "VERDICT")]
    verdict: Vec<Verdict>,
    /// Only numbers of this origin.
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only runs that began on this day (UTC) or later: 2026-11-01, or a moment of RFC 3339.
    #[arg(long, value_name = "DATE", value_parser = date)]
    since: Option<String>,
    /// Only runs that began on this day (UTC) or earlier.
    #[arg(long, value_name = "DATE", value_parser = date)]
    until: Option<String>,
    /// Single tasks and buckets too.
    #[arg(long)]
    groups: bool,
    /// What was superseded by a correction too, with the number of the correction.
    #[arg(long)]
    superseded: bool,
    /// Numbers over time with the places where their level changed. That is history and no verdict: the runs were not interleaved.
    #[arg(long, conflicts_with = "limit")]
    history: bool,
    /// At most so many rows; 50 of a table, all in the other formats.
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Into this new file instead of standard output; not a table.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, with the columns that fit.
    Table,
    /// An array of objects.
    Json,
    /// With a head.
    Csv,
    /// For pandas, polars, DuckDB. Not to a terminal.
    Parquet,
}

/// What rows are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum About {
    /// One variant under one load.
    Cell,
    /// One take.
    Trial,
    /// A gate of a take.
    Gate,
    /// A variant against its control.
    Comparison,
    /// A copy of a control against it.
    #[value(name = "a/a", alias = "aa")]
    Aa,
    /// Requests that failed.
    Failures,
}

impl From<About> for Scope {
    fn from(about: About) -> Self {
        match about {
            About::Cell => Self::Cell,
            About::Trial => Self::Trial,
            About::Gate => Self::Gate,
            About::Comparison => Self::Comparison,
            About::Aa => Self::Aa,
            About::Failures => Self::Failures,
        }
    }
}

/// A verdict's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verdict {
    Better,
    Worse,
    Equivalent,
    NoEvidence,
    NotComparable,
}

/// Where a number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Measured,
    Simulated,
    Imported,
}

impl From<Kind> for EngineKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Measured => Self::Measured,
            Kind::Simulated => Self::Simulated,
            Kind::Imported => Self::Imported,
        }
    }
}

/// The name that an option's value has on the command line.
fn name(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |v| v.get_name().to_owned())
}

/// A date, or a moment of RFC 3339, or its beginning: what is compared with the start of a run as text.
fn date(text: &str) -> Result<String, String> {
    let fits = |pattern: &str| {
        text.len() == pattern.len()
            && text.chars().zip(pattern.chars()).all(|(c, p)| match p {
                '0' => c.is_ascii_digit(),
                other => c == other,
            })
    };
    let number = |at: std::ops::Range<usize>| text.get(at).and_then(|digits| digits.parse::<u32>().ok());
    let is_date = [
        "0000-00-00",
        "0000-00-00T00:00",
        "0000-00-00T00:00:00",
        "0000-00-00T00:00:00Z",
    ]
    .into_iter()
    .any(fits)
        && number(5..7).is_some_and(|month| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day| (1..=31).contains(&day));
    if is_date {
        Ok(text.trim_end_matches('Z').to_owned())
    } else {
        Err("write a date as 2026-11-01, or a moment in UTC as 2026-11-01T09:30:00Z".to_owned())
    }
}

impl Query {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        if self.format == Format::Table && self.output.is_some() {
            return Err(Failure::usage(anyhow!(
                "a table is for people at a terminal; for --output give --format csv, json or parquet"
            )));
        }
        let Some(store) = project.existing_store()? else {
            output::note("nothing was ingested here yet; `servelab ingest` reads in what lies under runs/");
            return answer::nothing(self);
        };
        if self.history {
            history::execute(self, &store)?;
        } else {
            answer::execute(self, &store)?;
        }
        Ok(Exit::Ok)
    }

    /// What is asked, with what goes without saying.
    fn question(&self) -> Question {
        let verdicts: Vec<String> = self.verdict.iter().copied().map(name).collect();
        let plain = self.metric.is_empty() && self.statistic.is_empty() && self.scope.is_empty() && verdicts.is_empty();
        let scopes = match (self.scope.is_empty(), verdicts.is_empty()) {
            (true, true) => vec![Scope::Cell],
            (true, false) => vec![Scope::Comparison],
            (false, _) => self.scope.iter().copied().map(Scope::from).collect(),
        };
        Question {
            runs: self.run.clone(),
            kinds: self.kind.iter().copied().map(EngineKind::from).collect(),
            models: self.model.clone(),
            engines: self.engine.clone(),
            engine_versions: self.engine_version.clone(),
            gpus: self.gpu.clone(),
            variants: self.variant.clone(),
            factors: self.factor.clone(),
            loads: self.load.clone(),
            metrics: self.metric.clone(),
            statistics: self.statistic.clone(),
            scopes,
            verdicts,
            since: self.since.clone(),
            until: self.until.clone(),
            headline: plain,
            groups: self.groups,
            superseded: self.superseded,
            limit: self.limit.or((self.format == Format::Table).then_some(ROWS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_one_and_nothing_else_is() {
        for (text, expected) in [
            ("2026-11-01", "2026-11-01"),
            ("2026-11-01T09:30", "2026-11-01T09:30"),
            ("2026-11-01T09:30:00Z", "2026-11-01T09:30:00"),
        ] {
            assert_eq!(date(text).as_deref(), Ok(expected));
        }
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-32",
            "2026-11-1",
            "01.11.2026",
            "2026-11-01T9:30",
            "２０２６-11-01",
        ] {
            assert!(date(text).is_err(), "{text}");
        }
    }
}
