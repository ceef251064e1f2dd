//! A whole run, or one more session of it: what has to be there before its first take, the loop, and one seal at the end, however the
//! loop ended.

use crate::{
    EventLog, MachineLock, Progress, Resumption, RunError, Selection, StopFlag,
    bring_up::EngineAccess,
    environment,
    evaluation::reduce,
    events::{Logged, TARGET},
    gpus::Gpus,
    limits::Budget,
    lock::{HeldGpus, usable},
    requests::Requests,
    resume::machine_changes,
    take_all::{Before, Looped, Takes, Work, take_all},
    takes::Take,
    trial::{Trial, execute_trial},
};
use servelab_evidence::{Beginning, Disk, FileLayer, Packing, RunWriter, Seal};
use servelab_findings::{Prompts, evaluate};
use servelab_load::clock::{WallAnchor, monotonic, utc_now};
use servelab_provider::{PlaceFacts, VisibleGpus};
use servelab_schema::{
    ClockAnchor, EnvironmentRecord, GpuFacts, InstrumentCertificate, Plan, RunEnd, RunId, Sha256Hex, TrialId,
    VariantId, WallInstant, WallNanos, Wish, findings::Findings,
};
use servelab_telemetry::CloudBases;
use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Where and how a plan is executed.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The project: paths in the plan are relative to it.
    pub project: PathBuf,
    /// Folder of the run directories.
    pub runs: PathBuf,
    /// Name of the run; by default the matrix's name and the time.
    pub run_id: Option<RunId>,
    /// The program that holds the simulated engine: servelab itself.
    pub servelab: PathBuf,
    /// What the load generator was found able to do on this machine just before; none where it was not measured.
    pub instrument: Option<InstrumentCertificate>,
    /// NVIDIA's library; none for the driver's own, wherever it is installed.
    pub nvml: Option<PathBuf>,
    /// Where clouds are asked about the machine.
    pub cloud: CloudBases,
    /// The machine, held for this run alone; none where nobody asked for it.
    pub machine: Option<Arc<MachineLock>>,
    /// Where the run writes down what happens, if the program's subscriber has this log's layer.
    pub events: EventLog,
    /// The disk.
    pub layer: Arc<dyn FileLayer>,
}

impl RunOptions {
    /// Options with the real disk and a run id made from the time.
    #[must_use]
    pub fn new(project: PathBuf, runs: PathBuf, servelab: PathBuf) -> Self {
        Self {
            project,
            runs,
            run_id: None,
            servelab,
            instrument: None,
            nvml: None,
            cloud: CloudBases::default(),
            machine: None,
            events: EventLog::default(),
            layer: Arc::new(Disk),
        }
    }
}

/// What became of a run that was sealed.
#[derive(Debug)]
pub struct RunOutcome {
    /// Name of the run.
    pub run_id: RunId,
    /// Its directory.
    pub dir: PathBuf,
    /// SHA-256 of its manifest.
    pub fingerprint: Sha256Hex,
    /// What compressing its rows saved.
    pub packing: Packing,
    /// How it ended.
    pub end: RunEnd,
    /// True where everything was done that was asked for, even if that is not the whole plan.
    pub as_asked: bool,
    /// The error that ended it early, where it was one.
    pub error: Option<RunError>,
    /// Everything it says.
    pub findings: Findings,
}

/// `matrix-20261122-101500` from `2026-11-22T10:15:00.123Z`.
fn default_run_id(name: &str, utc: &str) -> Result<RunId, RunError> {
    let digits: String = utc.chars().take(19).filter(char::is_ascii_digit).collect();
    let (date, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    RunId::new(format!("{name}-{date}-{time}")).map_err(|e| RunError::Plan(e.to_string()))
}

/// Executes takes for real: an engine is started for each and load is put on it.
struct Engines<'a> {
    plan: &'a Plan,
    requests: &'a Requests,
    access: &'a EngineAccess,
    gpus: Option<&'a Gpus>,
    /// The engine version that each variant had in earlier sessions of the run.
    versions: BTreeMap<VariantId, String>,
    stop: &'a StopFlag,
    progress: &'a dyn Progress,
}

impl Takes for Engines<'_> {
    async fn execute(&self, take: Take<'_>, run: &RunWriter) -> Result<TrialId, RunError> {
        let (plan, requests, access) = (self.plan, self.requests, self.access);
        let version = self.versions.get(&take.trial.variant).map(String::as_str);
        let trial = Trial::new(plan, take, requests, access, (self.gpus, version))?;
        execute_trial(&trial, run, self.stop, self.progress).await
    }

    fn redact(&self, text: &str) -> String {
        self.access.secrets.redact(text)
    }
}

