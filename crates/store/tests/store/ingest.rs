//! Sealed runs go in whole, once, and come back as they were.

use crate::support::Fixture;
use rusqlite::Connection;
use servelab_evidence::{SealedRun, names};
use servelab_findings::rows;
use servelab_schema::{MetricName, RunId, canonical_json};
use servelab_store::{Ingested, RunData, Store, StoreError};
use std::{fs, path::Path};
use tempfile::TempDir;

fn sealed(fixture: &Fixture, dir: &Path) -> SealedRun {
    fixture.sealed(&dir.join("runs"))
}

fn open(dir: &TempDir) -> Store {
    Store::open(&dir.path().join("servelab.db")).unwrap()
}

fn check_equal(stored: &RunData, run: &SealedRun) {
    assert_eq!(&stored.fingerprint, run.fingerprint());
    assert_eq!(&stored.manifest, run.manifest());
    assert_eq!(stored.plan, run.plan().unwrap());
    assert_eq!(stored.environment, run.environment().unwrap());
    assert_eq!(stored.findings, run.findings().unwrap());
    let summaries: Vec<_> = run.trials().collect();
    assert_eq!(stored.takes.len(), summaries.len());
    for (row, summary) in stored.takes.iter().zip(summaries) {
        let take = run.take(&summary.id);
        assert_eq!(row.record, take.record().unwrap());
        assert_eq!(row.engine, take.engine().unwrap());
    }
}

/// What the database decides again is `findings.json`, byte for byte: so no request, sample or answer was lost or changed.
fn check_evaluates_as_sealed(store: &Store, run: &SealedRun) {
    let again = store.evaluate_again(&run.manifest().run_id).unwrap();
    let at_the_seal = fs::read_to_string(run.dir().join(names::FINDINGS)).unwrap();
    assert_eq!(canonical_json(&again).unwrap(), at_the_seal);
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
        check_equal(&store.load_run(&run.manifest().run_id).unwrap(), &run);
        check_evaluates_as_sealed(&store, &run);
        let mut found = [0_u32; 3];
        for summary in run.trials() {
            let answers = answers(&store, &fixture.run_id, summary.id.as_str());
            let traces = run.take(&summary.id).traces().unwrap().map(Result::unwrap);
            for (trace, (prompt, answer)) in traces.zip(answers) {
                assert_eq!(trace.prompt_id.as_str(), prompt);
                let question = fixture.full && trace.measured && prompt.starts_with("qa-qa-");
                assert_eq!(answer.is_some(), question, "{prompt}");
                let text = trace.completion().and_then(|c| c.text()).unwrap_or_default();
                assert_eq!(answer.unwrap_or_default(), text.contains("NUMBER"), "{text}");
                found[answer.map_or(2, usize::from)] += 1;
            }
        }
        assert_eq!(found[0] > 0 && found[1] > 0, fixture.full, "{found:?}");
    }
    let bytes = fs::read(store.path()).unwrap();
    assert!(
        !bytes.windows(13).any(|w| w == b"I do not know"),
        "no text is in the database"
    );
}

