//! JSON: one object a row, every column in it.

use crate::{Cell, Columns, Sink, TableError};
use std::io::{self, Write};

pub(crate) struct Json<W> {
    columns: Columns,
    out: W,
    /// What stands before a row: first and later ones.
    before: [&'static str; 2],
    /// What stands at the end where there was no row, and where there were some.
    end: [&'static str; 2],
    rows: bool,
    line: Vec<u8>,
}

impl<W: Write> Json<W> {
    pub(crate) fn lines(columns: &Columns, out: W) -> Self {
        Self::new(columns, out, ["", "\n"], ["", "\n"])
    }

    pub(crate) fn array(columns: &Columns, out: W) -> Self {
        Self::new(columns, out, ["[\n", ",\n"], ["[]\n", "\n]\n"])
    }

    fn new(columns: &Columns, out: W, before: [&'static str; 2], end: [&'static str; 2]) -> Self {
        Self {
            columns: columns.clone(),
            out,
            before,
            end,
            rows: false,
            line: Vec::new(),
        }
    }
}

fn value(out: &mut Vec<u8>, cell: &Cell<'_>) -> io::Result<()> {
    match cell {
        Cell::Null => serde_json::to_writer(out, &()),
        Cell::Text(text) => serde_json::to_writer(out, text.as_ref()),
        Cell::Integer(n) => serde_json::to_writer(out, n),
        // Not a number and the infinities become null.
        Cell::Real(x) => serde_json::to_writer(out, x),
        Cell::Boolean(yes) => serde_json::to_writer(out, yes),
        Cell::Integers(all) => serde_json::to_writer(out, all.as_ref()),
    }
    .map_err(io::Error::from)
}

impl<W: Write> Sink for Json<W> {
    fn row(&mut self, row: &[Cell<'_>]) -> Result<(), TableError> {
        self.columns.check(row)?;
        self.line.clear();
        let [first, later] = self.before;
        self.line
            .extend_from_slice(if self.rows { later } else { first }.as_bytes());
        for (i, (name, cell)) in self.columns.names().zip(row).enumerate() {
            self.line.push(if i == 0 { b'{' } else { b',' });
            value(&mut self.line, &name.into())?;
            self.line.push(b':');
            value(&mut self.line, cell)?;
        }
        self.line.push(b'}');
        self.rows = true;
        Ok(self.out.write_all(&self.line)?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), TableError> {
        let [without, with] = self.end;
        self.out.write_all(if self.rows { with } else { without }.as_bytes())?;
        Ok(self.out.flush()?)
    }
}
