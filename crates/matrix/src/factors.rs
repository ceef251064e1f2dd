//! The factor catalogue, embedded: which flags make up one serving setting, and what comes nearest where one is gone.

use crate::{
    error::{Errors, Place, Problem},
    flags::Flags,
    version::{EngineVersion, VersionRange},
};
use serde::{Deserialize, Deserializer, de::Error};
use servelab_schema::{ArgValue, Dialect};

const TEXT: &str = include_str!("factors.toml");

/// The whole catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Catalogue {
    /// Flags whose default depends on the platform.
    varies_by_platform: Vec<String>,
    factor: Vec<Entry>,
    successor: Vec<Successor>,
    default: Vec<Default>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    what: String,
    /// Of vLLM.
    #[serde(default)]
    flags: Vec<String>,
    /// Of SGLang.
    #[serde(default)]
    sglang: Vec<String>,
}

/// One serving setting of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Factor {
    pub(crate) id: String,
    /// What it is, in words.
    pub(crate) what: String,
    pub(crate) flags: Vec<String>,
}

/// What is nearest to a flag where it is gone, or not there yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Successor {
    flags: Vec<String>,
    instead: Vec<String>,
}

/// What vLLM takes where a flag is not given and its help does not say.
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

    /// The settings that have flags in this dialect.
    fn of(&self, dialect: Dialect) -> impl Iterator<Item = Factor> {
        self.factor.iter().filter_map(move |entry| {
            let flags = match dialect {
                Dialect::Vllm => &entry.flags,
                Dialect::Sglang => &entry.sglang,
            };
            (!flags.is_empty()).then(|| Factor {
                id: entry.id.clone(),
                what: entry.what.clone(),
                flags: flags.clone(),
            })
        })
    }

    /// The factor of that name: a setting, or a flag of the engine that is part of none.
    pub(crate) fn factor(&self, id: &str, dialect: Dialect, flags: &Flags<'_>) -> Option<Factor> {
        let setting = self.of(dialect).find(|f| f.id == id);
        setting.or_else(|| self.factor_of(id, dialect, flags).filter(|f| f.id == id))
    }

    /// The factor that a flag belongs to: its setting, or its own.
    pub(crate) fn factor_of(&self, flag: &str, dialect: Dialect, flags: &Flags<'_>) -> Option<Factor> {
        let setting = self.of(dialect).find(|f| f.flags.iter().any(|x| x == flag));
        // An own factor needs a flag that the engine has or may have: a wrong name is no factor.
        let own = || {
            flags.may_have(flag).then(|| Factor {
                id: flag.to_owned(),
                what: format!("The engine's flag --{flag}"),
                flags: vec![flag.to_owned()],
            })
        };
        setting.or_else(own)
    }

    /// Every setting's name, sorted, for messages.
    pub(crate) fn names(&self, dialect: Dialect) -> String {
        let mut names: Vec<String> = self.of(dialect).map(|f| f.id).collect();
        names.sort_unstable();
        names.join(", ")
    }

    /// What to do about a flag that this version does not have; none where nothing is near it.
    pub(crate) fn successor(&self, flag: &str, flags: &Flags<'_>) -> Option<String> {
        let known = |s: &&Successor| s.instead.iter().all(|name| flags.may_have(name));
        let found = self
            .successor
            .iter()
            .filter(|s| s.flags.iter().any(|f| f == flag))
            .find(known)?;
        let words = found.instead.join(" with ");
        let factor = |name: &str| self.factor_of(name, Dialect::Vllm, flags);
        let other = found.instead.first().and_then(|name| factor(name))?;
        Some(if factor(flag).is_some_and(|own| own.id == other.id) {
            format!("use {words}")
        } else {
            format!(
                "its nearest is {words}, which is another factor: `{}`, for a variant with an id of its own; or set it in a \
                 [[variant.when]] of other versions",
                other.id
            )
        })
    }

    /// What this version of the engine takes where the flag is not given, as far as that is the same on every platform.
    pub(crate) fn default_of<'a>(
        &'a self,
        flag: &str,
        version: &EngineVersion,
        dialect: Dialect,
        flags: &Flags<'a>,
    ) -> Option<&'a ArgValue> {
        if self.varies_by_platform.iter().any(|f| f == flag) {
            return None;
        }
        let written = || {
            let here = |d: &&Default| dialect == Dialect::Vllm && d.flag == flag && d.engine.contains(version);
            self.default.iter().find(here).map(|d| &d.value)
        };
        flags.default_of(flag).or_else(written)
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
    use crate::flags::{Catalogues, Found};
    use std::{collections::BTreeSet, path::Path};

    fn catalogue() -> Catalogue {
        toml::from_str(TEXT).unwrap()
    }

    fn vllm() -> Catalogues {
        Catalogues::load(Path::new("/nowhere"), Dialect::Vllm, &Errors::default())
    }

    #[test]
    fn a_flag_belongs_to_one_factor() {
        let catalogue = catalogue();
        let catalogues = vllm();
        let versions = ["0.32.0", "0.8.5.post2"].map(|v| v.parse::<EngineVersion>().unwrap());
        let somewhere = |flag: &str| {
            let found = |v| matches!(catalogues.of(v).find(flag), Found::Known { name, .. } if name == flag);
            flag == "model" || versions.iter().any(found)
        };
        for dialect in Dialect::ALL {
            let mut flags = BTreeSet::new();
            for factor in catalogue.of(dialect) {
                assert!(!factor.what.is_empty());
                for flag in factor.flags {
                    assert!(!flag.starts_with("no-"), "{flag}: only positive names");
                    assert!(dialect != Dialect::Vllm || somewhere(&flag), "no version has {flag}");
                    assert!(flags.insert(flag.clone()), "{flag} is in two factors");
                }
            }
        }
        for flag in catalogue
            .successor
            .iter()
            .flat_map(|s| s.flags.iter().chain(&s.instead))
        {
            assert!(somewhere(flag), "no version has {flag}");
        }
        for default in &catalogue.default {
            for version in versions.iter().filter(|v| default.engine.contains(v)) {
                let flags = catalogues.of(version);
                assert!(
                    flags.default_of(&default.flag).is_none(),
                    "the help says it: {}",
                    default.flag
                );
            }
        }
    }

    #[test]
    fn a_flag_that_is_part_of_no_setting_is_a_factor_of_its_own() {
        let (catalogue, catalogues) = (catalogue(), vllm());
        let flags = catalogues.of(&"0.32.0".parse().unwrap());
        let factor = |id| catalogue.factor(id, Dialect::Vllm, &flags).map(|f| f.flags);
        assert_eq!(
            factor("long-prefill-token-threshold").unwrap(),
            ["long-prefill-token-threshold"]
        );
        assert_eq!(factor("eager").unwrap(), ["enforce-eager"]);
        assert_eq!(factor("enforce-eager"), None, "its factor is `eager`");
        assert_eq!(factor("frobnicate"), None);
        assert_eq!(factor("num-scheduler-steps"), None, "gone in 0.32");
    }

    #[test]
    fn flags_that_are_not_there_name_what_is_nearest() {
        let (catalogue, catalogues) = (catalogue(), vllm());
        let remedy = |version: &str, flag| catalogue.successor(flag, &catalogues.of(&version.parse().unwrap()));
        let found = remedy("0.32.0", "swap-space").unwrap();
        assert!(found.contains("kv-offloading-size with kv-offloading-backend") && found.contains("`kv-offload`"));
        assert!(
            remedy("0.8.5.post2", "kv-offloading-size")
                .unwrap()
                .contains("`swap-space`")
        );
        assert_eq!(
            remedy("0.32.0", "disable-log-requests").unwrap(),
            "use enable-log-requests"
        );
        assert_eq!(remedy("0.32.0", "preemption-mode"), None);
    }

    #[test]
    fn defaults_come_from_the_engines_help_first() {
        let (catalogue, catalogues) = (catalogue(), vllm());
        let default = |version: &str, flag| {
            let version: EngineVersion = version.parse().unwrap();
            let flags = catalogues.of(&version);
            catalogue
                .default_of(flag, &version, Dialect::Vllm, &flags)
                .map(ToString::to_string)
        };
        assert_eq!(default("0.32.0", "enable-chunked-prefill").as_deref(), Some("true"));
        assert_eq!(default("0.8.5.post2", "enable-chunked-prefill"), None);
        assert_eq!(default("0.8.5.post2", "swap-space").as_deref(), Some("4"));
        for flag in &catalogue.varies_by_platform {
            assert_eq!(default("0.32.0", flag), None, "{flag}");
        }
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
