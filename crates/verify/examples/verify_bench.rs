//! What it costs to verify a run, at 10⁴, 10⁵ and 10⁶ requests of 128 chunks.
//!
//! `verify_bench [REQUESTS…]` writes and seals a run of ten variants in ten blocks for each size into the folder for temporary files,
//! verifies it in a process of its own, and reads the same files in another that only hashes, decompresses and parses, on as many
//! cores. Peak memory is the kernel's `VmHWM` of the verifying process, so that what made the files does not count.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that takes times and prints a table"
)]

#[path = "../tests/it/made.rs"]
mod made;

use made::{Failed, Size, sealed};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use servelab_evidence::{Listing, Once, names};
use servelab_schema::Trace;
use servelab_verify::{Asked, verify};
use std::{
    env, fs,
    io::BufRead,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
const VARIANTS: u32 = 10;
const BLOCKS: u32 = 10;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["verify", dir] => verified(Path::new(dir)),
        ["parse", dir] => parsed(Path::new(dir)),
        sizes => table(sizes),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("verify_bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// What a process of ours said of itself: seconds, CPU seconds, peak memory and rows read in MB.
#[derive(Debug, Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu_s: f64,
    peak_mb: f64,
    rows_mb: f64,
}

fn table(sizes: &[&str]) -> Result<(), Failed> {
    let given: Vec<u32> = sizes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    let sizes = if given.is_empty() { SIZES.to_vec() } else { given };
    println!(
        "| Requests | Rows, MB | On disk, MB | Verify, s | MB/s | Peak, MB | Growth of s | Hash and parse, s | Verify / that, CPU |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut last: Option<f64> = None;
    for requests in sizes {
        let folder = tempfile::tempdir()?;
        let size = Size {
            variants: VARIANTS,
            blocks: BLOCKS,
            requests: (requests / VARIANTS / BLOCKS).max(20),
            chunks: 128,
            samples: 60,
        };
        let dir = sealed(folder.path(), "verify-bench", size)?;
        let on_disk: u64 = Listing::of(&dir).files.iter().map(|f| f.bytes).sum();
        let (parse, verify) = (child("parse", &dir)?, child("verify", &dir)?);
        let growth = last.map_or("–".to_owned(), |last| format!("× {:.1}", verify.seconds / last));
        last = Some(verify.seconds);
        println!(
            "| {requests} | {:.0} | {} | {:.2} | {:.0} | {:.0} | {growth} | {:.2} | {:.2} |",
            verify.rows_mb,
            on_disk / 1_000_000,
            verify.seconds,
            verify.rows_mb / verify.seconds,
            verify.peak_mb,
            parse.seconds,
            verify.cpu_s / parse.cpu_s,
        );
    }
    Ok(())
}

fn child(verb: &str, dir: &Path) -> Result<Cost, Failed> {
    let output = Command::new(env::current_exe()?).arg(verb).arg(dir).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match numbers.as_slice() {
        &[seconds, cpu_s, peak_mb, rows_mb] if output.status.success() => Ok(Cost {
            seconds,
            cpu_s,
            peak_mb,
            rows_mb,
        }),
        _ => Err(format!("{verb}: {}{text}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

#[expect(clippy::as_conversions, reason = "far below 2^53")]
const fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Prints what this process took since `began`.
fn say(began: Instant, row_bytes: u64) -> Result<(), Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .and_then(|p| p.split_whitespace().next())
        .ok_or("no VmHWM in /proc/self/status")?
        .parse()?;
    // User and system time in ticks of a hundredth of a second, behind the name in brackets.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    let (seconds, peak) = (began.elapsed().as_secs_f64(), kib * 1024.0 / 1e6);
    println!("{seconds} {} {peak} {}", ticks / 100.0, megabytes(row_bytes));
    Ok(())
}

fn verified(dir: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let report = verify(dir, &Asked::default()).report;
    if !report.is_good() {
        return Err(format!("the run is not consistent: {:#?}", report.breaks).into());
    }
    say(began, report.read.row_bytes)
}

/// The least that has to be done: every file hashed, and every trace of it decompressed, parsed and dropped.
fn parsed(dir: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let files: Vec<PathBuf> = Listing::of(dir).files.iter().map(|f| dir.join(&f.path)).collect();
    let read: Vec<u64> = files.par_iter().map(|path| read(path)).collect::<Result<_, Failed>>()?;
    say(began, read.iter().sum())
}

fn read(path: &Path) -> Result<u64, Failed> {
    let packed = path.extension().is_some_and(|e| e == "zst");
    let mut once = Once::open(path, packed)?;
    let mut bytes = 0;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if name.starts_with(names::TRACES) {
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = once.read_until(b'\n', &mut line)?;
            if n == 0 {
                break;
            }
            bytes += u64::try_from(n)?;
            let trace: Trace = serde_json::from_slice(&line)?;
            if trace.attempt == 0 {
                return Err("a trace of no attempt".into());
            }
        }
    }
    once.finish()?;
    Ok(bytes)
}
