//! Canonical JSON: one text for one value, so that a hash of it means something.

use serde::Serialize;
use serde_json::{Map, Value};

/// Why a value has no canonical text.
#[derive(Debug, thiserror::Error)]
#[error("cannot be written as JSON: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

/// The value as JSON with sorted keys, no spaces and a final newline.
///
/// # Errors
/// [`CanonicalError`] for values that JSON cannot hold, such as maps without text keys.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<String, CanonicalError> {
    let mut text = serde_json::to_string(&sorted(serde_json::to_value(value)?))?;
    text.push('\n');
    Ok(text)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value: Value = serde_json::from_str(r#"{"b":[{"z":1,"a":2}],"a":null}"#).unwrap();
        assert_eq!(
            canonical_json(&value).unwrap(),
            "{\"a\":null,\"b\":[{\"a\":2,\"z\":1}]}\n"
        );
    }
}
