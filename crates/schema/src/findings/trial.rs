//! What one trial says.

use super::{Certification, NoTriangle, OrInfinite, Summary, TimeOutside, TrialGpus};
use crate::{
    Bucket, Check, GateResult, LoadId, MetricName, Reason, Task, TokenSource, Treatment, TrialCounts, TrialId,
    TrialInstant, TtftKind, Validity, VariantId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One metric of one trial, in [`MetricName::unit`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricValue {
    /// The value.
    pub value: f64,
    /// Number of requests behind it.
    pub n: u32,
    /// What n certifies; null for metrics that are no percentile.
    pub certified: Option<Certification>,
}

/// Which kinds of first timestamp the completed measured requests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KindSeen {
    /// No completed request.
    #[default]
    None,
    /// All of one kind.
    One(TtftKind),
    /// Both kinds: their latencies are not one sample, so the trial has no latency metrics.
    Mixed,
}

impl KindSeen {
    /// The kind, where there is exactly one.
    #[must_use]
    pub const fn kind(self) -> Option<TtftKind> {
        match self {
            Self::One(kind) => Some(kind),
            Self::None | Self::Mixed => None,
        }
    }

    /// With one more completed request.
    #[must_use]
    pub fn and(self, kind: TtftKind) -> Self {
        match self {
            Self::None => Self::One(kind),
            Self::One(other) if other == kind => self,
            _ => Self::Mixed,
        }
    }
}

/// Metrics of one trial.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialMetrics {
    /// Kinds of first timestamp among the completed measured requests.
    pub kind: KindSeen,
    /// Success-only metrics; one that has no data is absent.
    pub values: BTreeMap<MetricName, MetricValue>,
    /// The percentiles again with every failed measured request as +∞, in seconds.
    pub with_failures: BTreeMap<MetricName, OrInfinite>,
    /// Figures that no verdict is built on.
    pub descriptive: Descriptive,
}

/// Figures that stand beside the metrics. They describe, and no verdict is built on them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Descriptive {
    /// Σ prompt tokens of completed measured requests; null where those of any are unknown.
    pub prompt_tokens_total: Option<u64>,
    /// Σ generated tokens of completed measured requests; null where those of any are unknown.
    pub completion_tokens_total: Option<u64>,
    /// Who counted them; null where nobody did, or not everywhere the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_source: Option<TokenSource>,
    /// Σ prompt tokens of completed measured requests / (their first send → last completion), tokens/s.
    pub input_throughput_tokens_per_s: Option<f64>,
    /// Σ generated tokens of completed measured requests over the same duration, tokens/s.
    pub completed_output_throughput_tokens_per_s: Option<f64>,
    /// Sum of the two, tokens/s.
    pub total_throughput_tokens_per_s: Option<f64>,
    /// Measured requests that completed within every objective / all measured requests; null without objectives.
    pub goodput_ratio: Option<f64>,
    /// 1 / TPOT of each request: tokens/s that one user sees.
    pub interactivity_tokens_per_s: Option<Summary>,
    /// N / E2E of each request: tokens/s of one request, its wait included.
    pub request_throughput_tokens_per_s: Option<Summary>,
    /// E2E / N of each request, seconds.
    pub ntpot_s: Option<Summary>,
    /// Gaps between consecutive token chunks, seconds; percentiles from a histogram of three significant digits. Not
    /// comparable between variants with different tokens per chunk.
    pub icl_s: Option<Summary>,
    /// Tokens per token chunk after each request's first one.
    pub tokens_per_chunk: Option<Summary>,
    /// First non-empty text − sent, seconds.
    pub ttft_content_s: Option<Summary>,
    /// First token chunk − scheduled, seconds: what a user of an open loop waits.
    pub ttft_from_scheduled_s: Option<Summary>,
    /// End of the body − sent, seconds: later than the last token by what the stream's end takes.
    pub finished_s: Option<Summary>,
    /// Time to open the connection, of requests that opened one, seconds.
    pub connect_s: Option<Summary>,
    /// Tokens generated per completed measured request.
    pub output_tokens: Option<Summary>,
    /// Prompt tokens per completed measured request.
    pub prompt_tokens: Option<Summary>,
}

/// Metrics of the measured requests of one task and bucket in one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupMetrics {
    /// What was asked for.
    pub task: Task,
    /// Length class.
    pub bucket: Bucket,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed.
    pub failed: u32,
    /// Median time to first token, seconds.
    pub ttft_p50_s: Option<MetricValue>,
    /// Median time per output token, seconds.
    pub tpot_p50_s: Option<MetricValue>,
    /// Median end-to-end time, seconds.
    pub e2e_p50_s: Option<MetricValue>,
    /// Tokens of this group's measured requests that arrived inside the held window / its length: the group's share of the
    /// throughput, tokens/s.
    pub output_throughput_tokens_per_s: Option<f64>,
}

/// A trial in 160 columns of equal time, from its start to the end of its last request. Values change where a point is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// When the last request ended.
    pub end_ns: TrialInstant,
    /// `[column, most requests in flight together]`, where it changes.
    pub in_flight: Vec<(u32, u32)>,
    /// `[column, requests that the engine says wait]`, where it changes.
    pub waiting: Vec<(u32, u32)>,
    /// `[column, share of the KV cache in use in thousandths]`, where it changes.
    pub kv_used_permille: Vec<(u32, u32)>,
    /// Columns in which requests failed.
    pub failed: Vec<u32>,
}

impl Timeline {
    /// Columns of a timeline.
    pub const COLUMNS: u32 = 160;
}

/// What failed requests of a trial said: alike ones counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureWords {
    /// Why they failed.
    pub reason: Reason,
    /// HTTP status, where an answer's head arrived.
    pub http_status: Option<u16>,
    /// The engine's or the operating system's own words.
    pub detail: String,
    /// Measured requests that failed so.
    pub requests: u32,
}

/// One take of a trial, settled over the whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialFindings {
    /// Name of its folder.
    pub id: TrialId,
    /// Block, from 1.
    pub block: u32,
    /// Position in the block, from 1.
    pub order: u32,
    /// Variant under test.
    pub variant: VariantId,
    /// Load put on it.
    pub load: LoadId,
    /// Take, from 1.
    pub take: u32,
    /// False where another take of the same cell and block is the one that stands for it.
    pub stands: bool,
    /// Whether it counts.
    pub validity: Validity,
    /// Every gate with what was observed and the limit.
    pub gates: Vec<GateResult>,
    /// Whether the setting took effect.
    pub treatment: Treatment,
    /// The evidence: what the engine showed, and how that compares with the control's starts.
    pub checks: Vec<Check>,
    /// How many requests ended how.
    pub counts: TrialCounts,
    /// Its metrics; null where no load was held.
    pub metrics: Option<TrialMetrics>,
    /// The same by task and bucket; groups without a measured request are absent.
    pub groups: Vec<GroupMetrics>,
    /// Mean time to first token on both sides.
    pub outside: Result<TimeOutside, NoTriangle>,
    /// What it took of the GPUs; null where none was read.
    pub gpus: Option<TrialGpus>,
    /// Why the GPUs were no longer read, where that happened.
    pub gpu_note: Option<String>,
    /// What failed requests said, the most frequent first.
    pub failure_words: Vec<FailureWords>,
    /// Load and engine against time.
    pub timeline: Timeline,
}

impl TrialFindings {
    /// True where its numbers are compared and pooled.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.stands && self.validity.is_valid()
    }
}
