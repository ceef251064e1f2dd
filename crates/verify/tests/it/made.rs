//! A sealed run of made-up numbers that keeps every rule: two arms and their copy, or as many as are wanted, in some blocks.

use servelab_evidence::{Disk, RunWriter, TakeFiles, names};
use servelab_findings::{Prompts, Trial, evaluate, reduce};
use servelab_random::SplitMix64;
use servelab_schema::{
    Bucket, Chunk, ClockAnchor, Completion, EngineRecord, EnvironmentRecord, Failure, FinishReason, Instrument, Nanos,
    Outcome, Plan, PlannedBlock, PlannedTrial, PlannedVariant, PromptId, PromptRef, Reason, RequestId, RunEnd, RunId,
    Sha256Hex, Task, TelemetrySample, TokenCounts, Trace, TrialCounts, TrialId, TrialInstant, TrialRecord, TtftKind, V,
    VariantId, VariantRole, WallNanos, Window, examples,
};
use std::{
    error,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) type Failed = Box<dyn error::Error + Send + Sync>;

/// Rows that are written together.
const BATCH: usize = 256;
const FILLERS: u32 = 4;

/// How large a run is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) variants: u32,
    pub(crate) blocks: u32,
    /// Measured requests of a take.
    pub(crate) requests: u32,
    /// Chunks of an answer.
    pub(crate) chunks: u32,
    /// Samples of a take.
    pub(crate) samples: u32,
}

