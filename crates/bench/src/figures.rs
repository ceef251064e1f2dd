//! The figures of one load, and the answer of a sweep. Units stand in the names: `_s` seconds of wall time, `_per_s`.
//!
//! What was not observed is null, never 0. Figures of failed requests are none: a failure stands in `with_failures_s`, as ∞.

use serde::Serialize;
use servelab_schema::{EngineKind, GateResult, Instrument, Reason, TtftKind, findings::Summary};
use servelab_stats::{Certification, Probability, Quantile, Sample, smallest_certifying_n};
use std::{collections::BTreeMap, num::NonZeroU32};

/// The percentiles that are shown.
const PERCENTILES: [(&str, Probability); 4] = [
    ("p50", Probability::P50),
    ("p90", Probability::P90),
    ("p95", Probability::P95),
    ("p99", Probability::P99),
];

/// What a bench came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Format version.
    pub v: u32,
    /// Simulated where the server says so on any of its pages.
    pub engine_kind: EngineKind,
    /// The engine's version by its own account; null where it has no page with it.
    pub engine_version: Option<String>,
    /// The server.
    pub url: String,
    /// Path of the endpoint that was loaded.
    pub endpoint: &'static str,
    /// The model that was asked for.
    pub model: String,
    /// Seed of prompts, arrivals and sampling.
    pub seed: u64,
    /// The loads in their order.
    pub results: Vec<ResultSet>,
}

impl Answer {
    /// True where every load passed its gates and had a request that completed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let good = |set: &ResultSet| set.figures.valid && !set.figures.all_failed();
        self.results.iter().all(good)
    }
}

/// One load and its figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultSet {
    /// The load in words.
    pub load: String,
    /// Requests in flight of a closed loop.
    pub concurrency: Option<NonZeroU32>,
    /// Mean arrivals of an open loop.
    pub rate_per_s: Option<f64>,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// What a reader must know beside them.
    pub notes: Vec<String>,
}

/// One percentile in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Percentile {
    /// `p50`, `p90`, `p95` or `p99`.
    pub p: &'static str,
    /// Of the completed requests.
    pub value_s: f64,
    /// With every failed request as +∞; null = infinite.
    pub with_failures_s: Option<f64>,
    /// Upper bound at 99 % confidence, failures as +∞; null where n is too small or the bound is +∞.
    pub certified_bound_s: Option<f64>,
    /// Smallest n that certifies this percentile.
    pub needs_n: u32,
}

/// One latency over the completed requests, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// Requests behind it.
    pub n: u32,
    /// Failed requests, which count as +∞ in `with_failures_s`.
    pub failed: u32,
    /// Arithmetic mean.
    pub mean_s: f64,
    /// Largest.
    pub max_s: f64,
    /// Exact percentiles (type 7).
    pub percentiles: Vec<Percentile>,
}

impl Latency {
    pub(crate) fn of(values: Vec<f64>, failed: u32) -> Option<Self> {
        let sample = Sample::new(values).ok()?;
        let percentile = |(name, p): (&'static str, Probability)| Percentile {
            p: name,
            value_s: sample.quantile(p),
            with_failures_s: sample.quantile_with_failures(p, failed).finite(),
            certified_bound_s: match Quantile::of(&sample, failed, p).certified {
                Certification::Certified { bound, .. } => bound.finite(),
                Certification::NotCertifiable { .. } => None,
            },
            needs_n: smallest_certifying_n(p),
        };
        Some(Self {
            n: sample.n(),
            failed,
            mean_s: sample.mean(),
            max_s: sample.max(),
            percentiles: PERCENTILES.map(percentile).into(),
        })
    }

    /// The value of one percentile, in seconds.
    #[must_use]
    pub fn at(&self, p: &str) -> Option<&Percentile> {
        self.percentiles.iter().find(|q| q.p == p)
    }
}

/// Mean and spread of a figure that is no latency of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// Values behind it.
    pub n: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl From<Summary> for Spread {
    fn from(s: Summary) -> Self {
        let Summary {
            n,
            mean,
            p50,
            p90,
            p95,
            p99,
            max,
            ..
        } = s;
        Self {
            n,
            mean,
            p50,
            p90,
            p95,
            p99,
            max,
        }
    }
}

