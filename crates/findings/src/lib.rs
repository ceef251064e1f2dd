//! Traces in; metrics, gates, pairing and verdicts out.
//!
//! Everything here is a function of its arguments: no file, no clock, no process. Integers of the files become floating
//! point here and units move into the names of the fields: `_s` seconds of engine time, `_per_s`, `_percent`, `_ratio`. What
//! was not observed is absent, never 0. This room knows no SQL, no page and no engine.

pub mod compare;
pub mod confounded;
pub mod engine_counts;
pub mod gates;
pub mod gpu;
pub mod groups;
pub mod metrics;
mod num;
pub mod outcome;
mod pairing;
pub mod pooled;
pub mod quality;
#[cfg(test)]
mod testkit;
pub mod triangulation;
mod verdict;

pub use compare::{CellMetrics, FIRST_LOOK, SUSPECT_P, study};
pub use confounded::{ChangedField, Confounded, confounded, unchanged};
pub use engine_counts::{Acceptance, BucketQuantile, EngineCounts, EngineTimes, EngineTrial, KvUse, engine_counts};
pub use gates::{GateFacts, Work, evaluate, evaluate_limits};
pub use gpu::{GpuUse, Throttled, TrialGpus, trial_gpus};
pub use groups::{GroupMetrics, groups};
pub use metrics::{Descriptive, KindSeen, MetricValue, TrialMetrics, trial_metrics};
pub use outcome::{AaOutcome, AaResult, Comparison, Estimate, Lost, Study, Verdict};
pub use pooled::{Distribution, LatencyKind, PooledArm, PooledGroup, PooledOptions, PooledQuantile, pooled};
pub use quality::{AnswerChange, ArmQuality, LengthShift, QualityChange, QualityTrial, answer_found, quality};
pub use servelab_stats::{Certification, Interval, OrInfinite, Outlier, Proportion, Quantile, Summary};
pub use triangulation::{NoTriangle, TimeOutside, time_outside};

use servelab_schema::{Plan, Trace, TrialRecord};

/// One finished trial as its run directory holds it.
#[derive(Debug, Clone, Copy)]
pub struct TrialData<'a> {
    /// The plan it belongs to.
    pub plan: &'a Plan,
    /// Its `trial.json`.
    pub record: &'a TrialRecord,
    /// Its `traces.jsonl`.
    pub traces: &'a [Trace],
}
