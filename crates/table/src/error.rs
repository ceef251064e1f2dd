//! What can go wrong with rows.

use crate::Kind;
use std::io;

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Two columns bear one name, or one has none.
    #[error("`{0}` is no name of a column, or two have it")]
    Name(&'static str),
    /// A row has not as many cells as there are columns.
    #[error("a row has {found} cells for {columns} columns")]
    Row {
        /// Columns that there are.
        columns: usize,
        /// Cells of the row.
        found: usize,
    },
    /// A cell is of another kind than its column.
    #[error("column `{column}` holds {kind:?}, a row has {found} in it")]
    Kind {
        /// The column.
        column: &'static str,
        /// What it holds.
        kind: Kind,
        /// What was given.
        found: &'static str,
    },
    /// A number that no column holds.
    #[error("{0} is more than a column of integers holds (2^63 - 1)")]
    TooLarge(u64),
    /// The file could not be written.
    #[error("rows cannot be written: {0}")]
    Write(#[from] io::Error),
    /// What was to be written does not become a Parquet file.
    #[error("the Parquet file cannot be written: {0}")]
    Parquet(String),
}

impl TableError {
    /// The refusal of the operating system, where that is what went wrong.
    #[must_use]
    pub const fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Write(error) => Some(error),
            _ => None,
        }
    }
}
