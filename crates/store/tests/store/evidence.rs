//! Evidence stays as it is: strangers are refused, the database can be made again, corrections supersede, copies and checks tell the
//! truth, and readers are never in the way.

use crate::database::{dump, tables, unguard};
use crate::support::Fixture;
use rusqlite::Connection;
use servelab_evidence::SealedRun;
use servelab_schema::{Correction, LoadId, RunId, RunRef, Superseded, VariantId, examples};
use servelab_store::{Ingested, Question, Store, StoreError, Trouble};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tempfile::TempDir;

fn open(dir: &TempDir) -> Store {
    Store::open(&dir.path().join("servelab.db")).unwrap()
}

fn sealed(run: &str, dir: &TempDir) -> SealedRun {
    let fixture = Fixture {
        blocks: 2,
        ..Fixture::small(run)
    };
    fixture.sealed(&dir.path().join("runs"))
}

fn correction(run: &SealedRun, superseded: Superseded) -> Correction {
    Correction {
        run: RunRef {
            run_id: run.manifest().run_id.clone(),
            fingerprint: run.fingerprint().clone(),
        },
        by: None,
        superseded,
        ..examples::correction()
    }
}

/// No table is left out: whoever adds one sees this fail.
#[test]
fn a_stranger_changes_no_row_of_any_table() {
    let dir = TempDir::new().unwrap();
    let run = sealed("r1", &dir);
    let mut store = open(&dir);
    store.ingest(&run).unwrap();
    store.set_corrections(&[correction(&run, Superseded::Run)]).unwrap();
    let stranger = Connection::open(store.path()).unwrap();
    let before = dump(&stranger);
    for table in tables(&stranger) {
        assert!(!before[&table].is_empty(), "{table} has rows to be kept");
        let column: String = stranger
            .query_row(
                &format!("SELECT name FROM pragma_table_info('{table}') LIMIT 1"),
                [],
                |row| row.get(0),
            )
            .unwrap();
        let columns = format!("SELECT group_concat(name) FROM pragma_table_info('{table}')");
        let columns: String = stranger.query_row(&columns, [], |row| row.get(0)).unwrap();
        for sql in [
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET {column} = {column}"),
            format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}"),
            format!("INSERT OR REPLACE INTO {table} ({columns}) SELECT {columns} FROM {table}"),
        ] {
            let refused = stranger.execute(&sql, []).unwrap_err().to_string();
            assert!(refused.contains("evidence stays as it is"), "{sql}: {refused}");
        }
    }
    assert_eq!(dump(&stranger), before);
    // What is allowed to servelab leaves the guards as they were.
    let guards = |conn: &Connection| -> i64 {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'";
        conn.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let n = guards(&stranger);
    assert_eq!(n, 3 * i64::try_from(before.len()).unwrap());
    assert!(store.forget(&run.manifest().run_id).unwrap());
    assert!(!store.forget(&run.manifest().run_id).unwrap());
    assert_eq!(guards(&stranger), n);
    let left = dump(&stranger);
    assert!(
        left.iter()
            .all(|(table, rows)| rows.is_empty() || table == "correction"),
        "{left:?}"
    );
}

#[test]
fn a_deleted_database_is_made_again_in_any_order_and_twice() {
    let dir = TempDir::new().unwrap();
    let runs: Vec<SealedRun> = ["a", "b", "c"].into_iter().map(|name| sealed(name, &dir)).collect();
    let corrections = [correction(&runs[1], Superseded::Run)];
    let made = |order: &[usize]| {
        for file in ["servelab.db", "servelab.db-wal", "servelab.db-shm"] {
            let _ = fs::remove_file(dir.path().join(file));
        }
        let mut store = open(&dir);
        for i in order {
            store.ingest(&runs[*i]).unwrap();
        }
        assert!(store.set_corrections(&corrections).unwrap());
        assert!(!store.set_corrections(&corrections).unwrap(), "nothing is new");
        dump(&Connection::open(store.path()).unwrap())
    };
    let first = made(&[0, 1, 2]);
    assert!(first.values().all(|rows| !rows.is_empty()));
    for order in [&[2, 1, 0][..], &[1, 2, 0, 1, 0, 2], &[0, 0, 2, 1]] {
        assert!(made(order) == first, "{order:?} gives another database");
    }
}

