//! The command line of `servelab bench`.

use super::values::{self, BaseUrl, Sweep};
use clap::{Args, ValueEnum};
use servelab_load::bench::{Extent, body::Api};
use servelab_schema::{Arrivals, Load, Nanos, Rate, Slo};
use std::{num::NonZeroU32, path::PathBuf};

/// Which endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EndpointName {
    /// /v1/chat/completions
    Chat,
    /// /v1/completions
    Completions,
}

impl From<EndpointName> for Api {
    fn from(name: EndpointName) -> Self {
        match name {
            EndpointName::Chat => Self::Chat,
            EndpointName::Completions => Self::Completions,
        }
    }
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// One line for each load.
    Csv,
}

/// Arguments of `servelab bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Units and formulas stand beside each figure; docs/BENCH.md explains them. Exit codes: 0 ok, 2 usage, \
3 a file is wrong, 4 the server or the machine lacks something, 5 interrupted, 6 a gate failed or every request did."
)]
pub(crate) struct Bench {
    /// The server, such as http://127.0.0.1:8000.
    #[arg(long, value_name = "URL")]
    pub(super) url: BaseUrl,
    /// Endpoint to load.
    #[arg(long, value_enum, default_value_t = EndpointName::Chat)]
    pub(super) endpoint: EndpointName,
    /// Served model; by default the first one of /v1/models.
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,

    /// Prompts: JSONL of packed prompts, or rows with "prompt" or "messages". By default a small built-in set.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input_tokens", "replay"], help_heading = "Prompts")]
    pub(super) prompts: Option<PathBuf>,
    /// Prompts of exactly so many tokens, counted by --tokenizer; no two begin alike.
    #[arg(
        long,
        value_name = "N",
        requires = "tokenizer",
        conflicts_with = "replay",
        help_heading = "Prompts"
    )]
    pub(super) input_tokens: Option<NonZeroU32>,
    /// Folder with the model's tokenizer.json, tokenizer_config.json and chat template.
    #[arg(long, value_name = "DIR", help_heading = "Prompts")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Turns of each conversation; a turn carries the history and follows when the one before it has ended.
    #[arg(long, value_name = "N", conflicts_with = "replay", help_heading = "Prompts")]
    pub(super) turns: Option<NonZeroU32>,
    /// Replay recorded traffic: JSONL with "timestamp" in ms and "input_length" (Mooncake), "prompt" or "messages".
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "concurrency", "rate", "sweep", "ramp", "requests"],
          help_heading = "Prompts")]
    pub(super) replay: Option<PathBuf>,
    /// Most tokens of each answer; by default what the prompt file says, or 128.
    #[arg(long, value_name = "N", help_heading = "Prompts")]
    pub(super) max_tokens: Option<NonZeroU32>,
    /// Ask for exactly that many tokens, whatever the model would do.
    #[arg(long, help_heading = "Prompts")]
    pub(super) ignore_eos: bool,
    /// Seed of prompts, arrivals and sampling.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Prompts")]
    pub(super) seed: u64,

    /// Requests to measure (with --turns: conversations); by default each prompt of a file once, or 200, or 4 for each slot.
    #[arg(long, value_name = "N", conflicts_with = "duration", help_heading = "Load")]
    pub(super) requests: Option<NonZeroU32>,
    /// Send for so long instead; what is in flight then still ends.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Load")]
    pub(super) duration: Option<Nanos>,
    /// Closed loop: requests in flight. 16 where no load is given.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "batch", "sweep"], help_heading = "Load")]
    pub(super) concurrency: Option<NonZeroU32>,
    /// Open loop: mean arrivals per second; they never wait for answers.
    #[arg(long, value_name = "R", value_parser = values::rate, allow_negative_numbers = true, conflicts_with_all = ["batch", "sweep"], help_heading = "Load")]
    pub(super) rate: Option<Rate>,
    /// Arrival process of an open loop: constant, poisson, gamma:SHAPE or burst:N. By default poisson.
    #[arg(long, value_name = "PROCESS", value_parser = values::arrivals, help_heading = "Load")]
    pub(super) arrivals: Option<Arrivals>,
    /// Slots of a closed loop begin spread over this; the rate of an open loop rises linearly over it.
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "batch", help_heading = "Load")]
    pub(super) ramp: Option<Nanos>,
    /// So many requests leave together, the next ones when all of them have ended.
    #[arg(long, value_name = "N", conflicts_with_all = ["sweep", "turns"], help_heading = "Load")]
    pub(super) batch: Option<NonZeroU32>,
    /// One load after the other: concurrency=1,4,8 or rate=0.5,1,2.
    #[arg(long, value_name = "KEY=LIST", help_heading = "Load")]
    pub(super) sweep: Option<Sweep>,
    /// Unmeasured requests that end before the first measured one is sent.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Load")]
    pub(super) warmup: u32,

    /// From sent to the first token.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "120s", help_heading = "Limits")]
    pub(super) ttft_timeout: Nanos,
    /// Between two reads of one stream.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s", help_heading = "Limits")]
    pub(super) idle_timeout: Nanos,
    /// From sent to the end of the body.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "600s", help_heading = "Limits")]
    pub(super) total_timeout: Nanos,
    /// Objectives of each request; goodput counts those that meet all: ttft=2s,tpot=100ms,e2e=30s.
    #[arg(long, value_name = "LIMITS", value_parser = values::slo, help_heading = "Limits")]
    pub(super) slo: Option<Slo>,

    /// Environment variable that holds the API key; it is sent as a bearer token and never shown.
    #[arg(long, value_name = "NAME", help_heading = "Connection and output")]
    pub(super) api_key_env: Option<String>,
    /// One more request header; may be given again.
    #[arg(long, value_name = "K: V", help_heading = "Connection and output")]
    pub(super) header: Vec<String>,
    /// Keep every request: JSONL, written as they end.
    #[arg(long, value_name = "FILE", help_heading = "Connection and output")]
    pub(super) traces: Option<PathBuf>,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = BenchFormat::Table, help_heading = "Connection and output")]
    pub(super) format: BenchFormat,
}

