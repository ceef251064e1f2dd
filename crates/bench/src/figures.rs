//! The figures of one load, and the answer of a sweep. Units stand in the names: `_s` seconds of wall time, `_per_s`.
//!
//! What was not observed is null, never 0. Figures of failed requests are none: a failure stands in `with_failures`, as ∞.

use crate::{
    Asked, ClientFigures,
    at_load::AtLoad,
    counting::CountedBy,
    find_max::FindMax,
    knee::SweepKnee,
    quantiles,
    text::{Lengths, Lexicon, Material},
    tokens::TokenRange,
};
use serde::Serialize;
use servelab_findings::of_one_load;
use servelab_schema::{
    Capabilities, EngineKind, GateResult, HostFacts, Reason, TokenSource, TtftKind,
    findings::{PooledQuantile, Summary},
};
use std::{collections::BTreeMap, fmt, num::NonZeroU32};

/// What a bench came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Format version.
    pub v: u32,
    /// Version of servelab.
    pub servelab_version: &'static str,
    /// When the first load began, RFC 3339 in UTC.
    pub started_utc: String,
    /// The machine that measured; null where whoever asked did not say.
    pub host: Option<HostFacts>,
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
    /// Seed of prompts and arrivals, and of sampling where it was sent (`asked.prompts.seed_is_sent`).
    pub seed: u64,
    /// What the server takes and does, as a few small requests before the load have shown.
    pub capabilities: Capabilities,
    /// What it lacks and what that costs.
    pub server_notes: Vec<String>,
    /// Members that every body had besides; null where there were none.
    pub extra_body: Option<serde_json::Map<String, serde_json::Value>>,
    /// What was asked for.
    pub asked: Asked,
    /// How long prompts and answers are, and who counted; null unless lengths were asked for.
    pub lengths: Option<PromptLengths>,
    /// The command that asked for it, without the values of headers; null where it was no command.
    pub command: Option<String>,
    /// The knee of a sweep; null otherwise.
    pub knee: Option<SweepKnee>,
    /// What a search for the highest load came to; null otherwise.
    pub find_max: Option<FindMax>,
    /// The loads in their order; of a search, every part of every probe.
    pub results: Vec<ResultSet>,
    /// Loads that were asked for and not begun, because somebody ended it or the one before gave up.
    pub not_run: Vec<AtLoad>,
}

impl Answer {
    /// True where every load passed its gates and had a request that completed; of a search, where it found a load.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        if let Some(search) = &self.find_max {
            return search.meets.is_some();
        }
        let good = |set: &ResultSet| set.figures.valid && !set.figures.all_failed();
        self.results.iter().all(good)
    }
}

/// How long prompts and answers were asked to be, and who counted the prompts' tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromptLengths {
    /// Shortest prompt; words and marks where `counted_by` is `nobody`.
    pub input_tokens_least: NonZeroU32,
    /// Longest prompt.
    pub input_tokens_most: NonZeroU32,
    /// Shortest answer that is asked for; null where the length of answers was not asked for.
    pub output_tokens_least: Option<NonZeroU32>,
    /// Longest answer.
    pub output_tokens_most: Option<NonZeroU32>,
    /// False where the server lets an answer end earlier than was asked for; null where no length was asked for.
    pub output_tokens_are_exact: Option<bool>,
    /// Tokens of text with which every prompt begins alike.
    pub shared_prefix_tokens: u32,
    /// Who counted.
    pub counted_by: CountedBy,
    /// Requests that the server was sent for it before the load.
    pub counting_requests: u32,
    /// What prompts are made of.
    pub text: Material,
}

impl PromptLengths {
    pub(crate) fn new(lengths: Lengths, output: Option<TokenRange>, lexicon: &Lexicon) -> Self {
        Self {
            input_tokens_least: lengths.input.least(),
            input_tokens_most: lengths.input.most(),
            output_tokens_least: output.map(TokenRange::least),
            output_tokens_most: output.map(TokenRange::most),
            output_tokens_are_exact: None,
            shared_prefix_tokens: lengths.shared_prefix,
            counted_by: lexicon.counted_by(),
            counting_requests: lexicon.requests(),
            text: lexicon.material(),
        }
    }

    /// The same, where it is known whether answers go on past the model's own end.
    pub(crate) fn answered_by(mut self, ignores_eos: bool) -> Self {
        self.output_tokens_are_exact = self.output_tokens_most.map(|_| ignores_eos);
        self
    }

    /// What a reader must know beside the figures.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.counted_by.counts() {
            notes.push(
                "prompts are as long as was asked for in words and marks, not in tokens: nothing on the server counts a whole \
                 prompt with its template, neither usage nor a page; give --tokenizer"
                    .to_owned(),
            );
        }
        if self.text == Material::Words {
            notes.push(
                "prompts are of single common words: the model's tokenizer knows few words as one token".to_owned(),
            );
        }
        if self.shared_prefix_tokens > 0 {
            notes.push(format!(
                "all prompts begin with the same {} tokens, as asked for: an engine with a prefix cache computes them once",
                self.shared_prefix_tokens
            ));
        }
        notes
    }
}

