//! `servelab traces`: the rows of the traces of a run, as they were written or as flat columns.

mod takes;

use crate::{
    exit::{Exit, Failure},
    output::{self, Stream},
    project::Project,
};
use anyhow::anyhow;
use clap::{Args, ValueEnum};
use servelab_evidence::EvidenceError;
use servelab_schema::{LoadId, Trace, VariantId};
use servelab_store::{Timeline, trace_cells, trace_columns};
use servelab_table::{FileFormat, Sink, TableError, sink};
use std::{
    io::{ErrorKind, Write},
    path::PathBuf,
};
use takes::{Take, Takes};

/// Arguments of `servelab traces`.
///
/// A sealed run is hashed first: what comes out is what was sealed. Of a run that goes on, or was cut off, come the rows that are
/// whole.
#[derive(Debug, Args)]
pub(crate) struct Traces {
    /// Name or directory of the run, sealed or not.
    #[arg(value_name = "RUN")]
    run: String,
    /// Only these variants.
    #[arg(long, value_name = "VARIANT")]
    variant: Vec<VariantId>,
    /// Only these loads.
    #[arg(long, value_name = "LOAD")]
    load: Vec<LoadId>,
    /// Only these blocks.
    #[arg(long, value_name = "NUMBER")]
    block: Vec<u32>,
    /// Only requests that are measured: no warm-up, no fillers.
    #[arg(long)]
    measured: bool,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Into this new file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The rows as they stand in the run, byte for byte (docs/FORMATS.md). The take and the load of a row are in the other formats.
    Jsonl,
    /// Flat columns with their units in the names; of the chunks their number.
    Csv,
    /// The same columns, and the gaps and tokens of the chunks as lists: for pandas, polars, DuckDB. Not to a terminal.
    Parquet,
}

/// Where rows go, by format.
enum Rows<'w> {
    AsWritten(&'w mut Stream),
    Flat(Box<dyn Sink + 'w>, Timeline),
}

impl<'w> Rows<'w> {
    fn new(format: Format, out: &'w mut Stream) -> Result<Self, TableError> {
        let (file, timeline) = match format {
            Format::Jsonl => return Ok(Self::AsWritten(out)),
            Format::Csv => (FileFormat::Csv, Timeline::LeftOut),
            Format::Parquet => (FileFormat::Parquet, Timeline::Lists),
        };
        let rows = sink(file, &trace_columns(timeline)?, out)?;
        Ok(Self::Flat(rows, timeline))
    }

    fn row(&mut self, take: &Take, trace: &Trace) -> Result<(), TableError> {
        match self {
            Self::AsWritten(out) => {
                serde_json::to_writer(&mut **out, trace).map_err(std::io::Error::from)?;
                Ok(out.write_all(b"\n")?)
            }
            Self::Flat(rows, timeline) => rows.row(&trace_cells(&take.of, trace, *timeline)?),
        }
    }

    fn finish(self) -> Result<(), TableError> {
        match self {
            Self::AsWritten(_) => Ok(()),
            Self::Flat(rows, _) => rows.finish(),
        }
    }
}

/// Why rows came to an end before the last.
enum Stopped {
    /// The run does not read.
    Evidence(EvidenceError),
    /// The rows do not get out.
    Table(TableError),
}

impl From<TableError> for Stopped {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<EvidenceError> for Stopped {
    fn from(error: EvidenceError) -> Self {
        Self::Evidence(error)
    }
}

impl Traces {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let dir = project.run_dir(&self.run)?;
        let mut out = Stream::open(self.output.as_deref())?;
        if self.format == Format::Parquet && out.is_terminal() {
            return Err(Failure::usage(anyhow!(
                "Parquet is binary, and a terminal cannot show it; give --output FILE, or send it on: `servelab traces {} --format \
                 parquet > traces.parquet`",
                self.run
            )));
        }
        let written = Takes::open(&dir)
            .and_then(|takes| takes.asked(&self.variant, &self.load, &self.block))
            .and_then(|takes| self.write(&takes, &mut out));
        match written {
            Ok(()) => out.finish().map(|()| Exit::Ok),
            Err(failure) => {
                out.give_up();
                failure.map_or(Ok(Exit::Ok), Err)
            }
        }
    }

    /// Writes the rows; an error of none where whoever read them went away.
    fn write(&self, takes: &[Take], out: &mut Stream) -> Result<(), Option<Failure>> {
        self.rows(takes, out).map_err(|stopped| match stopped {
            Stopped::Table(error) => match error.io().map(std::io::Error::kind) {
                Some(ErrorKind::BrokenPipe) => None,
                _ => Some(Failure::environment(error)),
            },
            Stopped::Evidence(error) => Some(Failure::environment(error)),
        })
    }

    fn rows(&self, takes: &[Take], out: &mut Stream) -> Result<(), Stopped> {
        let mut rows = Rows::new(self.format, out)?;
        for take in takes {
            let mut traces = take.files.traces()?;
            while let Some(trace) = traces.next() {
                let trace = match trace {
                    Ok(trace) => trace,
                    // Of a run that is not sealed the last row may be half a row.
                    Err(error) if !take.sealed && traces.next().is_none() => {
                        output::note(&format!("a row that is not whole is left out: {error}"));
                        break;
                    }
                    Err(error) => return Err(error.into()),
                };
                if trace.measured || !self.measured {
                    rows.row(take, &trace)?;
                }
            }
        }
        Ok(rows.finish()?)
    }
}
