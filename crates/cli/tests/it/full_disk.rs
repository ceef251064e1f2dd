//! A disk that fills up in the middle of a run: a clear end, nothing written lost, nothing left running.

use crate::{small_disk::SmallDisk, support::Project};
use servelab_evidence::SealedRun;
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
    let project = Project::new(1, 24);
    project.matrix("disk", &[], "blocks = 1", ARMS);
    let root = project.path("");
    let overrides = servelab_matrix::Overrides::default();
    let plan = servelab_matrix::resolve(&root, Path::new("matrix/disk.toml"), &overrides).unwrap();
    let options = RunOptions {
        run_id: Some(RunId::new("r1").unwrap()),
        layer: Arc::new(SmallDisk {
            left: Arc::new(AtomicUsize::new(bytes)),
            lose: false,
        }),
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
