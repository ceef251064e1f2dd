//! Reads tables key by key and collects every error on the way: unknown keys, wrong types, missing keys.
//!
//! One mechanism gives the checks, the places for messages and the origin of each value for `plan --explain`.

use crate::{
    document::{Entry, Map, Node, Value},
    error::{Errors, Place, Problem},
    values::FromNode,
};
use std::{cell::RefCell, collections::BTreeSet};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
    pub(crate) key: String,
}

/// A value that was read, for `plan --explain`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) place: Place,
}

/// What all tables of one reading share.
#[derive(Debug)]
pub(crate) struct Reading<'e> {
    pub(crate) errors: &'e Errors,
    /// True while one file of several is read: keys may then be missing.
    pub(crate) partial: bool,
    pub(crate) seen: RefCell<Vec<Seen>>,
    /// Every key that was asked for, for the test that the defaults file names them all.
    pub(crate) asked: RefCell<BTreeSet<String>>,
}

impl<'e> Reading<'e> {
    pub(crate) fn new(errors: &'e Errors, partial: bool) -> Self {
        Self {
            errors,
            partial,
            seen: RefCell::default(),
            asked: RefCell::default(),
        }
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    map: &'a Map,
    /// Where the table begins.
    pub(crate) place: Place,
    /// Dotted path of the table; empty for the document.
    pub(crate) path: String,
    reading: &'a Reading<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(crate) const fn new(map: &'a Map, place: Place, path: String, reading: &'a Reading<'a>) -> Self {
        Self {
            map,
            place,
            path,
            reading,
            asked: Vec::new(),
        }
    }

    /// The dotted path of a key of this table; the table's own for the empty key.
    pub(crate) fn key(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Reports a problem of this table.
    pub(crate) fn refuse(&self, place: &Place, key: &str, problem: Problem) {
        self.reading.errors.push(place, self.key(key), problem);
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.reading.asked.borrow_mut().insert(self.key(key));
        self.map.get(key)
    }

    /// True where the key is given.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A key that may be left out.
    pub(crate) fn opt<T: FromNode>(&mut self, key: &'static str) -> Option<At<T>> {
        let entry = self.ask(key)?;
        let path = self.key(key);
        self.read_node(&entry.node, entry.place.clone(), path)
    }

    /// A key that must be given; its absence is an error unless one file of several is read.
    pub(crate) fn req<T: FromNode>(&mut self, key: &'static str) -> Option<At<T>> {
        if !self.has(key) && !self.reading.partial {
            let example = format!("{} = {}", self.key(key), T::EXAMPLE);
            self.refuse(&self.place.clone(), key, Problem::Missing { example });
        }
        self.opt(key)
    }

    /// The value alone of a key that must be given.
    pub(crate) fn value<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        self.req(key).map(|at| at.value)
    }

    /// A list, each element checked on its own; none where the key is absent or an element is wrong.
    pub(crate) fn list<T: FromNode>(&mut self, key: &'static str) -> Option<Vec<At<T>>> {
        let entry = self.ask(key)?;
        let path = self.key(key);
        let Value::Array(items) = &entry.node.value else {
            let problem = Problem::WrongType {
                found: entry.node.value.type_name(),
                expected: "a list",
                example: format!("[{}]", T::EXAMPLE),
            };
            self.refuse(&entry.place, key, problem);
            return None;
        };
        let read: Vec<Option<At<T>>> = items
            .iter()
            .enumerate()
            .map(|(i, node)| self.read_node(node, node.place.clone(), format!("{path}[{i}]")))
            .collect();
        read.into_iter().collect()
    }

    fn read_node<T: FromNode>(&self, node: &Node, place: Place, path: String) -> Option<At<T>> {
        match T::from_node(node) {
            Ok(value) => {
                let seen = Seen {
                    key: path.clone(),
                    value: node.value.to_text(),
                    place: place.clone(),
                };
                self.reading.seen.borrow_mut().push(seen);
                Some(At {
                    value,
                    place,
                    key: path,
                })
            }
            Err(problem) => {
                self.reading.errors.push(&place, path, problem);
                None
            }
        }
    }

