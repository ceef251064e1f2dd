//! What it costs to evaluate a run, at 10⁴, 10⁵ and 10⁶ requests of 128 chunks.
//!
//! `evaluate_bench [REQUESTS…]` writes a run directory of ten variants in ten blocks for each size into the folder for
//! temporary files (2.6 GB at 10⁶), evaluates it in a process of its own, reads it in another that only parses, and takes it
//! away again. Peak memory is the kernel's `VmHWM` of the evaluating process, so that what made the files does not count.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that takes times and prints a table"
)]

#[path = "support/big_run.rs"]
mod big_run;

use big_run::{Failed, write_run};
use servelab_evidence::{Disk, TakeFiles, names};
use servelab_runner::evaluate_takes;
use servelab_schema::{EnvironmentRecord, Plan, RunEnd, RunId, canonical_json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::Instant,
};

const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
const RUN: &str = "evaluate-bench";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["evaluate", dir] => evaluated(Path::new(dir)),
        ["parse", dir] => parsed(Path::new(dir)),
        sizes => table(sizes),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("evaluate_bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// What a process of ours said of itself: seconds, CPU seconds, peak memory in MB.
#[derive(Debug, Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu_s: f64,
    peak_mb: f64,
}

fn table(sizes: &[&str]) -> Result<(), Failed> {
    let given: Vec<u32> = sizes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    let sizes = if given.is_empty() { SIZES.to_vec() } else { given };
    println!(
        "| Requests | Files, MB | Evaluate, s | CPU, s | Peak, MB | Growth of s | Bare parse, s | Evaluate / parse, CPU |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut last: Option<f64> = None;
    for requests in sizes {
        let folder = tempfile::tempdir()?;
        write_run(Arc::new(Disk), folder.path(), RUN, requests)?;
        let dir = folder.path().join(RUN);
        let bytes: u64 = takes(&dir)?
            .iter()
            .map(|t| fs::metadata(t.dir().join(names::TRACES)).map_or(0, |m| m.len()))
            .sum();
        let (parse, evaluate) = (child("parse", &dir)?, child("evaluate", &dir)?);
        let growth = last.map_or("–".to_owned(), |last| format!("× {:.1}", evaluate.seconds / last));
        last = Some(evaluate.seconds);
        println!(
            "| {requests} | {} | {:.2} | {:.2} | {:.0} | {growth} | {:.2} | {:.2} |",
            bytes / 1_000_000,
            evaluate.seconds,
            evaluate.cpu_s,
            evaluate.peak_mb,
            parse.seconds,
            evaluate.cpu_s / parse.cpu_s,
        );
    }
    Ok(())
}

fn child(verb: &str, dir: &Path) -> Result<Cost, Failed> {
    let output = Command::new(env::current_exe()?).arg(verb).arg(dir).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match numbers.as_slice() {
        &[seconds, cpu_s, peak_mb] if output.status.success() => Ok(Cost {
            seconds,
            cpu_s,
            peak_mb,
        }),
        _ => Err(format!("{verb}: {}{text}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Prints what this process took since `began`.
fn say(began: Instant) -> Result<(), Failed> {
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
    println!(
        "{} {} {}",
        began.elapsed().as_secs_f64(),
        ticks / 100.0,
        kib * 1024.0 / 1e6
    );
    Ok(())
}

fn takes(dir: &Path) -> Result<Vec<TakeFiles>, Failed> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(dir.join(names::TRIALS))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    dirs.sort();
    Ok(dirs.into_iter().map(TakeFiles::new).collect())
}

fn evaluated(dir: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let plan: Plan = serde_json::from_str(&fs::read_to_string(dir.join(names::PLAN))?)?;
    let environment: EnvironmentRecord = serde_json::from_str(&fs::read_to_string(dir.join(names::ENVIRONMENT))?)?;
    let findings = evaluate_takes(
        &plan,
        &environment,
        (&RunId::new(RUN)?, &RunEnd::Complete),
        &takes(dir)?,
    )?;
    fs::write(dir.join(names::FINDINGS), canonical_json(&findings)?)?;
    let invalid = findings.trials.iter().find(|t| !t.counts());
    match invalid {
        // Pooling less than everything would cost less.
        Some(trial) => Err(format!("{} does not count: {:?}", trial.id, trial.validity).into()),
        None => say(began),
    }
}

/// The least that has to be done: every row of every take, parsed and dropped.
fn parsed(dir: &Path) -> Result<(), Failed> {
    let began = Instant::now();
    let mut chunks = 0;
    for take in takes(dir)? {
        for trace in take.traces()? {
            chunks += trace?.completion().map_or(0, |c| c.chunks().len());
        }
    }
    if chunks == 0 {
        return Err("no chunk was read".into());
    }
    say(began)
}
