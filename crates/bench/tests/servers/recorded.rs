//! The scripted streams have the shapes of the recorded ones, and what is called recorded is in the tree.

use crate::{
    profile::{Profile, Source},
    stream::{Answering, Stream},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

/// What a value is, without what it says: names of members and kinds of values.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<String> = members.iter().map(|(k, v)| format!("{k}:{}", shape(v))).collect();
            members.sort_unstable();
            format!("{{{}}}", members.join(","))
        }
    }
}

/// The shapes of the events in a text; what is no JSON stands for itself.
fn shapes(text: &str) -> BTreeSet<String> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(|data| serde_json::from_str::<Value>(data).map_or_else(|_| data.trim().to_owned(), |v| shape(&v)))
        .collect()
}

/// The body of a recorded answer that came in chunks, or as curl shows it.
fn recorded(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // An event never spans two chunks in these recordings, so that the lines between them need not be taken out.
    text.split_once("\r\n\r\n")
        .map_or(text.clone(), |(_, body)| body.to_owned())
}

#[test]
fn scripted_streams_have_the_shapes_of_the_recorded_ones() {
    let asked = json!({"stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let mut seen = 0;
    for profile in Profile::all() {
        let streams = fs::read_dir(&profile.home).unwrap().map(|entry| entry.unwrap().path());
        for path in streams.filter(|p| p.extension().is_some_and(|e| e == "sse")) {
            let record = profile
                .home
                .join("recorded")
                .join(path.with_extension("txt").file_name().unwrap());
            if !record.exists() {
                continue;
            }
            seen += 1;
            let events = Stream::read(&path).events(Answering {
                body: &asked,
                model: &profile.model,
                prompt: 3,
                tokens: 4,
                is_bounded: true,
            });
            assert_eq!(
                shapes(&events.concat()),
                shapes(&recorded(&record)),
                "{}",
                path.display()
            );
        }
    }
    assert!(seen >= 12, "only {seen} recordings");
}

#[test]
fn what_is_called_recorded_is_there() {
    for profile in Profile::all() {
        for quirk in &profile.quirk {
            match &quirk.source {
                Source::Recorded(file) => {
                    assert!(profile.home.join(file).exists(), "{}: no {file}", profile.server);
                }
                Source::Documented(place) => assert!(!place.is_empty(), "{}: {}", profile.server, quirk.what),
            }
        }
    }
}
