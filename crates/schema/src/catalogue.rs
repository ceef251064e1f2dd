//! `matrix/engines/DIALECT/VERSION.toml`: the flags that one version of an engine takes, read off its own help. Names,
//! types, choices and defaults only: an engine's sentences are its authors'.

use crate::{ArgValue, Dialect, V};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlagKind {
    /// Nothing: `--flag`.
    Switch,
    /// Nothing, and it has an opposite: `--flag`, `--no-flag`.
    Toggle,
    /// One value.
    Value,
    /// One value or none.
    Optional,
    /// One value or more.
    Many,
}

/// One flag of an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagSpec {
    /// What it takes.
    pub kind: FlagKind,
    /// The only values it takes; empty where any text may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What the engine takes where it is not given; absent where the help names none, or `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ArgValue>,
    /// Other names of the same flag, without dashes in front.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// True where the help says that it will go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
}

/// The flags that one version of an engine takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagCatalogue {
    /// Format version.
    pub v: V<1>,
    /// Whose flags.
    pub dialect: Dialect,
    /// The engine's version.
    pub version: String,
    /// Platform that the help was printed on, such as `cpu`: some defaults depend on it and hold there only.
    pub platform: String,
    /// The flags, by long name without dashes in front.
    pub flags: BTreeMap<String, FlagSpec>,
}
