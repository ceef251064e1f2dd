//! The types of single values: how each is read from TOML, and what is said when it cannot be.

use crate::{
    document::{Node, Value},
    error::Problem,
    paths,
    version::{EngineVersion, VersionRange},
};
use servelab_schema::{
    BlockOrder, LoadId, Margin, MetricName, Nanos, OnRepeatedFailure, Rate, Ratio, Shape, Stop, VariantId, VariantRole,
};
use std::num::NonZeroU32;

/// A value that can be read from TOML.
pub(crate) trait FromNode: Sized {
    /// Such a value as written in TOML.
    const EXAMPLE: &'static str;

    /// Reads it.
    fn from_node(node: &Node) -> Result<Self, Problem>;
}

fn wrong_type<T: FromNode>(node: &Node, expected: &'static str) -> Problem {
    Problem::WrongType {
        found: node.value.type_name(),
        expected,
        example: T::EXAMPLE.to_owned(),
    }
}

fn text<T: FromNode>(node: &Node) -> Result<&str, Problem> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong_type::<T>(node, "a text")),
    }
}

fn integer<T: FromNode>(node: &Node) -> Result<i128, Problem> {
    match &node.value {
        Value::Integer(n) => Ok(*n),
        _ => Err(wrong_type::<T>(node, "a whole number")),
    }
}

fn number<T: FromNode>(node: &Node) -> Result<f64, Problem> {
    match &node.value {
        Value::Float(x) => Ok(*x),
        // A number of tokens or requests is far below 2^53; what is not is caught by the range checks behind this.
        Value::Integer(n) => n.to_string().parse().map_err(|_| wrong_type::<T>(node, "a number")),
        _ => Err(wrong_type::<T>(node, "a number")),
    }
}

impl FromNode for bool {
    const EXAMPLE: &'static str = "true";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        match &node.value {
            Value::Bool(b) => Ok(*b),
            _ => Err(wrong_type::<Self>(node, "true or false")),
        }
    }
}

impl FromNode for String {
    const EXAMPLE: &'static str = "\"text\"";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        let text = text::<Self>(node)?;
        if text.trim().is_empty() {
            return Err(Problem::Value("empty; write a text".into()));
        }
        Ok(text.to_owned())
    }
}

impl FromNode for u32 {
    const EXAMPLE: &'static str = "10";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        let n = integer::<Self>(node)?;
        n.try_into().map_err(|_| {
            Problem::Value(format!(
                "{n} is out of range; give a whole number from 0 to {}",
                Self::MAX
            ))
        })
    }
}

impl FromNode for NonZeroU32 {
    const EXAMPLE: &'static str = "10";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        let n = integer::<Self>(node)?;
        u32::try_from(n).ok().and_then(Self::new).ok_or_else(|| {
            Problem::Value(format!(
                "{n} is out of range; give a whole number from 1 to {}",
                u32::MAX
            ))
        })
    }
}

impl FromNode for u64 {
    const EXAMPLE: &'static str = "20261122";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        let n = integer::<Self>(node)?;
        n.try_into()
            .map_err(|_| Problem::Value(format!("{n} is out of range; give a whole number of at least 0")))
    }
}

impl FromNode for Ratio {
    const EXAMPLE: &'static str = "0.01";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        Self::new(number::<Self>(node)?).map_err(|e| Problem::Value(e.to_string()))
    }
}

impl FromNode for Margin {
    const EXAMPLE: &'static str = "0.03";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        Self::new(number::<Self>(node)?).map_err(Problem::Value)
    }
}

impl FromNode for Rate {
    const EXAMPLE: &'static str = "2.5";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        Self::new(number::<Self>(node)?).map_err(Problem::Value)
    }
}

impl FromNode for Shape {
    const EXAMPLE: &'static str = "0.5";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        Self::new(number::<Self>(node)?).map_err(Problem::Value)
    }
}

fn duration<T: FromNode>(node: &Node) -> Result<Nanos, Problem> {
    match &node.value {
        Value::Text(text) => text.parse::<Nanos>().map_err(|e| Problem::Value(e.to_string())),
        _ => Err(wrong_type::<T>(node, "a duration with its unit")),
    }
}

impl FromNode for Nanos {
    const EXAMPLE: &'static str = "\"90s\"";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        duration::<Self>(node)
    }
}

/// A duration above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positive(pub(crate) Nanos);

impl FromNode for Positive {
    const EXAMPLE: &'static str = "\"90s\"";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        match duration::<Self>(node)? {
            Nanos::ZERO => Err(Problem::Value(
                "0 is too short; give a duration above 0, such as \"90s\"".into(),
            )),
            span => Ok(Self(span)),
        }
    }
}

/// An amount of money in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MicroUsd(pub(crate) u64);

