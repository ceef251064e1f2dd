//! The layers of a document: embedded defaults, the files from base to child, the command line on top.

use crate::{
    Overrides,
    document::{Entry, Map, Node, Value, parse},
    error::{Errors, Place, Problem},
    merge::{self, Document},
    paths,
};
use std::path::{Path, PathBuf};

/// The embedded defaults, which are also the manual of every key.
pub(crate) const DEFAULTS: &str = include_str!("defaults.toml");

/// How places name them.
pub(crate) const DEFAULTS_NAME: &str = "default";

/// The file relative to the project.
pub(crate) fn project_path(root: &Path, file: &Path, errors: &Errors) -> Option<String> {
    let relative: PathBuf = if file.is_absolute() {
        let inside = file.strip_prefix(root).map(Path::to_path_buf).or_else(|_| {
            let canonical = (root.canonicalize(), file.canonicalize());
            match canonical {
                (Ok(root), Ok(file)) => file.strip_prefix(root).map(Path::to_path_buf),
                _ => file.strip_prefix(root).map(Path::to_path_buf),
            }
        });
        inside.unwrap_or_else(|_| file.to_path_buf())
    } else {
        file.to_path_buf()
    };
    match paths::inside(&relative.to_string_lossy()) {
        Ok(path) => Some(path),
        Err(why) => {
            errors.push(&Place::CommandLine, "matrix file", Problem::Value(why));
            None
        }
    }
}

/// The chain over the defaults; none where a file could not be read or is not TOML.
pub(crate) fn merged(chain: &[Document], errors: &Errors) -> Option<Map> {
    let mut base = parse(DEFAULTS_NAME, DEFAULTS, errors)?;
    let mut first = true;
    for document in chain.iter().rev() {
        let map = document.map.clone()?;
        base = if first {
            merge::overlay(base, map)
        } else {
            merge::extend(base, map)
        };
        first = false;
    }
    // A broken `extends` has been reported; checks across files would only repeat it.
    let complete = !chain.is_empty()
        && chain
            .last()
            .is_none_or(|d| d.map.as_ref().is_none_or(|m| !m.contains_key("extends")));
    complete.then_some(base)
}

/// What was given on the command line, laid over the files.
pub(crate) fn apply(overrides: &Overrides, map: Map, errors: &Errors) -> Map {
    let mut top = Map::new();
    let mut set = |path: &[&str], value: Value| insert(&mut top, path, value);
    let count = |n: u32| Value::Integer(n.into());
    if let Some(version) = &overrides.engine_version {
        set(&["engine", "version"], Value::Text(version.clone()));
    }
    if let Some(cost) = &overrides.max_cost {
        set(&["limits", "max-cost-usd"], Value::Text(cost.clone()));
    }
    if let Some(duration) = &overrides.max_duration {
        set(&["limits", "max-duration"], Value::Text(duration.clone()));
    }
    if let Some(blocks) = overrides.blocks {
        set(&["experiment", "blocks"], count(blocks));
    }
    if let Some(requests) = overrides.requests_per_block {
        set(&["experiment", "requests-per-block"], count(requests));
    }
    if let Some(scale) = overrides.time_scale {
        if lookup(&map, &["engine", "provider", "sim"]) {
            set(&["engine", "provider", "sim", "time-scale"], count(scale));
        } else {
            let text = "only the simulated engine has a time scale; leave it out";
            errors.push(
                &Place::CommandLine,
                "engine.provider.sim.time-scale",
                Problem::Value(text.into()),
            );
        }
    }
    merge::overlay(map, top)
}

fn lookup(map: &Map, path: &[&str]) -> bool {
    match path {
        [] => true,
        [key, rest @ ..] => match map.get(*key).map(|e| &e.node.value) {
            Some(Value::Table(inner)) => lookup(inner, rest),
            Some(_) => rest.is_empty(),
            None => false,
        },
    }
}

/// Sets a key as if it were given on the command line.
pub(crate) fn insert(map: &mut Map, path: &[&str], value: Value) {
    let entry = |value| Entry {
        place: Place::CommandLine,
        node: Node {
            place: Place::CommandLine,
            value,
        },
    };
    match path {
        [] => {}
        [key] => {
            map.insert((*key).to_owned(), entry(value));
        }
        [key, rest @ ..] => {
            let inner = map
                .entry((*key).to_owned())
                .or_insert_with(|| entry(Value::Table(Map::new())));
            if let Value::Table(table) = &mut inner.node.value {
                insert(table, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{reader::Reading, wire};
    use std::collections::BTreeSet;

    /// Errors of a text over the defaults, and every key that was asked for.
    fn read(text: &str) -> (String, BTreeSet<String>) {
        let errors = Errors::default();
        let base = parse("default", DEFAULTS, &errors).unwrap();
        let map = merge::overlay(base, parse("test", text, &errors).unwrap());
        let reading = Reading::new(&errors, false);
        wire::read(&map, &Place::start_of("test"), &reading);
        let asked = reading.asked.into_inner();
        (errors.into_errors().to_string(), asked)
    }

    /// `bench` judges by the type's default, a matrix by the file's: they are one set of limits.
    #[test]
    fn the_limits_of_the_manual_are_those_of_the_type() {
        let errors = Errors::default();
        let base = parse("default", DEFAULTS, &errors).unwrap();
        let reading = Reading::new(&errors, false);
        let wire = wire::read(&base, &Place::start_of("test"), &reading);
        assert_eq!(wire.gates, Some(servelab_schema::Gates::default()));
    }

    /// The manual with every commented key made real.
    fn uncommented() -> String {
        let real = |line: &str| {
            let rest = line.strip_prefix("# ")?;
            let name = rest.trim_start_matches('[').split([']', ' ']).next()?;
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || "-.".contains(c));
            let is_table = rest.starts_with('[');
            let is_key = rest.strip_prefix(name).is_some_and(|r| r.starts_with(" = "));
            (is_name && (is_table || is_key)).then(|| rest.to_owned())
        };
        let lines: Vec<String> = DEFAULTS
            .lines()
            .map(|l| real(l).unwrap_or_else(|| l.to_owned()))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn the_manual_names_every_key_and_no_other() {
        let (errors, asked) = read(&uncommented());
        // Alternatives stand side by side in the manual; nothing else may be wrong with it.
        let messages: Vec<&str> = errors
            .lines()
            .filter_map(|l| l.split_once(": "))
            .map(|(_, m)| m)
            .collect();
        assert_eq!(
            messages,
            [
                "engine.provider.process: two providers; keep one of: sim, process, docker, url",
                "load: a load has a concurrency (closed loop) or a rate (open loop), not both; remove one",
            ]
        );
        for key in asked {
            let name = key.rsplit('.').next().unwrap();
            let named = [
                format!("{name} = "),
                format!("[{name}]"),
                format!(".{name}]"),
                format!(".{name}."),
            ];
            assert!(named.iter().any(|n| DEFAULTS.contains(n)), "{key} is not in the manual");
        }
    }
}
