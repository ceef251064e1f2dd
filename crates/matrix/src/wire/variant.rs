//! `[[variant]]`: one arm of the experiment as it is written.

use super::server::{self, ServerWire};
use crate::{
    document::Value,
    error::{Place, Problem},
    reader::{At, Table},
    version::VersionRange,
};
use servelab_schema::{ArgValue, Expectation, VariantId, VariantRole};
use std::collections::{BTreeMap, BTreeSet};

/// A flag as written, under its positive name.
#[derive(Debug, Clone)]
pub(crate) struct Arg {
    pub(crate) value: ArgValue,
    pub(crate) place: Place,
    /// Dotted key as written.
    pub(crate) key: String,
}

/// `[[variant]]`.
#[derive(Debug)]
pub(crate) struct VariantWire {
    pub(crate) id: At<VariantId>,
    /// Dotted path, such as `variant[C5]`.
    pub(crate) path: String,
    pub(crate) place: Place,
    pub(crate) role: VariantRole,
    /// The only versions that have this variant; all where it is left out.
    pub(crate) engine: Option<At<VersionRange>>,
    pub(crate) control: Option<At<VariantId>>,
    pub(crate) factor: Option<At<String>>,
    pub(crate) hypothesis: String,
    /// Another checkpoint than the profile's.
    pub(crate) model: Option<At<String>>,
    /// A server of its own.
    pub(crate) server: Option<ServerWire>,
    pub(crate) args: BTreeMap<String, Arg>,
    pub(crate) when: Vec<WhenWire>,
    pub(crate) expect: Expectation,
}

/// `[[variant.when]]`: what holds for a range of engine versions only.
#[derive(Debug)]
pub(crate) struct WhenWire {
    pub(crate) engine: At<VersionRange>,
    pub(crate) control: Option<At<VariantId>>,
    pub(crate) factor: Option<At<String>>,
    pub(crate) hypothesis: Option<String>,
    pub(crate) model: Option<At<String>>,
    pub(crate) args: BTreeMap<String, Arg>,
    pub(crate) expect: Option<Expectation>,
}

pub(super) fn variants(root: &mut Table<'_>) -> Vec<VariantWire> {
    let mut ids = BTreeSet::new();
    let tables = root.tables("variant", "id");
    let mut read = Vec::new();
    for table in tables {
        let place = table.place.clone();
        let Some(wire) = variant(table) else { continue };
        if ids.insert(wire.id.value.clone()) {
            read.push(wire);
        } else {
            let text = format!("variant {} is declared twice; rename or remove one", wire.id.value);
            root.refuse(&place, &format!("{}.id", wire.path), Problem::Value(text));
        }
    }
    read
}

fn variant(mut t: Table<'_>) -> Option<VariantWire> {
    let path = t.path.clone();
    let place = t.place.clone();
    if !t.has("id") {
        // Also in one file of several: variants are merged by their id.
        t.refuse(
            &place,
            "id",
            Problem::Missing {
                example: "id = \"C1\"".into(),
            },
        );
    }
    let id = t.opt("id");
    let has_role = t.has("role");
    let role: Option<At<VariantRole>> = t.opt("role");
    let engine = t.opt("engine");
    let control = t.opt("control");
    let factor = t.opt("factor");
    if !t.has("hypothesis") {
        let example = "hypothesis = \"what is believed to happen, in one sentence\"".into();
        t.refuse(&place, "hypothesis", Problem::Missing { example });
    }
    let hypothesis: Option<At<String>> = t.opt("hypothesis");
    let model = t.opt("model");
    let has_server = t.has("url");
    let server = server::server(&mut t);
    let args = t.table("args").map(args).unwrap_or_default();
    let expect = t.table("expect").map(expect).unwrap_or_default();
    let tables = t.tables("when", "engine");
    let declared = tables.len();
    let when: Vec<WhenWire> = tables.into_iter().filter_map(self::when).collect();
    t.finish();
    let role = match role {
        Some(role) => role.value,
        None if has_role => return None,
        None => VariantRole::Treatment,
    };
    if when.len() != declared || (has_server && server.is_none()) {
        return None;
    }
    let hypothesis = hypothesis?.value;
    Some(VariantWire {
        id: id?,
        path,
        place,
        role,
        engine,
        control,
        factor,
        hypothesis,
        model,
        server,
        args,
        when,
        expect,
    })
}