fn nz(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

fn reference(id: &str, i: usize, chunks: u32) -> Result<PromptRef, Failed> {
    let groups = Task::ALL.into_iter().flat_map(|t| Bucket::ALL.map(|b| (t, b)));
    let group = groups.cycle().nth(i % 9);
    Ok(PromptRef {
        id: PromptId::new(id)?,
        task: group.map(|g| g.0),
        bucket: group.map(|g| g.1),
        prompt_tokens: Some(nz(137)),
        max_new_tokens: nz(chunks),
        answer: None,
    })
}

/// The plan of such a run.
pub(crate) fn plan(size: Size) -> Result<Plan, Failed> {
    let mut plan = examples::plan();
    let baseline = plan.variants.first().ok_or("the example has no variant")?.clone();
    let treatment = plan.variants.last().ok_or("the example has no variant")?.clone();
    let named = |i: u32| -> Result<PlannedVariant, Failed> {
        let of = if i == 0 || (i == 1 && size.variants > 2) {
            &baseline
        } else {
            &treatment
        };
        Ok(PlannedVariant {
            id: VariantId::new(format!("C{}", i + 1))?,
            role: match i {
                0 => VariantRole::Baseline,
                1 if size.variants > 2 => VariantRole::Aa,
                _ => VariantRole::Treatment,
            },
            control: (i > 0).then_some(baseline.id.clone()),
            ..of.clone()
        })
    };
    plan.variants = (0..size.variants).map(named).collect::<Result<_, _>>()?;
    let prompts = |prefix: &str, n: u32| -> Result<Vec<PromptRef>, Failed> {
        let ids = (0..n).zip(0_usize..);
        ids.map(|(i, place)| reference(&format!("{prefix}-{i:06}"), place, size.chunks))
            .collect()
    };
    plan.prompts.prompts = prompts("p", size.requests * size.blocks)?;
    plan.fillers.prompts = prompts("f", FILLERS)?;
    let per_block = usize::try_from(size.requests)?;
    let load = plan.loads.first().ok_or("the example has no load")?.id.clone();
    let blocks = plan.prompts.prompts.chunks(per_block.max(1)).zip(1..);
    let block = |(prompts, block): (&[PromptRef], u32)| PlannedBlock {
        block,
        seed: u64::from(block),
        prompts: prompts.iter().map(|p| p.id.clone()).collect(),
        trials: (1..)
            .zip(&plan.variants)
            .map(|(order, v)| PlannedTrial {
                order,
                variant: v.id.clone(),
                load: load.clone(),
                prompts: None,
            })
            .collect(),
    };
    plan.blocks = blocks.map(block).collect();
    plan.gates.min_requests = 1;
    Ok(plan)
}

/// Writes and seals such a run below `runs`; its directory.
pub(crate) fn sealed(runs: &Path, name: &str, size: Size) -> Result<PathBuf, Failed> {
    let (plan, environment) = (plan(size)?, examples::environment());
    let id = RunId::new(name)?;
    let run = RunWriter::create(Arc::new(Disk), runs, &id, &plan, &environment)?;
    let mut events = run.events()?;
    for second in 1..=3 {
        events.append(&servelab_schema::RunEvent {
            at_ns: WallNanos::from_secs(second),
            ..examples::event()
        })?;
    }
    events.finish()?;
    let mut takes = Vec::new();
    for block in &plan.blocks {
        for trial in &block.trials {
            takes.push(run.take(&take(&run, (&plan, size), block, trial)?));
        }
    }
    let trials = takes
        .iter()
        .map(|take| reduced(&plan, &environment, take))
        .collect::<Result<_, _>>()?;
    let findings = evaluate(&plan, &environment, (&id, &RunEnd::Complete), trials);
    let dir = run.dir().to_path_buf();
    let finished = ClockAnchor {
        monotonic_ns: WallNanos::from_secs(59),
        ..environment.started
    };
    run.seal(finished, &findings)?;
    Ok(dir)
}

fn reduced(plan: &Plan, environment: &EnvironmentRecord, take: &TakeFiles) -> Result<Trial, Failed> {
    let prompts = Prompts::of(plan);
    let rows = take.traces()?.map(|row| row.map(|trace| (trace, None)));
    let records = (take.record()?, take.engine()?);
    Ok(reduce(&prompts, (plan, environment), records, take.telemetry()?, rows)?)
}

fn take(
    run: &RunWriter,
    (plan, size): (&Plan, Size),
    block: &PlannedBlock,
    trial: &PlannedTrial,
) -> Result<TrialId, Failed> {
    let id = trial.take_id(block.block, 1)?;
    let take = run.trial(&id)?;
    let (mut log, _) = take.child_output(names::SERVER_LOG)?;
    std::io::Write::write_all(&mut log, b"INFO it serves\nINFO it ends\n")?;
    take.text(names::METRICS_BEFORE, "vllm:num_requests_running 0\n")?;
    take.text(names::METRICS_AFTER, "vllm:num_requests_running 0\n")?;
    let mut rng = SplitMix64::new(u64::from(block.block * 1000 + trial.order));
    let (mut rows, mut batch) = (take.traces()?, Vec::new());
    let (mut span, mut held, mut lags) = (None, None, Vec::new());
    let mut counts = TrialCounts {
        planned: size.requests,
        ..TrialCounts::default()
    };
    let fillers = plan.fillers.prompts.iter().map(|p| (false, &p.id));
    let measured = block.prompts_of(trial).iter().map(|id| (true, id));
    for (seq, (measured, prompt)) in (0..).zip(fillers.chain(measured)) {
        let trace = trace(&mut rng, (block.block, &trial.variant), (seq, measured, prompt), size)?;
        let began = trace.sent_ns.unwrap_or(trace.scheduled_ns);
        grow(&mut span, began, trace.finished_ns);
        if measured {
            grow(&mut held, began, trace.finished_ns);
            lags.push(began.since(trace.scheduled_ns).0);
        }
        match (&trace.outcome, measured) {
            (Outcome::Completed(_), true) => counts.completed += 1,
            (Outcome::Completed(_), false) => counts.fillers_completed += 1,
            (Outcome::Failed(f), true) => *counts.failed.entry(f.reason).or_default() += 1,
            (Outcome::Failed(_), false) => counts.fillers_failed += 1,
        }
        batch.push(trace);
        if batch.len() == BATCH {
            rows.append_all(&batch)?;
            batch.clear();
        }
    }
    rows.append_all(&batch)?;
    rows.finish()?;
    let mut samples = take.telemetry()?;
    for second in 0..size.samples {
        samples.append(&TelemetrySample {
            t_ns: TrialInstant::from_secs(u64::from(second)),
            ..examples::telemetry()
        })?;
    }
    samples.finish()?;
    let variant = plan.variant(&trial.variant).ok_or("no such variant")?;
    take.engine(&EngineRecord {
        trial: id.clone(),
        variant: trial.variant.clone(),
        flags: variant
            .flags
            .iter()
            .map(|(name, f)| (name.clone(), f.value.clone()))
            .collect(),
        ..examples::engine_record()
    })?;
    lags.sort_unstable();
    let rank = |percent: usize| {
        let rank = (lags.len() * percent).div_ceil(100);
        Nanos(lags.get(rank.saturating_sub(1)).copied().unwrap_or(0))
    };
    let instrument = examples::trial_record().instrument.map(|example| Instrument {
        schedule_lag_p50_ns: rank(50),
        schedule_lag_p99_ns: rank(99),
        schedule_lag_max_ns: rank(100),
        ..example
    });
    take.finish(&TrialRecord {
        id: id.clone(),
        block: block.block,
        order: trial.order,
        variant: trial.variant.clone(),
        load: trial.load.clone(),
        span,
        held,
        counts,
        instrument,
        ..examples::trial_record()
    })?;
    Ok(id)
}

fn grow(span: &mut Option<Window>, start_ns: TrialInstant, end_ns: TrialInstant) {
    let so_far = span.unwrap_or(Window { start_ns, end_ns });
    *span = Some(Window {
        start_ns: so_far.start_ns.min(start_ns),
        end_ns: so_far.end_ns.max(end_ns),
    });
}

/// Gaps about 20 ms apart with all their nanoseconds, as a clock gives them; one request in fifty fails.
fn trace(
    rng: &mut SplitMix64,
    (block, variant): (u32, &VariantId),
    (seq, measured, prompt): (u32, bool, &PromptId),
    size: Size,
) -> Result<Trace, Failed> {
    let mut random = |from: u64, most: u64| Nanos(from + rng.next_u64() % most);
    let scheduled = TrialInstant(u64::from(seq) * 20_000_000);
    let sent = scheduled.after(random(1_000, 90_000));
    let ttft = random(80_000_000, 60_000_000);
    let chunks = (0..size.chunks).map(|c| Chunk {
        gap: if c == 0 {
            Nanos::ZERO
        } else {
            random(12_000_000, 16_000_000)
        },
        tokens: 1,
    });
    let chunks: Vec<Chunk> = chunks.collect();
    let fails = measured && seq % 50 == 9;
    let headers = sent.after(Nanos(ttft.0 / 2));
    let (outcome, after) = if fails {
        let after = ttft;
        let failure = Failure::new(Reason::ErrorEvent, Some(200), "EngineCore encountered an issue", after);
        (Outcome::Failed(failure), after)
    } else {
        let text = Sha256Hex::from_bytes([u8::try_from(seq % 251)?; 32]);
        let (kind, tokens) = (TtftKind::Token, TokenCounts::usage(nz(137), nz(size.chunks)));
        let done = Completion::new(kind, ttft, Some(ttft), chunks, tokens, FinishReason::Length, text)?;
        let after = done.e2e();
        (Outcome::Completed(done), after)
    };
    Ok(Trace {
        v: V,
        request_id: RequestId::new(format!("b{block:02}-{variant}-{seq:04}-a1"))?,
        prompt_id: prompt.clone(),
        block,
        variant: variant.clone(),
        seq,
        attempt: 1,
        measured,
        scheduled_ns: scheduled,
        sent_ns: Some(sent),
        connect_ns: Nanos::ZERO,
        headers_ns: Some(headers),
        finished_ns: sent.after(after),
        expected_prompt_tokens: Some(nz(137)),
        outcome,
    })
}
