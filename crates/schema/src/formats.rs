//! The text of `docs/FORMATS.md`, made from the types' own fields and docstrings.

use crate::examples;
use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write;

const HEAD: &str = "# File formats

Generated from `crates/schema` by `servelab formats`; a test fails where the two differ. Do not edit.

JSONL files hold one object a line. `v` comes first and names the format's version. Units stand in the names: `_ns`
nanoseconds (`Nanos`: a span of engine time, `TrialInstant`: engine time since the
trial's start, `WallNanos`: a span of wall time), `_bytes`, `_tokens`, `_per_s`, `_ratio`. `?` marks a field
that may be null.
";

/// The whole document.
#[must_use]
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    section(&mut out, &examples::prompt(), "prompts/*.jsonl", "one row a prompt");
    section(
        &mut out,
        &examples::plain_prompt(),
        "prompts/compare-*.jsonl",
        "one row a prompt that was made for servers, not packed",
    );
    section(
        &mut out,
        &examples::prompt_manifest(),
        "prompts/*.manifest.json",
        "one document a prompt file",
    );
    section(&mut out, &examples::plan(), "plan.json", "one document a run");
    section(
        &mut out,
        &examples::environment(),
        "environment.json",
        "one document a run",
    );
    section(
        &mut out,
        &examples::event(),
        "events.jsonl",
        "one row an event of the run, for people: nothing is learnt only from here",
    );
    section(
        &mut out,
        &examples::engine_record(),
        "trials/*/engine.json",
        "one document a take",
    );
    section(
        &mut out,
        &examples::trace(),
        "trials/*/traces.jsonl",
        "one row an attempt",
    );
    section(
        &mut out,
        &examples::telemetry(),
        "trials/*/telemetry.jsonl",
        "one row a sample",
    );
    section(
        &mut out,
        &examples::trial_record(),
        "trials/*/trial.json",
        "one document a take",
    );
    section(
        &mut out,
        &examples::findings(),
        "findings.json",
        "one document a run, written at the seal",
    );
    section(
        &mut out,
        &examples::session(),
        "sessions/*/session.json",
        "one document each time that a run went on",
    );
    section(
        &mut out,
        &examples::manifest(),
        "run_manifest.json",
        "one document a run, written last",
    );
    section(
        &mut out,
        &examples::pin(),
        "runs/pinned/*.json",
        "one document a pinned run",
    );
    section(
        &mut out,
        &examples::correction(),
        "runs/corrections/N.json",
        "one document a correction: evidence is superseded, never changed",
    );
    out
}

fn section<T: JsonSchema + Serialize>(out: &mut String, example: &T, path: &str, count: &str) {
    let schema = schema_for!(T).to_value();
    let _ = writeln!(out, "\n## `{path}`: {count}\n\n{}", doc(&schema));
    // The whole plan would fill pages; its fields are below.
    let text = serde_json::to_string(example).unwrap_or_default();
    if text.len() <= 2000 {
        let _ = writeln!(out, "\n```json\n{text}\n```");
    }
    fields(out, &schema);
    if let Some(defs) = schema.get("$defs").and_then(Value::as_object) {
        let mut named: Vec<(&String, &Value)> = defs.iter().filter(|(_, def)| is_worth_a_table(def)).collect();
        named.sort_by(|a, b| a.0.cmp(b.0));
        for (name, def) in named {
            let _ = writeln!(out, "\n### {name}\n\n{}", doc(def));
            fields(out, def);
            variants(out, def);
        }
    }
}

fn is_worth_a_table(def: &Value) -> bool {
    def.get("properties").is_some() || def.get("oneOf").is_some() || def.get("enum").is_some()
}

fn doc(schema: &Value) -> String {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .replace('\n', " ")
}

fn fields(out: &mut String, schema: &Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    out.push_str("\n| field | type | meaning |\n| --- | --- | --- |\n");
    for (name, field) in properties {
        let _ = writeln!(
            out,
            "| `{name}` | {} | {} |",
            kind(field),
            doc(field).replace('|', "\\|")
        );
    }
}

fn variants(out: &mut String, schema: &Value) {
    let empty = Vec::new();
    let one_of = schema.get("oneOf").and_then(Value::as_array).unwrap_or(&empty);
    let plain = schema.get("enum").and_then(Value::as_array).unwrap_or(&empty);
    if one_of.is_empty() && plain.is_empty() {
        return;
    }
    out.push_str("\n| value | meaning |\n| --- | --- |\n");
    for value in plain {
        let _ = writeln!(out, "| `{}` | |", value.as_str().unwrap_or_default());
    }
    for variant in one_of {
        let name = variant.get("const").and_then(Value::as_str).map_or_else(
            || {
                let object = variant
                    .get("properties")
                    .and_then(Value::as_object)
                    .and_then(first_entry);
                object.map_or_else(
                    || listed(variant),
                    |(name, inner)| format!("`{{\"{name}\": …}}` {}", kind(inner)),
                )
            },
            |name| format!("`{name}`"),
        );
        let _ = writeln!(out, "| {name} | {} |", doc(variant).replace('|', "\\|"));
    }
}

fn first_entry(map: &Map<String, Value>) -> Option<(&String, &Value)> {
    map.iter().next()
}

fn listed(variant: &Value) -> String {
    let names = variant.get("enum").and_then(Value::as_array);
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|name| format!("`{name}`"))
        .collect();
    names.join(", ")
}

fn reference(schema: &Value) -> Option<String> {
    let path = schema.get("$ref")?.as_str()?;
    path.rsplit('/').next().map(str::to_owned)
}

fn kind(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return name;
    }
    if let Some(number) = schema.get("const") {
        return number.to_string();
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let names: Vec<String> = any.iter().map(kind).filter(|name| name != "null").collect();
        return format!("{}?", names.join(" or "));
    }
    match schema.get("type") {
        Some(Value::String(name)) if name == "array" => array(schema),
        Some(Value::String(name)) if name == "object" => schema
            .get("additionalProperties")
            .filter(|inner| inner.is_object())
            .map_or_else(|| object(schema), |inner| format!("map to {}", kind(inner))),
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            let names: Vec<&str> = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| *name != "null")
                .collect();
            format!("{}?", names.join(" or "))
        }
        _ => "any".to_owned(),
    }
}

fn array(schema: &Value) -> String {
    if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
        let names: Vec<String> = items.iter().map(kind).collect();
        return format!("[{}]", names.join(", "));
    }
    schema
        .get("items")
        .map_or_else(|| "list".to_owned(), |inner| format!("list of {}", kind(inner)))
}

fn object(schema: &Value) -> String {
    let names = schema.get("properties").and_then(Value::as_object);
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .map(|(name, field)| format!("`{name}`: {}", kind(field)))
        .collect();
    format!("{{{}}}", names.join(", "))
}
