//! Where two documents differ, as JSON pointers.

use serde_json::Value;
use std::collections::BTreeSet;

/// A place in which two documents differ, with what each says there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) pointer: String,
    pub(crate) stored: String,
    pub(crate) ours: String,
}

/// Longest value that is quoted, in characters.
const QUOTED: usize = 80;

fn quoted(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let text = value.to_string();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The first places in which they differ, in the order of the document that is `ours`, not more than `most`.
pub(crate) fn differences(stored: &Value, ours: &Value, most: usize) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(Some(stored), Some(ours), String::new(), most, &mut found);
    found
}

fn walk(stored: Option<&Value>, ours: Option<&Value>, pointer: String, most: usize, found: &mut Vec<Difference>) {
    if found.len() >= most || stored == ours {
        return;
    }
    match (stored, ours) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = b.keys().chain(a.keys()).collect();
            for key in keys {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                walk(a.get(key), b.get(key), format!("{pointer}/{escaped}"), most, found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                walk(a.get(at), b.get(at), format!("{pointer}/{at}"), most, found);
            }
        }
        _ => found.push(Difference {
            pointer,
            stored: quoted(stored),
            ours: quoted(ours),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_places_are_named() {
        let stored = json!({"a": [1, 2, {"x/y": 1}], "b": null, "more": 1});
        let ours = json!({"a": [1, 3, {"x/y": 2}, 4], "b": null});
        let places = |most| {
            let found = differences(&stored, &ours, most);
            found
                .into_iter()
                .map(|d| (d.pointer, d.stored, d.ours))
                .collect::<Vec<_>>()
        };
        let place = |p: &str, a: &str, b: &str| (p.to_owned(), a.to_owned(), b.to_owned());
        let all = [
            place("/a/1", "2", "3"),
            place("/a/2/x~1y", "1", "2"),
            place("/a/3", "nothing", "4"),
            place("/more", "1", "nothing"),
        ];
        assert_eq!(places(10), all);
        assert_eq!(places(2), all[..2]);
        assert!(differences(&ours, &ours, 3).is_empty());
    }
}
