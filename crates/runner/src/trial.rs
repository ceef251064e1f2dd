//! One take of one trial, from launch to `trial.json`.

use crate::{
    Progress, RunError, StopFlag, StopReason,
    bring_up::{EngineAccess, Occasion},
    gpus::Gpus,
    requests::Requests,
    takes::Take,
    watch::{TelemetrySampling, watch},
};
use servelab_engine::{
    Snapshot, counted,
    effective::{ConfigSources, effective},
    evidence::{EngineEvidence, checks},
    has_no_prefix_cache,
    redact::Secrets,
    wants_prefix_cache,
};
use servelab_evidence::{EvidenceError, JsonlWriter, RunWriter, TrialWriter, names};
use servelab_load::{
    Endpoint, Labels, LoadResult, LoadSpec, PreparedRequest, SinkError, Stop, TraceSink,
    attempt::{Deadlines, SizeLimits},
    bench::LoadProfile,
    clock::{TrialClock, monotonic, utc_now},
    negotiate::{Inquiry, Negotiated, negotiate},
    start_with_profile,
    stream::KeepText,
};
use servelab_provider::{BroughtUp, Ended, Failed, Identity, Ready, Salvage};
use servelab_random::split;
use servelab_schema::{
    CacheAtStart, CacheState, Capabilities, Check, EffectiveField, EngineMetrics, EngineRecord, Load, Nanos, Plan,
    PlannedBlock, PlannedTrial, PlannedVariant, RunId, ServerShown, Trace, TrialCounts, TrialEnd, TrialId, TrialRecord,
    V,
};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a broken connection waits for the news that the engine's process has ended, wall time.
const ENGINE_EXIT_GRACE: Duration = Duration::from_millis(200);

/// How long an engine may take to say whether it takes a salt, wall time.
const SALT_ANSWER: Duration = Duration::from_secs(10);

