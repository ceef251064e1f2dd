//! One take of one trial, from launch to `trial.json`.

use crate::{
    Progress, RunError, RunOptions, StopFlag,
    bring_up::{BroughtUp, EngineAccess},
    gpus::Gpus,
    requests::Requests,
    watch::{TelemetrySampling, watch},
};
use servelab_engine::{
    Ended, EngineError, Ready, Snapshot, counted,
    effective::{ConfigSources, effective},
    redact::Secrets,
    treatment::{Shown, judge},
    wants_prefix_cache,
};
use servelab_evidence::{EvidenceError, JsonlWriter, RunWriter, TrialWriter, names};
use servelab_findings::gates::{GateFacts, Work, evaluate};
use servelab_load::{
    Endpoint, Labels, LoadResult, LoadSpec, SinkError, Stop, TraceSink,
    attempt::{Deadlines, SizeLimits},
    clock::{TrialClock, monotonic_ns, utc_now},
    start,
};
use servelab_schema::{
    Check, EngineMetrics, EngineRecord, InstrumentCertificate, Load, Nanos, Outcome, Plan, PlannedBlock, PlannedTrial,
    PlannedVariant, Ratio, Reason, Trace, Treatment, TrialCounts, TrialId, TrialRecord, V, Validity, VariantId,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a broken connection waits for the news that the engine's process has ended, wall time.
const ENGINE_EXIT_GRACE: Duration = Duration::from_millis(200);

/// What one take needs of the plan.
pub(crate) struct Trial<'a> {
    pub(crate) id: TrialId,
    plan: &'a Plan,
    block: &'a PlannedBlock,
    planned: &'a PlannedTrial,
    variant: &'a PlannedVariant,
    load: Load,
    requests: &'a Requests,
    access: &'a EngineAccess,
    gpus: Option<&'a Gpus>,
    observed: &'a Observed,
}

/// The effective configuration that each arm showed last in this run.
#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<BTreeMap<VariantId, BTreeMap<String, String>>>);

impl Observed {
    fn of(&self, arm: Option<&VariantId>) -> Option<BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(arm?).cloned()
    }

    fn note(&self, arm: &VariantId, effective: &BTreeMap<String, String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(arm.clone(), effective.clone());
    }
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        block: &'a PlannedBlock,
        planned: &'a PlannedTrial,
        requests: &'a Requests,
        access: &'a EngineAccess,
        gpus: Option<&'a Gpus>,
        observed: &'a Observed,
    ) -> Result<Self, RunError> {
        let PlannedTrial { order, variant, load } = planned;
        let id = TrialId::new(format!("b{:02}-{order:02}-{variant}-{load}-t1", block.block))
            .map_err(|e| RunError::Plan(e.to_string()))?;
        let missing = |what: &str| RunError::Plan(format!("trial {id} names a {what} that the plan does not have"));
        let found = plan.variant(variant).ok_or_else(|| missing("variant"))?;
        let load = *plan.load(load).ok_or_else(|| missing("load"))?;
        Ok(Self {
            id,
            plan,
            block,
            planned,
            variant: found,
            load,
            requests,
            access,
            gpus,
            observed,
        })
    }

    fn control(&self) -> Option<&PlannedVariant> {
        self.variant.control.as_ref().and_then(|id| self.plan.variant(id))
    }

    fn prefix_caching_allowed(&self) -> bool {
        wants_prefix_cache(self.plan.engine.dialect, self.variant)
    }

    fn spec(&self, base: &str, clock: TrialClock) -> Result<LoadSpec, RunError> {
        let timeouts = self.plan.timeouts;
        Ok(LoadSpec {
            endpoint: Endpoint::parse(&format!("{base}/v1/chat/completions"))
                .map_err(servelab_load::LoadError::from)?,
            headers: self.access.headers()?,
            load: self.load,
            warm_up: self.plan.warm_up.requests,
            measured: self.requests.of_block(self.block)?,
            fillers: self.requests.fillers(self.block),
            seed: self.block.seed,
            deadlines: Deadlines {
                connect: timeouts.connect_ns,
                ttft: timeouts.ttft_ns,
                idle: timeouts.idle_ns,
                total: timeouts.total_ns,
            },
            limits: SizeLimits::default(),
            keep_text: self.plan.output.keep_text,
            labels: Labels {
                block: self.block.block,
                variant: self.planned.variant.clone(),
                request_prefix: format!("b{:02}-{}", self.block.block, self.planned.variant),
            },
            clock,
            engine_exit_grace: ENGINE_EXIT_GRACE,
        })
    }
}