/// How many requests ended how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Measured requests that were to be sent; of a load that lasts for a time, that were sent.
    pub planned: u32,
    /// Completed.
    pub completed: u32,
    /// Failed, without those that were cut off.
    pub failed: u32,
    /// The same by reason.
    pub failed_by_reason: BTreeMap<Reason, u32>,
    /// In flight when the user interrupted; neither completed nor failed.
    pub cut_off: u32,
    /// Never sent: the load was interrupted, or an earlier turn of the conversation failed.
    pub never_sent: u32,
    /// Warm-up requests that completed, and that failed.
    pub warm_up_completed: u32,
    /// See `warm_up_completed`.
    pub warm_up_failed: u32,
    /// The engine's own words, one example for each reason.
    pub examples: BTreeMap<Reason, String>,
}

/// Rates over the window: from the first send, or the end of the ramp, to the last end, or the end of the duration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Throughput {
    /// Length of the window, seconds.
    pub window_s: f64,
    /// Requests completed inside the window / its length.
    pub requests_per_s: f64,
    /// Tokens that arrived inside the window / its length; null where the engine does not count them chunk by chunk.
    pub output_tokens_per_s: Option<f64>,
    /// Σ `usage.completion_tokens` of completed requests / (first send → last completion).
    pub completed_output_tokens_per_s: Option<f64>,
    /// Σ `usage.prompt_tokens` of completed requests over the same.
    pub input_tokens_per_s: Option<f64>,
    /// The two together.
    pub total_tokens_per_s: Option<f64>,
    /// Requests completed inside the window that meet every objective / its length; null without objectives.
    pub goodput_requests_per_s: Option<f64>,
    /// Requests that met every objective / all that were measured; null without objectives.
    pub goodput_ratio: Option<f64>,
}

/// Asked, scheduled and achieved arrivals of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Mean of the arrival process.
    pub asked_per_s: f64,
    /// Of the very arrivals that the seed gave.
    pub scheduled_per_s: Option<f64>,
    /// Of what was sent.
    pub achieved_per_s: Option<f64>,
}

/// The figures of one load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// How they ended.
    pub requests: Counts,
    /// Rates over the window; null where there is none.
    pub throughput: Option<Throughput>,
    /// What TTFT is: the first token, or the first text.
    pub ttft_kind: Option<TtftKind>,
    /// Tokens and texts are mixed, so that latencies are of neither kind and left out.
    pub mixed_ttft_kinds: bool,
    /// First token chunk − sent.
    pub ttft: Option<Latency>,
    /// (last − first token chunk) / (N − m₁).
    pub tpot: Option<Latency>,
    /// Last token chunk − sent.
    pub e2e: Option<Latency>,
    /// First token chunk − scheduled.
    pub ttft_from_scheduled: Option<Latency>,
    /// Last token chunk − scheduled.
    pub e2e_from_scheduled: Option<Latency>,
    /// TTFT of each turn of the conversations, by its number from 1.
    pub ttft_by_turn: BTreeMap<u32, Latency>,
    /// Gaps between token chunks, seconds.
    pub icl_s: Option<Spread>,
    /// Tokens per token chunk after each request's first one.
    pub tokens_per_chunk: Option<Spread>,
    /// First non-empty text − sent, seconds.
    pub ttft_content_s: Option<Spread>,
    /// Tokens/s that one user sees: 1 / TPOT.
    pub interactivity_tokens_per_s: Option<Spread>,
    /// E2E / N, seconds.
    pub ntpot_s: Option<Spread>,
    /// Tokens of each answer.
    pub output_tokens: Option<Spread>,
    /// Opening a connection, seconds, of requests that had to.
    pub connect_s: Option<Spread>,
    /// Of an open loop.
    pub rates: Option<Rates>,
    /// What the client measured of itself.
    pub instrument: Instrument,
    /// Every gate that a single load has.
    pub gates: Vec<GateResult>,
    /// False where a gate failed.
    pub valid: bool,
    /// True where the user ended it.
    pub interrupted: bool,
}

impl Figures {
    /// True where requests ended and none of them completed.
    #[must_use]
    pub const fn all_failed(&self) -> bool {
        self.requests.completed == 0
    }
}