/// Does the work, and asks it to stop when the budget is used up.
async fn within<T>(budget: Option<&Budget>, started: WallInstant, stop: &StopFlag, work: impl Future<Output = T>) -> T {
    let Some(budget) = budget else {
        return work.await;
    };
    let left = Duration::from(started.after(budget.after).since(monotonic()));
    tokio::pin!(work);
    if !left.is_zero() {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(left) => {}
        }
    }
    if stop.stop(budget.why.clone()) {
        tracing::warn!(target: TARGET, why = %budget.why, "the run is to end");
    }
    work.await
}

/// Holds the GPUs that the engines may use.
fn hold_gpus(
    place: &PlaceFacts,
    options: &RunOptions,
    gpus: Option<&Gpus>,
    dir: &Path,
) -> Result<Option<HeldGpus>, RunError> {
    let Some(machine) = &options.machine else {
        return Ok(None);
    };
    let facts = gpus.map(Gpus::facts).unwrap_or_default();
    let (facts, visible) = match &place.gpus {
        VisibleGpus::None => (<&[GpuFacts]>::default(), None),
        VisibleGpus::All => (facts, None),
        VisibleGpus::Only(ids) => (facts, Some(ids.clone())),
        VisibleGpus::Inherited => (facts, env::var("CUDA_VISIBLE_DEVICES").ok()),
    };
    machine.says(dir);
    Ok(Some(machine.gpus(&usable(facts, visible.as_deref()), dir)?))
}

/// What is there before the first take.
struct Ready {
    requests: Requests,
    access: EngineAccess,
    gpus: Result<Gpus, String>,
    /// Held as long as the run goes on.
    _held: Option<HeldGpus>,
    budget: Option<Budget>,
    environment: EnvironmentRecord,
}

/// Gets ready what the takes of a plan need, and looks at the machine. Nothing is written.
async fn prepare(
    (plan, options): (&Plan, &RunOptions),
    dir: &Path,
    (before, started): (WallNanos, WallInstant),
    stop: &StopFlag,
) -> Result<Ready, RunError> {
    let utc = utc_now();
    let stopped = |error: RunError| stop.why().map_or(error, |why| RunError::Stopped(why.clone()));
    let requests = Requests::load(&options.project, plan)?;
    let access = EngineAccess::check(plan, options, stop).await.map_err(stopped)?;
    let place = access.place();
    let gpus = environment::gpus(plan, &place, options).await;
    let held = hold_gpus(&place, options, gpus.as_ref().ok(), dir)?;
    let budget = Budget::of(plan).map(|budget| budget.less(before));
    if let Some(budget) = budget.as_ref().filter(|budget| budget.after == WallNanos(0)) {
        return Err(RunError::UsedUp(budget.why.clone()));
    }
    let machine = held.as_ref().map(|held| held.hold.clone());
    let environment = environment::capture(plan, &place, options, gpus.as_ref(), machine, utc, stop);
    let environment = within(budget.as_ref(), started, stop, environment).await;
    if let Some(why) = stop.why() {
        return Err(RunError::Stopped(why.clone()));
    }
    Ok(Ready {
        requests,
        access,
        gpus,
        _held: held,
        budget,
        environment,
    })
}