#[test]
fn what_was_superseded_is_left_out_and_counted() {
    let dir = TempDir::new().unwrap();
    let run = sealed("r1", &dir);
    let mut store = open(&dir);
    store.ingest(&run).unwrap();
    let ask = |store: &Store, superseded: bool| {
        let question = Question {
            headline: true,
            superseded,
            ..Question::default()
        };
        let mut rows = Vec::new();
        let left_out = store
            .query(&question, |found| {
                rows.push((found.variant, found.superseded_by));
                Ok::<(), StoreError>(())
            })
            .unwrap();
        (rows, left_out.superseded)
    };
    let (all, none) = ask(&store, false);
    assert_eq!((all.len(), none), (12, 0), "{all:?}");
    let cell = Superseded::Cell {
        variant: VariantId::new("C2").unwrap(),
        load: LoadId::new("c8").unwrap(),
    };
    store.set_corrections(&[correction(&run, cell)]).unwrap();
    let (rows, superseded) = ask(&store, false);
    assert_eq!((rows.len(), superseded), (8, 4));
    assert!(rows.iter().all(|(variant, _)| variant != "C2"), "{rows:?}");
    let (rows, superseded) = ask(&store, true);
    assert_eq!((rows.len(), superseded), (12, 0));
    assert!(
        rows.iter().all(|(variant, by)| (variant == "C2") == (*by == Some(1))),
        "{rows:?}"
    );
    // A correction about another run of that name is none of this one.
    let other = Correction {
        run: RunRef {
            run_id: RunId::new("r1").unwrap(),
            ..examples::correction().run
        },
        ..correction(&run, Superseded::Run)
    };
    store.set_corrections(&[other]).unwrap();
    assert_eq!(ask(&store, false).1, 0);
}

#[test]
fn a_backup_is_one_whole_file_that_takes_no_other_ones_place() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    store.ingest(&sealed("r1", &dir)).unwrap();
    let copy = dir.path().join("copy.db");
    let bytes = store.backup(&copy).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().len(), bytes);
    let refused = store.backup(&copy).unwrap_err();
    assert!(matches!(refused, StoreError::There { .. }), "{refused}");
    // What came later is not in it.
    store.ingest(&sealed("r2", &dir)).unwrap();
    let before = fs::read_dir(dir.path()).unwrap().count();
    let of_copy = Connection::open(&copy).unwrap();
    let runs: Vec<String> = dump(&of_copy)["run"].clone();
    assert_eq!(runs.len(), 1);
    drop(of_copy);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "no log beside it");
    let copied = Store::open(&copy).unwrap();
    assert_eq!(copied.check(false).unwrap().troubles(), 0);
    let nowhere = store.backup(&dir.path().join("none/copy.db")).unwrap_err();
    assert!(nowhere.to_string().contains("none/copy.db"), "{nowhere}");
}

/// Each kind of damage is found, in the run that has it and in no other.
#[test]
fn a_check_names_what_is_wrong_and_where() {
    type Damage = (&'static str, fn(&Trouble) -> bool);
    let dir = TempDir::new().unwrap();
    let runs = ["r1", "r2"].map(|name| sealed(name, &dir));
    let damages: [Damage; 5] = [
        (
            "UPDATE request SET ttft_ns = ttft_ns + 1 WHERE trial = (SELECT min(key) FROM trial WHERE run_id = 'r2') AND position = 5",
            |t| matches!(t, Trouble::Rows { .. }),
        ),
        (
            "DELETE FROM request WHERE trial = (SELECT max(key) FROM trial WHERE run_id = 'r2') AND position = 5",
            |t| matches!(t, Trouble::Rows { expected, found } if expected == &(found + 1)),
        ),
        (
            "UPDATE finding SET value = 1 WHERE run_id = 'r2' AND position = 3",
            |t| matches!(t, Trouble::Rows { .. }),
        ),
        (
            "UPDATE run SET manifest_json = replace(manifest_json, '\"name\":\"', '\"name\":\"x') WHERE id = 'r2'",
            |t| matches!(t, Trouble::Manifest { .. } | Trouble::Rows { .. }),
        ),
        ("UPDATE run SET findings_json = 'x' WHERE id = 'r2'", |t| {
            matches!(t, Trouble::Unreadable(_))
        }),
    ];
    for (i, (sql, is_it)) in damages.into_iter().enumerate() {
        let mut store = Store::open(&dir.path().join(format!("{i}.db"))).unwrap();
        for run in &runs {
            store.ingest(run).unwrap();
        }
        if i == 0 {
            assert_eq!(store.check(false).unwrap().troubles(), 0);
        }
        let stranger = Connection::open(store.path()).unwrap();
        unguard(&stranger);
        assert!(stranger.execute(sql, []).unwrap() > 0, "{sql}");
        let check = store.check(true).unwrap();
        let of = |name: &str| check.runs.iter().find(|run| run.run.as_str() == name).unwrap();
        assert_eq!(of("r1").troubles, [], "{sql}");
        assert!(
            !of("r2").troubles.is_empty() && of("r2").troubles.iter().any(is_it),
            "{sql}: {check:?}"
        );
    }
}

#[test]
fn a_check_says_where_the_runs_are() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    let (gone, replaced) = (sealed("gone", &dir), sealed("replaced", &dir));
    for run in [&gone, &replaced] {
        store.ingest(run).unwrap();
    }
    fs::remove_dir_all(gone.dir()).unwrap();
    fs::remove_dir_all(replaced.dir()).unwrap();
    Fixture::small("replaced").sealed(&dir.path().join("runs"));
    let check = store.check(true).unwrap();
    let of = |name: &str| check.runs.iter().find(|run| run.run.as_str() == name).unwrap();
    assert!(of("gone").directory_gone && of("gone").troubles.is_empty());
    assert!(
        matches!(of("replaced").troubles.as_slice(), [Trouble::Directory { .. }]),
        "{check:?}"
    );
    // A row that hangs on nothing, and a file that is torn.
    let stranger = Connection::open(store.path()).unwrap();
    unguard(&stranger);
    stranger
        .execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM variant WHERE run_id = 'gone'")
        .unwrap();
    let check = store.check(true).unwrap();
    assert!(
        check
            .database
            .iter()
            .any(|t| matches!(t, Trouble::ForeignKey(table) if table == "trial")),
        "{check:?}"
    );
}

