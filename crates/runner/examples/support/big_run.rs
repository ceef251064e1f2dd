//! A run of made-up requests, as large as is wanted: ten variants in ten blocks, 128 chunks a request. Benchmarks of several rooms use it.

use servelab_evidence::RunWriter;
use servelab_random::SplitMix64;
use servelab_schema::{
    Bucket, Chunk, Completion, EnvironmentRecord, FinishReason, Nanos, Outcome, Plan, PlannedVariant, PromptId,
    PromptRef, RequestId, RunId, Sha256Hex, Task, TokenCounts, Trace, TrialCounts, TrialId, TrialInstant, TtftKind, V,
    VariantId, VariantRole, Window, examples,
};
use std::{error, num::NonZeroU32, path::Path, sync::Arc};

pub(crate) type Failed = Box<dyn error::Error>;

pub(crate) const VARIANTS: u32 = 10;
pub(crate) const BLOCKS: u32 = 10;
const CHUNKS: u32 = 128;

/// Rows that are written together.
const BATCH: u32 = 256;

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

/// Writes a run of that name that is not sealed.
pub(crate) fn write_run(
    layer: Arc<dyn servelab_evidence::FileLayer>,
    folder: &Path,
    name: &str,
    requests: u32,
) -> Result<RunWriter, Failed> {
    let per_trial = (requests / VARIANTS / BLOCKS).max(20);
    let plan = planned(per_trial)?;
    let environment = EnvironmentRecord {
        instrument: None,
        ..examples::environment()
    };
    let run = RunWriter::create(layer, folder, &RunId::new(name)?, &plan, &environment)?;
    for block in 1..=BLOCKS {
        for (order, variant) in (1..).zip(&plan.variants) {
            write_take(&run, &plan, (block, order, &variant.id), per_trial)?;
        }
    }
    Ok(run)
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
