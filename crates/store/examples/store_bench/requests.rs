//! Reading a run in, beside a bare loop of INSERT.

use crate::big_run::{BLOCKS, Failed, VARIANTS, write_run};
use rusqlite::{Connection, params_from_iter, types::Value};
use servelab_evidence::{Disk, SealedRun, TakeFiles, names};
use servelab_findings::{Prompts, Reducer, evaluate};
use servelab_schema::{ClockAnchor, EnvironmentRecord, Plan, RunEnd, RunId, WallNanos};
use servelab_store::Store;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
const RUN: &str = "store-bench";

/// Rows that the bare loop has in memory and inserts again and again under other keys.
const HELD: u32 = 10_000;

/// Prints what both cost for each size.
pub(crate) fn table(sizes: &[&str]) -> Result<(), Failed> {
    let given: Vec<u32> = sizes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    let sizes = if given.is_empty() { SIZES.to_vec() } else { given };
    println!(
        "| Requests | Run, MB | Hash, s | Ingest, s | Both, s | Peak, MB | Growth | Database, MB | Bare INSERT, s | Both / bare |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut last: Option<f64> = None;
    for requests in sizes {
        let folder = tempfile::tempdir()?;
        let (dir, db) = (sealed(folder.path(), requests)?, folder.path().join("servelab.db"));
        let [opened, ingested, peak_mb] = child(&["ingest".as_ref(), &dir, &db])?;
        let both = opened + ingested;
        let count = requests.to_string();
        let [bare, ..] = child(&["bare".as_ref(), &db, &folder.path().join("bare.db"), count.as_ref()])?;
        let growth = last.map_or("–".to_owned(), |last| format!("× {:.1}", both / last));
        last = Some(both);
        println!(
            "| {requests} | {} | {opened:.2} | {ingested:.2} | {both:.2} | {peak_mb:.0} | {growth} | {} | {bare:.2} | {:.2} |",
            size(&dir)? / 1_000_000,
            fs::metadata(&db)?.len() / 1_000_000,
            both / bare,
        );
    }
    Ok(())
}

/// Bytes of every file below.
fn size(dir: &Path) -> Result<u64, Failed> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}

/// Three numbers that a process of ours says.
fn child(words: &[&Path]) -> Result<[f64; 3], Failed> {
    let output = Command::new(env::current_exe()?).args(words).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match <[f64; 3]>::try_from(numbers) {
        Ok(numbers) if output.status.success() => Ok(numbers),
        _ => Err(format!("{words:?}: {}{text}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn peak_mb() -> Result<f64, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .and_then(|p| p.split_whitespace().next())
        .ok_or("no VmHWM in /proc/self/status")?
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// A sealed run of so many requests, with the findings that follow from them.
fn sealed(folder: &Path, requests: u32) -> Result<PathBuf, Failed> {
    let run = write_run(Arc::new(Disk), folder, RUN, requests)?;
    let dir = run.dir().to_owned();
    let plan: Plan = serde_json::from_str(&fs::read_to_string(dir.join(names::PLAN))?)?;
    let environment: EnvironmentRecord = serde_json::from_str(&fs::read_to_string(dir.join(names::ENVIRONMENT))?)?;
    let prompts = Prompts::of(&plan);
    let mut trials = Vec::new();
    let mut folders: Vec<PathBuf> = fs::read_dir(dir.join(names::TRIALS))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    folders.sort();
    for take in folders.into_iter().map(TakeFiles::new) {
        let mut reducer = Reducer::new(&prompts, plan.slo, &[], take.record()?, take.engine()?, Vec::new());
        for trace in take.traces()? {
            reducer.add(&trace?, None);
        }
        trials.push(reducer.finish());
    }
    let findings = evaluate(&plan, &environment, (&RunId::new(RUN)?, &RunEnd::Complete), trials);
    let finished = ClockAnchor {
        utc: "2026-11-27T12:00:00Z".to_owned(),
        monotonic_ns: WallNanos::from_secs(3_600),
    };
    run.seal(finished, &findings)?;
    Ok(dir)
}

/// Opens the run, which hashes every file of it, and reads it in.
pub(crate) fn ingested(dir: &Path, db: &Path) -> Result<(), Failed> {
    let mut store = Store::open(db)?;
    let began = Instant::now();
    let run = SealedRun::open(dir)?;
    let opened = began.elapsed().as_secs_f64();
    store.ingest(&run)?;
    let ingested = began.elapsed().as_secs_f64() - opened;
    println!("{opened} {ingested} {}", peak_mb()?);
    Ok(())
}

/// As many rows as the run has, of the same columns, widths and keys, inserted one after the other in one transaction, by the same
/// settings into the same table: nothing is read, parsed, hashed or compared.
pub(crate) fn bare(from: &Path, db: &Path, requests: &str) -> Result<(), Failed> {
    let requests: u32 = requests.parse()?;
    let held = held(from)?;
    let schema: String =
        Connection::open(from)?.query_row("SELECT sql FROM sqlite_schema WHERE name = 'request'", [], |row| {
            row.get(0)
        })?;
    let mut conn = Connection::open(db)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.execute_batch(&schema)?;
    let per_trial = (requests / VARIANTS / BLOCKS).max(1);
    let began = Instant::now();
    let tx = conn.transaction()?;
    {
        let places = vec!["?"; 29].join(", ");
        let mut insert = tx.prepare(&format!("INSERT INTO request VALUES ({places})"))?;
        for (i, row) in (0..requests).zip(held.iter().cycle()) {
            let key: [Value; 2] = [(i / per_trial).into(), (i % per_trial).into()];
            insert.execute(params_from_iter(key.iter().chain(row)))?;
        }
    }
    tx.commit()?;
    println!("{} 0 {}", began.elapsed().as_secs_f64(), peak_mb()?);
    Ok(())
}

/// The first rows of requests, without their keys.
fn held(from: &Path) -> Result<Vec<Vec<Value>>, Failed> {
    let conn = Connection::open(from)?;
    let mut query = conn.prepare("SELECT * FROM request LIMIT ?1")?;
    let columns = query.column_count();
    let rows = query.query_map([HELD], |row| (2..columns).map(|i| row.get(i)).collect())?;
    Ok(rows.collect::<Result<_, _>>()?)
}
