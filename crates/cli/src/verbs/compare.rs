//! `servelab compare`: servers that are up already, held beside each other with error bars.

mod print;
mod prompts;
mod servers;

use super::{
    bench::command,
    ingest::ingest,
    run,
    signals::{self, Begun},
};
use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
    progress::{Told, Waiting},
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::Args;
use print::{Answer, Side};
use prompts::{PromptArgs, Prompts};
use servelab_bench::{
    Bench,
    fresh::{FreshAsked, fresh},
    values::{self, BaseUrl},
};
use servelab_load::clock::utc_now;
use servelab_matrix::Compared;
use servelab_runner::{EventLog, MachineLock, RunOptions, RunOutcome, StopFlag, execute, lock_folder};
use servelab_schema::{Arrivals, Load, Margin, MetricName, OtherServer, Plan, Rate, RunEnd, WallNanos, Wish};
use servers::Server;
use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

/// Requests in flight where no load is given.
const CONCURRENCY: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);

/// How long a trial is meant to hold the load, and how long it must, seconds.
const TRIAL_S: f64 = 8.0;
const LEAST_TRIAL_S: u32 = 4;

/// Whoever says how many requests a trial has wants it as long as they take.
const LEAST_ASKED_TRIAL_S: u32 = 1;

/// Measured requests of a trial at least, as the gates want them, and at most.
const LEAST_REQUESTS: u32 = 30;
const MOST_REQUESTS: u32 = 2000;

/// Arguments of `servelab compare`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every server is as good or better, 7 one is worse, 8 no evidence, 2 usage, 4 a server or the \
machine lacks something, 5 interrupted, 6 measured but invalid. docs/COMPARE.md explains the rest."
)]
pub(crate) struct Compare {
    /// A server, such as http://127.0.0.1:8000; given once for each, the first is what the others are compared with.
    #[arg(long = "url", value_name = "URL", required = true)]
    urls: Vec<BaseUrl>,
    /// Served model, once for all servers or once for each; by default the first one of each /v1/models.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Environment variable that holds the API key, once for all servers or once for each ("" for a server that wants none).
    #[arg(long, value_name = "NAME")]
    api_key_env: Vec<String>,
    /// Blocks: in each every server gets the load once, and the first one twice.
    #[arg(long, value_parser = values::count, value_name = "N", default_value = "20")]
    blocks: NonZeroU32,
    /// No block begins that would end later than this; with fewer than 6 blocks the verdict is only a hint.
    #[arg(long, value_name = "MINUTES", default_value = "20", value_parser = minutes)]
    max_minutes: WallNanos,
    /// Closed loop: requests in flight. 8 where no load is given.
    #[arg(long, value_parser = values::count, value_name = "N", conflicts_with = "rate")]
    concurrency: Option<NonZeroU32>,
    /// Open loop: mean arrivals per second (Poisson).
    #[arg(long, value_name = "R", value_parser = values::rate)]
    rate: Option<Rate>,
    /// Measured requests of each trial; by default enough for about 8 seconds, going by one request to each server.
    #[arg(long, value_parser = values::count, value_name = "N")]
    requests: Option<NonZeroU32>,
    /// A trial that holds the load for less does not count; 4 seconds, or 1 where --requests is given.
    #[arg(long, value_parser = values::count, value_name = "SECONDS")]
    min_duration: Option<NonZeroU32>,
    #[command(flatten)]
    prompts: PromptArgs,
    /// The metric that decides, such as output-throughput, ttft-p50 or e2e-p95.
    #[arg(long, value_name = "METRIC", value_parser = metric)]
    metric: Option<MetricName>,
    /// Smallest effect that matters, such as 0.03.
    #[arg(long, value_name = "RATIO", value_parser = margin)]
    delta: Option<Margin>,
    /// Seed of prompts, order and arrivals; by default a new one, so that no server knows the prompts of an earlier comparison.
    #[arg(long, value_parser = values::seed, value_name = "N")]
    seed: Option<u64>,
    /// Do not measure the load generator first; the run then says nothing of its precision.
    #[arg(long)]
    no_calibrate: bool,
    /// Go on where a run measures on this machine; the evidence then says so.
    #[arg(long)]
    share_machine: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

fn minutes(text: &str) -> Result<WallNanos, String> {
    values::minutes(text).map(WallNanos::given)
}

fn metric(text: &str) -> Result<MetricName, String> {
    let tested = || {
        MetricName::ALL
            .into_iter()
            .filter(|m| !m.is_pooled() && *m != MetricName::Goodput)
    };
    tested().find(|m| m.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = tested().map(MetricName::as_str).collect();
        format!("give one of {}", names.join(", "))
    })
}

fn margin(text: &str) -> Result<Margin, String> {
    let ratio: f64 = text.parse().map_err(|_| "give a ratio, such as 0.03".to_owned())?;
    Margin::new(ratio).map_err(|e| e.to_string())
}