/// A run that the database does not hand back as it was handed to it is not kept: here its numbers become texts.
#[test]
fn what_does_not_read_back_is_not_kept() {
    let dir = TempDir::new().unwrap();
    let run = sealed("r1", &dir);
    let mut store = open(&dir);
    let stranger = Connection::open(store.path()).unwrap();
    stranger
        .execute_batch(
            "DROP TABLE telemetry;
             CREATE TABLE telemetry (trial INTEGER REFERENCES trial (key) ON DELETE CASCADE, position INTEGER, t_ns TEXT,
                 engine_running INTEGER, engine_waiting INTEGER, kv_cache_used_ratio REAL, cpu_busy_ratio REAL, sample_json TEXT)",
        )
        .unwrap();
    let error = store.ingest(&run).unwrap_err();
    assert!(matches!(error, StoreError::ReadBack { .. }), "{error}");
    assert!(error.to_string().contains("`r1`"), "{error}");
    assert!(store.runs().unwrap().is_empty());
}

/// Readers of other threads see whole runs only, and are never refused, while runs come and go.
#[test]
fn readers_are_never_in_the_way() {
    let dir = TempDir::new().unwrap();
    let runs: Vec<SealedRun> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| sealed(name, &dir))
        .collect();
    let path = dir.path().join("servelab.db");
    open(&dir).ingest(&runs[0]).unwrap();
    let (done, begun) = (AtomicBool::new(false), std::sync::Barrier::new(4));
    let read = |path: &Path| {
        let store = Store::open(path).unwrap();
        let mut reads = 0_u32;
        begun.wait();
        while !done.load(Ordering::Relaxed) || reads == 0 {
            for run in store.runs().unwrap() {
                match store.load_run(&run.id) {
                    Ok(data) => assert_eq!(data.takes.len(), 6, "{}", run.id),
                    // It may have gone since it was listed.
                    Err(error) => assert!(matches!(error, StoreError::UnknownRun { .. }), "{error}"),
                }
            }
            let question = Question {
                headline: true,
                ..Question::default()
            };
            let mut rows = 0_u32;
            store
                .query(&question, |_| {
                    rows += 1;
                    Ok::<(), StoreError>(())
                })
                .unwrap();
            assert!(
                rows >= 12 && rows.is_multiple_of(12),
                "{rows} rows are of no whole runs"
            );
            reads += 1;
        }
        reads
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| read(&path))).collect();
        let mut store = Store::open(&path).unwrap();
        begun.wait();
        for _ in 0..2 {
            for run in &runs[1..] {
                assert_eq!(store.ingest(run).unwrap(), Ingested::New);
            }
            for run in &runs[1..] {
                assert!(store.forget(&run.manifest().run_id).unwrap());
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}