impl MicroUsd {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) || text.ends_with('.') {
            return None;
        }
        let micro: u64 = format!("{fraction:0<6}").parse().ok()?;
        whole
            .parse::<u64>()
            .ok()?
            .checked_mul(1_000_000)?
            .checked_add(micro)
            .map(Self)
    }
}

impl FromNode for MicroUsd {
    const EXAMPLE: &'static str = "\"12.50\"";

    fn from_node(node: &Node) -> Result<Self, Problem> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(n) => n.to_string(),
            Value::Float(x) => x.to_string(),
            _ => return Err(wrong_type::<Self>(node, "an amount in US dollars")),
        };
        Self::parse(&text).ok_or_else(|| {
            Problem::Value(format!(
                "`{text}` is no amount in US dollars; write digits with at most 6 decimals, such as \"12.50\""
            ))
        })
    }
}

macro_rules! from_text {
    ($type:ty, $example:literal, $text:ident => $parse:expr) => {
        impl FromNode for $type {
            const EXAMPLE: &'static str = $example;

            fn from_node(node: &Node) -> Result<Self, Problem> {
                let $text = text::<Self>(node)?;
                $parse
            }
        }
    };
}

from_text!(VariantId, "\"C1\"", t => Self::new(t).map_err(|e| Problem::Value(e.to_string())));
from_text!(LoadId, "\"c8\"", t => Self::new(t).map_err(|e| Problem::Value(e.to_string())));
from_text!(EngineVersion, "\"0.32.0\"", t => t.parse().map_err(Problem::Value));
from_text!(VersionRange, "\">=0.9, <1\"", t => t.parse().map_err(Problem::Value));

/// A path relative to the project and inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectPath(pub(crate) String);

from_text!(ProjectPath, "\"prompts/l4-1800.jsonl\"", t => paths::inside(t).map(Self).map_err(Problem::Value));

fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, Problem> {
    words
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            Problem::Value(format!("unknown word `{text}`; write one of: {}", known.join(", ")))
        })
}

from_text!(OnRepeatedFailure, "\"stop\"", t => word(t, &[("stop", Self::Stop), ("go-on", Self::GoOn)]));
from_text!(BlockOrder, "\"random\"", t => word(t, &[("random", Self::Random), ("sequential", Self::Sequential)]));
from_text!(Stop, "\"fixed\"", t => word(t, &[("fixed", Self::Fixed), ("natural", Self::Natural)]));
from_text!(VariantRole, "\"treatment\"", t => word(
    t,
    &[("baseline", Self::Baseline), ("aa", Self::Aa), ("treatment", Self::Treatment)],
));
from_text!(MetricName, "\"output-throughput\"", t => word(t, &tested_metrics()));

/// The metrics that can be primary: a pooled one is never tested.
fn tested_metrics() -> Vec<(&'static str, MetricName)> {
    let tested = MetricName::ALL.into_iter().filter(|m| !m.is_pooled());
    tested.map(|m| (m.as_str(), m)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;

    fn node(value: Value) -> Node {
        Node {
            place: Place::CommandLine,
            value,
        }
    }

    fn check_money(value: Value, expected: Option<u64>) {
        assert_eq!(MicroUsd::from_node(&node(value)).ok().map(|m| m.0), expected);
    }

    #[test]
    fn money() {
        check_money(Value::Text("12.50".into()), Some(12_500_000));
        check_money(Value::Text("0.000001".into()), Some(1));
        check_money(Value::Integer(3), Some(3_000_000));
        check_money(Value::Float(0.7), Some(700_000));
        for bad in ["", "-1", "1.0000001", "$5", "1.", ".5", "1e3", "1,50"] {
            check_money(Value::Text(bad.into()), None);
        }
        check_money(Value::Float(f64::NAN), None);
        check_money(Value::Integer(-1), None);
        check_money(Value::Bool(true), None);
    }

    #[test]
    fn zero_is_no_rate_and_no_count() {
        assert!(Rate::from_node(&node(Value::Integer(0))).is_err());
        assert!(Rate::from_node(&node(Value::Float(-1.0))).is_err());
        assert!(NonZeroU32::from_node(&node(Value::Integer(0))).is_err());
        assert!(NonZeroU32::from_node(&node(Value::Integer(-3))).is_err());
        assert!(Positive::from_node(&node(Value::Text("0s".into()))).is_err());
    }

    #[test]
    fn words() {
        assert_eq!(
            MetricName::from_node(&node(Value::Text("ttft-p50".into()))).unwrap(),
            MetricName::TtftP50
        );
        assert!(MetricName::from_node(&node(Value::Text("e2e-p99".into()))).is_err());
        let error = Stop::from_node(&node(Value::Text("never".into()))).unwrap_err();
        assert_eq!(error.to_string(), "unknown word `never`; write one of: fixed, natural");
    }
}