/// Prompt, and whether its known answer was found, of each request of a trial in the order of the traces.
fn answers(store: &Store, run: &str, trial: &str) -> Vec<(String, Option<bool>)> {
    let conn = Connection::open(store.path()).unwrap();
    let sql = "SELECT prompt_id, answer_found FROM request JOIN trial ON trial.key = request.trial \
               WHERE run_id = ?1 AND trial.id = ?2 ORDER BY request.position";
    let mut query = conn.prepare(sql).unwrap();
    let rows = query
        .query_map([run, trial], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_run_comes_back_as_it_was() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    // Every kind of ending, with texts, engine metrics and GPUs and without.
    let full = Fixture {
        blocks: 2,
        full: true,
        gpu: true,
        natural: true,
        ..Fixture::study("r1")
    };
    let aborted = Fixture {
        aborted: true,
        invalid: vec![(2, "C1b")],
        failures: vec!["a".into(), "b".into(), "b".into()],
        ..Fixture::small("r2")
    };
    for fixture in [full, aborted] {
        let run = sealed(&fixture, dir.path());
        assert_eq!(store.ingest(&run).unwrap(), Ingested::New);
        check_equal(&store.load_run(&run.manifest().run_id).unwrap(), &run);
        check_evaluates_as_sealed(&store, &run);
    }
}

/// A row of the table `finding`.
#[derive(Debug, PartialEq)]
struct FindingRow {
    names: [String; 5],
    of: [Option<String>; 4],
    numbers: [Option<f64>; 10],
    n: u64,
    words: [Option<String>; 3],
    flags: [bool; 3],
    note: String,
}

fn stored_findings(store: &Store, run: &RunId) -> Vec<FindingRow> {
    let conn = Connection::open(store.path()).unwrap();
    let mut query = conn
        .prepare("SELECT * FROM finding WHERE run_id = ?1 ORDER BY position")
        .unwrap();
    let rows = query.query_map([run.as_str()], |row| {
        Ok(FindingRow {
            names: [
                row.get("scope")?,
                row.get("load")?,
                row.get("variant")?,
                row.get("metric")?,
                row.get("statistic")?,
            ],
            of: [
                row.get("control")?,
                row.get("trial")?,
                row.get("task")?,
                row.get("bucket")?,
            ],
            numbers: [
                row.get("value")?,
                row.get("low")?,
                row.get("high")?,
                row.get("at_least")?,
                row.get("at_most")?,
                row.get("p")?,
                row.get("p_adjusted")?,
                row.get("p_sign_flip")?,
                row.get("certified_bound")?,
                row.get("with_failures")?,
            ],
            n: row.get::<_, i64>("n")?.unsigned_abs(),
            words: [row.get("interval")?, row.get("verdict")?, row.get("reason")?],
            flags: [
                row.get("is_primary")?,
                row.get("with_failures_infinite")?,
                row.get("indicative")?,
            ],
            note: row.get("note")?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_row_of_the_findings_is_in_the_database_as_it_is() {
    let dir = TempDir::new().unwrap();
    let run = sealed(
        &Fixture {
            blocks: 3,
            full: true,
            gpu: true,
            ..Fixture::study("r1")
        },
        dir.path(),
    );
    let mut store = open(&dir);
    store.ingest(&run).unwrap();
    let expected: Vec<FindingRow> = rows(&run.findings().unwrap())
        .into_iter()
        .map(|r| FindingRow {
            names: [
                r.scope.as_str().to_owned(),
                r.load.to_string(),
                r.variant.to_string(),
                r.metric.to_string(),
                r.statistic.to_owned(),
            ],
            of: [
                r.control,
                r.trial.map(|t| t.to_string()),
                r.task.map(str::to_owned),
                r.bucket.map(str::to_owned),
            ],
            numbers: [
                r.value,
                r.interval.map(|i| i.low),
                r.interval.map(|i| i.high),
                r.at_least,
                r.at_most,
                r.p,
                r.p_adjusted,
                r.p_sign_flip,
                r.certified_bound,
                r.with_failures,
            ],
            n: r.n,
            words: [
                r.interval.map(|i| i.kind.to_owned()),
                r.verdict.map(str::to_owned),
                r.reason.map(str::to_owned),
            ],
            flags: [r.primary, r.with_failures_infinite, r.indicative],
            note: r.note,
        })
        .collect();
    let found = stored_findings(&store, &run.manifest().run_id);
    assert!(found.len() > 1_000, "{} rows", found.len());
    assert!(found == expected, "the rows differ");
    for scope in ["cell", "trial", "gate", "comparison", "a/a", "failures"] {
        assert!(found.iter().any(|r| r.names[0] == scope), "{scope}");
    }
    // Every one has a unit and says of what its n is.
    let conn = Connection::open(store.path()).unwrap();
    let bare: i64 = conn
        .query_row("SELECT count(*) FROM finding WHERE unit = '' OR n_of = ''", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(bare, 0);
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
    assert_eq!((runs.len(), runs[0].brief.takes, runs[0].brief.valid), (1, 12, 12));
    assert_eq!(runs[0].brief, run.findings().unwrap().brief);
    assert_eq!(runs[0].dir, run.dir().canonicalize().unwrap());
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
        "Move one of them away",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // The first one is untouched.
    check_equal(&store.load_run(&RunId::new("same").unwrap()).unwrap(), &first);
}

/// The name of a run is free again once its directory is gone, or holds another run.
#[test]
fn a_run_whose_directory_is_gone_makes_room() {
    let other = Fixture {
        blocks: 5,
        ..Fixture::small("same")
    };
    for place in ["runs", "elsewhere/runs"] {
        let dir = TempDir::new().unwrap();
        let first = sealed(&Fixture::small("same"), dir.path());
        let mut store = open(&dir);
        store.ingest(&first).unwrap();
        fs::remove_dir_all(first.dir()).unwrap();
        // In the same place the directory is replaced; in another it is simply gone.
        let second = other.sealed(&dir.path().join(place));
        assert_eq!(store.ingest(&second).unwrap(), Ingested::New, "{place}");
        let runs = store.runs().unwrap();
        assert_eq!((runs.len(), &runs[0].fingerprint), (1, second.fingerprint()));
        check_equal(&store.load_run(&runs[0].id).unwrap(), &second);
        check_evaluates_as_sealed(&store, &second);
        let left: i64 = Connection::open(store.path())
            .unwrap()
            .query_row("SELECT count(*) FROM trial", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 15, "no row of the first run is left");
    }
}

#[test]
fn a_run_that_was_moved_is_found_where_it_is() {
    let dir = TempDir::new().unwrap();
    let run = sealed(&Fixture::small("r1"), dir.path());
    let mut store = open(&dir);
    store.ingest(&run).unwrap();
    let moved = dir.path().join("moved");
    fs::rename(run.dir(), &moved).unwrap();
    let run = SealedRun::open(&moved).unwrap();
    assert_eq!(store.ingest(&run).unwrap(), Ingested::Already);
    assert_eq!(store.runs().unwrap()[0].dir, moved.canonicalize().unwrap());
}

/// A list reads the columns of its runs and no document: whatever became of those, and of all other rows, is not its affair.
#[test]
fn a_list_reads_nothing_but_its_columns() {
    let dir = TempDir::new().unwrap();
    let run = sealed(&Fixture::small("r1"), dir.path());
    let mut store = open(&dir);
    store.ingest(&run).unwrap();
    let before = store.runs().unwrap();
    let conn = Connection::open(store.path()).unwrap();
    crate::database::unguard(&conn);
    conn.execute_batch(
        "UPDATE run SET manifest_json = 'x', findings_json = 'x'; DELETE FROM finding; DELETE FROM trial;",
    )
    .unwrap();
    assert_eq!(store.runs().unwrap(), before);
    let err = store.load_run(&run.manifest().run_id).unwrap_err();
    assert!(matches!(err, StoreError::Corrupt { .. }), "{err}");
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
        .execute_batch("PRAGMA foreign_keys = ON; BEGIN IMMEDIATE")
        .unwrap();
    crate::database::unguard(&writer);
    writer.execute_batch("DELETE FROM run").unwrap();
    let reader = open(&dir);
    check_equal(&reader.load_run(&run.manifest().run_id).unwrap(), &run);
    writer.execute_batch("COMMIT").unwrap();
    assert!(reader.runs().unwrap().is_empty());
    // The rows of the run went with it.
    for table in ["variant", "load", "prompt", "trial", "request", "finding", "telemetry"] {
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
    fs::remove_file(run.dir().join("trials").join(last.as_str()).join("engine.json")).unwrap();
    assert!(matches!(store.ingest(&run), Err(StoreError::Evidence(_))));
    assert!(store.runs().unwrap().is_empty());
}

#[test]
fn an_unknown_run_is_named_with_the_known_ones() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    let id = RunId::new("nope").unwrap();
    assert!(store.load_run(&id).unwrap_err().to_string().contains("known: none"));
    store.ingest(&sealed(&Fixture::small("r1"), dir.path())).unwrap();
    assert!(store.load_run(&id).unwrap_err().to_string().contains("known: r1"));
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(
        &path,
        "these are my notes, not a database at all, and they are long enough to be read",
    )
    .unwrap();
    let err = Store::open(&path).unwrap_err();
    assert!(err.to_string().contains("notes.txt"), "{err}");
    assert!(fs::read_to_string(&path).unwrap().starts_with("these are my notes"));
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
    let conn = Connection::open(store.path()).unwrap();
    let of = |arm: &str, name: MetricName| -> f64 {
        let sql = "SELECT total(value) FROM finding WHERE scope = 'trial' AND variant = ?1 AND metric = ?2";
        conn.query_row(sql, [arm, name.as_str()], |row| row.get(0)).unwrap()
    };
    // C8 is 1.78 times as fast by construction; C4 was refused by the engine, so it has no number at all.
    let ratio = of("C8", MetricName::OutputThroughput) / of("C1", MetricName::OutputThroughput);
    assert!((1.6..2.0).contains(&ratio), "{ratio}");
    let refused: i64 = conn
        .query_row(
            "SELECT count(*) FROM finding WHERE scope = 'trial' AND variant = 'C4' AND value IS NOT NULL",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(refused, 0);
}
