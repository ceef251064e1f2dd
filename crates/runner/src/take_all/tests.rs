//! Known answers: a script stands where engine and load would, so that every figure of a sealed run is fixed beforehand.

use super::*;
use crate::{NoProgress, StopReason, StopSignal};
use servelab_engine::EngineError;
use servelab_evidence::{Disk, SealedRun};
use servelab_findings::trial_metrics;
use servelab_schema::{
    Chunk, ClockAnchor, Completion, FinishReason, GateName, MetricName, Nanos, Outcome, RunId, Sha256Hex, Trace,
    TrialCounts, TtftKind, Window, examples,
};
use std::{cell::RefCell, collections::BTreeMap, num::NonZeroU32, path::Path, sync::Arc};

/// What a scripted take does.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// The gate fails.
    Fails(GateName),
    /// Somebody presses Ctrl-C.
    Stopped,
    /// Its engine cannot be got rid of, after one request.
    Leaks,
}

struct Script<'a> {
    plan: &'a Plan,
    stop: &'a StopFlag,
    /// By name of the take; what is not here goes well.
    acts: BTreeMap<&'static str, Act>,
    begun: RefCell<Vec<String>>,
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

fn trace(take: Take<'_>) -> Trace {
    let (ttft, gap) = times(take.trial.variant.as_str());
    let chunk = |gap| Chunk { gap, tokens: 1 };
    let chunks = vec![chunk(Nanos::ZERO), chunk(gap), chunk(gap), chunk(gap)];
    let digest = Sha256Hex::from_bytes([0; 32]);
    let done = Completion::new(
        TtftKind::Token,
        ttft,
        Some(ttft),
        chunks,
        one(137),
        one(4),
        FinishReason::Length,
        digest,
    );
    Trace {
        block: take.block.block,
        variant: take.trial.variant.clone(),
        outcome: Outcome::Completed(done.unwrap()),
        ..examples::trace()
    }
}

impl Takes for Script<'_> {
    async fn execute(&self, take: Take<'_>, run: &RunWriter) -> Result<TrialRecord, RunError> {
        let id = take.trial.take_id(take.block.block, take.take).unwrap();
        self.begun.borrow_mut().push(id.to_string());
        let writer = run.trial(&id)?;
        let mut traces = writer.traces()?;
        traces.append(&trace(take))?;
        let act = self.acts.get(id.as_str()).copied();
        if matches!(act, Some(Act::Leaks)) {
            return Err(EngineError::Leak { group: 7 }.into());
        }
        traces.finish()?;
        writer.engine(&examples::engine_record())?;
        let validity = match act {
            Some(Act::Fails(gate)) => Validity::Invalid { gates: vec![gate] },
            Some(Act::Stopped) => {
                self.stop.stop(StopReason::Signal(StopSignal::Terminate));
                Validity::Aborted {
                    why: self.stop.why().unwrap().to_string(),
                }
            }
            Some(Act::Leaks) | None => Validity::Valid,
        };
        let window = Window {
            start_ns: Nanos::ZERO,
            end_ns: Nanos::from_secs(2),
        };
        let record = TrialRecord {
            id,
            block: take.block.block,
            order: take.trial.order,
            variant: take.trial.variant.clone(),
            take: take.take,
            held: Some(window),
            span: Some(window),
            counts: TrialCounts {
                planned: 1,
                completed: 1,
                ..TrialCounts::default()
            },
            gates: Vec::new(),
            validity,
            ..examples::trial_record()
        };
        writer.finish(&record)?;
        Ok(record)
    }

    fn redact(&self, text: &str) -> String {
        text.replace('7', "[redacted]")
    }
}

/// The sealed run of a script, what the loop said of it, and the takes in the order they were begun.
struct Played {
    run: SealedRun,
    looped: Looped,
    begun: Vec<String>,
    _dir: tempfile::TempDir,
}

fn run_writer(runs: &Path, plan: &Plan) -> RunWriter {
    let id = RunId::new("r1").unwrap();
    RunWriter::create(Arc::new(Disk), runs, &id, plan, &examples::environment()).unwrap()
}

