//! `extends`: the chain of files that a matrix is made of, and how a child overrides its parent.
//!
//! - A key of the child replaces the parent's key; tables merge key by key; lists are replaced whole.
//! - `[[variant]]` merges by `id`: the same id replaces the parent's variant whole, in its place; a new one is appended.
//! - `[load]` replaces the parent's `[load]` and `[sweep]` together; `[sweep]` replaces the parent's `[sweep]`.
//! - `[engine.provider.X]` drops a provider of another kind.
//! - `name` is never inherited.

use crate::{
    document::{self, Entry, Map, Node, Value},
    error::{Errors, Place, Problem},
    paths,
};
use servelab_schema::{Sha256Hex, SourceFile};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::Path};

/// One file of the chain.
#[derive(Debug)]
pub(crate) struct Document {
    /// Path and hash.
    pub(crate) source: SourceFile,
    /// Its content; none where it is not TOML.
    pub(crate) map: Option<Map>,
}

/// Reads `path` and everything that it extends, the child first.
pub(crate) fn load_chain(root: &Path, path: &str, errors: &Errors) -> Vec<Document> {
    let mut chain: Vec<Document> = Vec::new();
    let mut next = Some((path.to_owned(), None::<Place>));
    while let Some((path, asked_by)) = next.take() {
        if chain.iter().any(|d| d.source.path == path) {
            let mut names: Vec<&str> = chain
                .iter()
                .map(|d| d.source.path.as_str())
                .skip_while(|p| *p != path)
                .collect();
            names.push(&path);
            let place = asked_by.unwrap_or_else(|| Place::start_of(&path));
            errors.push(
                &place,
                "extends",
                Problem::ExtendsCycle {
                    chain: names.join(" -> "),
                },
            );
            break;
        }
        let text = match fs::read_to_string(root.join(&path)) {
            Ok(text) => text,
            Err(e) => {
                let why = format!("{path}: {e}");
                match asked_by {
                    Some(place) => errors.push(
                        &place,
                        "extends",
                        Problem::Unreadable { why, remedy: "give a file beside this one, such as \"c1-c8.toml\"".into() },
                    ),
                    None => errors.push(
                        &Place::start_of(&path),
                        "",
                        Problem::Unreadable {
                            why: e.to_string(),
                            remedy: "give the path of a matrix, such as matrix/c1-c8.toml, or write one with `servelab init`".into(),
                        },
                    ),
                }
                break;
            }
        };
        let sha256 = Sha256Hex::from_bytes(Sha256::digest(text.as_bytes()).into());
        let map = document::parse(&path, &text, errors);
        if let Some(entry) = map.as_ref().and_then(|m| m.get("extends")) {
            match &entry.node.value {
                Value::Text(target) => match paths::beside(&path, target) {
                    Ok(target) => next = Some((target, Some(entry.place.clone()))),
                    Err(why) => errors.push(&entry.place, "extends", Problem::Value(why)),
                },
                other => errors.push(
                    &entry.place,
                    "extends",
                    Problem::WrongType {
                        found: other.type_name(),
                        expected: "a text",
                        example: "one file, such as \"c1-c8.toml\"".into(),
                    },
                ),
            }
        }
        chain.push(Document {
            source: SourceFile { path, sha256 },
            map,
        });
    }
    chain
}

/// The child over its parent, as a file that extends another.
pub(crate) fn extend(mut parent: Map, child: Map) -> Map {
    parent.remove("name");
    overlay(parent, child)
}

/// `top` over `base`, with the rules of the module's head except that names are kept.
pub(crate) fn overlay(mut base: Map, top: Map) -> Map {
    if top.contains_key("load") {
        base.remove("load");
        base.remove("sweep");
    }
    if top.contains_key("sweep") {
        base.remove("sweep");
    }
    merge(base, top, "")
}

fn merge(mut base: Map, top: Map, path: &str) -> Map {
    if path == "engine.provider" && !top.is_empty() {
        base.retain(|kind, _| top.contains_key(kind));
    }
    for (key, entry) in top {
        let inner = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let merged = match base.remove(&key) {
            None => entry,
            Some(old) => merge_entry(old, entry, &inner),
        };
        base.insert(key, merged);
    }
    base
}

fn merge_entry(base: Entry, top: Entry, path: &str) -> Entry {
    let Entry { place, node } = top;
    let value = match (base.node.value, node.value) {
        (Value::Table(b), Value::Table(t)) => Value::Table(merge(b, t, path)),
        (Value::Array(b), Value::Array(t)) if path == "variant" => Value::Array(merge_variants(b, t)),
        (_, t) => t,
    };
    Entry {
        place,
        node: Node {
            place: node.place,
            value,
        },
    }
}

fn variant_id(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Table(map) => match map.get("id").map(|e| &e.node.value) {
            Some(Value::Text(id)) => Some(id),
            _ => None,
        },
        _ => None,
    }
}

fn merge_variants(base: Vec<Node>, top: Vec<Node>) -> Vec<Node> {
    let mut by_id: BTreeMap<String, Node> = BTreeMap::new();
    let mut new = Vec::new();
    for node in top {
        match variant_id(&node).map(str::to_owned) {
            Some(id) if base.iter().any(|b| variant_id(b) == Some(&id)) => {
                by_id.insert(id, node);
            }
            _ => new.push(node),
        }
    }
    let replaced = base.into_iter().map(|old| {
        let replacement = variant_id(&old).and_then(|id| by_id.remove(id));
        replacement.unwrap_or(old)
    });
    let mut merged: Vec<Node> = replaced.collect();
    merged.append(&mut new);
    merged
}
