//! Whatever operation of the disk fails, or is the last before a kill or a power cut: a run that has a manifest is whole, one that has
//! none can be sealed or resumed, and every row that was handed to the disk is there.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

#[path = "support/failing.rs"]
mod failing;
#[path = "support/power_cut.rs"]
mod power_cut;
#[path = "support/told.rs"]
mod told;

use failing::{EIO, ENOSPC, EROFS, Failing, FailingDisk};
use power_cut::{After, PowerCutDisk};
use servelab_evidence::{
    Beginning, Disk, EvidenceError, FileLayer, Resumable, RunWriter, SealedRun, TakeFiles, names,
    salvage::{Closing, close},
};
use servelab_schema::{
    ClockAnchor, EnvironmentRecord, Plan, RunEnd, RunId, Trace, TrialId, WallNanos, Wish, examples, findings::Findings,
};
use std::{fs, path::Path, sync::Arc};
use told::evaluated;

const WHY: &str = "killed";

fn run_id() -> RunId {
    RunId::new("r1").unwrap()
}

fn end() -> ClockAnchor {
    ClockAnchor {
        utc: "2026-11-22T10:01:00Z".into(),
        monotonic_ns: WallNanos::from_secs(60),
    }
}

/// A disk of which nothing fails, and which waits for nothing.
fn calm() -> Arc<dyn FileLayer> {
    Arc::new(FailingDisk::new(Failing::Nothing))
}

/// Findings that say of each take only whether it was cut off.
struct Told;

impl Closing for Told {
    fn redact(&self, _: &Plan, text: &str) -> String {
        text.to_owned()
    }

    fn evaluate(
        &self,
        _: &Plan,
        _: &EnvironmentRecord,
        identity: (&RunId, &RunEnd),
        takes: &[TakeFiles],
    ) -> Result<Findings, EvidenceError> {
        evaluated(identity, takes)
    }
}

fn take_id(trial: usize, take: u32) -> TrialId {
    let block = &examples::plan().blocks[0];
    block.trials[trial].take_id(block.block, take).unwrap()
}

fn row(seq: u32) -> Trace {
    Trace {
        seq,
        ..examples::trace()
    }
}

/// One take with some rows.
fn take(run: &RunWriter, id: &TrialId, kept: &mut Vec<(TrialId, u32)>) -> Result<(), EvidenceError> {
    let trial = run.trial(id)?;
    let mut traces = trial.traces()?;
    for seq in 0..4 {
        traces.append(&row(seq))?;
        kept.push((id.clone(), seq));
    }
    traces.finish()?;
    let mut telemetry = trial.telemetry()?;
    telemetry.append(&examples::telemetry())?;
    telemetry.finish()?;
    trial.engine(&examples::engine_record())?;
    let mut record = examples::trial_record();
    record.id = id.clone();
    record.session = run.session();
    trial.finish(&record)
}

fn sealed(run: RunWriter, ids: &[TrialId]) -> Result<(), EvidenceError> {
    let (plan, environment) = (examples::plan(), examples::environment());
    let takes: Vec<TakeFiles> = ids.iter().map(|id| run.take(id)).collect();
    let findings = Told.evaluate(&plan, &environment, (&run_id(), &RunEnd::Complete), &takes)?;
    run.seal(end(), &findings).map(drop)
}

/// Writes a run of two takes. What was appended without an error goes to `kept`, however it ends.
fn write(layer: Arc<dyn FileLayer>, runs: &Path, kept: &mut Vec<(TrialId, u32)>) -> Result<(), EvidenceError> {
    let (plan, environment) = (examples::plan(), examples::environment());
    let run = RunWriter::create(layer, runs, &run_id(), &plan, &environment)?;
    let mut events = run.events()?;
    events.append(&examples::event())?;
    let ids = [take_id(0, 1), take_id(1, 1)];
    for id in &ids {
        take(&run, id, kept)?;
    }
    events.finish()?;
    sealed(run, &ids)
}

/// Resumes the run with one more take, and seals it.
fn go_on(layer: Arc<dyn FileLayer>, runs: &Path, kept: &mut Vec<(TrialId, u32)>) -> Result<(), EvidenceError> {
    let found = Resumable::open(layer, runs, &run_id())?;
    let next = found.takes().iter().map(|t| t.take).max().unwrap_or(0) + 1;
    let mut ids: Vec<TrialId> = found.takes().iter().map(|t| t.id.clone()).collect();
    let environment = examples::environment();
    let wish = Wish::default();
    let beginning = Beginning {
        wish: &wish,
        plan: None,
        environment: &environment,
        why: WHY,
    };
    let run = found.begin(&beginning, &str::to_owned)?;
    let mut events = run.events()?;
    events.append(&examples::event())?;
    let id = take_id(0, next);
    take(&run, &id, kept)?;
    events.finish()?;
    ids.push(id);
    sealed(run, &ids)
}