    /// A table inside this one.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let entry = self.ask(key)?;
        match &entry.node.value {
            Value::Table(map) => Some(Table::new(map, entry.place.clone(), self.key(key), self.reading)),
            other => {
                let problem = Problem::WrongType {
                    found: other.type_name(),
                    expected: "a table",
                    example: format!("[{}]", self.key(key)),
                };
                self.refuse(&entry.place, key, problem);
                None
            }
        }
    }

    /// A table that must be given.
    pub(crate) fn req_table(&mut self, key: &'static str) -> Option<Table<'a>> {
        if !self.has(key) && !self.reading.partial {
            let example = format!("[{}]", self.key(key));
            self.refuse(&self.place.clone(), key, Problem::Missing { example });
        }
        self.table(key)
    }

    /// The tables of `[[key]]`; each is named `key[NAME]` by its text under `name_key`, or `key[?]` without one.
    pub(crate) fn tables(&mut self, key: &'static str, name_key: &str) -> Vec<Table<'a>> {
        let Some(entry) = self.ask(key) else { return Vec::new() };
        let wrong = |place: &Place, found: &'static str| {
            let example = format!("[[{}]]", self.key(key));
            self.refuse(
                place,
                key,
                Problem::WrongType {
                    found,
                    expected: "a list of tables",
                    example,
                },
            );
        };
        let Value::Array(items) = &entry.node.value else {
            wrong(&entry.place, entry.node.value.type_name());
            return Vec::new();
        };
        let mut tables = Vec::new();
        for node in items {
            let Value::Table(map) = &node.value else {
                wrong(&node.place, node.value.type_name());
                continue;
            };
            let name = match map.get(name_key).map(|e| &e.node.value) {
                Some(Value::Text(name)) => name.as_str(),
                _ => "?",
            };
            tables.push(Table::new(
                map,
                node.place.clone(),
                format!("{}[{name}]", self.key(key)),
                self.reading,
            ));
        }
        tables
    }

    /// Every key of a table whose keys are free.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Entry)> + use<'a> {
        self.map.iter()
    }

    /// The raw entry of a key.
    pub(crate) fn raw(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.ask(key)
    }

    /// Ends the reading of a table with fixed keys: what was not asked for is unknown.
    pub(crate) fn finish(self) {
        for (key, entry) in self.map {
            if !self.asked.contains(&key.as_str()) {
                let remedy = suggestion(key, self.asked.iter().copied());
                self.refuse(&entry.place, key, Problem::UnknownKey { remedy });
            }
        }
    }
}

/// What was probably meant, where a name is near enough.
pub(crate) fn near<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let (distance, name) = known.map(|k| (distance(wrong, k), k)).min()?;
    (distance <= 1 + name.len() / 4).then_some(name)
}

/// `did you mean …`, or what there is.
pub(crate) fn suggestion<'k>(wrong: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    match near(wrong, known.clone()) {
        Some(k) => format!("did you mean `{k}`?"),
        None => {
            let mut known: Vec<&str> = known.collect();
            known.sort_unstable();
            known.dedup();
            format!("use one of: {}", known.join(", "))
        }
    }
}

/// Levenshtein distance, with `_` taken for `-`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.replace('_', "-").to_lowercase().chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((cb, up_left), up) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(i);
            let swap = up_left + usize::from(ca != cb);
            next.push(swap.min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        let known = ["concurrency", "rate-per-s", "arrivals"];
        assert_eq!(
            suggestion("concurency", known.into_iter()),
            "did you mean `concurrency`?"
        );
        assert_eq!(
            suggestion("rate_per_s", known.into_iter()),
            "did you mean `rate-per-s`?"
        );
        assert_eq!(
            suggestion("xyz", known.into_iter()),
            "use one of: arrivals, concurrency, rate-per-s"
        );
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
