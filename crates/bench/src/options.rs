//! What a bench is asked for. The words of each on the command line are the caller's; the rules between them are here.

use crate::{
    BenchError,
    find_max::Searched,
    text::Lengths,
    tokens::TokenRange,
    values::{BaseUrl, Sweep},
};
use servelab_load::bench::{
    Extent,
    body::{Api, ExtraBody},
};
use servelab_schema::{Arrivals, Load, Nanos, Rate, Slo};
use servelab_stats::Probability;
use std::{num::NonZeroU32, path::PathBuf};

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSource {
    /// The small set that is built in.
    BuiltIn,
    /// JSONL of packed prompts, or rows with `prompt` or `messages`.
    File(PathBuf),
    /// Prompts of these lengths, counted by the tokenizer where there is one, else by the server.
    Lengths(Lengths),
    /// Recorded traffic.
    Replay(PathBuf),
}

/// A search for the highest load that meets the objectives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FindMaxAsked {
    /// What is varied.
    pub searched: Searched,
    /// Which quantile of each latency must be within its limit.
    pub quantile: Probability,
    /// Time that it may take.
    pub budget: Nanos,
}

/// One load, or a sweep of loads, on a running server.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench {
    /// The server.
    pub url: BaseUrl,
    /// The endpoint to load.
    pub api: Api,
    /// Served model; by default the first one of `/v1/models`.
    pub model: Option<String>,
    /// Where prompts come from.
    pub prompts: PromptSource,
    /// Folder of the model's tokenizer; without one the server counts.
    pub tokenizer: Option<PathBuf>,
    /// Turns of each conversation; none for single requests.
    pub turns: Option<NonZeroU32>,
    /// Most tokens of each answer; by default what the prompt file says, or 128.
    pub max_tokens: Option<NonZeroU32>,
    /// Exactly so many tokens of each answer: as `max_tokens` and `ignore_eos` together, and of any range.
    pub output_tokens: Option<TokenRange>,
    /// Ask for exactly `max_tokens`.
    pub ignore_eos: bool,
    /// Seed of prompts, arrivals and sampling.
    pub seed: u64,
    /// The seed is not sent: sampling is the server's.
    pub no_seed: bool,
    /// Members that every body has besides.
    pub extra_body: ExtraBody,
    /// Requests to measure (with turns: conversations).
    pub requests: Option<NonZeroU32>,
    /// Send for so long instead.
    pub duration: Option<Nanos>,
    /// Closed loop: requests in flight.
    pub concurrency: Option<NonZeroU32>,
    /// Open loop: mean arrivals per second.
    pub rate: Option<Rate>,
    /// Arrival process of an open loop; Poisson where none is given.
    pub arrivals: Option<Arrivals>,
    /// Time over which the load rises.
    pub ramp: Option<Nanos>,
    /// So many requests leave together.
    pub batch: Option<NonZeroU32>,
    /// One load after the other.
    pub sweep: Option<Sweep>,
    /// Search the highest load instead.
    pub find_max: Option<FindMaxAsked>,
    /// Unmeasured requests before the first measured one.
    pub warmup: u32,
    /// A load is ended where its first so many measured requests all fail; none: never.
    pub give_up_after: Option<NonZeroU32>,
    /// From sent to the first token.
    pub ttft_timeout: Nanos,
    /// Between two reads of one stream.
    pub idle_timeout: Nanos,
    /// From sent to the end of the body.
    pub total_timeout: Nanos,
    /// Objectives of each request.
    pub slo: Slo,
    /// Environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// More request headers, each `Name: value`.
    pub headers: Vec<String>,
    /// A new file for every request.
    pub traces: Option<PathBuf>,
}

/// Requests in flight where no load is given.
const DEFAULT_CONCURRENCY: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);

/// Requests of a closed loop or a rate where nothing says how many: enough to certify p95.
const DEFAULT_REQUESTS: u32 = 200;

impl Bench {
    /// One load of the built-in prompts on a server, with nothing asked for besides.
    #[must_use]
    pub fn at(url: BaseUrl) -> Self {
        Self {
            url,
            api: Api::Chat,
            model: None,
            prompts: PromptSource::BuiltIn,
            tokenizer: None,
            turns: None,
            max_tokens: None,
            output_tokens: None,
            ignore_eos: false,
            seed: 1,
            no_seed: false,
            extra_body: ExtraBody::default(),
            requests: None,
            duration: None,
            concurrency: None,
            rate: None,
            arrivals: None,
            ramp: None,
            batch: None,
            sweep: None,
            find_max: None,
            warmup: 0,
            give_up_after: None,
            ttft_timeout: Nanos::from_secs(120),
            idle_timeout: Nanos::from_secs(60),
            total_timeout: Nanos::from_secs(600),
            slo: Slo::default(),
            api_key_env: None,
            headers: Vec::new(),
            traces: None,
        }
    }

