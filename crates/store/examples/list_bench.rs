//! How long `servelab results list` reads: the time of `Store::runs` over databases of 1,000 and 10,000 runs with plans and
//! findings, which a list must not read.
//!
//! `cargo run --release -p servelab-store --example list_bench`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark for a person at a terminal"
)]

use rusqlite::{Connection, params};
use servelab_schema::{canonical_json, examples};
use servelab_store::Store;
use std::{error::Error, path::Path, time::Instant};

/// How many runs, and the bytes of each one's plan and of its findings: those of a run with ten variants in ten blocks, then of
/// a smaller one, so that the database stays below a gigabyte.
const SIZES: [(u32, usize); 2] = [(1_000, 400_000), (10_000, 40_000)];

/// Times that the list is read; the median counts.
const READS: usize = 9;

/// Rows as `ingest` writes them, with the example's brief and documents that a list must not read.
fn fill(path: &Path, runs: u32, document_bytes: usize) -> Result<(), Box<dyn Error>> {
    let mut conn = Connection::open(path)?;
    let brief = canonical_json(&examples::findings().brief)?;
    let document = "x".repeat(document_bytes);
    let tx = conn.transaction()?;
    {
        let mut insert = tx.prepare(
            "INSERT INTO run VALUES (?1, ?2, 'c1-c8', 'simulated', 20, 1, '0.1.0', ?3, ?3, 1, '{}', ?4, '{}', ?5, ?4, ?6)",
        )?;
        for run in 0..runs {
            let utc = format!(
                "2026-11-{:02}T{:02}:{:02}:00Z",
                run / 1440 % 28 + 1,
                run / 60 % 24,
                run % 60
            );
            let (id, dir) = (format!("run-{run:05}"), format!("/runs/run-{run:05}"));
            insert.execute(params![id, format!("{run:064x}"), utc, document, dir, brief])?;
        }
    }
    tx.commit()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    for (runs, document_bytes) in SIZES {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("servelab.db");
        let store = Store::open(&path)?;
        fill(&path, runs, document_bytes)?;
        let mut times = Vec::new();
        for _ in 0..READS {
            let start = Instant::now();
            let listed = store.runs()?.len();
            times.push(start.elapsed());
            assert_eq!(listed, usize::try_from(runs)?, "every run is listed");
        }
        times.sort_unstable();
        let median = times.get(READS / 2).copied().unwrap_or_default();
        let mib = std::fs::metadata(&path)?.len() >> 20;
        println!("{runs} runs ({mib} MiB): {:.1} ms", median.as_secs_f64() * 1e3);
    }
    Ok(())
}
