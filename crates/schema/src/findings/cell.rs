//! What one variant under one load says, all its trials that count together.
//!
//! Pooling describes; verdicts are made of one number a block. Beside each percentile stand what its n certifies (as if
//! requests were independent) and an interval from resampling whole blocks (because they are not).

use super::{ArmQuality, EngineCounts, Interval, NoTriangle, OrInfinite, OverBlocks, Quantile, Summary};
use crate::{Bucket, LoadId, MetricName, Reason, Task, ThrottleReason, TtftKind, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyKind {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// End-to-end time.
    E2e,
}

impl LatencyKind {
    /// Every latency, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Tpot, Self::E2e];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }
}

/// One percentile of pooled requests, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PooledQuantile {
    /// Of the completed requests, with what n certifies; failures count as +∞ in the certification.
    pub success_only: Quantile,
    /// With every failed request as +∞.
    pub with_failures: OrInfinite,
    /// 95 % interval of the success-only percentile from resampling whole blocks; null for fewer than two blocks.
    pub block_interval: Option<Interval>,
}

/// The distribution of one latency over pooled requests, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Which latency.
    pub latency: LatencyKind,
    /// Mean, spread and extremes of the completed requests.
    pub summary_s: Summary,
    /// Failed measured requests: those that `with_failures` counts as +∞.
    pub failed: u32,
    /// p50, p90, p95 and p99, in this order.
    pub quantiles: Vec<PooledQuantile>,
    /// Points (seconds, share of measured requests at or below); ends below 1 where requests failed.
    pub ecdf: Vec<(f64, f64)>,
}

/// Pooled measured requests of one task and bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PooledGroup {
    /// What was asked for.
    pub task: Task,
    /// Length class.
    pub bucket: Bucket,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed.
    pub failed: u32,
    /// The group's share of the output throughput, tokens/s.
    pub output_throughput_tokens_per_s: Option<OverBlocks>,
    /// Distributions, without ECDF points; a latency without data is absent.
    pub latencies: Vec<Distribution>,
}

/// Client against engine over the trials that count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutsideFindings {
    /// Trials in which both saw the same requests.
    pub trials: u32,
    /// Requests that both saw.
    pub requests: u32,
    /// Mean TTFT as the client saw it, s.
    pub client_s: Option<OverBlocks>,
    /// Mean TTFT as the engine counted it, s.
    pub engine_s: Option<OverBlocks>,
    /// The difference, s.
    pub outside_s: Option<OverBlocks>,
    /// Why the other trials have none, with their number.
    pub why_not: Vec<(NoTriangle, u32)>,
}

/// The GPUs over the trials that count and have samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuFindings {
    /// Trials with GPU samples.
    pub trials: u32,
    /// Energy of all GPUs in the held window / output tokens that arrived in it, J.
    pub joules_per_output_token: Option<OverBlocks>,
    /// Mean power of all GPUs in the held window, W.
    pub watts: Option<OverBlocks>,
    /// Share of the time in which a kernel ran.
    pub utilisation_ratio: Option<OverBlocks>,
    /// Throttled share of the held window, of the worst GPU of each trial.
    pub throttled_ratio: Option<OverBlocks>,
    /// Most memory in use over the trials and GPUs.
    pub memory_peak_bytes: Option<u64>,
    /// Least memory that stayed free over the trials and GPUs.
    pub memory_headroom_bytes: Option<u64>,
    /// Highest temperature over the trials and GPUs, °C.
    pub max_temperature_celsius: Option<u32>,
    /// Every reason that was given for throttling.
    pub throttle_reasons: BTreeSet<ThrottleReason>,
    /// Measured requests that were in flight while a GPU was throttled.
    pub throttled_requests: u32,
    /// Measured requests that were sent.
    pub requests: u32,
}

/// A figure that no verdict is built on, over blocks: the mean of one statistic of each block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Which, such as `icl`.
    pub metric: DescribedMetric,
    /// Which statistic of each block.
    pub statistic: DescribedStatistic,
    /// Over blocks, in the metric's unit.
    pub over_blocks: OverBlocks,
}

/// Figures of METHODOLOGY that no verdict is built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DescribedMetric {
    /// Σ prompt tokens of completed requests over first send → last completion.
    InputThroughput,
    /// Σ completion tokens of completed requests over the same duration.
    CompletedOutputThroughput,
    /// Measured requests within every objective / all.
    GoodputRatio,
    /// 1 / TPOT.
    Interactivity,
    /// N / E2E of each request.
    PerRequestThroughput,
    /// E2E / N.
    Ntpot,
    /// Gaps between token chunks.
    Icl,
    /// Tokens of a chunk.
    TokensPerChunk,
    /// First text − sent.
    TtftContent,
    /// First token − scheduled.
    TtftFromScheduled,
    /// End of the body − sent.
    Finished,
    /// Time to open a connection.
    Connect,
    /// Tokens of an answer.
    OutputTokens,
    /// Tokens of a prompt.
    PromptTokens,
}

