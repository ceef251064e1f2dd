//! Where two documents of one type differ, in words.

use serde::Serialize;
use serde_json::Value;

/// More than these are counted, not listed.
const SHOWN: usize = 12;

/// Each place where `now` differs from `was`, such as `engine.version: "0.31.0" became "0.32.0"`; empty where they are equal.
#[must_use]
pub fn changes<T: Serialize>(was: &T, now: &T) -> Vec<String> {
    let mut found = Vec::new();
    // What is no JSON differs from nothing that could be shown.
    let json = |value: &T| serde_json::to_value(value).unwrap_or(Value::Null);
    differ(&json(was), &json(now), "", &mut found);
    if found.len() > SHOWN {
        let more = found.len().saturating_sub(SHOWN);
        found.truncate(SHOWN);
        found.push(format!("and {more} more"));
    }
    found
}

fn differ(was: &Value, now: &Value, path: &str, found: &mut Vec<String>) {
    if was == now {
        return;
    }
    let inside = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match (was, now) {
        (Value::Object(before), Value::Object(after)) => {
            let new = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(new) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differ(&of(before), &of(after), &inside(key), found);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                differ(before, after, &inside(name(before).unwrap_or(&i.to_string())), found);
            }
        }
        _ => found.push(format!("{path}: {} became {}", short(was), short(now))),
    }
}

/// What an element of a list calls itself.
fn name(value: &Value) -> Option<&str> {
    value.get("id").and_then(Value::as_str)
}

fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        value => {
            let text = value.to_string();
            let cut: String = text.chars().take(LONGEST).collect();
            if cut.len() < text.len() {
                format!("{cut}…")
            } else {
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockOrder, WallNanos, examples};

    #[test]
    fn a_plan_goes_on_with_more_blocks_and_other_limits_and_nothing_else() {
        let earlier = examples::plan();
        let none = Vec::<String>::new();
        assert_eq!(earlier.continues(&earlier), none);
        let mut later = earlier.clone();
        let mut block = later.blocks[0].clone();
        block.block = 99;
        later.blocks.push(block);
        later.limits.max_duration_ns = Some(WallNanos::from_secs(9));
        assert_eq!(later.continues(&earlier), none);
        assert_eq!(earlier.continues(&later), ["blocks: a list of 5 became a list of 4"]);
        let mut other = earlier.clone();
        other.engine.version = "9.9.9".into();
        other.order = BlockOrder::Sequential;
        other.variants[1].hypothesis = "another".into();
        let said = other.continues(&earlier);
        let paths: Vec<&str> = said.iter().filter_map(|s| s.split(':').next()).collect();
        assert_eq!(
            paths,
            ["engine.version", "order", "variants.C1b.hypothesis"],
            "{said:?}"
        );
        assert!(said[0].ends_with("became \"9.9.9\""));
    }

    #[test]
    fn long_lists_of_changes_are_cut_with_their_number() {
        let was: Vec<u32> = (0..40).collect();
        let now: Vec<u32> = (100..140).collect();
        let said = changes(&was, &now);
        assert_eq!((said.len(), said[12].as_str()), (13, "and 28 more"));
        assert_eq!(said[0], "0: 0 became 100");
    }
}
