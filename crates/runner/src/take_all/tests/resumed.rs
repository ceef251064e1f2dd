//! A run that was killed at any of its takes, and resumed, says what the undisturbed one says.

use super::*;
use crate::resume::before;
use servelab_evidence::{Beginning, Resumable};
use servelab_schema::{Wish, changes, findings::Note};

/// The name of a take of the second take of a block of the script.
const LOST: &str = "b01-02-C1b-c8-t1";

fn plan() -> Plan {
    let mut plan = examples::plan();
    plan.blocks.truncate(2);
    plan
}

/// Begins a session of a run, or the run itself, and plays the script until it ends or is killed. The takes that were begun, and how it
/// ended unless it was killed.
async fn session(runs: &Path, acts: &[(&'static str, Act)], wish: &Wish) -> (Vec<String>, Option<Findings>) {
    let (plan, environment, stop) = (plan(), environment(), StopFlag::default());
    let id = RunId::new("r1").unwrap();
    let script = Script::new(&plan, &stop, acts);
    let (run, mut earlier) = if runs.join("r1").exists() {
        let found = Resumable::open(Arc::new(Disk), runs, &id).unwrap();
        let earlier = before(&plan, &found).unwrap();
        let killed: Vec<_> = found
            .takes()
            .iter()
            .filter(|t| t.files.is_none())
            .map(|t| t.id.clone())
            .collect();
        let beginning = Beginning {
            wish,
            plan: None,
            environment: &environment,
            why: "killed",
        };
        let run = found.begin(&beginning, &str::to_owned).unwrap();
        let mut earlier = earlier;
        let prompts = Prompts::of(&plan);
        let cut = killed
            .iter()
            .map(|id| reduce(&plan, &prompts, &environment, &run.take(id)).unwrap());
        earlier.trials.extend(cut);
        (run, earlier)
    } else {
        (run_writer(runs, &plan), Before::default())
    };
    let selection = Selection::of(wish, &plan).unwrap();
    let work = Work {
        plan: &plan,
        environment: &environment,
        selection: &selection,
        started: monotonic(),
    };
    let looped = tokio::select! {
        looped = take_all(work, std::mem::take(&mut earlier), &run, &script, &stop, &NoProgress) => Some(looped),
        () = script.killed.notified() => None,
    };
    let begun = script.begun.take();
    let Some(looped) = looped else {
        return (begun, None);
    };
    let findings = evaluate(&plan, &environment, (&id, &looped.end), looped.trials);
    let anchor = ClockAnchor {
        utc: "2026-11-22T10:01:00Z".into(),
        monotonic_ns: WallNanos::from_secs(60),
    };
    run.seal(anchor, &findings).unwrap();
    (begun, Some(findings))
}

/// What a run says that a kill must not change: every comparison, every cell, and every take that stands.
fn said(findings: &Findings) -> serde_json::Value {
    let mut study = findings.study.clone();
    study.notes.clear();
    let stands = findings.trials.iter().filter(|t| t.stands);
    let mut stands: Vec<_> = stands
        .map(|t| ((t.block, t.order), &t.validity, &t.gates, &t.metrics, &t.counts))
        .collect();
    stands.sort_by_key(|(place, ..)| *place);
    let mut cells = findings.cells.clone();
    // The take that was killed is one that is left out, and its request one of every take, counted or not.
    for cell in &mut cells {
        (cell.completed_everywhere, cell.left_out) = (0, 0);
    }
    serde_json::to_value((study, stands, cells)).unwrap()
}

#[tokio::test]
async fn a_run_that_was_killed_at_any_take_says_what_the_undisturbed_one_says() {
    let lost = [(LOST, Act::Fails(GateName::EventLoopLag))];
    let calm = tempfile::tempdir().unwrap();
    let (begun, undisturbed) = session(calm.path(), &lost, &Wish::default()).await;
    let undisturbed = undisturbed.unwrap();
    assert_eq!(begun.len(), 7, "{begun:?}");
    for (nth, killed) in begun.iter().enumerate() {
        let killed: &'static str = Box::leak(killed.clone().into_boxed_str());
        let runs = tempfile::tempdir().unwrap();
        let mut acts = lost.to_vec();
        acts.retain(|(name, _)| *name != killed);
        acts.push((killed, Act::Killed));
        let (first, end) = session(runs.path(), &acts, &Wish::default()).await;
        assert!(end.is_none(), "{killed}");
        assert_eq!(first, begun[..=nth]);
        // The one that was killed is lost again where it was to be lost, under its new number.
        let anew = killed.replace("-t2", "-t3").replace("-t1", "-t2");
        let anew: &'static str = Box::leak(anew.into_boxed_str());
        let again = if killed == LOST {
            vec![(anew, Act::Fails(GateName::EventLoopLag))]
        } else {
            lost.to_vec()
        };
        let (second, resumed) = session(runs.path(), &again, &Wish::default()).await;
        let resumed = resumed.unwrap();
        assert_eq!(second[0], anew, "what was cut off is taken anew, first");
        assert_eq!(
            first.len() + second.len(),
            begun.len() + 1,
            "and nothing else twice: {second:?}"
        );
        assert_eq!(resumed.run.end, RunEnd::Complete);
        let cut: Vec<_> = resumed
            .trials
            .iter()
            .filter(|t| matches!(t.validity, Validity::Aborted { .. }))
            .collect();
        assert_eq!(cut.len(), 1, "the old take is kept");
        assert_eq!(cut[0].id.as_str(), killed);
        let differs = changes(&said(&undisturbed), &said(&resumed));
        assert!(differs.is_empty(), "{killed}: {differs:?}");
        assert_eq!(resumed.brief.valid, undisturbed.brief.valid);
        assert_eq!(resumed.retakes(), 1, "{killed}: what was cut off is not repeated");
        assert!(
            resumed
                .study
                .notes
                .iter()
                .any(|n| matches!(n, Note::WentOn { sessions: 2, .. }))
        );
        SealedRun::open(&runs.path().join("r1")).unwrap();
    }
}

#[tokio::test]
async fn what_was_left_out_is_outstanding_and_what_the_instrument_lost_can_be_tried_again() {
    let wish = |only: &[&str], retry_invalid| Wish {
        only: only.iter().map(|w| (*w).to_owned()).collect(),
        retry_invalid,
        ..Wish::default()
    };
    let runs = tempfile::tempdir().unwrap();
    let lag = Act::Fails(GateName::EventLoopLag);
    let acts = [
        ("b01-01-C1-c8-t1", lag),
        ("b01-01-C1-c8-t2", lag),
        ("b01-02-C1b-c8-t1", Act::Fails(GateName::Failures)),
    ];
    let (begun, found) = session(runs.path(), &acts, &wish(&["b1"], false)).await;
    assert_eq!(begun.len(), 4, "{begun:?}");
    let RunEnd::Aborted { why } = found.unwrap().run.end else {
        unreachable!("more is planned than was asked for")
    };
    assert_eq!(why, "asked for --only b1: 3 more takes of the plan are outstanding");
    // The engine's own loss is an outcome: only what the instrument lost is tried again.
    let (begun, found) = session(runs.path(), &[], &wish(&["b1"], true)).await;
    assert_eq!(begun, ["b01-01-C1-c8-t3"]);
    assert!(matches!(found.unwrap().run.end, RunEnd::Aborted { .. }));
    let (begun, found) = session(runs.path(), &[], &wish(&[], false)).await;
    assert_eq!(begun.len(), 3);
    let found = found.unwrap();
    assert_eq!(found.run.end, RunEnd::Complete);
    assert_eq!((found.brief.valid, found.brief.invalid), (5, 3));
    let went_on = Note::WentOn {
        sessions: 3,
        blocks: vec![1],
    };
    assert!(found.study.notes.contains(&went_on), "{:?}", found.study.notes);
}
