//! What an engine counted of itself during a trial: the differences between two readings of its `/metrics`.

use crate::Ratio;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one histogram of the engine gained during the trial. Seconds as its page gives them, which is engine time: the
/// simulated engine counts in it too, whatever its time scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistogramRise {
    /// Observations.
    pub count: u64,
    /// Their sum, in seconds of engine time.
    pub sum_s: f64,
    /// Upper bounds in seconds of engine time and how many observations were at most that, ascending; without +∞, whose
    /// count is `count`.
    pub at_most: Vec<(f64, u64)>,
}

/// Speculative decoding during the trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeculationRise {
    /// Drafts made; null where the engine does not count them.
    pub drafts: Option<u64>,
    /// Tokens drafted.
    pub draft_tokens: u64,
    /// Drafted tokens that were accepted.
    pub accepted_tokens: u64,
    /// Accepted tokens by their position in the draft, from the first; empty where the engine does not say.
    pub accepted_per_position: Vec<u64>,
}

/// What the engine counted during one trial, of all its requests: warm-up and fillers too. Every field is null where the
/// engine does not tell, never 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineMetrics {
    /// Prompt tokens.
    pub prompt_tokens: Option<u64>,
    /// Generated tokens.
    pub generation_tokens: Option<u64>,
    /// Finished requests by the engine's own reason; `any` where it counts them without one.
    pub finished: Option<BTreeMap<String, u64>>,
    /// Sequences that were put back to make room.
    pub preemptions: Option<u64>,
    /// Prompt tokens that were looked up in the prefix cache.
    pub prefix_cache_queries: Option<u64>,
    /// Of these, found.
    pub prefix_cache_hits: Option<u64>,
    /// Share of the prompt tokens that the prefix cache answered; from the counters, or a gauge of older engines.
    pub prefix_cache_hit_ratio: Option<Ratio>,
    /// Speculative decoding; null where the engine has no such counters.
    pub speculation: Option<SpeculationRise>,
    /// From the arrival at the engine to the first token.
    pub ttft: Option<HistogramRise>,
    /// Between two tokens.
    pub itl: Option<HistogramRise>,
    /// From the arrival to the last token.
    pub e2e: Option<HistogramRise>,
    /// Waiting for the first step.
    pub queue: Option<HistogramRise>,
    /// From the first step to the first token.
    pub prefill: Option<HistogramRise>,
    /// From the first to the last token.
    pub decode: Option<HistogramRise>,
}
