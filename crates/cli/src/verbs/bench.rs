//! `servelab bench`: one load, or a sweep of loads, against a running server.

mod chart;
mod closing;
pub(super) mod command;
mod csv;
mod find_max;
pub(super) mod knee;
mod live;
mod print;

use crate::{
    exit::{Exit, Failure},
    output,
    progress::Waiting,
    project::Project,
};
use anyhow::Context;
use clap::{Args, ValueEnum};
use command::Command;
use live::OnTerminal;
use servelab_bench::{
    BenchError, Blame, FindMaxAsked, PromptSource,
    counting::cache,
    find_max::Searched,
    text::Lengths,
    tokens::TokenRange,
    values::{self, BaseUrl, JsonHeaders, Sweep},
};
use servelab_load::bench::body::{Api, ExtraBody};
use servelab_schema::{Arrivals, Nanos, Rate, Slo, WallNanos};
use servelab_stats::Probability;
use servelab_telemetry::host_facts;
use std::{num::NonZeroU32, path::PathBuf};

/// Which endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EndpointName {
    /// /v1/chat/completions
    Chat,
    /// /v1/completions
    Completions,
    /// /v1/responses
    Responses,
    /// /v1/embeddings: E2E only, as nothing is streamed
    Embeddings,
}

impl From<EndpointName> for Api {
    fn from(name: EndpointName) -> Self {
        match name {
            EndpointName::Chat => Self::Chat,
            EndpointName::Completions => Self::Completions,
            EndpointName::Responses => Self::Responses,
            EndpointName::Embeddings => Self::Embeddings,
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

/// What a search varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchedName {
    /// Arrivals per second.
    Rate,
    /// Requests in flight.
    Concurrency,
}

impl From<SearchedName> for Searched {
    fn from(name: SearchedName) -> Self {
        match name {
            SearchedName::Rate => Self::Rate,
            SearchedName::Concurrency => Self::Concurrency,
        }
    }
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
    url: BaseUrl,
    /// Endpoint to load.
    #[arg(long, value_enum, default_value_t = EndpointName::Chat)]
    endpoint: EndpointName,
    /// Served model; by default the first one of /v1/models.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// Prompts: JSONL of packed prompts, or rows with "prompt" or "messages". By default a small built-in set.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input_tokens", "replay"], help_heading = "Prompts")]
    prompts: Option<PathBuf>,
    /// Prompts of exactly so many tokens, or of MIN..MAX; no two begin alike. The server counts them before the load.
    #[arg(long, value_name = "N", conflicts_with = "replay", help_heading = "Prompts")]
    input_tokens: Option<TokenRange>,
    /// Answers of exactly so many tokens, or of MIN..MAX; most so many where the server takes no ignore_eos.
    #[arg(long, value_name = "N", conflicts_with_all = ["max_tokens", "ignore_eos"], help_heading = "Prompts")]
    output_tokens: Option<TokenRange>,
    /// The first N tokens of all prompts are the same: what a prefix cache is there for.
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, requires = "input_tokens", help_heading = "Prompts")]
    shared_prefix: Option<NonZeroU32>,
    /// Count with this tokenizer: a folder with tokenizer.json and the chat template, or a model in the local Hugging Face
    /// cache, such as mistralai/Mistral-7B-Instruct-v0.3. Nothing is downloaded.
    #[arg(long, value_name = "DIR|ID", help_heading = "Prompts")]
    tokenizer: Option<String>,
    /// Turns of each conversation; a turn carries the history and follows when the one before it has ended.
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, conflicts_with = "replay", help_heading = "Prompts")]
    turns: Option<NonZeroU32>,
    /// Replay recorded traffic: JSONL with "timestamp" in ms and "input_length" (Mooncake), "prompt" or "messages".
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "concurrency", "rate", "sweep", "ramp", "requests"],
          help_heading = "Prompts")]
    replay: Option<PathBuf>,
    /// Most tokens of each answer; by default what the prompt file says, or 128.
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Prompts")]
    max_tokens: Option<NonZeroU32>,
    /// Ask for exactly that many tokens, whatever the model would do.
    #[arg(long, help_heading = "Prompts")]
    ignore_eos: bool,
    /// Seed of prompts, arrivals and sampling.
    #[arg(long, value_name = "N", value_parser = values::seed, allow_negative_numbers = true, default_value_t = 1, help_heading = "Prompts")]
    seed: u64,
    /// Do not send the seed; prompts and arrivals keep it.
    #[arg(long, help_heading = "Prompts")]
    no_seed: bool,
    /// Members that every body has besides, such as '{"top_p": 0.9}'; null takes one away.
    #[arg(long, value_name = "JSON", help_heading = "Prompts")]
    extra_body: Option<ExtraBody>,

    /// Requests to measure (with --turns: conversations); by default each prompt of a file once, or 200, or 4 for each slot.
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, conflicts_with = "duration", help_heading = "Load")]
    requests: Option<NonZeroU32>,
    /// Send for so long instead; what is in flight then still ends.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Load")]
    duration: Option<Nanos>,
    /// Closed loop: requests in flight. 16 where no load is given.
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, conflicts_with_all = ["rate", "batch", "sweep"], help_heading = "Load")]
    concurrency: Option<NonZeroU32>,
    /// Open loop: mean arrivals per second; they never wait for answers.
    #[arg(long, value_name = "R", value_parser = values::rate, allow_negative_numbers = true, conflicts_with_all = ["batch", "sweep"], help_heading = "Load")]
    rate: Option<Rate>,
    /// Arrival process of an open loop: constant, poisson, gamma:SHAPE or burst:N. By default poisson.
    #[arg(long, value_name = "PROCESS", value_parser = values::arrivals, help_heading = "Load")]
    arrivals: Option<Arrivals>,
    /// Slots of a closed loop begin spread over this; the rate of an open loop rises linearly over it.
    #[arg(long, value_name = "TIME", value_parser = values::duration, conflicts_with = "batch", help_heading = "Load")]
    ramp: Option<Nanos>,
    /// So many requests leave together, the next ones when all of them have ended.
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, conflicts_with_all = ["sweep", "turns"], help_heading = "Load")]
    batch: Option<NonZeroU32>,
    /// One load after the other: concurrency=1,4,8 or rate=0.5,1,2.
    #[arg(long, value_name = "KEY=LIST", help_heading = "Load")]
    sweep: Option<Sweep>,
    /// Search the highest rate or concurrency that meets --slo: each load is measured until that is certain, or left undecided.
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["sweep", "rate", "concurrency", "batch", "ramp", "duration",
          "requests", "turns", "replay", "warmup"], requires = "slo", help_heading = "Load")]
    find_max: Option<SearchedName>,
    /// Share of the requests that must be within each limit, such as p90, p95 or 0.99.
    #[arg(long, value_name = "P", value_parser = values::quantile, allow_negative_numbers = true, default_value = "p95", requires = "find_max", help_heading = "Load")]
    slo_quantile: Probability,
    /// Time that the search may take, in minutes.
    #[arg(long, value_name = "N", value_parser = values::minutes, allow_negative_numbers = true, default_value = "20", requires = "find_max", help_heading = "Load")]
    max_minutes: Nanos,
    /// Unmeasured requests that end before the first measured one is sent.
    #[arg(long, value_name = "N", value_parser = values::count_or_none, allow_negative_numbers = true, default_value_t = 0, help_heading = "Load")]
    warmup: u32,

    /// End a load whose first N measured requests all fail; 0: never.
    #[arg(long, value_name = "N", value_parser = values::count_or_none, allow_negative_numbers = true, default_value_t = 20, help_heading = "Limits")]
    give_up_after: u32,
    /// From sent to the first token.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "120s", help_heading = "Limits")]
    ttft_timeout: Nanos,
    /// Between two reads of one stream.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s", help_heading = "Limits")]
    idle_timeout: Nanos,
    /// From sent to the end of the body.
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "600s", help_heading = "Limits")]
    total_timeout: Nanos,
    /// Objectives of each request; goodput counts those that meet all: ttft=2s,tpot=100ms,e2e=30s.
    #[arg(long, value_name = "LIMITS", value_parser = values::slo, help_heading = "Limits")]
    slo: Option<Slo>,

    /// Environment variable that holds the API key; it is sent as a bearer token and never shown.
    #[arg(long, value_name = "NAME", help_heading = "Connection and output")]
    api_key_env: Option<String>,
    /// One more request header; may be given again.
    #[arg(long, value_name = "K: V", help_heading = "Connection and output")]
    header: Vec<String>,
    /// More request headers as a JSON object: '{"x-team": "a"}'.
    #[arg(long, value_name = "JSON", help_heading = "Connection and output")]
    extra_headers: Option<String>,
    /// Keep every request in a new file, which only you may read: JSONL, written as they end.
    #[arg(long, value_name = "FILE", help_heading = "Connection and output")]
    traces: Option<PathBuf>,
    /// Print the formula of each figure, and every gate.
    #[arg(long, help_heading = "Connection and output")]
    explain: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = BenchFormat::Table, help_heading = "Connection and output")]
    format: BenchFormat,
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error.blame() {
            Blame::Asked => Self::usage(error),
            Blame::Given => Self::configuration(error),
            Blame::Machine => Self::environment(error),
        }
    }
}