impl fmt::Display for PromptLengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |least: NonZeroU32, most: NonZeroU32| match least == most {
            true => least.to_string(),
            false => format!("{least} to {most}"),
        };
        let prompts = range(self.input_tokens_least, self.input_tokens_most);
        let unit = if self.counted_by.counts() {
            "tokens"
        } else {
            "words and marks"
        };
        write!(f, "prompts of {prompts} {unit}")?;
        if let (Some(least), Some(most)) = (self.output_tokens_least, self.output_tokens_most) {
            let at_most = if self.output_tokens_are_exact == Some(true) {
                ""
            } else {
                "at most "
            };
            write!(f, ", answers of {at_most}{} tokens", range(least, most))?;
        }
        if self.counted_by.counts() {
            let plural = if self.counting_requests == 1 { "" } else { "s" };
            let requests = self.counting_requests;
            write!(
                f,
                "; counted by {} ({requests} request{plural} before the load)",
                self.counted_by
            )?;
        }
        Ok(())
    }
}

/// One load and its figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultSet {
    /// The load in words.
    pub load: String,
    /// Requests in flight of a closed loop, or mean arrivals of an open one.
    #[serde(flatten)]
    pub at: AtLoad,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// What a reader must know beside them.
    pub notes: Vec<String>,
}

/// One latency over the requests of a load, in seconds: the figures that a run's findings hold of a cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// Mean, spread and extremes of the completed requests.
    pub summary_s: Summary,
    /// Failed requests: those that `with_failures` counts as +∞.
    pub failed: u32,
    /// p50, p90, p95 and p99, in this order. One load has no blocks, so no interval either.
    #[serde(serialize_with = "quantiles::serialize")]
    pub quantiles: Vec<PooledQuantile>,
}

impl Latency {
    pub(crate) fn of(values: Vec<f64>, failed: u32) -> Option<Self> {
        let (summary_s, quantiles) = of_one_load(values, failed)?;
        Some(Self {
            summary_s,
            failed,
            quantiles,
        })
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
    /// Set where the load was ended because its first so many measured requests all failed.
    pub gave_up_after: Option<NonZeroU32>,
    /// The engine's own words, one example for each reason.
    pub examples: BTreeMap<Reason, String>,
    /// What helps, for each reason of which something is known.
    pub remedies: BTreeMap<Reason, String>,
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadEnd {
    /// By itself.
    Complete,
    /// Somebody ended it.
    Interrupted,
    /// Its first measured requests all failed, so it was ended.
    GaveUp,
}

/// Rates over the window: from the first send, or the end of the ramp, to the last end, or the end of the duration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Throughput {
    /// Length of the window, seconds.
    pub window_s: f64,
    /// Requests completed inside the window / its length; null where none completed.
    pub requests_per_s: Option<f64>,
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
    /// What TTFT is: the first token, or the first text; an answer that comes whole has none.
    pub ttft_kind: Option<TtftKind>,
    /// Who counted the tokens; null where nobody did.
    pub token_source: Option<TokenSource>,
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
    pub icl_s: Option<Summary>,
    /// Tokens per token chunk after each request's first one.
    pub tokens_per_chunk: Option<Summary>,
    /// First non-empty text − sent, seconds.
    pub ttft_content_s: Option<Summary>,
    /// Tokens/s that one user sees: 1 / TPOT.
    pub interactivity_tokens_per_s: Option<Summary>,
    /// E2E / N, seconds.
    pub ntpot_s: Option<Summary>,
    /// Tokens of each answer.
    pub output_tokens: Option<Summary>,
    /// Opening a connection, seconds, of requests that had to.
    pub connect_s: Option<Summary>,
    /// Of an open loop.
    pub rates: Option<Rates>,
    /// What the client measured of itself.
    pub instrument: ClientFigures,
    /// Every gate that a single load has.
    pub gates: Vec<GateResult>,
    /// False where a gate failed.
    pub valid: bool,
    /// How it ended.
    pub end: LoadEnd,
}

impl Figures {
    /// True where requests ended and none of them completed.
    #[must_use]
    pub const fn all_failed(&self) -> bool {
        self.requests.completed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_at_most_so_long_where_the_server_may_end_them() {
        let eight = NonZeroU32::new(8);
        let lengths = PromptLengths {
            input_tokens_least: NonZeroU32::MIN,
            input_tokens_most: NonZeroU32::MIN,
            output_tokens_least: eight,
            output_tokens_most: eight,
            output_tokens_are_exact: None,
            shared_prefix_tokens: 0,
            counted_by: CountedBy::ServerUsage,
            counting_requests: 1,
            text: Material::Sentences,
        };
        let said = |ignores_eos| lengths.clone().answered_by(ignores_eos).to_string();
        assert!(said(true).contains(", answers of 8 tokens;"), "{}", said(true));
        assert!(
            said(false).contains(", answers of at most 8 tokens;"),
            "{}",
            said(false)
        );
        let unasked = PromptLengths {
            output_tokens_least: None,
            output_tokens_most: None,
            ..lengths.clone()
        };
        assert_eq!(unasked.answered_by(true).output_tokens_are_exact, None);
    }
}