impl DescribedMetric {
    /// Every one, in the order of tables.
    pub const ALL: [Self; 14] = [
        Self::InputThroughput,
        Self::CompletedOutputThroughput,
        Self::GoodputRatio,
        Self::Interactivity,
        Self::PerRequestThroughput,
        Self::Ntpot,
        Self::Icl,
        Self::TokensPerChunk,
        Self::TtftContent,
        Self::TtftFromScheduled,
        Self::Finished,
        Self::Connect,
        Self::OutputTokens,
        Self::PromptTokens,
    ];

    /// True where the value depends on what the first timestamp of an answer is: a token or a text.
    #[must_use]
    pub const fn depends_on_first_tokens(self) -> bool {
        matches!(
            self,
            Self::GoodputRatio
                | Self::Interactivity
                | Self::PerRequestThroughput
                | Self::Ntpot
                | Self::Icl
                | Self::TokensPerChunk
                | Self::TtftFromScheduled
        )
    }

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InputThroughput => "input-throughput",
            Self::CompletedOutputThroughput => "completed-output-throughput",
            Self::GoodputRatio => "goodput-ratio",
            Self::Interactivity => "interactivity",
            Self::PerRequestThroughput => "per-request-throughput",
            Self::Ntpot => "ntpot",
            Self::Icl => "icl",
            Self::TokensPerChunk => "tokens-per-chunk",
            Self::TtftContent => "ttft-content",
            Self::TtftFromScheduled => "ttft-from-scheduled",
            Self::Finished => "finished",
            Self::Connect => "connect",
            Self::OutputTokens => "output-tokens",
            Self::PromptTokens => "prompt-tokens",
        }
    }

    /// Unit of its values.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::InputThroughput
            | Self::CompletedOutputThroughput
            | Self::Interactivity
            | Self::PerRequestThroughput => "tokens/s",
            Self::GoodputRatio => "ratio",
            Self::TokensPerChunk | Self::OutputTokens | Self::PromptTokens => "tokens",
            Self::Ntpot | Self::Icl | Self::TtftContent | Self::TtftFromScheduled | Self::Finished | Self::Connect => {
                "s"
            }
        }
    }
}

/// Statistics of a block that [`Described`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DescribedStatistic {
    /// The block has one value.
    Value,
    /// Mean of the block's values.
    Mean,
    /// Median of the block's values.
    P50,
    /// Their 95th percentile, uncertified.
    P95,
    /// Their 99th percentile, uncertified.
    P99,
}

impl DescribedStatistic {
    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }
}

/// One variant under one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellFindings {
    /// The variant.
    pub variant: VariantId,
    /// The load.
    pub load: LoadId,
    /// Trials that count, one per block.
    pub blocks: u32,
    /// Trials that do not count: invalid, aborted, void, or replaced by another take.
    pub left_out: u32,
    /// What the first timestamps are; null where they are mixed or there are none.
    pub ttft_kind: Option<TtftKind>,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed, by reason, in the trials that count.
    pub failures: BTreeMap<Reason, u32>,
    /// Measured requests that completed in every trial, counted or not.
    pub completed_everywhere: u32,
    /// Measured requests that failed, by reason, in every trial, counted or not.
    pub failures_everywhere: BTreeMap<Reason, u32>,
    /// Σ prompt tokens of the completed; null where those of any are unknown.
    pub prompt_tokens_total: Option<u64>,
    /// Σ generated tokens of the completed; null where those of any are unknown.
    pub completion_tokens_total: Option<u64>,
    /// One value a block, of every metric that is compared.
    pub over_blocks: BTreeMap<MetricName, OverBlocks>,
    /// Everything else that was computed of a block.
    pub described: Vec<Described>,
    /// Distributions; a latency without data is absent, and all are where kinds of timestamps are mixed.
    pub latencies: Vec<Distribution>,
    /// The same by task and bucket.
    pub groups: Vec<PooledGroup>,
    /// Its answers.
    pub quality: ArmQuality,
    /// What its engines counted.
    pub engine: EngineCounts,
    /// What passed outside the engine.
    pub outside: OutsideFindings,
    /// What it took of the GPUs; null where none was read.
    pub gpu: Option<GpuFindings>,
}

impl CellFindings {
    /// Measured requests that failed, of every trial, counted or not.
    #[must_use]
    pub fn failed_everywhere(&self) -> u32 {
        self.failures_everywhere.values().sum()
    }

    /// Those / all measured requests that ended; none where none did.
    #[must_use]
    pub fn failed_ratio_everywhere(&self) -> Option<f64> {
        let failed = self.failed_everywhere();
        let ended = self.completed_everywhere + failed;
        (ended > 0).then(|| f64::from(failed) / f64::from(ended))
    }
}