/// Requests in flight where no load is given.
const DEFAULT_CONCURRENCY: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);

/// Requests of a closed loop or a rate where nothing says how many: enough to certify p95.
const DEFAULT_REQUESTS: u32 = 200;

impl Bench {
    /// What clap's own rules cannot say.
    ///
    /// # Errors
    /// What contradicts what, for people.
    pub(super) fn check(&self) -> Result<(), String> {
        let open = self.rate.is_some() || matches!(self.sweep, Some(Sweep::Rate(_)));
        if self.arrivals.is_some() && !open {
            return Err(
                "--arrivals is how requests of an open loop arrive; give --rate or --sweep rate=… too".to_owned(),
            );
        }
        if self.turns.is_some() && self.endpoint == EndpointName::Completions {
            return Err("--turns needs messages; /v1/completions has none: use --endpoint chat".to_owned());
        }
        if let (Some(ramp), Some(duration)) = (self.ramp, self.duration)
            && ramp >= duration
        {
            return Err(format!(
                "the ramp ({ramp}) leaves nothing of the duration ({duration}); make it shorter"
            ));
        }
        Ok(())
    }

    /// Each load, in order.
    pub(super) fn loads(&self) -> Vec<Load> {
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
    pub(super) fn extent(&self) -> Extent {
        self.duration.map_or(Extent::Once, Extent::For)
    }

    /// Requests of one load where its prompts do not say: enough that every slot has several.
    pub(super) fn request_count(&self, load: Load) -> u32 {
        match (self.requests, load) {
            (Some(n), _) => n.get(),
            (None, Load::Closed { concurrency }) => DEFAULT_REQUESTS.max(concurrency.get().saturating_mul(4)),
            (None, Load::Open { .. }) => DEFAULT_REQUESTS,
        }
    }
}
