//! Known answers: a script stands where engine and load would, so that every figure of a sealed run is fixed beforehand.

use super::*;
use crate::{NoProgress, StopReason, StopSignal, evaluate_takes};
use servelab_evidence::{Disk, SealedRun, TrialWriter};
use servelab_findings::evaluate;
use servelab_provider::ProviderError;
use servelab_schema::{
    CheckResult, Chunk, ClockAnchor, Completion, EffectiveField, EngineRecord, Failure, FinishReason, GateName,
    InstrumentCertificate, LoadId, MetricName, Nanos, Outcome, Reason, RunId, Sha256Hex, TokenCounts, Trace, Treatment,
    TrialCounts, TrialEnd, TrialInstant, TrialRecord, TtftKind, VariantId, WallNanos, Window, canonical_json, examples,
    findings::{Findings, TrialFindings},
};
use std::{cell::RefCell, collections::BTreeMap, num::NonZeroU32, path::Path, sync::Arc};

/// What a scripted take does.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Something is so that the gate fails.
    Fails(GateName),
    /// Somebody presses Ctrl-C.
    Stopped,
    /// Its engine cannot be got rid of, after one request.
    Leaks,
    /// Its engine never serves, for this cause.
    NeverStarts(&'static str),
    /// `kill -9` of the runner, after one request.
    Killed,
}

struct Script<'a> {
    plan: &'a Plan,
    stop: &'a StopFlag,
    /// By name of the take; what is not here goes well.
    acts: BTreeMap<&'static str, Act>,
    begun: RefCell<Vec<String>>,
    /// Told where the runner is killed.
    killed: tokio::sync::Notify,
}

