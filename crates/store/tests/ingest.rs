//! Sealed runs go in whole, once, and come back as they were.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use rusqlite::Connection;
use servelab_evidence::SealedRun;
use servelab_schema::{MetricName, Outcome, RunId, Trace};
use servelab_store::{Ingested, RunData, Store, StoreError};
use std::path::Path;
use support::Fixture;
use tempfile::TempDir;

fn sealed(fixture: &Fixture, dir: &Path) -> SealedRun {
    SealedRun::open(&fixture.seal_into(&dir.join("runs"))).unwrap()
}

fn open(dir: &TempDir) -> Store {
    Store::open(&dir.path().join("servelab.db")).unwrap()
}

fn check_equal(stored: &RunData, run: &SealedRun) {
    assert_eq!(&stored.fingerprint, run.fingerprint());
    assert_eq!(&stored.manifest, run.manifest());
    assert_eq!(stored.plan, run.plan().unwrap());
    assert_eq!(stored.environment, run.environment().unwrap());
    let summaries: Vec<_> = run.trials().collect();
    assert_eq!(stored.trials.len(), summaries.len());
    for (row, summary) in stored.trials.iter().zip(summaries) {
        assert_eq!(row.record, run.trial_record(&summary.id).unwrap());
        assert_eq!(row.engine, run.engine_record(&summary.id).unwrap());
        assert_eq!(row.traces, without_texts(run.traces(&summary.id).unwrap()));
        assert_eq!(row.answers.len(), row.traces.len());
        assert_eq!(row.telemetry, run.telemetry(&summary.id).unwrap());
    }
}

/// The database keeps what was found in a text, not the text.
fn without_texts(traces: Vec<Trace>) -> Vec<Trace> {
    let without = |mut trace: Trace| {
        if let Outcome::Completed(done) = trace.outcome {
            trace.outcome = Outcome::Completed(done.with_text(None));
        }
        trace
    };
    traces.into_iter().map(without).collect()
}

#[test]
fn known_answers_are_looked_for_in_kept_texts_and_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    let full = Fixture {
        full: true,
        ..Fixture::small("full")
    };
    for fixture in [full, Fixture::small("bare")] {
        let run = sealed(&fixture, dir.path());
        store.ingest(&run).unwrap();
        let stored = store.load_run(&run.manifest().run_id).unwrap();
        check_equal(&stored, &run);
        let mut found = [0_u32; 3];
        for (row, summary) in stored.trials.iter().zip(run.trials()) {
            for (trace, (original, answer)) in row
                .traces
                .iter()
                .zip(run.traces(&summary.id).unwrap().iter().zip(&row.answers))
            {
                let question = fixture.full && trace.measured && trace.prompt_id.as_str().starts_with("qa-qa-");
                assert_eq!(answer.is_some(), question, "{}", trace.prompt_id);
                let text = original.completion().and_then(|c| c.text()).unwrap_or_default();
                assert_eq!(answer.unwrap_or_default(), text.contains("NUMBER"), "{text}");
                found[answer.map_or(2, usize::from)] += 1;
            }
        }
        assert_eq!(found[0] > 0 && found[1] > 0, fixture.full, "{found:?}");
    }
    let bytes = std::fs::read(store.path()).unwrap();
    assert!(
        !bytes.windows(13).any(|w| w == b"I do not know"),
        "no text is in the database"
    );
}

#[test]
fn a_run_comes_back_as_it_was() {
    let dir = TempDir::new().unwrap();
    let run = sealed(
        &Fixture {
            blocks: 2,
            ..Fixture::study("r1")
        },
        dir.path(),
    );
    let mut store = open(&dir);
    assert_eq!(store.ingest(&run).unwrap(), Ingested::New);
    check_equal(&store.load_run(&run.manifest().run_id).unwrap(), &run);
}

#[test]
fn twice_is_once() {
    let dir = TempDir::new().unwrap();
    let run = sealed(&Fixture::small("r1"), dir.path());
    let mut store = open(&dir);
    assert_eq!(store.ingest(&run).unwrap(), Ingested::New);
    let (runs, data) = (store.runs().unwrap(), store.load_run(&run.manifest().run_id).unwrap());
    assert_eq!(store.ingest(&run).unwrap(), Ingested::Already);
    assert_eq!(store.runs().unwrap(), runs);
    assert_eq!(store.load_run(&run.manifest().run_id).unwrap(), data);
    assert_eq!((runs.len(), runs[0].trials, runs[0].valid_trials), (1, 12, 12));
}

