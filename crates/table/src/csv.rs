//! CSV with a head. Quoting is the library's; no cell is a formula.

use crate::{Cell, Columns, Sink, TableError};
use servelab_schema::foreign::cell;
use std::io::{self, Write};

pub(crate) struct Csv<W: Write> {
    columns: Columns,
    out: ::csv::Writer<W>,
}

fn failed(error: ::csv::Error) -> TableError {
    TableError::Write(match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })
}

impl<W: Write> Csv<W> {
    pub(crate) fn new(columns: &Columns, out: W) -> Result<Self, TableError> {
        let mut out = ::csv::Writer::from_writer(out);
        out.write_record(columns.names()).map_err(failed)?;
        let columns = columns.clone();
        Ok(Self { columns, out })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn row(&mut self, row: &[Cell<'_>]) -> Result<(), TableError> {
        self.columns.check(row)?;
        for value in row {
            let written = match value {
                Cell::Text(text) => self.out.write_field(&*cell(text)),
                other => self.out.write_field(other.words()),
            };
            written.map_err(failed)?;
        }
        self.out.write_record(None::<&[u8]>).map_err(failed)
    }

    fn finish(mut self: Box<Self>) -> Result<(), TableError> {
        Ok(self.out.flush()?)
    }
}