/// What the gates must know of the traces while they pass by on their way to the disk.
#[derive(Debug, Default)]
struct Passed {
    ttfts: Vec<Nanos>,
    /// From the first to the last token, where that took any time.
    generations: Vec<Nanos>,
    prompt_token_mismatches: u32,
    /// Requests and token chunks of every kind: what the instrument had to do.
    requests: u64,
    chunks: u64,
}

impl Passed {
    fn note(&mut self, trace: &Trace) {
        self.requests = self.requests.saturating_add(1);
        if let Some(completion) = trace.completion() {
            let chunks = u64::try_from(completion.chunks().len()).unwrap_or(u64::MAX);
            self.chunks = self.chunks.saturating_add(chunks);
        }
        match &trace.outcome {
            Outcome::Completed(c) if trace.measured => {
                self.ttfts.push(c.ttft());
                let generation = c.e2e().saturating_sub(c.ttft());
                self.generations
                    .extend((generation > Nanos::ZERO).then_some(generation));
            }
            Outcome::Failed(f) if f.reason == Reason::PromptTokenMismatch => {
                self.prompt_token_mismatches = self.prompt_token_mismatches.saturating_add(1);
            }
            _ => {}
        }
    }

    fn median_ttft(&mut self) -> Option<Nanos> {
        median(&mut self.ttfts)
    }

    fn median_generation(&mut self) -> Option<Nanos> {
        median(&mut self.generations)
    }
}

fn median(times: &mut [Nanos]) -> Option<Nanos> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// The traces' file, shared with the load's writer thread until the load has ended.
struct Sink {
    shared: Arc<Mutex<(JsonlWriter<Trace>, Passed)>>,
    secrets: Secrets,
}

impl TraceSink for Sink {
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let (file, passed) = &mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        passed.note(trace);
        let clean = EngineAccess::clean_trace(&self.secrets, trace);
        Ok(file.append(clean.as_ref().unwrap_or(trace))?)
    }
}

/// What the engine showed and how it ended.
struct EngineFacts {
    argv: Vec<String>,
    startup: Option<Nanos>,
    version: Option<String>,
    served_model: Option<String>,
    cache_config: BTreeMap<String, String>,
    effective: BTreeMap<String, String>,
    metrics: Option<EngineMetrics>,
    treatment: Treatment,
    checks: Vec<Check>,
    ended: String,
    /// Ok where it was alive until it was told to stop.
    alive: Result<(), String>,
}

impl EngineFacts {
    fn prefix_hit_ratio(&self) -> Option<Ratio> {
        self.metrics.as_ref()?.prefix_cache_hit_ratio
    }
}

/// What the load came to, with what passed by.
struct LoadFacts {
    result: LoadResult,
    passed: Passed,
}