async fn play(blocks: usize, acts: &[(&'static str, Act)]) -> Played {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = examples::plan();
    plan.blocks.truncate(blocks);
    let mut run = run_writer(dir.path(), &plan);
    let stop = StopFlag::default();
    let script = Script {
        plan: &plan,
        stop: &stop,
        acts: acts.iter().copied().collect(),
        begun: RefCell::default(),
    };
    let looped = take_all(script.plan, &mut run, &script, &stop, &NoProgress).await;
    let begun = script.begun.take();
    let anchor = ClockAnchor {
        utc: "2026-11-22T10:01:00Z".into(),
        monotonic_ns: Nanos::from_secs(60),
    };
    run.seal(looped.end.clone(), anchor).unwrap();
    Played {
        run: SealedRun::open(&dir.path().join("r1")).unwrap(),
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
}

const CALM: [&str; 3] = ["b01-01-C1-c8-t1", "b01-02-C1b-c8-t1", "b01-03-C3-c8-t1"];

#[tokio::test]
async fn the_figures_are_those_of_the_script() {
    let played = play(2, &[]).await;
    assert_eq!(played.why(), "complete");
    assert_eq!(played.sealed().len(), 6);
    assert_eq!(played.sealed(), played.begun);
    let tally = &played.looped.tally;
    assert_eq!((tally.valid, tally.invalid, tally.retakes, tally.lost), (6, 0, 0, 0));
    let plan = played.run.plan().unwrap();
    for trial in played.run.trials() {
        let record = played.run.trial_record(&trial.id).unwrap();
        let traces = played.run.traces(&trial.id).unwrap();
        let metrics = trial_metrics(record.held.unwrap(), &plan.slo, &traces);
        let value = |name: MetricName| (metrics.values[&name].value * 1e6).round() / 1e6;
        let (ttft, tpot) = if record.variant.as_str() == "C3" {
            (0.1, 0.01)
        } else {
            (0.2, 0.02)
        };
        let found = [value(MetricName::TtftP50), value(MetricName::TpotMean)];
        assert!(
            found
                .iter()
                .zip([ttft, tpot])
                .all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-9),
            "{found:?}"
        );
        assert!(
            (value(MetricName::OutputThroughput) - 2.0).abs() < 1e-9,
            "4 tokens in 2 s"
        );
    }
}

#[tokio::test]
async fn a_trial_that_the_instrument_lost_is_taken_again_and_both_are_kept() {
    let lost = Act::Fails(GateName::EventLoopLag);
    let played = play(1, &[(CALM[0], lost)]).await;
    let again = "b01-01-C1-c8-t2";
    assert_eq!(played.sealed(), [CALM[0], CALM[1], CALM[2], again]);
    let tally = &played.looped.tally;
    assert_eq!((tally.begun, tally.retakes, tally.invalid, tally.lost), (4, 1, 1, 0));
    assert!(tally.cells_without_valid_trial().is_empty());
    let take = |id: &str| {
        played
            .run
            .trial_record(&servelab_schema::TrialId::new(id).unwrap())
            .unwrap()
    };
    assert_eq!((take(CALM[0]).take, take(again).take), (1, 2));
    assert!(!take(CALM[0]).validity.is_valid() && take(again).validity.is_valid());

    let played = play(1, &[(CALM[0], lost), (again, lost)]).await;
    let tally = &played.looped.tally;
    assert_eq!((tally.begun, tally.lost), (4, 1), "once and no more");
    assert_eq!(tally.cells_without_valid_trial(), ["C1 c8"]);
}

#[tokio::test]
async fn what_the_engine_or_the_setting_lost_is_an_outcome() {
    for gate in [GateName::EngineAlive, GateName::Failures, GateName::Treatment] {
        let played = play(1, &[(CALM[1], Act::Fails(gate))]).await;
        assert_eq!(played.sealed(), CALM);
        assert_eq!(played.looped.tally.retakes, 0);
    }
}

#[tokio::test]
async fn an_error_in_the_last_trial_seals_what_is_there() {
    let played = play(1, &[(CALM[2], Act::Leaks)]).await;
    assert_eq!(played.sealed(), CALM);
    assert!(matches!(
        played.looped.error,
        Some(RunError::Engine(EngineError::Leak { group: 7 }))
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
    let record = played.run.trial_record(&last.id).unwrap();
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