#[test]
fn a_deleted_database_gives_the_same_answers_when_made_again() {
    let dir = TempDir::new().unwrap();
    let run = sealed(&Fixture::small("r1"), dir.path());
    let other = sealed(
        &Fixture {
            aborted: true,
            ..Fixture::small("r2")
        },
        dir.path(),
    );
    let answers = || {
        let mut store = open(&dir);
        // In any order.
        store.ingest(&other).unwrap();
        store.ingest(&run).unwrap();
        let id = &run.manifest().run_id;
        (
            store.runs().unwrap(),
            store.load_run(id).unwrap(),
            store.trial_metrics(id).unwrap(),
        )
    };
    let before = answers();
    for file in ["servelab.db", "servelab.db-wal", "servelab.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    assert_eq!(answers(), before);
    assert_eq!(before.0.len(), 2);
}

#[test]
fn two_runs_under_one_name_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let first = sealed(&Fixture::small("same"), dir.path());
    let second = sealed(
        &Fixture {
            blocks: 5,
            ..Fixture::small("same")
        },
        &dir.path().join("elsewhere"),
    );
    let mut store = open(&dir);
    store.ingest(&first).unwrap();
    let err = store.ingest(&second).unwrap_err();
    assert!(matches!(err, StoreError::Conflict { .. }));
    let message = err.to_string();
    for part in [
        "`same`",
        first.fingerprint().as_str(),
        second.fingerprint().as_str(),
        "Delete the database",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // The first one is untouched.
    check_equal(&store.load_run(&RunId::new("same").unwrap()).unwrap(), &first);
}

#[test]
fn a_reader_sees_the_last_whole_run_while_a_writer_is_at_work() {
    let dir = TempDir::new().unwrap();
    let run = sealed(&Fixture::small("r1"), dir.path());
    let mut store = open(&dir);
    store.ingest(&run).unwrap();
    // Another process holds the write lock and has changed rows that it has not committed.
    let writer = Connection::open(store.path()).unwrap();
    writer
        .execute_batch("PRAGMA foreign_keys = ON; BEGIN IMMEDIATE; DELETE FROM run")
        .unwrap();
    let reader = open(&dir);
    check_equal(&reader.load_run(&run.manifest().run_id).unwrap(), &run);
    writer.execute_batch("COMMIT").unwrap();
    assert!(reader.runs().unwrap().is_empty());
    // The rows of the run went with it.
    for table in [
        "variant",
        "load",
        "prompt",
        "trial",
        "request",
        "trial_metric",
        "telemetry",
    ] {
        let left: i64 = writer
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[test]
fn a_run_that_does_not_go_in_whole_does_not_go_in() {
    let dir = TempDir::new().unwrap();
    let run = sealed(&Fixture::small("r1"), dir.path());
    let mut store = open(&dir);
    // The last file that ingest reads vanishes after the run was opened.
    let last = run.trials().last().unwrap().id.clone();
    std::fs::remove_file(run.dir().join("trials").join(last.as_str()).join("engine.json")).unwrap();
    assert!(matches!(store.ingest(&run), Err(StoreError::Evidence(_))));
    assert!(store.runs().unwrap().is_empty());
}

#[test]
fn an_unknown_run_is_named_with_the_known_ones() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    let id = RunId::new("nope").unwrap();
    assert!(store.run(&id).unwrap_err().to_string().contains("known: none"));
    store.ingest(&sealed(&Fixture::small("r1"), dir.path())).unwrap();
    assert!(store.load_run(&id).unwrap_err().to_string().contains("known: r1"));
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(
        &path,
        "these are my notes, not a database at all, and they are long enough to be read",
    )
    .unwrap();
    let err = Store::open(&path).unwrap_err();
    assert!(err.to_string().contains("notes.txt"), "{err}");
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("these are my notes")
    );
}

#[test]
fn metrics_are_kept_for_trials_that_held_their_load_only() {
    let dir = TempDir::new().unwrap();
    let run = sealed(
        &Fixture {
            blocks: 2,
            ..Fixture::study("r1")
        },
        dir.path(),
    );
    let mut store = open(&dir);
    store.ingest(&run).unwrap();
    let metrics = store.trial_metrics(&run.manifest().run_id).unwrap();
    let of = |arm: &str, name| {
        let arm = format!("-{arm}-");
        metrics
            .iter()
            .filter(|m| m.trial.as_str().contains(&arm) && m.metric == name)
            .map(|m| m.value)
            .sum::<f64>()
    };
    // C8 is 1.78 times as fast by construction; C4 was refused by the engine, so it has no number at all.
    let ratio = of("C8", MetricName::OutputThroughput) / of("C1", MetricName::OutputThroughput);
    assert!((1.6..2.0).contains(&ratio), "{ratio}");
    assert!(!metrics.iter().any(|m| m.trial.as_str().contains("-C4-")));
}
