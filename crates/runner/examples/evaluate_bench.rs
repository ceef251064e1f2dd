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

use servelab_evidence::{Disk, RunWriter, TakeFiles, names};
use servelab_random::SplitMix64;
use servelab_runner::evaluate_takes;
use servelab_schema::{
    Bucket, Chunk, Completion, EnvironmentRecord, FinishReason, Nanos, Outcome, Plan, PlannedVariant, PromptId,
    PromptRef, RequestId, RunEnd, RunId, Sha256Hex, Task, TokenCounts, Trace, TrialCounts, TrialId, TrialInstant,
    TtftKind, V, VariantId, VariantRole, Window, canonical_json, examples,
};
use std::{
    env, error, fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::Instant,
};

type Failed = Box<dyn error::Error>;

const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
const VARIANTS: u32 = 10;
const BLOCKS: u32 = 10;
const CHUNKS: u32 = 128;
const RUN: &str = "evaluate-bench";

/// Rows that are written together.
const BATCH: u32 = 256;

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
        write_run(folder.path(), requests)?;
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

fn nz(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

/// Ten variants, and as many prompts as a trial has requests.
fn planned(per_trial: u32) -> Result<Plan, Failed> {
    let mut plan = examples::plan();
    let baseline = plan.variants.first().ok_or("the example has no variant")?.clone();
    let named = |i: u32| -> Result<PlannedVariant, Failed> {
        Ok(PlannedVariant {
            id: VariantId::new(format!("C{}", i + 1))?,
            role: match i {
                0 => VariantRole::Baseline,
                1 => VariantRole::Aa,
                _ => VariantRole::Treatment,
            },
            control: (i > 0).then_some(baseline.id.clone()),
            ..baseline.clone()
        })
    };
    plan.variants = (0..VARIANTS).map(named).collect::<Result<_, _>>()?;
    let groups: Vec<(Task, Bucket)> = Task::ALL
        .into_iter()
        .flat_map(|t| Bucket::ALL.map(|b| (t, b)))
        .collect();
    let prompt = |(i, (task, bucket)): (u32, &(Task, Bucket))| -> Result<PromptRef, Failed> {
        Ok(PromptRef {
            id: prompt_id(i)?,
            task: Some(*task),
            bucket: Some(*bucket),
            prompt_tokens: Some(nz(137)),
            max_new_tokens: nz(CHUNKS),
            answer: None,
        })
    };
    plan.prompts.prompts = (0..per_trial)
        .zip(groups.iter().cycle())
        .map(prompt)
        .collect::<Result<_, _>>()?;
    plan.blocks = Vec::new();
    Ok(plan)
}

fn prompt_id(i: u32) -> Result<PromptId, Failed> {
    Ok(PromptId::new(format!("p-{i:06}"))?)
}

fn write_run(folder: &Path, requests: u32) -> Result<(), Failed> {
    let per_trial = (requests / VARIANTS / BLOCKS).max(20);
    let plan = planned(per_trial)?;
    let environment = EnvironmentRecord {
        instrument: None,
        ..examples::environment()
    };
    let run = RunWriter::create(Arc::new(Disk), folder, &RunId::new(RUN)?, &plan, &environment)?;
    for block in 1..=BLOCKS {
        for (order, variant) in (1..).zip(&plan.variants) {
            write_take(&run, &plan, (block, order, &variant.id), per_trial)?;
        }
    }
    Ok(())
}

fn write_take(
    run: &RunWriter,
    plan: &Plan,
    (block, order, variant): (u32, u32, &VariantId),
    requests: u32,
) -> Result<(), Failed> {
    let load = plan.loads.first().ok_or("the example has no load")?.id.clone();
    let id = TrialId::new(format!("b{block:02}-{order:02}-{variant}-{load}-t1"))?;
    let take = run.trial(&id)?;
    let mut rng = SplitMix64::new(u64::from(block * 1000 + order));
    let mut rows = take.traces()?;
    let mut batch = Vec::new();
    let mut end = TrialInstant::START;
    for i in 0..requests {
        let trace = trace(&mut rng, (block, variant), i)?;
        end = end.max(trace.finished_ns);
        batch.push(trace);
        if (i + 1) % BATCH == 0 {
            rows.append_all(&batch)?;
            batch.clear();
        }
    }
    rows.append_all(&batch)?;
    rows.finish()?;
    take.engine(&servelab_schema::EngineRecord {
        v: V,
        trial: id.clone(),
        variant: variant.clone(),
        failure: None,
        refusal: None,
        checks: Vec::new(),
        ..examples::engine_record()
    })?;
    let whole = Window {
        start_ns: TrialInstant::START,
        end_ns: end,
    };
    take.finish(&servelab_schema::TrialRecord {
        v: V,
        id,
        block,
        order,
        variant: variant.clone(),
        load,
        span: Some(whole),
        held: Some(whole),
        counts: TrialCounts {
            planned: requests,
            completed: requests,
            ..TrialCounts::default()
        },
        ..examples::trial_record()
    })?;
    Ok(())
}

/// A request that completed: gaps about 20 ms apart with all their nanoseconds, as a clock gives them.
fn trace(rng: &mut SplitMix64, (block, variant): (u32, &VariantId), i: u32) -> Result<Trace, Failed> {
    let mut random = |from: u64, most: u64| Nanos(from + rng.next_u64() % most);
    let sent = TrialInstant(u64::from(i) * 20_000_000);
    let ttft = random(80_000_000, 60_000_000);
    let gap = |first: bool, gap: Nanos| Chunk {
        gap: if first { Nanos::ZERO } else { gap },
        tokens: 1,
    };
    let chunks = (0..CHUNKS)
        .map(|c| gap(c == 0, random(12_000_000, 16_000_000)))
        .collect();
    let text = Sha256Hex::from_bytes([u8::try_from(i % 251)?; 32]);
    let completion = Completion::new(
        TtftKind::Token,
        ttft,
        Some(ttft),
        chunks,
        TokenCounts::usage(nz(137), nz(CHUNKS)),
        FinishReason::Length,
        text,
    )?;
    Ok(Trace {
        v: V,
        request_id: RequestId::new(format!("b{block:02}-{variant}-{i:06}-a1"))?,
        prompt_id: prompt_id(i)?,
        block,
        variant: variant.clone(),
        seq: i,
        attempt: 1,
        measured: true,
        scheduled_ns: sent,
        sent_ns: Some(sent),
        connect_ns: Nanos::ZERO,
        headers_ns: Some(sent.after(ttft)),
        finished_ns: sent.after(completion.e2e()),
        expected_prompt_tokens: Some(nz(137)),
        outcome: Outcome::Completed(completion),
    })
}
