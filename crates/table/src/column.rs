//! What a row holds.

use crate::{Cell, TableError};
use std::collections::BTreeSet;

/// What a column holds; every one may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// 64 bits with a sign.
    Integer,
    /// 64 bits, binary floating point.
    Real,
    /// True or false.
    Boolean,
    /// Integers in their order.
    Integers,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, which ends in its unit where it has one: `ttft_ns`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The unit of its numbers, such as `ns`; empty for what has none.
    pub unit: &'static str,
}

impl Column {
    /// A column without a unit.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, unit: "" }
    }

    /// A text.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// A whole number without a unit: a count, or a number that names something.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self::new(name, Kind::Integer)
    }

    /// A number without a unit of its own.
    #[must_use]
    pub const fn real(name: &'static str) -> Self {
        Self::new(name, Kind::Real)
    }

    /// Yes or no.
    #[must_use]
    pub const fn boolean(name: &'static str) -> Self {
        Self::new(name, Kind::Boolean)
    }

    /// The same with the unit that its name ends in.
    #[must_use]
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

/// The columns of a table: at least one, each with a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// These columns in this order.
    ///
    /// # Errors
    /// [`TableError::Name`] where two have one name, or one has none.
    pub fn new(columns: Vec<Column>) -> Result<Self, TableError> {
        let mut seen = BTreeSet::new();
        let wrong = columns.iter().find(|c| c.name.is_empty() || !seen.insert(c.name));
        match (wrong, columns.is_empty()) {
            (Some(column), _) => Err(TableError::Name(column.name)),
            (None, true) => Err(TableError::Name("")),
            (None, false) => Ok(Self(columns)),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Column> {
        self.0.iter()
    }

    /// The names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|column| column.name)
    }

    /// A row as words for people; nothing for what is absent.
    ///
    /// # Errors
    /// [`TableError::Row`] or [`TableError::Kind`] where the row is not one of these columns.
    pub fn texts(&self, row: &[Cell<'_>]) -> Result<Vec<String>, TableError> {
        self.check(row)?;
        Ok(row.iter().map(Cell::words).collect())
    }

    /// Refuses a row that is not one of these columns.
    pub(crate) fn check(&self, row: &[Cell<'_>]) -> Result<(), TableError> {
        if row.len() != self.0.len() {
            return Err(TableError::Row {
                columns: self.0.len(),
                found: row.len(),
            });
        }
        let wrong = self.0.iter().zip(row).find(|(column, cell)| !cell.is_of(column.kind));
        wrong.map_or(Ok(()), |(column, cell)| {
            Err(TableError::Kind {
                column: column.name,
                kind: column.kind,
                found: cell.kind_word(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_names_of_their_own() {
        let twice = Columns::new(vec![Column::text("a"), Column::integer("a")]);
        assert!(matches!(twice, Err(TableError::Name("a"))));
        assert!(Columns::new(vec![Column::text("")]).is_err());
        assert!(Columns::new(Vec::new()).is_err());
    }

    #[test]
    fn a_row_of_other_columns_is_refused_by_name() {
        let columns = Columns::new(vec![Column::text("run"), Column::integer("n")]).unwrap();
        assert!(columns.texts(&["a".into()]).is_err());
        let wrong = columns.texts(&["a".into(), "b".into()]).unwrap_err();
        assert!(wrong.to_string().contains("`n` holds Integer"), "{wrong}");
        assert_eq!(columns.texts(&[Cell::Null, 3_i64.into()]).unwrap(), ["", "3"]);
    }
}
