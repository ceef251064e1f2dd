//! What engines counted, what GPUs took, and what passed outside the engine.

use super::Interval;
use crate::{RequestId, ThrottleReason, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// A percentile that a histogram allows to be told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketQuantile {
    /// On the straight line between the ends of its bucket, s; null beyond the last bound.
    pub point_s: Option<f64>,
    /// The ends of its bucket, s; the upper one is null beyond the last bound.
    pub low_s: f64,
    /// See `low_s`.
    pub high_s: Option<f64>,
}

impl BucketQuantile {
    /// Both ends of the bucket, s; none beyond the last bound.
    #[must_use]
    pub fn interval_s(&self) -> Option<Interval> {
        self.high_s.map(|high| Interval { low: self.low_s, high })
    }
}

/// Times that the engine measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineTimes {
    /// Observations.
    pub n: u64,
    /// Their mean, s of engine time: exact.
    pub mean_s: f64,
    /// Median.
    pub p50: Option<BucketQuantile>,
    /// 95th percentile.
    pub p95: Option<BucketQuantile>,
}

/// Speculative decoding over trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// Drafts made; null where the engine does not count them.
    pub drafts: Option<u64>,
    /// Tokens drafted.
    pub draft_tokens: u64,
    /// Drafted tokens that were accepted.
    pub accepted_tokens: u64,
    /// accepted / drafted; null where nothing was drafted.
    pub ratio: Option<f64>,
    /// For each position of a draft the share of drafts whose token there was accepted; empty where the engine does not tell.
    pub per_position: Vec<f64>,
}

/// Share of the KV cache in use, sampled over held windows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvUse {
    /// Samples.
    pub n: u32,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Highest.
    pub max: f64,
}

/// What the engines of a variant's trials counted: all their requests, warm-up and fillers too.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineCounts {
    /// Trials whose engine showed any of it.
    pub trials: u32,
    /// Prompt tokens found in the prefix cache / looked up in it; the mean of the trials' ratios where engines give no counts.
    pub prefix_hit_ratio: Option<f64>,
    /// Prompt tokens looked up; null where engines give no counts.
    pub prefix_queries: Option<u64>,
    /// Sequences put back to make room.
    pub preemptions: Option<u64>,
    /// Speculative decoding; null where the engine has no such counters or drafted nothing.
    pub speculation: Option<Acceptance>,
    /// Arrival to first token.
    pub ttft: Option<EngineTimes>,
    /// Waiting for the first step.
    pub queue: Option<EngineTimes>,
    /// First step to first token.
    pub prefill: Option<EngineTimes>,
    /// First to last token.
    pub decode: Option<EngineTimes>,
    /// Between two tokens.
    pub itl: Option<EngineTimes>,
    /// Arrival to last token.
    pub e2e: Option<EngineTimes>,
    /// The KV cache's use.
    pub kv_use: Option<KvUse>,
}

/// Client and engine on the time to first token of the same requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeOutside {
    /// Requests that both counted: measured ones, warm-up and fillers.
    pub requests: u32,
    /// Mean TTFT as the client saw it, s.
    pub client_s: f64,
    /// Mean TTFT as the engine counted it, from the request's arrival, s.
    pub server_s: f64,
}

impl TimeOutside {
    /// Mean time outside the engine, s: network, client and the HTTP server before the engine counts the arrival.
    #[must_use]
    pub fn outside_s(&self) -> f64 {
        self.client_s - self.server_s
    }
}

/// Why the two views of a trial are not of the same requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NoTriangle {
    /// The engine has no TTFT histogram.
    NotTold,
    /// The client saw first texts, not first tokens.
    FirstText,
    /// The engine counted other requests than the client completed.
    Counts {
        /// Requests that the client completed.
        client: u32,
        /// Requests that the engine counted.
        server: u64,
    },
}

impl fmt::Display for NoTriangle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTold => f.write_str("the engine has no histogram of its time to first token"),
            Self::FirstText => f.write_str("the client saw first texts, not first tokens"),
            Self::Counts { client, server } => {
                write!(f, "the engine counted {server} first tokens, the client {client}")
            }
        }
    }
}

/// A time in which a GPU with work was slower than its settings allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttled {
    /// From the first sample that said so to the first that no longer did.
    pub window: Window,
    /// Every reason that was given in it.
    pub reasons: BTreeSet<ThrottleReason>,
}

/// One GPU in one trial. What was not observed is null, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuUse {
    /// NVML's index.
    pub index: u32,
    /// Samples of the trial, in and around the window.
    pub samples: u32,
    /// Energy in the window: trapezoids of the sampled power, J. Null where the samples span less than 90 % of it.
    pub trapezoid_joules: Option<f64>,
    /// Energy in the window by the GPU's own counter, J. Null as above, or where the counter went back.
    pub counter_joules: Option<f64>,
    /// Most memory in use over the trial.
    pub peak_memory_bytes: Option<u64>,
    /// Memory that was never in use: total − peak.
    pub headroom_bytes: Option<u64>,
    /// Share of the time in which a kernel ran, mean of the samples in the window; null where the GPU never said.
    pub utilisation_ratio: Option<f64>,
    /// Highest temperature over the trial, °C.
    pub max_temperature_celsius: Option<u32>,
    /// Throttled times over the trial, in order, apart from each other.
    pub throttled: Vec<Throttled>,
    /// Share of the window that was throttled; null where the GPU never said.
    pub throttled_ratio: Option<f64>,
}

impl GpuUse {
    /// Energy in the window, J: the counter where the GPU has one, since it misses nothing between two samples.
    #[must_use]
    pub fn joules(&self) -> Option<f64> {
        self.counter_joules.or(self.trapezoid_joules)
    }
}

/// The GPUs of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialGpus {
    /// Each GPU, by index.
    pub gpus: Vec<GpuUse>,
    /// Length of the window, s of engine time.
    pub window_s: f64,
    /// Output tokens that arrived in the window, of all requests; null where the engine does not count them chunk by chunk.
    pub output_tokens: Option<u64>,
    /// Measured requests that were in flight while a GPU was throttled, in the order of the traces.
    pub throttled_requests: Vec<RequestId>,
    /// Measured requests that were sent.
    pub requests: u32,
}

impl TrialGpus {
    /// Mean power of all GPUs in the window, W; none where one GPU's energy is unknown.
    #[must_use]
    pub fn mean_watts(&self) -> Option<f64> {
        let joules: Option<f64> = self.gpus.iter().map(GpuUse::joules).sum();
        joules.filter(|_| self.window_s > 0.0).map(|j| j / self.window_s)
    }

    /// Mean utilisation of the GPUs in the window; none where one of them did not say.
    #[must_use]
    pub fn utilisation_ratio(&self) -> Option<f64> {
        let each: Option<Vec<f64>> = self.gpus.iter().map(|g| g.utilisation_ratio).collect();
        super::OverBlocks::of(each?.into_iter()).map(|o| o.mean)
    }

    /// Energy of all GPUs in the window per output token that arrived in it, J; none where that or one GPU's energy is unknown.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "tokens of a trial are far below 2^53")]
    pub fn joules_per_output_token(&self) -> Option<f64> {
        let joules: Option<f64> = self.gpus.iter().map(GpuUse::joules).sum();
        let tokens = self.output_tokens.filter(|n| *n > 0)?;
        Some(joules? / tokens as f64)
    }
}
