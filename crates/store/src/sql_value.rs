//! Between the types of `schema` and the values that SQLite holds.

use crate::StoreError;
use serde::{Serialize, de::DeserializeOwned};
use servelab_schema::Nanos;

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

/// A span as SQLite's signed integer.
pub(crate) fn ns(what: &'static str, value: Nanos) -> Result<i64, StoreError> {
    i64::try_from(value.0).map_err(|_| StoreError::TooLarge { what, value: value.0 })
}

/// An optional span as SQLite's signed integer.
pub(crate) fn maybe_ns(what: &'static str, value: Option<Nanos>) -> Result<Option<i64>, StoreError> {
    value.map(|value| ns(what, value)).transpose()
}

/// A span from SQLite's signed integer.
pub(crate) fn to_ns(what: &str, value: i64) -> Result<Nanos, StoreError> {
    u64::try_from(value)
        .map(Nanos)
        .map_err(|why| StoreError::corrupt(what, why))
}

/// An optional span from SQLite's signed integer.
pub(crate) fn to_maybe_ns(what: &str, value: Option<i64>) -> Result<Option<Nanos>, StoreError> {
    value.map(|value| to_ns(what, value)).transpose()
}
