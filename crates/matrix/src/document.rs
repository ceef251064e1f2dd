//! A TOML file as a tree in which every key and value knows where it was written.

use crate::error::{Errors, Place, Problem};
use std::{collections::BTreeMap, sync::Arc};
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A TOML value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Datetime(String),
    Array(Vec<Node>),
    Table(Map),
}

/// The keys of a table.
pub(crate) type Map = BTreeMap<String, Entry>;

/// A key's place and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Value {
    /// Name of the type, for messages.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// The value as one would write it in TOML.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Integer(n) => n.to_string(),
            Self::Float(x) => x.to_string(),
            Self::Text(t) => format!("{t:?}"),
            Self::Datetime(t) => t.clone(),
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(|n| n.value.to_text()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Table(map) => {
                let items: Vec<String> = map
                    .iter()
                    .map(|(k, e)| format!("{k} = {}", e.node.value.to_text()))
                    .collect();
                format!("{{ {} }}", items.join(", "))
            }
        }
    }
}

/// Turns byte offsets of one text into places.
struct Places<'a> {
    path: Arc<str>,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(path: &str, text: &'a str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(i, _)| i + 1))
            .collect();
        Self {
            path: path.into(),
            text,
            line_starts,
        }
    }

    fn at(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Place::File {
            path: self.path.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

/// Reads `text` as TOML; every syntax error is reported. None where there is one.
pub(crate) fn parse(path: &str, text: &str, errors: &Errors) -> Option<Map> {
    let places = Places::new(path, text);
    let (document, faults) = DeTable::parse_recoverable(text);
    for fault in &faults {
        let offset = fault.span().map_or(0, |span| span.start);
        errors.push(&places.at(offset), "", Problem::Syntax(fault.message().to_owned()));
    }
    faults.is_empty().then(|| table(document.get_ref(), &places))
}

fn table(table: &DeTable<'_>, places: &Places<'_>) -> Map {
    table
        .iter()
        .map(|(key, value)| {
            let entry = Entry {
                place: places.at(key.span().start),
                node: node(value.get_ref(), value.span().start, places),
            };
            (key.get_ref().to_string(), entry)
        })
        .collect()
}

fn node(value: &DeValue<'_>, offset: usize, places: &Places<'_>) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        // TOML's integers fit i64 and so i128; the parser has refused the rest.
        DeValue::Integer(n) => Value::Integer(i128::from_str_radix(n.as_str(), n.radix()).unwrap_or(i128::MAX)),
        DeValue::Float(x) => Value::Float(x.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(t) => Value::Datetime(t.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|i| node(i.get_ref(), i.span().start, places))
                .collect(),
        ),
        DeValue::Table(map) => Value::Table(table(map, places)),
    };
    Node {
        place: places.at(offset),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_know_their_line_and_column() {
        let errors = Errors::default();
        let map = parse("f.toml", "a = 1\n[t]\n  \"é\" = \"x\"\n[[v]]\nid = 1\n[[v]]\n", &errors).unwrap();
        let Value::Table(t) = &map["t"].node.value else {
            panic!()
        };
        assert_eq!(t["é"].place.to_string(), "f.toml:3:3");
        assert_eq!(t["é"].node.place.to_string(), "f.toml:3:9");
        let Value::Array(v) = &map["v"].node.value else {
            panic!()
        };
        assert_eq!(v[1].place.to_string(), "f.toml:6:1");
    }

    #[test]
    fn every_syntax_error_is_reported() {
        let errors = Errors::default();
        assert!(parse("f.toml", "a = \nb = 1\nb = 2\n", &errors).is_none());
        assert_eq!(errors.into_errors().errors().len(), 2);
    }
}
