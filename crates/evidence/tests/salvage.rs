//! What was cut off is closed without losing a byte, and only what was cut off.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[path = "support/told.rs"]
mod told;

use servelab_evidence::{
    Disk, EvidenceError, RunWriter, SealedRun, TakeFiles, names,
    salvage::{Closed, Closing, CutOff, close},
};
use servelab_schema::{
    ClockAnchor, EnvironmentRecord, Plan, RunEnd, RunId, TrialEnd, TrialId, Validity, WallNanos, examples,
    findings::Findings,
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};
use told::evaluated;

const WHY: &str = "the runner was killed";

fn run_id() -> RunId {
    RunId::new("r1").unwrap()
}

/// Knows one secret.
struct Redacting;

impl Closing for Redacting {
    fn redact(&self, _: &Plan, text: &str) -> String {
        text.replace("abc", "[redacted]")
    }

    fn evaluate(
        &self,
        plan: &Plan,
        environment: &EnvironmentRecord,
        identity: (&RunId, &RunEnd),
        takes: &[TakeFiles],
    ) -> Result<Findings, EvidenceError> {
        assert_eq!((plan, environment), (&examples::plan(), &examples::environment()));
        evaluated(identity, takes)
    }
}

fn create(runs: &Path) -> RunWriter {
    let (plan, environment) = (examples::plan(), examples::environment());
    RunWriter::create(Arc::new(Disk), runs, &run_id(), &plan, &environment).unwrap()
}

fn id(plan: &Plan, trial: usize, take: u32) -> TrialId {
    let block = &plan.blocks[0];
    block.trials[trial].take_id(block.block, take).unwrap()
}

/// One take that ended, and one that has a row, half a row, a log and half a document.
fn cut_off(runs: &Path) -> PathBuf {
    let plan = examples::plan();
    let run = create(runs);
    run.events().unwrap().append(&examples::event()).unwrap();
    let mut record = examples::trial_record();
    (record.id, record.order) = (id(&plan, 0, 1), 1);
    let done = run.trial(&record.id).unwrap();
    done.engine(&examples::engine_record()).unwrap();
    done.finish(&record).unwrap();
    let second = run.trial(&id(&plan, 2, 1)).unwrap();
    second.traces().unwrap().append(&examples::trace()).unwrap();
    let path = second.dir().join(names::TRACES);
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"{\"v\":1,\"req")
        .unwrap();
    let (mut log, _) = second.child_output(names::SERVER_LOG).unwrap();
    log.write_all(b"key=abc\n").unwrap();
    fs::write(second.dir().join("engine.json.tmp"), "{\"v\":1").unwrap();
    run.dir().to_path_buf()
}

fn close_it(runs: &Path) -> Result<Closed, EvidenceError> {
    close(Arc::new(Disk), runs, &run_id(), WHY, &Redacting)
}

#[test]
fn a_killed_run_is_closed_with_all_its_bytes() {
    let runs = tempfile::tempdir().unwrap();
    let dir = cut_off(runs.path());
    let plan = examples::plan();
    let closed = close_it(runs.path()).unwrap();
    let second = id(&plan, 2, 1);
    assert_eq!((closed.finished, &closed.cut_off), (1, &vec![second.clone()]));
    let run = SealedRun::open(&dir).unwrap();
    assert_eq!(run.manifest().end, RunEnd::Aborted { why: WHY.into() });
    let ids: Vec<_> = run.trials().map(|t| t.id.clone()).collect();
    assert_eq!(ids, [id(&plan, 0, 1), second.clone()]);
    let take = run.take(&second);
    let traces: Result<Vec<_>, _> = take.traces().unwrap().collect();
    assert_eq!(traces.unwrap(), [examples::trace()]);
    let record = take.record().unwrap();
    assert_eq!(record.end, TrialEnd::Interrupted { why: WHY.into() });
    let sealed: Vec<_> = run.trials().map(|t| t.validity.clone()).collect();
    assert_eq!(sealed, [Validity::Valid, Validity::Aborted { why: WHY.into() }]);
    assert_eq!(run.findings().unwrap().run.end, closed.end);
    assert_eq!((record.counts.completed, record.counts.planned), (1, 1));
    assert_eq!(take.engine().unwrap().failure.as_deref(), Some(WHY));
    let folder = dir.join("trials").join(second.as_str());
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(text("traces.jsonl.torn"), "{\"v\":1,\"req");
    assert_eq!(text("engine.json.tmp.torn"), "{\"v\":1");
    assert_eq!(text("server.log"), "key=[redacted]\n");
    assert_eq!(closed.torn.len(), 2, "{:?}", closed.torn);
    assert!(run.manifest().finished.utc.as_str() > "2026");
    assert!(
        matches!(close_it(runs.path()), Err(EvidenceError::Sealed(_))),
        "once is enough"
    );
}