/// Holds what is there against what must be: sealed and whole, or to be closed without losing a row. Returns the fingerprint.
fn check(runs: &Path, kept: &[(TrialId, u32)], what: &str) -> Option<String> {
    let dir = runs.join("r1");
    if !dir.join(names::MANIFEST).exists() {
        match close(calm(), runs, &run_id(), WHY, &Told) {
            // The seal of before a session that never began is back.
            Ok(_) | Err(EvidenceError::Sealed(_)) => {}
            Err(EvidenceError::NotARun { .. }) => {
                assert!(kept.is_empty(), "{what}: rows are lost with their folder");
                return None;
            }
            Err(error) => panic!("{what}: cannot be closed: {error}"),
        }
    }
    let run = SealedRun::open(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (id, seq) in kept {
        let rows: Vec<Trace> = run.take(id).traces().unwrap().map(Result::unwrap).collect();
        assert!(rows.contains(&row(*seq)), "{what}: row {seq} of {id} is gone");
    }
    Some(run.fingerprint().to_string())
}

/// The operations that `work` takes when nothing fails.
fn operations(work: impl Fn(Arc<dyn FileLayer>)) -> usize {
    let disk = FailingDisk::new(Failing::Nothing);
    work(Arc::new(disk.clone()));
    disk.operations()
}

#[test]
fn any_operation_may_fail_while_a_run_is_written_and_sealed() {
    let all = operations(|disk| write(disk, tempfile::tempdir().unwrap().path(), &mut Vec::new()).unwrap());
    assert!(all > 60, "{all}");
    for n in 0..all {
        for failing in [
            Failing::From(n),
            Failing::Once(n, ENOSPC),
            Failing::Once(n, EIO),
            Failing::Once(n, EROFS),
        ] {
            let runs = tempfile::tempdir().unwrap();
            let mut kept = Vec::new();
            let disk = FailingDisk::new(failing);
            let done = write(Arc::new(disk), &runs.path().join("runs"), &mut kept);
            let full = matches!(failing, Failing::Once(_, ENOSPC));
            // Only where there was no room to compress does a run end as if nothing had been.
            assert!(done.is_err() || full, "{failing:?} is not noticed");
            if done.is_err() && runs.path().join("runs/r1").exists() {
                check(&runs.path().join("runs"), &kept, &format!("{failing:?}"));
            }
        }
    }
}

#[test]
fn any_operation_may_fail_while_a_sealed_run_is_resumed() {
    let begun = tempfile::tempdir().unwrap();
    let mut first = Vec::new();
    write(calm(), begun.path(), &mut first).unwrap();
    let before = SealedRun::open(&begun.path().join("r1")).unwrap();
    let fresh = || {
        let runs = tempfile::tempdir().unwrap();
        copy(begun.path(), runs.path());
        runs
    };
    let all = operations(|disk| go_on(disk, fresh().path(), &mut Vec::new()).unwrap());
    let (mut untouched, mut went_on) = (0, 0);
    for n in 0..all {
        for failing in [Failing::From(n), Failing::Once(n, ENOSPC)] {
            let runs = fresh();
            let mut kept = first.clone();
            let _ = go_on(Arc::new(FailingDisk::new(failing)), runs.path(), &mut kept);
            let fingerprint = check(runs.path(), &kept, &format!("{failing:?}"));
            let same = fingerprint.as_deref() == Some(before.fingerprint().as_str());
            untouched += usize::from(same);
            // It can go on from there, and nothing that the first seal listed is another file now.
            go_on(calm(), runs.path(), &mut kept).unwrap_or_else(|error| panic!("{failing:?}: {error}"));
            check(runs.path(), &kept, &format!("{failing:?}, resumed"));
            let after = SealedRun::open(&runs.path().join("r1")).unwrap();
            for file in before.manifest().files.iter().filter(|f| f.path != names::FINDINGS) {
                assert!(
                    after.manifest().files.contains(file),
                    "{failing:?}: {} changed",
                    file.path
                );
            }
            let sessions = &after.manifest().sessions;
            went_on += usize::from(sessions.len() == 2);
            let earlier = sessions[0].earlier.as_ref().map(ToString::to_string);
            assert_eq!(earlier.as_deref(), Some(before.fingerprint().as_str()));
            let kept_seal = runs.path().join("r1/sessions/2/earlier").join(names::MANIFEST);
            let text = fs::read(before.dir().join(names::MANIFEST)).unwrap();
            assert_eq!(fs::read(kept_seal).unwrap(), text, "{failing:?}");
        }
    }
    assert!(untouched > 0 && went_on > 0, "{untouched} {went_on}");
}

/// Cuts the power after each operation that `work` takes on what `begin` made.
fn cut_everywhere(
    what: &str,
    begin: impl Fn(&Path),
    work: impl Fn(Arc<dyn FileLayer>, &Path) -> Result<(), EvidenceError>,
) {
    let all = {
        let runs = tempfile::tempdir().unwrap();
        begin(runs.path());
        let disk = PowerCutDisk::new(runs.path(), usize::MAX);
        work(Arc::new(disk.clone()), runs.path()).unwrap();
        disk.operations()
    };
    let mut sealed = 0;
    for n in 0..=all {
        let runs = tempfile::tempdir().unwrap();
        begin(runs.path());
        let disk = PowerCutDisk::new(runs.path(), n);
        let done = work(Arc::new(disk.clone()), runs.path());
        assert_eq!(done.is_ok(), n == all, "{what}, {n} of {all}");
        for after in [After::Forgetful, After::Hasty] {
            let left = tempfile::tempdir().unwrap();
            disk.leave(runs.path(), left.path(), after);
            let what = format!("{what}, cut after {n} of {all}, {after:?}");
            let dir = left.path().join("r1");
            if dir.join(names::MANIFEST).exists() {
                sealed += 1;
                SealedRun::open(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
            } else if dir.join(names::TRIALS).exists() {
                // Rows that were not forced to the disk may be gone; what is there is closed.
                check(left.path(), &[], &what);
            }
            assert!(
                n < all || dir.join(names::MANIFEST).exists(),
                "{what}: what is done stays"
            );
        }
    }
    assert!(sealed > 1, "{what}: {sealed}");
}

#[test]
fn a_power_cut_after_any_operation_leaves_a_whole_run_or_one_that_can_be_closed() {
    cut_everywhere("written", |_| (), |disk, runs| write(disk, runs, &mut Vec::new()));
    let begun = |runs: &Path| write(calm(), runs, &mut Vec::new()).unwrap();
    cut_everywhere("resumed", begun, |disk, runs| go_on(disk, runs, &mut Vec::new()));
}

#[test]
fn a_clock_that_was_set_back_stops_no_salvage() {
    let runs = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    let disk = FailingDisk::new(Failing::From(45));
    write(Arc::new(disk), runs.path(), &mut kept).unwrap_err();
    // Everything was written years before the run began, by the clock of now.
    let early = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for path in [names::PLAN, names::ENVIRONMENT, names::EVENTS] {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(runs.path().join("r1").join(path))
            .unwrap();
        file.set_modified(early).unwrap();
    }
    let trials = runs.path().join("r1").join(names::TRIALS);
    for take in fs::read_dir(trials).unwrap() {
        for file in fs::read_dir(take.unwrap().path()).unwrap() {
            let file = fs::OpenOptions::new().write(true).open(file.unwrap().path()).unwrap();
            file.set_modified(early).unwrap();
        }
    }
    let found = Resumable::open(Arc::new(Disk), runs.path(), &run_id()).unwrap();
    assert_eq!(found.before(), WallNanos(0), "nobody knows how long it took");
    drop(found);
    go_on(calm(), runs.path(), &mut kept).unwrap();
    check(runs.path(), &kept, "resumed");
}

#[test]
fn a_run_that_goes_on_now_is_not_resumed_beside_it() {
    let runs = tempfile::tempdir().unwrap();
    let (plan, environment) = (examples::plan(), examples::environment());
    let run = RunWriter::create(Arc::new(Disk), runs.path(), &run_id(), &plan, &environment).unwrap();
    let open = || Resumable::open(Arc::new(Disk), runs.path(), &run_id());
    assert!(matches!(open(), Err(EvidenceError::Running(_))));
    drop(run);
    open().unwrap();
    let none = RunId::new("none").unwrap();
    assert!(matches!(
        Resumable::open(Arc::new(Disk), runs.path(), &none),
        Err(EvidenceError::NotARun { .. })
    ));
    // A link could lead out of the folder of runs.
    std::os::unix::fs::symlink(runs.path().join("r1"), runs.path().join("linked")).unwrap();
    let linked = RunId::new("linked").unwrap();
    assert!(matches!(
        Resumable::open(Arc::new(Disk), runs.path(), &linked),
        Err(EvidenceError::NotARun { .. })
    ));
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
