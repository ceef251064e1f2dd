//! The factor catalogue, embedded: which flags make up one serving setting, and what versions of the engine refuse.

use crate::{
    error::{Errors, Place, Problem},
    version::{EngineVersion, VersionRange},
};
use serde::{Deserialize, Deserializer, de::Error};
use servelab_schema::ArgValue;

const TEXT: &str = include_str!("factors.toml");

/// The whole catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    factor: Vec<Factor>,
    refused: Vec<Refused>,
    default: Vec<Default>,
}

/// One serving setting.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Factor {
    pub(crate) id: String,
    /// What it is, in words.
    pub(crate) what: String,
    pub(crate) flags: Vec<String>,
}

/// A flag that some versions do not know.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    flag: String,
    #[serde(deserialize_with = "range")]
    engine: VersionRange,
    instead: Option<String>,
    factor: Option<String>,
}

/// What the engine takes where a flag is not given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Default {
    flag: String,
    #[serde(deserialize_with = "range")]
    engine: VersionRange,
    #[serde(deserialize_with = "value")]
    value: ArgValue,
}

fn range<'de, D: Deserializer<'de>>(d: D) -> Result<VersionRange, D::Error> {
    String::deserialize(d)?.parse().map_err(D::Error::custom)
}

fn value<'de, D: Deserializer<'de>>(d: D) -> Result<ArgValue, D::Error> {
    match toml::Value::deserialize(d)? {
        toml::Value::Boolean(on) => Ok(ArgValue::Switch(on)),
        toml::Value::Integer(n) => Ok(ArgValue::Integer(n)),
        toml::Value::Float(x) => Ok(ArgValue::Number(x)),
        toml::Value::String(text) => Ok(ArgValue::Text(text)),
        other => Err(D::Error::custom(format!("{} is no flag value", other.type_str()))),
    }
}

impl Catalogue {
    /// Reads the embedded catalogue; a mistake in it is reported like one in a matrix.
    pub(crate) fn embedded(errors: &Errors) -> Option<Self> {
        toml::from_str(TEXT)
            .map_err(|e| {
                errors.push(
                    &Place::start_of("factors.toml"),
                    "",
                    Problem::Syntax(e.message().to_owned()),
                )
            })
            .ok()
    }

    /// The factor of that name.
    pub(crate) fn factor(&self, id: &str) -> Option<&Factor> {
        self.factor.iter().find(|f| f.id == id)
    }

    /// The factor that a flag belongs to.
    pub(crate) fn factor_of(&self, flag: &str) -> Option<&Factor> {
        self.factor.iter().find(|f| f.flags.iter().any(|x| x == flag))
    }

    /// Every factor's name, sorted, for messages.
    pub(crate) fn names(&self) -> String {
        let mut names: Vec<&str> = self.factor.iter().map(|f| f.id.as_str()).collect();
        names.sort_unstable();
        names.join(", ")
    }

    /// The remedy, where this version of the engine does not know the flag.
    pub(crate) fn refusal(&self, flag: &str, version: &EngineVersion) -> Option<String> {
        let refused = self
            .refused
            .iter()
            .find(|r| r.flag == flag && r.engine.contains(version))?;
        Some(match (&refused.instead, &refused.factor) {
            (Some(instead), Some(factor)) if self.factor_of(flag).is_some_and(|f| f.id == *factor) => {
                format!("use {instead}")
            }
            (Some(instead), Some(factor)) => {
                format!(
                    "its nearest is {instead}, which is another factor: `{factor}`; or set it in a [[variant.when]] of other versions"
                )
            }
            _ => "remove it, or set it in a [[variant.when]] of other versions".to_owned(),
        })
    }

    /// What this version of the engine takes where the flag is not given, as far as known.
    pub(crate) fn default_of(&self, flag: &str, version: &EngineVersion) -> Option<&ArgValue> {
        self.default
            .iter()
            .find(|d| d.flag == flag && d.engine.contains(version))
            .map(|d| &d.value)
    }
}

/// True where two values are the same words to the engine: `8`, `8.0` and `"8"` are.
pub(crate) fn same_value(a: &ArgValue, b: &ArgValue) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (ArgValue::Switch(_), _) | (_, ArgValue::Switch(_)) => false,
        _ => {
            let (a, b) = (a.to_string(), b.to_string());
            let numbers = (a.parse::<f64>(), b.parse::<f64>());
            a == b || matches!(numbers, (Ok(x), Ok(y)) if x.total_cmp(&y).is_eq()) || same_json(&a, &b)
        }
    }
}

fn same_json(a: &str, b: &str) -> bool {
    let parse = |t: &str| {
        serde_json::from_str::<serde_json::Value>(t)
            .ok()
            .filter(serde_json::Value::is_object)
    };
    matches!((parse(a), parse(b)), (Some(x), Some(y)) if x == y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn catalogue() -> Catalogue {
        toml::from_str(TEXT).unwrap()
    }

    #[test]
    fn a_flag_belongs_to_one_factor() {
        let catalogue = catalogue();
        let mut flags = BTreeSet::new();
        for factor in &catalogue.factor {
            assert!(!factor.what.is_empty());
            for flag in &factor.flags {
                assert!(flags.insert(flag), "{flag} is in two factors");
                assert!(!flag.starts_with("no-"), "{flag}: only positive names");
            }
        }
        for refused in &catalogue.refused {
            assert!(flags.contains(&refused.flag), "{} is in no factor", refused.flag);
            if let Some(factor) = &refused.factor {
                assert!(catalogue.factor(factor).is_some(), "{factor}");
            }
        }
        for default in &catalogue.default {
            assert!(flags.contains(&default.flag), "{}", default.flag);
        }
    }

    #[test]
    fn removed_flags_name_their_successor() {
        let new = "0.32.0".parse().unwrap();
        let old = "0.8.5.post2".parse().unwrap();
        assert!(
            catalogue()
                .refusal("swap-space", &new)
                .unwrap()
                .contains("`kv-offload`")
        );
        assert!(catalogue().refusal("swap-space", &old).is_none());
        assert!(
            catalogue()
                .refusal("kv-offloading-size", &old)
                .unwrap()
                .contains("`swap-space`")
        );
        assert_eq!(
            catalogue().refusal("disable-log-requests", &new).unwrap(),
            "use enable-log-requests (off by default)"
        );
    }

    #[test]
    fn values_are_the_same_where_the_engine_reads_the_same() {
        let check = |a: ArgValue, b: ArgValue, expected| assert_eq!(same_value(&a, &b), expected, "{a} {b}");
        check(ArgValue::Integer(8), ArgValue::Number(8.0), true);
        check(ArgValue::Integer(8), ArgValue::Text("8".into()), true);
        check(
            ArgValue::Text("{\"a\":1,\"b\":2}".into()),
            ArgValue::Text("{\"b\": 2, \"a\": 1}".into()),
            true,
        );
        check(ArgValue::Text("fp8".into()), ArgValue::Text("fp8_e4m3".into()), false);
        check(ArgValue::Switch(true), ArgValue::Text("true".into()), false);
    }
}