#[test]
fn what_was_killed_while_closing_is_closed_again() {
    let runs = tempfile::tempdir().unwrap();
    let dir = cut_off(runs.path());
    // As a seal leaves it that was killed before its last rename.
    fs::write(dir.join("run_manifest.json.tmp"), "{").unwrap();
    fs::write(dir.join(names::FINGERPRINT), "0123").unwrap();
    let closed = close_it(runs.path()).unwrap();
    assert_eq!(SealedRun::open(&dir).unwrap().fingerprint(), &closed.fingerprint);
    assert_eq!(
        fs::read_to_string(dir.join("run_manifest.sha256.torn")).unwrap(),
        "0123"
    );
}

#[test]
fn only_what_was_cut_off_is_closed() {
    let runs = tempfile::tempdir().unwrap();
    let refused = |what: &str| {
        let error = close_it(runs.path()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        error
    };
    refused("no run directory");
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), runs.path().join("r1")).unwrap();
    refused("no run directory");
    fs::remove_file(runs.path().join("r1")).unwrap();
    fs::create_dir(runs.path().join("r1")).unwrap();
    refused("nothing was measured");
    fs::remove_dir(runs.path().join("r1")).unwrap();
    let running = create(runs.path());
    assert!(matches!(refused("goes on"), EvidenceError::Running(_)));
    let stranger = running.dir().join("trials/notes");
    drop(running);
    fs::create_dir(&stranger).unwrap();
    refused("no take of this run's plan");
    assert!(
        SealedRun::open(&runs.path().join("r1")).is_err(),
        "a refusal seals nothing"
    );
}

#[test]
fn a_take_that_an_error_ended_is_sealed_with_its_run() {
    let runs = tempfile::tempdir().unwrap();
    let plan = examples::plan();
    let run = create(runs.path());
    let take = run.trial(&id(&plan, 1, 2)).unwrap();
    take.traces().unwrap().append(&examples::failed_trace()).unwrap();
    let cut = |trial: usize| CutOff {
        block: &plan.blocks[0],
        trial: &plan.blocks[0].trials[trial],
        take: 2,
        why: "disk",
    };
    let ended = run.cut_short(&plan, cut(1), &str::to_owned).unwrap().unwrap();
    // Not begun: nothing to end.
    assert!(run.cut_short(&plan, cut(2), &str::to_owned).unwrap().is_none());
    let anchor = ClockAnchor {
        utc: "2026-11-22T10:01:00Z".into(),
        monotonic_ns: WallNanos::from_secs(60),
    };
    let findings = evaluated((&run_id(), &RunEnd::Complete), &[ended]).unwrap();
    run.seal(anchor, &findings).unwrap();
    let sealed = SealedRun::open(&runs.path().join("r1")).unwrap();
    let records: Vec<_> = sealed.trials().map(|t| sealed.take(&t.id).record().unwrap()).collect();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].take, records[0].counts.failures()), (2, 1));
}