/// What one take needs of the plan.
pub(crate) struct Trial<'a> {
    pub(crate) id: TrialId,
    plan: &'a Plan,
    block: &'a PlannedBlock,
    planned: &'a PlannedTrial,
    take: u32,
    variant: &'a PlannedVariant,
    load: Load,
    requests: &'a Requests,
    access: &'a EngineAccess,
    gpus: Option<&'a Gpus>,
    /// The engine version that the variant had in earlier sessions of the run.
    version: Option<&'a str>,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        Take { block, trial, take }: Take<'a>,
        requests: &'a Requests,
        access: &'a EngineAccess,
        (gpus, version): (Option<&'a Gpus>, Option<&'a str>),
    ) -> Result<Self, RunError> {
        let PlannedTrial { variant, load, .. } = trial;
        let id = trial
            .take_id(block.block, take)
            .map_err(|e| RunError::Plan(e.to_string()))?;
        let missing = |what: &str| RunError::Plan(format!("trial {id} names a {what} that the plan does not have"));
        let found = plan.variant(variant).ok_or_else(|| missing("variant"))?;
        let load = *plan.load(load).ok_or_else(|| missing("load"))?;
        Ok(Self {
            id,
            plan,
            block,
            planned: trial,
            take,
            variant: found,
            load,
            requests,
            access,
            gpus,
            version,
        })
    }

    /// Refuses an engine that is another one than the run began with.
    fn check_version(&self, now: Option<&str>, run: &str) -> Result<(), RunError> {
        let Some(was) = self.version.filter(|was| now != Some(was)) else {
            return Ok(());
        };
        let (variant, now) = (&self.variant.id, now.unwrap_or("unknown"));
        Err(RunError::Changed {
            run: RunId::new(run).map_err(|e| RunError::Plan(e.to_string()))?,
            what: vec![format!("engine version of {variant}: {was} when it began, {now} now")],
        })
    }

    /// The salt that keeps this trial's prompts apart in the prefix cache of a server that was up before; none where the
    /// engine is started for the trial, the plan does not want one, or the server takes none.
    async fn cache_salt(&self, engine: &Ready, run: &str) -> Option<String> {
        let CacheAtStart::Unknown { may_salt: true, .. } = self.plan.engine.cache_at_start() else {
            return None;
        };
        let model = self.plan.engine.asked(&self.variant.id).served_model;
        let taken = engine.client().takes_cache_salt(model, SALT_ANSWER).await;
        // Two runs of one plan must differ too, and engines take short salts only.
        let salt = split(self.plan.seed, &format!("cache-salt {run} {}", self.id));
        taken.then(|| format!("servelab-{salt:016x}"))
    }

    /// What a server that was up before takes and does; none for an engine that was started for the trial, and for a server
    /// that takes no small request: then every measured one says why.
    async fn negotiated(&self, engine: &Ready) -> Result<Option<Negotiated>, RunError> {
        if engine.is_ours() {
            return Ok(None);
        }
        let (endpoint, headers) = (
            endpoint(engine.client().base())?,
            self.access.headers(&self.variant.id)?,
        );
        let asking = self
            .requests
            .asking(self.plan.engine.asked(&self.variant.id).served_model);
        let (system_role, limit) = (self.requests.have_system(), self.plan.timeouts.ttft_ns);
        let found = tokio::task::spawn_blocking(move || {
            negotiate(&Inquiry {
                endpoint: &endpoint,
                headers: &headers,
                asking: &asking,
                system_role,
                limit,
            })
        });
        Ok(found.await.ok().and_then(Result::ok))
    }

    fn spec(
        &self,
        base: &str,
        clock: TrialClock,
        salt: Option<&str>,
        takes: Capabilities,
    ) -> Result<LoadSpec, RunError> {
        let timeouts = self.plan.timeouts;
        let to = (self.plan.engine.asked(&self.variant.id), takes);
        let salted = |requests: Vec<PreparedRequest>| match salt {
            Some(salt) => requests.iter().map(|r| r.with_cache_salt(salt)).collect(),
            None => requests,
        };
        Ok(LoadSpec {
            endpoint: endpoint(base)?,
            headers: self.access.headers(&self.variant.id)?,
            load: self.load,
            warm_up: self.plan.warm_up.requests,
            measured: salted(self.requests.measured(to, self.block, self.planned)?),
            fillers: salted(self.requests.fillers(to, self.plan, self.block, self.planned)?),
            seed: self.block.seed,
            deadlines: Deadlines {
                connect: timeouts.connect_ns,
                ttft: timeouts.ttft_ns,
                idle: timeouts.idle_ns,
                total: timeouts.total_ns,
            },
            limits: SizeLimits::default(),
            keep_text: if self.plan.output.keep_text {
                KeepText::Content
            } else {
                KeepText::Nothing
            },
            connections: takes.connections,
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

/// Where an engine's requests go.
fn endpoint(base: &str) -> Result<Endpoint, RunError> {
    let parsed = Endpoint::parse(&format!("{base}/v1/chat/completions"));
    Ok(parsed.map_err(servelab_load::LoadError::from)?)
}

/// The traces' file, shared with the load's writer thread until the load has ended.
struct Sink {
    shared: Arc<Mutex<JsonlWriter<Trace>>>,
    secrets: Secrets,
}

impl TraceSink for Sink {
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let mut file = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let clean = EngineAccess::clean_trace(&self.secrets, trace);
        Ok(file.append(clean.as_ref().unwrap_or(trace))?)
    }
}

/// What the engine showed and how it ended.
struct EngineFacts {
    argv: Vec<String>,
    cache_salt: Option<String>,
    negotiated: Option<Negotiated>,
    cache: CacheState,
    restart_would_show: bool,
    server: Option<ServerShown>,
    startup: Option<Nanos>,
    version: Option<String>,
    served_model: Option<String>,
    cache_config: BTreeMap<String, String>,
    effective: BTreeMap<String, EffectiveField>,
    metrics: Option<EngineMetrics>,
    checks: Vec<Check>,
    refusal: Option<String>,
    ended: String,
    /// Ok where it was alive until it was told to stop.
    alive: Result<(), String>,
}

/// Runs one take to its `trial.json`.
pub(crate) async fn execute_trial(
    trial: &Trial<'_>,
    run: &RunWriter,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<TrialId, RunError> {
    let started_utc = utc_now();
    let writer = run.trial(&trial.id)?;
    let plan = trial.plan;
    let begin = monotonic();
    let access = trial.access;
    let occasion = Occasion {
        plan,
        variant: trial.variant,
        run: run_name(run),
    };
    let BroughtUp { argv, ready } = access.bring_up(occasion, &writer, (stop, progress)).await?;
    let (engine, load) = match ready {
        Ok(engine) => {
            let startup = plan.engine.time_scale().engine(monotonic().since(begin));
            progress.engine_ready(startup);
            let startup = engine.is_ours().then_some(startup);
            let begun = Begun {
                argv,
                cache_salt: trial.cache_salt(&engine, run_name(run)).await,
                negotiated: trial.negotiated(&engine).await?,
                startup,
            };
            let (facts, load) = measure(trial, (&writer, run_name(run)), engine, begun, stop, progress).await?;
            (facts, Some(load))
        }
        Err(failed) => {
            access.clean_log(&writer)?;
            (EngineFacts::never_ready(argv, failed, &access.secrets), None)
        }
    };
    stop.engine_is(None);
    let record = conclude(trial, (started_utc, run.session()), load.as_ref(), stop.why());
    writer.engine(&access.clean_record(engine_record(trial, engine)))?;
    writer.finish(&record)?;
    Ok(record.id)
}

/// The run's name: its directory's.
fn run_name(run: &RunWriter) -> &str {
    run.dir().file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

impl EngineFacts {
    fn never_ready(argv: Vec<String>, failed: Failed, secrets: &Secrets) -> Self {
        Self {
            argv,
            cache_salt: None,
            negotiated: None,
            cache: CacheState::Empty,
            restart_would_show: false,
            server: None,
            startup: None,
            version: None,
            served_model: None,
            cache_config: BTreeMap::new(),
            effective: BTreeMap::new(),
            metrics: None,
            checks: Vec::new(),
            refusal: failed.refusal.map(|words| secrets.redact(&words)),
            ended: failed.status,
            alive: Err(secrets.redact(&failed.words)),
        }
    }
}

/// What is known of an engine when its load begins.
struct Begun {
    argv: Vec<String>,
    cache_salt: Option<String>,
    negotiated: Option<Negotiated>,
    startup: Option<Nanos>,
}

/// From the first to the last request, and the engine's end.
async fn measure(
    trial: &Trial<'_>,
    (writer, run): (&TrialWriter, &str),
    mut engine: Ready,
    Begun {
        argv,
        cache_salt,
        negotiated,
        startup,
    }: Begun,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<(EngineFacts, LoadResult), RunError> {
    let plan = trial.plan;
    let version = engine.client().version().await;
    if let Err(changed) = trial.check_version(version.as_deref(), run) {
        let stopped = engine.stop(plan.timeouts.stop_grace_ns.into()).await;
        trial.access.clean_log(writer)?;
        stopped?;
        return Err(changed);
    }
    let served_model = engine.client().served_model().await;
    let secrets = &trial.access.secrets;
    // Redacted before anything is read off it: reading may cut a secret into parts that nobody knows again.
    let server_info = engine.client().server_info().await;
    let server_info = server_info.map(|page| secrets.redact_page(&page));
    let before = keep_metrics(&engine, writer, secrets, names::METRICS_BEFORE).await?;
    let born = engine.identity(before.as_ref()).await;
    let server = server_shown(trial, &engine, &born, served_model.as_deref()).await;
    let clock = TrialClock::start(plan.engine.time_scale());
    let shared = Arc::new(Mutex::new(writer.traces()?));
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
    let takes = negotiated.as_ref().map_or(Capabilities::FULL, |n| n.capabilities);
    let spec = trial.spec(engine.client().base(), clock, cache_salt.as_deref(), takes)?;
    let profile = LoadProfile {
        give_up_after: plan.give_up_after,
        ..LoadProfile::held()
    };
    let load = start_with_profile(spec, profile, sink)?;
    let watched = watch(&load, &mut engine, sampling, stop, progress).await;
    let result = load.join();
    let healthy = engine.client().healthy().await;
    let after = keep_metrics(&engine, writer, secrets, names::METRICS_AFTER).await?;
    let later = engine.identity(after.as_ref()).await;
    let restarted = born.restarted(&later);
    let Salvage { exit, log } = engine.salvage();
    let ended = engine.stop(plan.timeouts.stop_grace_ns.into()).await;
    trial.access.clean_log(writer)?;
    let Ended { how, .. } = ended?;
    watched?;
    let result = result?;
    let shared = Arc::try_unwrap(shared).map_err(|_| LostSink)?;
    shared.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
    let sources = ConfigSources {
        log: log.as_deref(),
        metrics: before.as_ref().or(after.as_ref()),
        server_info: server_info.as_deref(),
    };
    let effective = effective(sources);
    let shown = EngineEvidence {
        log: log.as_deref(),
        before: before.as_ref(),
        after: after.as_ref(),
        effective: &effective,
    };
    let checks = checks(&trial.variant.expect, shown);
    let metrics = before.as_ref().zip(after.as_ref()).map(|(b, a)| counted(b, a));
    let alive = match exit {
        Some(exit) if result.stopped != Some(Stop::Cancelled) => {
            let cause = servelab_engine::log::why_it_ended(exit.killed, log.as_deref().unwrap_or_default());
            Err(secrets.redact(&format!("it ended during the trial ({}): {cause}", exit.words)))
        }
        // A front end may live on when the process that computes has died.
        None if !healthy => {
            let log = log.as_deref().unwrap_or_default();
            let cause = servelab_engine::log::root_cause(log).unwrap_or_else(|| "its log names no error".to_owned());
            Err(secrets.redact(&format!("it is no longer healthy after the trial: {cause}")))
        }
        _ => restarted.map_or(Ok(()), |how| Err(format!("it was restarted during the trial: {how}"))),
    };
    let hits = metrics.as_ref().and_then(|m| m.prefix_cache_hits);
    let facts = EngineFacts {
        argv,
        cache: match plan.engine.cache_at_start() {
            CacheAtStart::Empty => CacheState::Empty,
            CacheAtStart::Unknown { .. } if hits == Some(0) || has_no_prefix_cache(&effective) => CacheState::Empty,
            CacheAtStart::Unknown { .. } if cache_salt.is_some() => CacheState::Salted,
            CacheAtStart::Unknown { accepted: true, .. } => CacheState::Accepted,
            CacheAtStart::Unknown { accepted: false, .. } => CacheState::Unknown,
        },
        restart_would_show: born.would_show_restart(&later),
        server,
        cache_salt,
        negotiated,
        startup,
        version,
        served_model,
        cache_config: before.as_ref().map(Snapshot::cache_config).unwrap_or_default(),
        effective,
        metrics,
        checks,
        refusal: None,
        ended: how,
        alive,
    };
    Ok((facts, result))
}

/// Which server it is, where servelab did not start it.
async fn server_shown(trial: &Trial<'_>, engine: &Ready, born: &Identity, model: Option<&str>) -> Option<ServerShown> {
    let asked = trial.plan.engine.asked(&trial.variant.id);
    let url = asked.base?.to_owned();
    Some(ServerShown {
        url,
        processes: born
            .serving
            .iter()
            .map(|p| format!("{}@{}", p.pid, p.started))
            .collect(),
        page_start_s: born.page_start_s,
        context_tokens: engine
            .client()
            .context_tokens(model.unwrap_or(asked.served_model))
            .await,
    })
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
        env: trial.access.env(&trial.variant.id, &facts.argv),
        argv: facts.argv,
        cache_salt: facts.cache_salt,
        capabilities: facts.negotiated.as_ref().map(|n| n.capabilities),
        capability_notes: facts.negotiated.map(|n| n.notes).unwrap_or_default(),
        flags: trial
            .variant
            .flags
            .iter()
            .map(|(name, field)| (name.clone(), field.value.clone()))
            .collect(),
        server: facts.server,
        version: facts.version,
        served_model: facts.served_model,
        cache_config: facts.cache_config,
        effective: facts.effective,
        metrics: facts.metrics,
        startup_ns: facts.startup,
        prefix_cache_wanted: wants_prefix_cache(trial.plan.engine.dialect, trial.variant),
        cache_at_start: facts.cache,
        restart_would_show: facts.restart_would_show,
        checks: facts.checks,
        refusal: facts.refusal,
        ended: facts.ended,
        failure: facts.alive.err(),
    }
}

/// What happened, as `trial.json` keeps it.
fn conclude(
    trial: &Trial<'_>,
    (started_utc, session): (String, NonZeroU32),
    load: Option<&LoadResult>,
    asked_to_stop: Option<&StopReason>,
) -> TrialRecord {
    let plan = trial.plan;
    let counts = load.map_or_else(
        || TrialCounts {
            planned: u32::try_from(trial.block.prompts_of(trial.planned).len()).unwrap_or(u32::MAX),
            ..TrialCounts::default()
        },
        |load| load.counts.clone(),
    );
    let cut_off = asked_to_stop.filter(|_| load.is_none_or(|r| r.stopped == Some(Stop::Cancelled)));
    TrialRecord {
        v: V,
        id: trial.id.clone(),
        block: trial.block.block,
        order: trial.planned.order,
        variant: trial.planned.variant.clone(),
        load: trial.planned.load.clone(),
        take: trial.take,
        session,
        engine_kind: plan.engine_kind,
        time_scale: plan.engine.time_scale().get(),
        started_utc,
        end: cut_off.map_or(TrialEnd::Finished, |why| TrialEnd::Interrupted { why: why.to_string() }),
        span: load.and_then(|r| r.span),
        held: load.and_then(|r| r.held),
        counts,
        instrument: load.map(|r| r.instrument.clone()),
        scheduled_rate_per_s: load.and_then(|r| r.scheduled_rate_per_s),
    }
}
