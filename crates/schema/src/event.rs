//! `events.jsonl`: what happened while a run went on, for people who look for why. Nothing is learnt only from here.

use crate::{V, WallNanos};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventLevel {
    /// As planned.
    Info,
    /// Not as planned, and the run goes on or ends in order.
    Warn,
    /// What ended the run.
    Error,
}

/// One thing that happened. None is written between the first and the last request of a trial, but what ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunEvent {
    /// Format version.
    pub v: V<1>,
    /// When, RFC 3339 in UTC.
    pub utc: String,
    /// When, wall time since the run's start.
    pub at_ns: WallNanos,
    /// How much it matters.
    pub level: EventLevel,
    /// The part of servelab that says so, such as `servelab_runner::run`.
    pub part: String,
    /// What happened, in words.
    pub what: String,
    /// What it happened to, such as `trial`; secrets redacted.
    pub fields: BTreeMap<String, String>,
}
