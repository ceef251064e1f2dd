//! One value of a row.

use crate::{Kind, TableError};
use std::borrow::Cow;

/// One value of a row, or that there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'c> {
    /// Absent, which is not 0 and not an empty text.
    Null,
    /// A text.
    Text(Cow<'c, str>),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Yes or no.
    Boolean(bool),
    /// Whole numbers in their order.
    Integers(Cow<'c, [i64]>),
}

impl Cell<'_> {
    /// A count or a time, which has no sign.
    ///
    /// # Errors
    /// [`TableError::TooLarge`] beyond 2^63 - 1.
    pub fn unsigned(value: u64) -> Result<Self, TableError> {
        i64::try_from(value)
            .map(Self::Integer)
            .map_err(|_| TableError::TooLarge(value))
    }

    /// The same where there is one.
    ///
    /// # Errors
    /// As [`unsigned`](Self::unsigned).
    pub fn maybe_unsigned(value: Option<u64>) -> Result<Self, TableError> {
        value.map_or(Ok(Self::Null), Self::unsigned)
    }

    pub(crate) const fn is_of(&self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::Null, _)
                | (Self::Text(_), Kind::Text)
                | (Self::Integer(_), Kind::Integer)
                | (Self::Real(_), Kind::Real)
                | (Self::Boolean(_), Kind::Boolean)
                | (Self::Integers(_), Kind::Integers)
        )
    }

    pub(crate) const fn kind_word(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a number",
            Self::Boolean(_) => "yes or no",
            Self::Integers(_) => "integers",
        }
    }

    /// As people and CSV read it; nothing for what is absent.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Text(text) => text.clone().into_owned(),
            Self::Integer(n) => n.to_string(),
            Self::Real(x) if x.is_finite() => x.to_string(),
            Self::Real(_) => String::new(),
            Self::Boolean(yes) => yes.to_string(),
            Self::Integers(all) => format!("[{}]", all.iter().map(i64::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl<'c> From<&'c str> for Cell<'c> {
    fn from(text: &'c str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Cell<'_> {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl From<u32> for Cell<'_> {
    fn from(n: u32) -> Self {
        Self::Integer(i64::from(n))
    }
}

impl From<f64> for Cell<'_> {
    fn from(x: f64) -> Self {
        Self::Real(x)
    }
}

impl From<bool> for Cell<'_> {
    fn from(yes: bool) -> Self {
        Self::Boolean(yes)
    }
}

impl<'c, T: Into<Self>> From<Option<T>> for Cell<'c> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_column_holds_is_refused_and_not_cut() {
        assert_eq!(Cell::unsigned(5).unwrap(), Cell::Integer(5));
        assert_eq!(Cell::maybe_unsigned(None).unwrap(), Cell::Null);
        let wrong = Cell::unsigned(u64::MAX).unwrap_err().to_string();
        assert!(wrong.contains("18446744073709551615"), "{wrong}");
    }
}