/// What was given once for all or once for each of `n`.
fn spread<T: Clone>(given: &[T], n: usize, option: &str) -> Result<Vec<Option<T>>, Failure> {
    match given {
        [] => Ok(vec![None; n]),
        [one] => Ok(vec![Some(one.clone()); n]),
        each if each.len() == n => Ok(each.iter().cloned().map(Some).collect()),
        each => Err(Failure::usage(anyhow!(
            "{option} is given {} times for {n} servers; give it once for all, or once for each in the order of --url",
            each.len()
        ))),
    }
}

impl Compare {
    pub(crate) fn execute(self, project: &Project, events: EventLog) -> Result<Exit, Failure> {
        let least_s = self.least_trial_s()?;
        let benches = servers::benches(&self.urls, (&self.model, &self.api_key_env), |url| self.bench(url))?;
        let benches = self.prompts.with_tokenizers(project, benches)?;
        let seed = self.seed.unwrap_or_else(new_seed);
        let (stop, begun) = (StopFlag::default(), Begun::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .context("cannot start an event loop")
            .map_err(Failure::environment)?;
        signals::obey(&stop, &begun).map_err(Failure::environment)?;
        let waiting = Waiting::of("asking the servers what they are and take".to_owned());
        let servers = servers::servers(&benches, &runtime, &stop)?;
        let prompts = self.prompts.prepare(&servers, seed)?;
        let (text, most) = (prompts.timed(seed)?, self.prompts.output_tokens.most());
        let mut alone = Vec::new();
        for server in &servers {
            alone.push(server.looked.one_request(&text, most)?);
        }
        drop(waiting);
        let sides = Side::of(&servers, &alone, &prompts);
        if self.format == Format::Table {
            print::identities(&sides);
        }
        if let Some((a, b)) = servers::one_process(&servers) {
            output::warn(&format!(
                "one process of this machine serves {} and {}: unless it stands before two servers, one is compared with itself",
                a.url, b.url
            ));
        }
        let per_trial = self.requests_per_trial(&alone);
        let (root, plan) = self.plan(project, &servers, &prompts, (seed, per_trial, least_s))?;
        let program = Project::servelab()?;
        let machine = MachineLock::take(&lock_folder(), self.share_machine).map_err(Failure::environment)?;
        let instrument = if self.no_calibrate {
            None
        } else {
            Some(run::calibrated(&program, &plan, &root)?)
        };
        let options = RunOptions {
            instrument,
            machine: Some(Arc::new(machine)),
            events,
            ..RunOptions::new(root, project.runs(), program)
        };
        let told = Told::new(plan.trial_count(), plan.engine_kind);
        begun.set();
        let outcome = runtime.block_on(execute(&plan, &Wish::default(), &options, &stop, &told));
        told.finish();
        let outcome = outcome.map_err(run::failure)?;
        let page = page(project, &outcome)?;
        let again = self.again(project, (seed, per_trial, least_s));
        let answer = Answer {
            plan: &plan,
            sides: &sides,
            outcome: &outcome,
            page: &page,
            again: &again,
        };
        answer.print(self.format).map_err(Failure::environment)?;
        exit(&plan, outcome)
    }

    /// What a server is asked with before the comparison.
    fn bench(&self, url: BaseUrl) -> Bench {
        Bench {
            output_tokens: Some(self.prompts.output_tokens),
            ..Bench::at(url)
        }
    }

    fn load(&self) -> Load {
        self.rate.map_or_else(
            || Load::Closed {
                concurrency: self.concurrency.unwrap_or(CONCURRENCY),
            },
            |rate_per_s| Load::Open {
                rate_per_s,
                arrivals: Arrivals::Poisson,
            },
        )
    }

    /// As many as fill a trial of about [`TRIAL_S`], going by the fastest server.
    fn requests_per_trial(&self, alone: &[Duration]) -> u32 {
        if let Some(n) = self.requests {
            return n.get();
        }
        let fastest = alone.iter().map(Duration::as_secs_f64).fold(f64::INFINITY, f64::min);
        let per_s = match self.load() {
            Load::Closed { concurrency } => f64::from(concurrency.get()) / fastest.max(1e-3),
            Load::Open { rate_per_s, .. } => rate_per_s.get(),
        };
        let least = match self.load() {
            Load::Closed { concurrency } => concurrency.get().saturating_mul(4).max(LEAST_REQUESTS),
            Load::Open { .. } => LEAST_REQUESTS,
        };
        #[expect(clippy::as_conversions, reason = "float to integer saturates")]
        let wanted = (per_s * TRIAL_S).ceil() as u32;
        wanted.clamp(least, MOST_REQUESTS.max(least))
    }

    /// How long a trial must hold the load, seconds.
    fn least_trial_s(&self) -> Result<u32, Failure> {
        if let Some(n) = self.requests.filter(|n| n.get() < LEAST_REQUESTS) {
            return Err(Failure::usage(anyhow!(
                "--requests {n}: a trial of fewer than {LEAST_REQUESTS} requests does not count; give {LEAST_REQUESTS} or more"
            )));
        }
        let by_default = if self.requests.is_some() {
            LEAST_ASKED_TRIAL_S
        } else {
            LEAST_TRIAL_S
        };
        Ok(self.min_duration.map_or(by_default, NonZeroU32::get))
    }

    /// Makes the prompts, writes them into the project, and plans.
    fn plan(
        &self,
        project: &Project,
        found: &[Server<'_>],
        prompts: &Prompts,
        (seed, per_trial, least_s): (u64, u32, u32),
    ) -> Result<(std::path::PathBuf, Plan), Failure> {
        let root = project
            .root()
            .canonicalize()
            .context("--project")
            .map_err(Failure::environment)?;
        let held = match self.load() {
            Load::Closed { concurrency } => concurrency.get(),
            Load::Open { .. } => 16,
        };
        let trials = u32::try_from(self.urls.len()).unwrap_or(u32::MAX).saturating_add(1);
        let made = fresh(&FreshAsked {
            seed,
            text: prompts.text(),
            blocks: self.blocks.get(),
            per_trial,
            trials_per_block: trials,
            fillers_per_trial: held.saturating_mul(3).saturating_add(8),
            output_tokens: self.prompts.output_tokens,
        })
        .map_err(Failure::usage)?;
        let written = prompts::written(&root, made).map_err(Failure::environment)?;
        let servers = found.iter().enumerate().map(|(n, server)| OtherServer {
            base: server.asked.base.clone(),
            served_model: server.asked.model.clone(),
            dialect: server.seen.dialect,
            api_key_env: server.asked.api_key_env.clone(),
            more_prompt_tokens: prompts.more_tokens(n),
        });
        let plan = servelab_matrix::servers(Compared {
            name: "compare".to_owned(),
            servers: servers.collect(),
            version: found.first().and_then(|s| s.seen.version.clone()),
            simulated: found.iter().all(Server::is_simulated),
            asked_at_most: servers::common(found),
            prompts: written,
            may_repeat: found.iter().all(|s| s.seen.takes_cache_salt),
            load: self.load(),
            seed,
            metric: self.metric,
            delta: self.delta,
            blocks_within: Some(self.max_minutes),
            min_duration_s: least_s,
        })
        .map_err(Failure::configuration)?;
        Ok((root, plan))
    }

    /// The command that does the same again, with what was chosen by itself written out.
    fn again(&self, project: &Project, (seed, per_trial, least_s): (u64, u32, u32)) -> String {
        let mut words = vec!["servelab".to_owned()];
        if project.root() != Path::new(".") {
            words.extend(["--project".to_owned(), project.root().display().to_string()]);
        }
        words.push("compare".to_owned());
        let mut add = |option: &str, value: &str| words.extend([option.to_owned(), value.to_owned()]);
        self.urls.iter().for_each(|url| add("--url", &url.to_string()));
        self.model.iter().for_each(|model| add("--model", model));
        self.api_key_env.iter().for_each(|name| add("--api-key-env", name));
        add("--blocks", &self.blocks.to_string());
        add(
            "--max-minutes",
            &(Duration::from(self.max_minutes).as_secs_f64() / 60.0).to_string(),
        );
        match self.load() {
            Load::Closed { concurrency } => add("--concurrency", &concurrency.to_string()),
            Load::Open { rate_per_s, .. } => add("--rate", &rate_per_s.get().to_string()),
        }
        add("--requests", &per_trial.to_string());
        add("--min-duration", &least_s.to_string());
        self.prompts
            .again()
            .iter()
            .for_each(|(option, value)| add(option, value));
        if let Some(metric) = self.metric {
            add("--metric", metric.as_str());
        }
        if let Some(delta) = self.delta {
            add("--delta", &delta.get().to_string());
        }
        add("--seed", &seed.to_string());
        for (given, option) in [
            (self.no_calibrate, "--no-calibrate"),
            (self.share_machine, "--share-machine"),
        ] {
            words.extend(given.then(|| option.to_owned()));
        }
        command::shown(words.into_iter())
    }
}

/// A seed that no earlier comparison had: the time.
fn new_seed() -> u64 {
    let digits: String = utc_now().chars().filter(char::is_ascii_digit).take(17).collect();
    // Seeds of a matrix are whole numbers of TOML.
    digits.parse().unwrap_or(1)
}

/// Ingests the run and writes its page.
fn page(project: &Project, outcome: &RunOutcome) -> Result<std::path::PathBuf, Failure> {
    let mut store = project.store()?;
    let (run, _) = ingest(&mut store, &outcome.dir)?;
    let out = project.path(Path::new("report/out"));
    let ids = [run.manifest().run_id.clone()];
    let files = servelab_report::build(&store, &ids, &out).map_err(Failure::environment)?;
    Ok(files.html)
}

fn exit(plan: &Plan, outcome: RunOutcome) -> Result<Exit, Failure> {
    let verdict = print::exit(plan, &outcome.findings);
    match (outcome.error, outcome.end) {
        (Some(error), _) => Err(run::failure(error)),
        (None, RunEnd::Aborted { .. }) => Ok(Exit::Aborted),
        (None, RunEnd::Complete) => Ok(verdict),
    }
}
