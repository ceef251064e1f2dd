//! Between the types of `schema` and the values that SQLite holds.

use crate::StoreError;
use serde::{Serialize, de::DeserializeOwned};
use servelab_schema::{Nanos, TrialInstant};

/// A span or an instant, both of which are whole nanoseconds in the database.
pub(crate) trait Time {
    fn ns(self) -> u64;
    fn of_ns(ns: u64) -> Self;
}

impl Time for Nanos {
    fn ns(self) -> u64 {
        self.0
    }

    fn of_ns(ns: u64) -> Self {
        Self(ns)
    }
}

impl Time for TrialInstant {
    fn ns(self) -> u64 {
        self.0
    }

    fn of_ns(ns: u64) -> Self {
        Self(ns)
    }
}

/// The JSON text of a value.
pub(crate) fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Json { what, source })
}

/// A value from its JSON text.
pub(crate) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|why| StoreError::corrupt(what, why))
}

/// The plain word of a unit enum, as in the files.
pub(crate) fn word<T: Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    Ok(json(what, value)?.trim_matches('"').to_owned())
}

/// A unit enum or a checked name from its plain word.
pub(crate) fn from_word<T: DeserializeOwned>(what: &str, text: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text)).map_err(|why| StoreError::corrupt(what, why))
}

/// A time as SQLite's signed integer.
pub(crate) fn ns(what: &'static str, value: impl Time) -> Result<i64, StoreError> {
    let value = value.ns();
    i64::try_from(value).map_err(|_| StoreError::TooLarge { what, value })
}

/// An optional time as SQLite's signed integer.
pub(crate) fn maybe_ns(what: &'static str, value: Option<impl Time>) -> Result<Option<i64>, StoreError> {
    value.map(|value| ns(what, value)).transpose()
}

/// A time from SQLite's signed integer.
pub(crate) fn to_ns<T: Time>(what: &str, value: i64) -> Result<T, StoreError> {
    u64::try_from(value)
        .map(T::of_ns)
        .map_err(|why| StoreError::corrupt(what, why))
}

/// An optional time from SQLite's signed integer.
pub(crate) fn to_maybe_ns<T: Time>(what: &str, value: Option<i64>) -> Result<Option<T>, StoreError> {
    value.map(|value| to_ns(what, value)).transpose()
}