/// Runs one take to its `trial.json`.
pub(crate) async fn execute_trial(
    trial: &Trial<'_>,
    run: &RunWriter,
    options: &RunOptions,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<TrialRecord, RunError> {
    let started_utc = utc_now();
    let writer = run.trial(&trial.id)?;
    let plan = trial.plan;
    let begin = monotonic_ns();
    let access = trial.access;
    let brought_up = access.bring_up(
        plan,
        trial.variant,
        &writer,
        (options, run_name(run)),
        (stop, progress),
        begin,
    );
    let BroughtUp { argv, ready } = brought_up.await?;
    let (engine, load) = match ready {
        Ok(engine) => {
            let startup = TrialClock::from_epoch(begin, plan.engine.time_scale()).now();
            progress.engine_ready(startup);
            let startup = engine.is_ours().then_some(startup);
            let (facts, load) = measure(trial, &writer, engine, argv, startup, stop, progress).await?;
            (facts, Some(load))
        }
        Err(error) => {
            access.clean_log(plan, &writer)?;
            (EngineFacts::never_ready(argv, &error, &access.secrets), None)
        }
    };
    stop.engine_is_gone();
    let certificate = options.instrument.as_ref();
    let record = conclude(trial, started_utc, &engine, load, certificate, stop.is_stopped());
    writer.engine(&access.clean_record(engine_record(trial, engine)))?;
    writer.finish(&record)?;
    Ok(record)
}

/// The run's name: its directory's.
fn run_name(run: &RunWriter) -> &str {
    run.dir().file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

impl EngineFacts {
    fn never_ready(argv: Vec<String>, error: &EngineError, secrets: &Secrets) -> Self {
        let (treatment, ended) = match error {
            // Memory that ran out is no refusal of the setting.
            EngineError::Died {
                status, memory: true, ..
            } => (Treatment::Unobservable, status.clone()),
            EngineError::Died { status, .. } => (Treatment::Rejected, status.clone()),
            // Nor is a request that it refuses, such as for want of a chat template.
            EngineError::Broken {
                memory: false,
                request: false,
                ..
            } => (Treatment::Rejected, "killed".to_owned()),
            EngineError::NotUp { .. } => (Treatment::Unobservable, "not started by servelab".to_owned()),
            _ => (Treatment::Unobservable, "killed".to_owned()),
        };
        Self {
            argv,
            startup: None,
            version: None,
            served_model: None,
            cache_config: BTreeMap::new(),
            effective: BTreeMap::new(),
            metrics: None,
            treatment,
            checks: Vec::new(),
            ended,
            alive: Err(secrets.redact(&error.to_string())),
        }
    }
}

/// From the first to the last request, and the engine's end.
async fn measure(
    trial: &Trial<'_>,
    writer: &TrialWriter,
    mut engine: Ready,
    argv: Vec<String>,
    startup: Option<Nanos>,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<(EngineFacts, LoadFacts), RunError> {
    let plan = trial.plan;
    let version = engine.client().version().await;
    let served_model = engine.client().served_model().await;
    let secrets = &trial.access.secrets;
    // Redacted before anything is read off it: reading may cut a secret into parts that nobody knows again.
    let server_info = engine.client().server_info().await;
    let server_info = server_info.map(|page| secrets.redact_page(&page));
    let before = keep_metrics(&engine, writer, secrets, names::METRICS_BEFORE).await?;
    let clock = TrialClock::start(plan.engine.time_scale());
    let shared = Arc::new(Mutex::new((writer.traces()?, Passed::default())));
    let sampling = TelemetrySampling {
        rows: writer.telemetry()?,
        clock,
        interval: plan.telemetry_interval_ns,
        gpus: trial.gpus,
    };
    let sink = Sink {
        shared: Arc::clone(&shared),
        secrets: secrets.clone(),
    };
    let load = start(trial.spec(engine.client().base(), clock)?, sink)?;
    let watched = watch(&load, &mut engine, sampling, stop, progress).await;
    let result = load.join();
    let exited = engine.exited();
    let healthy = engine.client().healthy().await;
    let after = keep_metrics(&engine, writer, secrets, names::METRICS_AFTER).await?;
    let log = engine.log();
    let ended = engine.stop(Duration::from_nanos(plan.timeouts.stop_grace_ns.0)).await;
    trial.access.clean_log(plan, writer)?;
    let Ended { how, .. } = ended?;
    watched?;
    let result = result?;
    let shared = Arc::try_unwrap(shared).map_err(|_| LostSink)?;
    let (traces, passed) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    traces.finish()?;
    let sources = ConfigSources {
        log: log.as_deref(),
        metrics: before.as_ref().or(after.as_ref()),
        server_info: server_info.as_deref(),
    };
    let effective = effective(sources);
    let theirs = trial.observed.of(trial.variant.control.as_ref());
    trial.observed.note(&trial.variant.id, &effective);
    let shown = Shown {
        log: log.as_deref(),
        before: before.as_ref(),
        after: after.as_ref(),
        effective: &effective,
        control: theirs.as_ref(),
    };
    let (treatment, checks) = judge(trial.variant, trial.control(), shown);
    let metrics = before.as_ref().zip(after.as_ref()).map(|(b, a)| counted(b, a));
    let alive = match exited {
        Some(status) if result.stopped != Some(Stop::Cancelled) => {
            let cause = servelab_engine::log::why_it_ended(status, log.as_deref().unwrap_or_default());
            Err(secrets.redact(&format!("it ended during the trial ({status}): {cause}")))
        }
        // A front end may live on when the process that computes has died.
        None if !healthy => {
            let log = log.as_deref().unwrap_or_default();
            let cause = servelab_engine::log::root_cause(log).unwrap_or_else(|| "its log names no error".to_owned());
            Err(secrets.redact(&format!("it is no longer healthy after the trial: {cause}")))
        }
        _ => Ok(()),
    };
    let facts = EngineFacts {
        argv,
        startup,
        version,
        served_model,
        cache_config: before.as_ref().map(Snapshot::cache_config).unwrap_or_default(),
        effective,
        metrics,
        treatment,
        checks,
        ended: how,
        alive,
    };
    Ok((facts, LoadFacts { result, passed }))
}

/// Our own bug: the load has ended, but its writer thread still holds the traces' file.
struct LostSink;

impl From<LostSink> for RunError {
    fn from(_: LostSink) -> Self {
        Self::Load(servelab_load::LoadError::Panicked)
    }
}

async fn keep_metrics(
    engine: &Ready,
    writer: &TrialWriter,
    secrets: &Secrets,
    name: &str,
) -> Result<Option<Snapshot>, EvidenceError> {
    let Some(text) = engine.client().metrics_text().await else {
        return Ok(None);
    };
    writer.text(name, &secrets.redact(&text))?;
    Ok(Some(Snapshot::parse(&text)))
}

fn engine_record(trial: &Trial<'_>, facts: EngineFacts) -> EngineRecord {
    EngineRecord {
        v: V,
        trial: trial.id.clone(),
        variant: trial.variant.id.clone(),
        engine_kind: trial.plan.engine_kind,
        env: trial.access.env(&facts.argv),
        argv: facts.argv,
        flags: trial
            .variant
            .flags
            .iter()
            .map(|(name, field)| (name.clone(), field.value.clone()))
            .collect(),
        version: facts.version,
        served_model: facts.served_model,
        cache_config: facts.cache_config,
        effective: facts.effective,
        metrics: facts.metrics,
        startup_ns: facts.startup,
        treatment: facts.treatment,
        checks: facts.checks,
        ended: facts.ended,
        failure: facts.alive.err(),
    }
}

/// Gates and validity of what was measured.
fn conclude(
    trial: &Trial<'_>,
    started_utc: String,
    engine: &EngineFacts,
    load: Option<LoadFacts>,
    certificate: Option<&InstrumentCertificate>,
    asked_to_stop: bool,
) -> TrialRecord {
    let plan = trial.plan;
    let planned = u32::try_from(trial.block.prompts.len()).unwrap_or(u32::MAX);
    let nothing_sent = TrialCounts {
        planned,
        ..TrialCounts::default()
    };
    let (result, mut passed) = load.map_or((None, Passed::default()), |l| (Some(l.result), l.passed));
    let result = result.as_ref();
    let counts = result.map_or(nothing_sent, |r| r.counts.clone());
    let facts = GateFacts {
        load: trial.load,
        instrument: result.map(|r| &r.instrument),
        counts: &counts,
        span: result.and_then(|r| r.span),
        held: result.and_then(|r| r.held),
        median_ttft: passed.median_ttft(),
        median_generation: passed.median_generation(),
        delta: plan.delta,
        scheduled_rate_per_s: result.and_then(|r| r.scheduled_rate_per_s),
        engine_alive: engine.alive.clone(),
        prompt_token_mismatches: passed.prompt_token_mismatches,
        prefix_cache_hit_ratio: engine.prefix_hit_ratio(),
        prefix_caching_allowed: trial.prefix_caching_allowed(),
        treatment: engine.treatment,
        role: trial.variant.role,
        time_scale: plan.engine.time_scale(),
        certificate,
        work: result.and_then(|r| Work::over(r.span?, passed.requests, passed.chunks)),
    };
    let gates = evaluate(plan, &facts);
    let interrupted = asked_to_stop && result.is_none_or(|r| r.stopped == Some(Stop::Cancelled));
    let validity = if interrupted {
        Validity::Aborted {
            why: "interrupted".to_owned(),
        }
    } else {
        Validity::from_gates(&gates)
    };
    TrialRecord {
        v: V,
        id: trial.id.clone(),
        block: trial.block.block,
        order: trial.planned.order,
        variant: trial.planned.variant.clone(),
        load: trial.planned.load.clone(),
        take: 1,
        engine_kind: plan.engine_kind,
        time_scale: plan.engine.time_scale(),
        started_utc,
        span: result.and_then(|r| r.span),
        held: result.and_then(|r| r.held),
        counts,
        instrument: result.map(|r| r.instrument.clone()),
        treatment: engine.treatment,
        prefix_cache_hit_ratio: engine.prefix_hit_ratio(),
        gates,
        validity,
    }
}