fn when(mut t: Table<'_>) -> Option<WhenWire> {
    let place = t.place.clone();
    if !t.has("engine") {
        t.refuse(
            &place,
            "engine",
            Problem::Missing {
                example: "engine = \">=0.9, <1\"".into(),
            },
        );
    }
    let engine = t.opt("engine");
    let control = t.opt("control");
    let factor = t.opt("factor");
    let hypothesis: Option<At<String>> = t.opt("hypothesis");
    let model = t.opt("model");
    let args = t.table("args").map(args).unwrap_or_default();
    let expect = t.table("expect").map(expect);
    t.finish();
    Some(WhenWire {
        engine: engine?,
        control,
        factor,
        hypothesis: hypothesis.map(|h| h.value),
        model,
        args,
        expect,
    })
}

/// Flags that the runner itself sets.
const RESERVED: [(&str, &str); 6] = [
    ("host", "servelab picks the address; remove it"),
    ("port", "servelab picks the port; remove it"),
    (
        "served-model-name",
        "servelab sets it; write the name as engine.served-model",
    ),
    (
        "api-key",
        "a key in a file is read by everybody; name its environment variable as engine.api-key-env",
    ),
    (
        "hf-token",
        "a token in a file is read by everybody; export it as HF_TOKEN",
    ),
    (
        "model",
        "write the model as profile.model, or as `model` of a variant of factor `weights`",
    ),
];

fn args(t: Table<'_>) -> BTreeMap<String, Arg> {
    let mut read: BTreeMap<String, Arg> = BTreeMap::new();
    for (key, entry) in t.entries() {
        let refuse = |text: String| t.refuse(&entry.place, key, Problem::Value(text));
        let well_formed = key.starts_with(|c: char| c.is_ascii_lowercase())
            && key
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
        if !well_formed {
            let better = key.trim_start_matches('-').replace('_', "-").to_lowercase();
            refuse(format!(
                "no flag name; write it with - and without leading dashes: `{better}`"
            ));
            continue;
        }
        let value = match &entry.node.value {
            Value::Bool(on) => ArgValue::Switch(*on),
            Value::Integer(n) => match i64::try_from(*n) {
                Ok(n) => ArgValue::Integer(n),
                Err(_) => {
                    refuse(format!("{n} is out of range; give a smaller number"));
                    continue;
                }
            },
            Value::Float(x) if x.is_finite() => ArgValue::Number(*x),
            Value::Text(text) if text.trim().is_empty() => {
                refuse("empty; give a value, or true for a switch".into());
                continue;
            }
            Value::Text(text) => {
                if text.starts_with('{')
                    && let Err(e) = serde_json::from_str::<serde_json::Value>(text)
                {
                    refuse(format!("not JSON: {e}; correct the text"));
                    continue;
                }
                ArgValue::Text(text.clone())
            }
            other => {
                refuse(format!(
                    "{} cannot be a flag's value; write a text, a number, or JSON as a text",
                    other.type_name()
                ));
                continue;
            }
        };
        // `no-enable-x = true` and `enable-x = false` are one flag.
        let (name, value) = match (key.strip_prefix("no-"), &value) {
            (Some(positive), ArgValue::Switch(on)) => (positive, ArgValue::Switch(!on)),
            _ => (key.as_str(), value),
        };
        if let Some((_, remedy)) = RESERVED.iter().find(|(flag, _)| *flag == name) {
            refuse(format!("`--{name}` is not a setting of a variant; {remedy}"));
            continue;
        }
        let arg = Arg {
            value,
            place: entry.place.clone(),
            key: t.key(key),
        };
        if read.insert(name.to_owned(), arg).is_some() {
            refuse(format!("`{name}` is given twice, once with `no-`; remove one"));
        }
    }
    read
}

fn expect(mut t: Table<'_>) -> Expectation {
    let expectation = Expectation {
        cache_config: t.table("cache-config").map(engine_words).unwrap_or_default(),
        non_default_args: t.table("non-default-args").map(engine_words).unwrap_or_default(),
        effective: t.table("effective").map(engine_words).unwrap_or_default(),
        log_contains: texts(&mut t, "log-contains"),
        counters_move: texts(&mut t, "counters-move"),
    };
    t.finish();
    expectation
}

fn texts(t: &mut Table<'_>, key: &'static str) -> Vec<String> {
    t.list::<String>(key)
        .unwrap_or_default()
        .into_iter()
        .map(|at| at.value)
        .collect()
}

/// Values as the engine, a Python program, prints them: `true` as `True`, the rest as written.
fn engine_words(t: Table<'_>) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    for (key, entry) in t.entries() {
        let word = match &entry.node.value {
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Text(text) => text.clone(),
            Value::Integer(n) => n.to_string(),
            // Python keeps the point of a whole float.
            Value::Float(x) => format!("{x:?}"),
            other => {
                let text = format!(
                    "{} cannot be compared; write the text that the engine prints",
                    other.type_name()
                );
                t.refuse(&entry.place, key, Problem::Value(text));
                continue;
            }
        };
        words.insert(key.clone(), word);
    }
    words
}
