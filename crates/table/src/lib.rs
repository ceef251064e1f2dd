//! Rows with typed, named columns in; a text table, CSV, JSON, JSON lines or Parquet out, one row at a time.
//!
//! Parts: [`Columns`] says what a row holds (`column`), [`Cell`] is one value of it (`cell`), [`sink`] writes rows into a file of one
//! [`FileFormat`] (`csv`, `json`, `parquet`), and [`Columns::texts`] gives them as words for a terminal.
//!
//! Formats: the unit of a number stands in the name of its column (`ttft_ns`) or in a column of its own (`unit`). CSV has a head, an
//! empty cell for what is absent, and no cell that a spreadsheet takes for a formula. JSON has one object a row with every column,
//! `null` for what is absent. Parquet has one flat column for each, nullable, compressed with zstd, in groups of rows of bounded size;
//! a list of integers is a LIST of INT64. Moments are texts, RFC 3339 in UTC.
//!
//! Traps: absent is never 0. A number that is not finite is `null` in JSON, which has no word for it, and an empty cell in CSV; Parquet
//! keeps it. Rows are never gathered: what a writer holds back is one group of rows at most.

mod cell;
mod column;
mod csv;
mod error;
mod json;
mod parquet;

pub use cell::Cell;
pub use column::{Column, Columns, Kind};
pub use error::TableError;

use std::io::Write;

/// Into what rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// RFC 4180 with a head.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    JsonLines,
    /// Apache Parquet. It cannot be read before it is finished.
    Parquet,
}

/// Takes rows, one at a time.
pub trait Sink {
    /// Writes a row.
    ///
    /// # Errors
    /// [`TableError::Row`] where it is not one of the columns, [`TableError::Write`] where it cannot be written.
    fn row(&mut self, row: &[Cell<'_>]) -> Result<(), TableError>;

    /// Writes what is left, and what a file ends with.
    ///
    /// # Errors
    /// [`TableError::Write`] where it cannot be written.
    fn finish(self: Box<Self>) -> Result<(), TableError>;
}

/// Where rows of these columns go in to come out as a file of that format.
///
/// # Errors
/// [`TableError::Write`] where the head cannot be written.
pub fn sink<'w, W: Write + Send + 'w>(
    format: FileFormat,
    columns: &Columns,
    out: W,
) -> Result<Box<dyn Sink + 'w>, TableError> {
    Ok(match format {
        FileFormat::Csv => Box::new(csv::Csv::new(columns, out)?),
        FileFormat::Json => Box::new(json::Json::array(columns, out)),
        FileFormat::JsonLines => Box::new(json::Json::lines(columns, out)),
        FileFormat::Parquet => Box::new(parquet::Parquet::new(columns, out)?),
    })
}