impl Bench {
    pub(crate) fn execute(self, project: &Project) -> Result<Exit, Failure> {
        let (format, explain) = (self.format, self.explain);
        // Before the load: what is wrong with it must not cost one.
        let command = Command::given();
        let bench = self.asked(project)?;
        bench.check()?;
        if let Some(note) = bench.url.note() {
            output::note(&note);
        }
        let terminal = OnTerminal::listen(bench.load_count(), bench.duration.map(WallNanos::given))
            .context("cannot listen for signals")
            .map_err(Failure::environment)?;
        let waiting = Waiting::of(format!("asking {} what it is and takes", bench.url));
        let prepared = bench.prepare()?;
        drop(waiting);
        let mut answer = prepared.run(&terminal)?;
        answer.host = Some(host_facts());
        answer.command = Some(command.text());
        print::print(format, explain, &answer, &command).map_err(Failure::environment)?;
        Ok(if terminal.is_asked() {
            Exit::Aborted
        } else if answer.is_valid() {
            Exit::Ok
        } else {
            Exit::Invalid
        })
    }

    /// The same in the library's types; paths are the project's.
    fn asked(self, project: &Project) -> Result<servelab_bench::Bench, BenchError> {
        let path = |path: PathBuf| project.path(&path);
        let prompts = match (self.prompts, self.replay, self.input_tokens) {
            (Some(file), ..) => PromptSource::File(path(file)),
            (None, Some(file), _) => PromptSource::Replay(path(file)),
            (None, None, Some(input)) => PromptSource::Lengths(Lengths {
                input,
                shared_prefix: self.shared_prefix.map_or(0, NonZeroU32::get),
            }),
            (None, None, None) => PromptSource::BuiltIn,
        };
        // Not by clap, which would show the value.
        let more_headers: JsonHeaders = self.extra_headers.as_deref().map_or_else(
            || Ok(JsonHeaders::default()),
            |text| {
                text.parse()
                    .map_err(|why| BenchError::Options(format!("--extra-headers: {why}")))
            },
        )?;
        let tokenizer = self
            .tokenizer
            .map(|given| cache::locate(&given, &path(PathBuf::from(&given))));
        Ok(servelab_bench::Bench {
            url: self.url,
            api: self.endpoint.into(),
            model: self.model,
            prompts,
            tokenizer: tokenizer.transpose()?,
            turns: self.turns,
            max_tokens: self.max_tokens,
            output_tokens: self.output_tokens,
            ignore_eos: self.ignore_eos,
            seed: self.seed,
            no_seed: self.no_seed,
            extra_body: self.extra_body.unwrap_or_default(),
            requests: self.requests,
            duration: self.duration,
            concurrency: self.concurrency,
            rate: self.rate,
            arrivals: self.arrivals,
            ramp: self.ramp,
            batch: self.batch,
            sweep: self.sweep,
            find_max: self.find_max.map(|name| FindMaxAsked {
                searched: name.into(),
                quantile: self.slo_quantile,
                budget: self.max_minutes,
            }),
            warmup: self.warmup,
            give_up_after: NonZeroU32::new(self.give_up_after),
            ttft_timeout: self.ttft_timeout,
            idle_timeout: self.idle_timeout,
            total_timeout: self.total_timeout,
            slo: self.slo.unwrap_or_default(),
            api_key_env: self.api_key_env,
            headers: [self.header, more_headers.0].concat(),
            traces: self.traces.map(path),
        })
    }
}