    /// What contradicts what.
    ///
    /// # Errors
    /// [`BenchError::Options`] with the remedy.
    pub fn check(&self) -> Result<(), BenchError> {
        let refuse = |why: String| Err(BenchError::Options(why));
        if let Some(why) = self.url.contradiction(self.api) {
            return refuse(why);
        }
        let open = self.rate.is_some() || matches!(self.sweep, Some(Sweep::Rate(_))) || self.searches_rate();
        if self.arrivals.is_some() && !open {
            return refuse(
                "--arrivals is how requests of an open loop arrive; give --rate or --sweep rate=… too".to_owned(),
            );
        }
        if self.find_max.is_some() && self.slo == Slo::default() {
            return refuse(
                "--find-max needs objectives to hold a load against; give --slo, such as --slo ttft=2s,tpot=100ms"
                    .to_owned(),
            );
        }
        if self.output_tokens.is_some() && (self.max_tokens.is_some() || self.ignore_eos) {
            return refuse(
                "--output-tokens asks for exactly so many tokens: it takes the place of --max-tokens and --ignore-eos"
                    .to_owned(),
            );
        }
        if self.turns.is_some() && !self.api.takes_messages() {
            let path = self.api.path();
            return refuse(format!("--turns needs messages; {path} has none: use --endpoint chat"));
        }
        if self.api == Api::Embeddings && (self.ignores_eos() || self.max_tokens.is_some()) {
            return refuse(
                "--max-tokens, --output-tokens and --ignore-eos are of answers that are generated; /v1/embeddings generates nothing"
                    .to_owned(),
            );
        }
        if let (Some(ramp), Some(duration)) = (self.ramp, self.duration)
            && ramp >= duration
        {
            return refuse(format!(
                "the ramp ({ramp}) leaves nothing of the duration ({duration}); make it shorter"
            ));
        }
        Ok(())
    }

    /// True where the highest rate is searched.
    pub(crate) fn searches_rate(&self) -> bool {
        self.find_max.is_some_and(|f| f.searched == Searched::Rate)
    }

    /// Loads that there will be.
    #[must_use]
    pub fn load_count(&self) -> usize {
        self.loads().len()
    }

    /// Tokens of the answer to prompt `number`, where the command line says how many.
    pub(crate) fn answer_tokens(&self, number: u64) -> Option<NonZeroU32> {
        let drawn = self
            .output_tokens
            .map(|range| range.draw(self.seed, "output-tokens", number));
        drawn.or(self.max_tokens)
    }

    /// Most tokens of any answer, where the command line says how many.
    pub(crate) fn most_answer_tokens(&self) -> Option<NonZeroU32> {
        self.output_tokens.map(TokenRange::most).or(self.max_tokens)
    }

    /// True where answers are to go on past the model's own end.
    pub(crate) const fn ignores_eos(&self) -> bool {
        self.ignore_eos || self.output_tokens.is_some()
    }

    /// Each load, in order.
    pub(crate) fn loads(&self) -> Vec<Load> {
        let arrivals = self.arrivals.unwrap_or(Arrivals::Poisson);
        let closed = |concurrency| Load::Closed { concurrency };
        let open = |rate_per_s| Load::Open { rate_per_s, arrivals };
        match (&self.sweep, self.rate) {
            (Some(Sweep::Concurrency(list)), _) => list.iter().copied().map(closed).collect(),
            (Some(Sweep::Rate(list)), _) => list.iter().copied().map(open).collect(),
            (None, Some(rate)) => vec![open(rate)],
            (None, None) => vec![closed(self.batch.or(self.concurrency).unwrap_or(DEFAULT_CONCURRENCY))],
        }
    }

    /// How long each load goes on.
    pub(crate) fn extent(&self) -> Extent {
        self.duration.map_or(Extent::Once, Extent::For)
    }

    /// Requests of one load where its prompts do not say: enough that every slot has several.
    pub(crate) fn request_count(&self, load: Load) -> u32 {
        match (self.requests, load) {
            (Some(n), _) => n.get(),
            (None, Load::Closed { concurrency }) => DEFAULT_REQUESTS.max(concurrency.get().saturating_mul(4)),
            (None, Load::Open { .. }) => DEFAULT_REQUESTS,
        }
    }
}