/// Executes a plan, or what somebody wants of it, and seals the run, however it ended: by its last trial, by a wish or a limit, or by
/// an error, which the outcome then holds.
///
/// # Errors
/// [`RunError`] where nothing could be begun, and [`RunError::Unsealed`] where what was measured could not be sealed.
pub async fn execute(
    plan: &Plan,
    wish: &Wish,
    options: &RunOptions,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<RunOutcome, RunError> {
    let started = monotonic();
    let selection = Selection::of(wish, plan)?;
    let run_id = match &options.run_id {
        Some(id) => id.clone(),
        None => default_run_id(&plan.name, &utc_now())?,
    };
    let dir = options.runs.join(run_id.as_str());
    let ready = prepare((plan, options), &dir, (WallNanos(0), started), stop).await?;
    let run = RunWriter::create(
        Arc::clone(&options.layer),
        &options.runs,
        &run_id,
        plan,
        &ready.environment,
    )?;
    stop.run_is(&run_id);
    let environment = ready.environment.clone();
    let work = Work {
        plan,
        environment: &environment,
        selection: &selection,
        started,
    };
    go(
        work,
        Before::default(),
        (run, run_id),
        (&ready, options),
        stop,
        progress,
    )
    .await
}

/// Executes what is left of a run, and seals it again.
///
/// # Errors
/// As [`execute`]; [`RunError::Changed`] where the machine is another one than the run began on.
pub async fn resume(
    resumption: Resumption,
    options: &RunOptions,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<RunOutcome, RunError> {
    let started = monotonic();
    let Resumption {
        run,
        run_id,
        plan,
        plan_is_new,
        wish,
        selection,
        mut before,
        ..
    } = resumption;
    let ready = prepare((&plan, options), run.dir(), (before.elapsed, started), stop).await?;
    // Gates hold every take against one certificate, and one machine.
    let environment = run.environment().clone();
    let what = machine_changes(&environment, &ready.environment);
    if !what.is_empty() {
        return Err(RunError::Changed { run: run_id, what });
    }
    let killed: Vec<TrialId> = run
        .takes()
        .iter()
        .filter(|t| t.files.is_none())
        .map(|t| t.id.clone())
        .collect();
    let beginning = Beginning {
        wish: &wish,
        plan: plan_is_new.then_some(&plan),
        environment: &ready.environment,
        why: "the runner was killed; the run was resumed",
    };
    let run = run.begin(&beginning, &|text| ready.access.secrets.redact(text))?;
    stop.run_is(&run_id);
    let prompts = Prompts::of(&plan);
    for id in killed {
        before
            .trials
            .push(reduce(&plan, &prompts, &environment, &run.take(&id))?);
    }
    let work = Work {
        plan: &plan,
        environment: &environment,
        selection: &selection,
        started,
    };
    go(work, before, (run, run_id), (&ready, options), stop, progress).await
}

/// From the first take of a session to its seal.
async fn go(
    work: Work<'_>,
    before: Before,
    (run, run_id): (RunWriter, RunId),
    (ready, options): (&Ready, &RunOptions),
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Result<RunOutcome, RunError> {
    let Work { plan, started, .. } = work;
    options
        .events
        .open(run.events()?, started, ready.access.secrets.clone());
    let (trials, taken, session) = (plan.trial_count(), before.taken.len(), run.session());
    tracing::info!(target: TARGET, run = run_id.as_str(), trials, taken, session, "the run begins");
    if let Some(machine) = &ready.environment.machine {
        tracing::info!(target: TARGET, ?machine, "the machine is held");
    }
    let dir = run.dir().to_path_buf();
    let progress = Logged(progress);
    let engines = Engines {
        plan,
        requests: &ready.requests,
        access: &ready.access,
        gpus: ready.gpus.as_ref().ok(),
        versions: before.versions(),
        stop,
        progress: &progress,
    };
    let looped = take_all(work, before, &run, &engines, stop, &progress);
    let looped = within(ready.budget.as_ref(), started, stop, looped).await;
    // None runs now, whatever ended the loop: its process group may be another's soon.
    stop.engine_is(None);
    seal(work, run, looped, options, (run_id, dir))
}

/// Seals what the loop left.
fn seal(
    work: Work<'_>,
    run: RunWriter,
    looped: Looped,
    options: &RunOptions,
    (run_id, dir): (RunId, PathBuf),
) -> Result<RunOutcome, RunError> {
    let Work {
        plan,
        environment,
        started,
        ..
    } = work;
    let Looped {
        trials,
        end,
        as_asked,
        error,
        sealable,
    } = looped;
    let how = match &end {
        RunEnd::Complete => "complete",
        RunEnd::Aborted { why } => why,
    };
    tracing::info!(target: TARGET, how, "the run ends and is sealed");
    let anchor = WallAnchor::now();
    let finished = ClockAnchor {
        utc: anchor.utc,
        monotonic_ns: anchor.monotonic.since(started),
    };
    let closed = options.events.close();
    let findings = evaluate(plan, environment, (&run_id, &end), trials);
    let sealed = sealable.and(closed).and_then(|()| run.seal(finished, &findings));
    let Seal { fingerprint, packing } = match sealed {
        Ok(seal) => seal,
        Err(source) => {
            return Err(RunError::Unsealed {
                run: run_id,
                dir,
                earlier: error.map(Box::new),
                source: Box::new(source),
            });
        }
    };
    Ok(RunOutcome {
        run_id,
        dir,
        fingerprint,
        packing,
        end,
        as_asked,
        error,
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_budget_that_is_used_up_asks_the_work_to_end() {
        let why = crate::StopReason::Limit {
            key: "limits.max-duration",
            value: "1s".into(),
        };
        let budget = |after| Budget {
            after,
            why: why.clone(),
        };
        let stop = StopFlag::default();
        let used_up = budget(WallNanos(0));
        within(Some(&used_up), monotonic(), &stop, async {}).await;
        assert_eq!(stop.why(), Some(&why));
        let (stop, enough) = (StopFlag::default(), budget(WallNanos::from_secs(3600)));
        assert_eq!(within(Some(&enough), monotonic(), &stop, async { 7 }).await, 7);
        assert_eq!(stop.why(), None);
    }

    #[test]
    fn run_ids_sort_by_time() {
        let id = default_run_id("c1-c8", "2026-11-22T10:15:07.123456789Z").unwrap();
        assert_eq!(id.as_str(), "c1-c8-20261122-101507");
        assert!(default_run_id("../x", "2026-11-22T10:15:07Z").is_err());
    }
}
