//! A disk that fills up in the middle of a run: a clear end, nothing written lost, nothing left running.

use crate::{
    failing::{EIO, ENOSPC, EROFS, Failing, FailingDisk},
    small_disk::SmallDisk,
    support::Project,
};
use servelab_evidence::{FileLayer, SealedRun};
use servelab_runner::{NoProgress, RunError, RunOptions, StopFlag, execute};
use servelab_schema::{RunId, Trace, Wish};
use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicUsize},
};

const ARMS: &str = "[load]\nconcurrency = 4\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";

/// Processes whose command line names this project: the engines of its runs.
fn engines(project: &Project) -> usize {
    let needle = project.path("").display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(&needle))
        .count()
}

/// Runs the plan with so many bytes of disk.
fn run_with(bytes: usize) -> (Project, Result<servelab_runner::RunOutcome, RunError>) {
    let left = Arc::new(AtomicUsize::new(bytes));
    run_on(Arc::new(SmallDisk { left, lose: false }), 24)
}

/// Runs the plan with so many prompts on that disk.
fn run_on(layer: Arc<dyn FileLayer>, prompts: u32) -> (Project, Result<servelab_runner::RunOutcome, RunError>) {
    let project = Project::new(1, prompts);
    project.matrix("disk", &[], "blocks = 1", ARMS);
    let root = project.path("");
    let overrides = servelab_matrix::Overrides::default();
    let plan = servelab_matrix::resolve(&root, Path::new("matrix/disk.toml"), &overrides).unwrap();
    let options = RunOptions {
        run_id: Some(RunId::new("r1").unwrap()),
        layer,
        ..RunOptions::new(root, project.path("runs"), env!("CARGO_BIN_EXE_servelab").into())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(execute(
        &plan,
        &Wish::default(),
        &options,
        &StopFlag::default(),
        &NoProgress,
    ));
    (project, result)
}

#[test]
fn a_full_disk_ends_the_run_and_keeps_what_was_written() {
    // Plan, environment and metrics take about 40 kB; then there is room for some traces only.
    let (project, result) = run_with(60_000);
    let error = result.unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("free some space") && words.contains("`servelab seal r1`"),
        "{words}"
    );
    let RunError::Unsealed { source, earlier, .. } = error else {
        panic!("{words}")
    };
    assert!(source.is_disk_full());
    assert!(matches!(*earlier.unwrap(), RunError::Evidence(e) if e.is_disk_full()));
    let dir = project.path("runs/r1");
    assert!(SealedRun::open(&dir).is_err(), "nothing is sealed");
    for trial in fs::read_dir(dir.join("trials")).unwrap() {
        let text = fs::read_to_string(trial.unwrap().path().join("traces.jsonl")).unwrap_or_default();
        let (whole, _cut) = text.rsplit_once('\n').unwrap_or_default();
        for line in whole.lines() {
            serde_json::from_str::<Trace>(line).unwrap();
        }
    }
    assert_eq!(engines(&project), 0, "the engine must not outlive its run");
    // Now there is space again.
    project.servelab(&["seal", "r1"]).exits(0);
    project.servelab(&["ingest", "r1"]).exits(0);
}

/// Holds a run of which one operation of the disk failed: whole, or to be sealed or resumed; no engine left.
fn survives(failing: Failing) {
    let (project, result) = run_on(Arc::new(FailingDisk::new(failing)), 4);
    assert_eq!(engines(&project), 0, "{failing:?}: the engine must not outlive its run");
    let dir = project.path("runs/r1");
    if let Ok(outcome) = &result {
        assert_eq!(
            SealedRun::open(&dir).unwrap().fingerprint(),
            &outcome.fingerprint,
            "{failing:?}"
        );
    } else if dir.join("environment.json").exists() {
        // Whatever it was, the disk is well again: what is left is taken, and all of it is sealed.
        project.servelab(&["run", "--resume", "r1"]).exits(0);
        let run = project.run("r1");
        assert_eq!(run.findings().unwrap().brief.valid, 1, "{failing:?}");
    }
}

/// The operations that such a run takes.
fn operations() -> usize {
    let disk = FailingDisk::new(Failing::Nothing);
    run_on(Arc::new(disk.clone()), 4).1.unwrap();
    disk.operations()
}

#[test]
fn a_run_survives_operations_of_the_disk_that_fail() {
    let all = operations();
    assert!(all > 40, "{all}");
    for (n, number) in (3..all).step_by(all / 6).zip([ENOSPC, EIO, EROFS].into_iter().cycle()) {
        survives(Failing::Once(n, number));
    }
}

/// `make torture-disk`.
#[cfg(feature = "torture")]
mod torture {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "whoever runs this wants to see it")]
    fn a_run_survives_the_failure_of_any_operation_of_the_disk() {
        let all = operations();
        for n in 0..all {
            for number in [ENOSPC, EIO, EROFS] {
                survives(Failing::Once(n, number));
            }
            survives(Failing::From(n));
        }
        eprintln!(
            "{all} operations, each failed with ENOSPC, EIO and EROFS, and was the last that went well: no run was lost"
        );
    }
}