impl<'a> Script<'a> {
    fn new(plan: &'a Plan, stop: &'a StopFlag, acts: &[(&'static str, Act)]) -> Self {
        Self {
            plan,
            stop,
            acts: acts.iter().copied().collect(),
            begun: RefCell::default(),
            killed: tokio::sync::Notify::new(),
        }
    }
}

/// Time to first token of a variant, and the time of each of its three other tokens.
fn times(variant: &str) -> (Nanos, Nanos) {
    match variant {
        "C3" => (Nanos::from_millis(100), Nanos::from_millis(10)),
        _ => (Nanos::from_millis(200), Nanos::from_millis(20)),
    }
}

fn one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// One request that ends with its last token, or fails.
fn trace(take: Take<'_>, fails: bool) -> Trace {
    let (ttft, gap) = times(take.trial.variant.as_str());
    let chunk = |gap| Chunk { gap, tokens: 1 };
    let chunks = vec![chunk(Nanos::ZERO), chunk(gap), chunk(gap), chunk(gap)];
    let digest = Sha256Hex::from_bytes([0; 32]);
    let done = Completion::new(
        TtftKind::Token,
        ttft,
        Some(ttft),
        chunks,
        TokenCounts::usage(one(137), one(4)),
        FinishReason::Length,
        digest,
    );
    let done = done.unwrap();
    let sent = TrialInstant::from_millis(800);
    Trace {
        block: take.block.block,
        variant: take.trial.variant.clone(),
        scheduled_ns: sent,
        sent_ns: Some(sent),
        finished_ns: sent.after(done.e2e()),
        outcome: if fails {
            Outcome::Failed(Failure::new(Reason::ErrorEvent, Some(200), "as scripted", ttft))
        } else {
            Outcome::Completed(done)
        },
        ..examples::trace()
    }
}

/// The engine of a take: it shows the setting, and shows another value where the variant has none.
fn engine(take: Take<'_>, id: &TrialId, act: Option<Act>) -> EngineRecord {
    let variant = take.trial.variant.clone();
    let treated = variant.as_str() == "C3";
    let mut record = EngineRecord {
        trial: id.clone(),
        variant,
        effective: BTreeMap::from([(
            "enforce_eager".to_owned(),
            EffectiveField::setting(if treated { "True" } else { "False" }),
        )]),
        ..examples::engine_record()
    };
    match act {
        Some(Act::Fails(GateName::EngineAlive)) => record.failure = Some("exit 1".into()),
        Some(Act::NeverStarts(cause)) => record.failure = Some(cause.into()),
        Some(Act::Fails(GateName::Treatment)) => record.checks[0].result = CheckResult::Absent,
        _ => {}
    }
    if !treated {
        record.checks.clear();
    }
    record
}

/// A finer one than the example, whose error would be a part of these short times that matters.
fn environment() -> EnvironmentRecord {
    EnvironmentRecord {
        instrument: Some(InstrumentCertificate {
            ttft_error_p99_ns: Nanos(20_000),
            gap_error_p99_ns: Nanos(10_000),
            ..examples::certificate()
        }),
        ..examples::environment()
    }
}

impl Takes for Script<'_> {
    async fn execute(&self, take: Take<'_>, run: &RunWriter) -> Result<TrialId, RunError> {
        let id = take.trial.take_id(take.block.block, take.take).unwrap();
        self.begun.borrow_mut().push(id.to_string());
        let act = self.acts.get(id.as_str()).copied();
        let fails = matches!(act, Some(Act::Fails(GateName::Failures)));
        let writer = run.trial(&id)?;
        if let Some(Act::NeverStarts(_)) = act {
            return never_starts(take, &id, act, writer);
        }
        let mut traces = writer.traces()?;
        traces.append(&trace(take, fails))?;
        if matches!(act, Some(Act::Killed)) {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
        if matches!(act, Some(Act::Leaks)) {
            return Err(ProviderError::Leak { group: 7 }.into());
        }
        traces.finish()?;
        writer.engine(&engine(take, &id, act))?;
        let window = Window {
            start_ns: TrialInstant::START,
            end_ns: TrialInstant::from_secs(2),
        };
        let mut record = TrialRecord {
            id: id.clone(),
            block: take.block.block,
            order: take.trial.order,
            variant: take.trial.variant.clone(),
            take: take.take,
            session: run.session(),
            held: Some(window),
            span: Some(window),
            counts: TrialCounts {
                planned: 1,
                completed: u32::from(!fails),
                failed: fails.then_some((Reason::ErrorEvent, 1)).into_iter().collect(),
                ..TrialCounts::default()
            },
            ..examples::trial_record()
        };
        match act {
            Some(Act::Fails(GateName::EventLoopLag)) => {
                record.instrument.as_mut().unwrap().event_loop_lag_max_ns = Nanos::from_millis(300);
            }
            Some(Act::Stopped) => {
                self.stop.stop(StopReason::Signal(StopSignal::Terminate));
                record.end = TrialEnd::Interrupted {
                    why: self.stop.why().unwrap().to_string(),
                };
            }
            _ => {}
        }
        writer.finish(&record)?;
        Ok(id)
    }

    fn redact(&self, text: &str) -> String {
        text.replace('7', "[redacted]")
    }
}

/// A take without a single request.
fn never_starts(take: Take<'_>, id: &TrialId, act: Option<Act>, writer: TrialWriter) -> Result<TrialId, RunError> {
    writer.engine(&engine(take, id, act))?;
    writer.finish(&TrialRecord {
        id: id.clone(),
        block: take.block.block,
        order: take.trial.order,
        variant: take.trial.variant.clone(),
        take: take.take,
        held: None,
        span: None,
        counts: TrialCounts {
            planned: 1,
            ..TrialCounts::default()
        },
        instrument: None,
        ..examples::trial_record()
    })?;
    Ok(id.clone())
}

mod resumed;

/// The sealed run of a script, what the loop said of it, and the takes in the order they were begun.
struct Played {
    run: SealedRun,
    findings: Findings,
    looped: Looped,
    begun: Vec<String>,
    _dir: tempfile::TempDir,
}

fn run_writer(runs: &Path, plan: &Plan) -> RunWriter {
    let id = RunId::new("r1").unwrap();
    RunWriter::create(Arc::new(Disk), runs, &id, plan, &environment()).unwrap()
}

async fn play(blocks: usize, acts: &[(&'static str, Act)]) -> Played {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = examples::plan();
    plan.blocks.truncate(blocks);
    let run = run_writer(dir.path(), &plan);
    let stop = StopFlag::default();
    let script = Script::new(&plan, &stop, acts);
    let environment = environment();
    let work = Work {
        plan: script.plan,
        environment: &environment,
        selection: &Selection::default(),
        started: monotonic(),
    };
    let mut looped = take_all(work, Before::default(), &run, &script, &stop, &NoProgress).await;
    let begun = script.begun.take();
    let anchor = ClockAnchor {
        utc: "2026-11-22T10:01:00Z".into(),
        monotonic_ns: WallNanos::from_secs(60),
    };
    let id = RunId::new("r1").unwrap();
    let trials = std::mem::take(&mut looped.trials);
    let findings = evaluate(&plan, &environment, (&id, &looped.end), trials);
    run.seal(anchor, &findings).unwrap();
    let run = SealedRun::open(&dir.path().join("r1")).unwrap();
    // What the files say later is what the run said while it went on, byte for byte.
    let takes: Vec<_> = run.trials().map(|t| run.take(&t.id)).collect();
    let again = evaluate_takes(&plan, &environment, (&id, &looped.end), &takes).unwrap();
    assert_eq!(canonical_json(&again).unwrap(), canonical_json(&findings).unwrap());
    Played {
        findings: run.findings().unwrap(),
        run,
        looped,
        begun,
        _dir: dir,
    }
}

impl Played {
    fn sealed(&self) -> Vec<String> {
        self.run.trials().map(|t| t.id.to_string()).collect()
    }

    fn why(&self) -> &str {
        match &self.run.manifest().end {
            RunEnd::Aborted { why } => why,
            RunEnd::Complete => "complete",
        }
    }

    fn trial(&self, id: &str) -> &TrialFindings {
        self.findings.trials.iter().find(|t| t.id.as_str() == id).unwrap()
    }

    /// Valid and invalid takes.
    /// Takes that were begun, retakes, and trials that stay lost to the instrument.
    fn tally(&self) -> (usize, usize, usize) {
        let found = &self.findings;
        (self.begun.len(), found.retakes(), found.lost_to_the_instrument())
    }

    fn counts(&self) -> (u32, u32) {
        (self.findings.brief.valid, self.findings.brief.invalid)
    }

    fn empty_cells(&self) -> Vec<&str> {
        self.findings
            .cells_without_valid_trial()
            .map(|c| c.variant.as_str())
            .collect()
    }
}

const CALM: [&str; 3] = ["b01-01-C1-c8-t1", "b01-02-C1b-c8-t1", "b01-03-C3-c8-t1"];

/// Within rounding.
fn near(found: f64, expected: f64, what: &str) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{what}: {found}, not {expected}");
}

#[tokio::test]
async fn the_figures_are_those_of_the_script() {
    let played = play(2, &[]).await;
    assert_eq!(played.why(), "complete");
    assert_eq!(played.sealed().len(), 6);
    assert_eq!(played.sealed(), played.begun);
    assert_eq!(played.tally(), (6, 0, 0));
    assert_eq!(played.counts(), (6, 0));
    for trial in &played.findings.trials {
        let treated = trial.variant.as_str() == "C3";
        assert_eq!(trial.treatment == Treatment::Confirmed, treated, "{}", trial.id);
        let metrics = trial.metrics.as_ref().unwrap();
        let (ttft, tpot, e2e) = if treated { (0.1, 0.01, 0.13) } else { (0.2, 0.02, 0.26) };
        for (name, expected) in [
            (MetricName::TtftMean, ttft),
            (MetricName::TtftP50, ttft),
            (MetricName::TpotMean, tpot),
            (MetricName::E2eP50, e2e),
            // 4 tokens and 1 request in a window of 2 s.
            (MetricName::OutputThroughput, 2.0),
            (MetricName::RequestThroughput, 0.5),
            (MetricName::TotalThroughput, (137.0 + 4.0) / e2e),
        ] {
            near(metrics.values[&name].value, expected, name.as_str());
        }
        let described = &metrics.descriptive;
        near(described.icl_s.unwrap().mean, tpot, "ICL");
        near(described.ntpot_s.unwrap().p50, e2e / 4.0, "NTPOT");
        near(described.input_throughput_tokens_per_s.unwrap(), 137.0 / e2e, "input");
    }
    // Twice as fast in every block.
    let (load, [c3, c1]) = (
        LoadId::new("c8").unwrap(),
        ["C3", "C1"].map(|id| VariantId::new(id).unwrap()),
    );
    let of = |metric| played.findings.comparison(&load, &c3, &c1, metric).unwrap();
    let ttft = of(MetricName::TtftMean);
    assert_eq!((ttft.k, ttft.planned), (2, 2));
    near(ttft.estimate.unwrap().effect_percent, -50.0, "effect");
    let cell = played.findings.cell(&load, &c3).unwrap();
    assert_eq!(
        (cell.blocks, cell.completed, cell.completion_tokens_total),
        (2, 2, Some(8))
    );
    near(cell.over_blocks[&MetricName::TtftP50].mean, 0.1, "over blocks");
}

#[tokio::test]
async fn a_trial_that_the_instrument_lost_is_taken_again_and_both_are_kept() {
    let lost = Act::Fails(GateName::EventLoopLag);
    let played = play(1, &[(CALM[0], lost)]).await;
    let again = "b01-01-C1-c8-t2";
    assert_eq!(played.sealed(), [CALM[0], CALM[1], CALM[2], again]);
    assert_eq!(played.tally(), (4, 1, 0));
    assert_eq!(played.counts(), (3, 1));
    assert!(played.empty_cells().is_empty());
    let (first, second) = (played.trial(CALM[0]), played.trial(again));
    assert_eq!((first.take, second.take), (1, 2));
    let gates = vec![GateName::EventLoopLag];
    assert_eq!(first.validity, Validity::Invalid { gates });
    assert!(second.validity.is_valid());
    assert!(!first.stands && second.stands);

    let played = play(1, &[(CALM[0], lost), (again, lost)]).await;
    assert_eq!(played.tally(), (4, 1, 1), "once and no more");
    assert_eq!(played.empty_cells(), ["C1"]);
}

#[tokio::test]
async fn what_the_engine_or_the_setting_lost_is_an_outcome() {
    for (take, gate) in [
        (CALM[1], GateName::EngineAlive),
        (CALM[1], GateName::Failures),
        (CALM[2], GateName::Treatment),
    ] {
        let played = play(1, &[(take, Act::Fails(gate))]).await;
        assert_eq!(played.sealed(), CALM);
        assert_eq!(played.findings.retakes(), 0);
        let validity = &played.trial(take).validity;
        assert!(
            matches!(validity, Validity::Invalid { gates } if gates.contains(&gate)),
            "{validity:?}"
        );
        assert_eq!(played.counts(), (2, 1), "{gate}");
    }
}

#[tokio::test]
async fn an_error_in_the_last_trial_seals_what_is_there() {
    let played = play(1, &[(CALM[2], Act::Leaks)]).await;
    assert_eq!(played.sealed(), CALM);
    assert!(matches!(
        played.looped.error,
        Some(RunError::Provider(ProviderError::Leak { group: 7 }))
    ));
    assert!(played.looped.sealable.is_ok());
    assert!(
        played
            .why()
            .starts_with("error in trial 3 of 3: process group [redacted]"),
        "{}",
        played.why()
    );
    let last = &played.run.manifest().trials[2];
    assert!(matches!(&last.validity, Validity::Aborted { why } if why.contains("process group")));
    let record = played.run.take(&last.id).record().unwrap();
    assert_eq!((record.counts.completed, record.take), (1, 1), "its request is kept");
    assert!(played.run.manifest().trials[..2].iter().all(|t| t.validity.is_valid()));
}

#[tokio::test]
async fn a_wish_to_end_names_itself() {
    let played = play(2, &[(CALM[1], Act::Stopped)]).await;
    assert_eq!(played.sealed(), CALM[..2]);
    assert_eq!(played.why(), "SIGTERM in trial 2 of 6");
    assert!(played.looped.error.is_none());
}

#[tokio::test]
async fn a_baseline_that_fails_to_start_twice_ends_the_run_with_its_cause() {
    let again = "b02-01-C1-c8-t1";
    let fails = Act::NeverStarts("exit 1: no such file");
    let acts = [(CALM[0], fails), (again, fails)];
    let played = play(2, &acts).await;
    let at = played.begun.iter().position(|id| id.contains("-C1-c8")).unwrap();
    assert_eq!(played.begun[at], CALM[0]);
    assert_eq!(played.begun.last().unwrap(), again, "none after it: {:?}", played.begun);
    assert!(
        played
            .why()
            .starts_with("the baseline C1 failed to start twice in a row, after ")
            && played.why().contains("exit 1: no such file")
            && played.why().contains("on-repeated-failure"),
        "{}",
        played.why()
    );
    assert!(played.looped.error.is_none());

    let other = [(CALM[0], fails), (again, Act::NeverStarts("exit 2: no memory"))];
    assert_eq!(play(2, &other).await.why(), "complete", "two causes");
}
