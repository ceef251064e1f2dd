//! A plan and its trials in, [`Findings`](servelab_schema::findings::Findings) out: the only room where treatment and
//! validity are settled, metrics made, arms compared and headlines chosen.
//!
//! Parts, in the order of the data: [`reduce()`] makes a small [`Trial`] of each trial's traces; [`judge`] settles
//! `treatment` (with `servers`) and `validity` over all of them; `metrics`, `groups`, `gpu`, `triangulation` and `timeline` describe one
//! trial, `cells` one variant under one load (`pooled`, `quality`, `engine_counts`); [`compare`] gives the verdicts; `headline`
//! chooses what is said first; [`evaluate()`] is all of it; [`rows`] lays findings out flat for SQL and CSV;
//! [`advice`] says what helps where a gate failed. [`two_runs()`] compares two runs that have no blocks in common.
//!
//! Everything here is a function of its arguments: no file, no clock, no process. Integers of the files become floating
//! point here and units move into the names of the fields: `_s` seconds of engine time, `_per_s`, `_percent`, `_ratio`. What
//! was not observed is absent, never 0. This room knows no SQL, no page and no engine's names.
//!
//! Traps: findings must not depend on the order in which trials come, on threads or on hash maps: they are compared byte by
//! byte.

mod advice;
mod cells;
pub mod compare;
mod confounded;
mod convert;
mod engine_counts;
mod evaluate;
mod family;
mod fields;
pub mod gates;
mod gpu;
mod groups;
mod headline;
mod icl;
mod metrics;
mod num;
mod pairing;
mod pooled;
mod quality;
mod reduce;
mod request;
pub mod rows;
mod servers;
#[cfg(test)]
mod testkit;
mod timeline;
mod tokens_in_window;
mod treatment;
mod triangulation;
mod two_runs;
mod validity;
pub mod verdict;

pub use advice::{Advice, advice, failed_gate};
pub use compare::{CellMetrics, study};
pub use evaluate::evaluate;
pub use gates::{AskedRate, GateFacts, Work, evaluate_limits};
pub use metrics::{Medians, medians, meets, trial_metrics};
pub use pooled::of_one_load;
pub use quality::answer_found;
pub use reduce::{Prompts, Reducer, Trial, reduce};
pub use rows::{Row, RowInterval, Scope, rows, verdict_word};
pub use two_runs::{Question, Side, cells_without_value, measured, questions, two_runs};
pub use validity::{Judged, judge};
