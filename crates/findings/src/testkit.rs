//! A small plan, short traces and whole small trials for the tests of this room.

use crate::{CellMetrics, Prompts, Reducer, Trial};
use servelab_schema::*;
use std::{collections::BTreeMap, num::NonZeroU32};

pub(crate) fn nz(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

pub(crate) fn vid(id: &str) -> VariantId {
    VariantId::new(id).unwrap()
}

pub(crate) fn ratio(x: f64) -> Ratio {
    Ratio::new(x).unwrap()
}

fn sha() -> Sha256Hex {
    Sha256Hex::from_bytes([7; 32])
}

fn prompt_set(id: &str) -> PromptSetRef {
    PromptSetRef {
        id: PromptSetId::new(id).unwrap(),
        path: format!("prompts/{id}.jsonl"),
        sha256: sha(),
        tokenizer_sha256: Some(sha()),
        chat_template_sha256: Some(sha()),
        prompts: Vec::new(),
    }
}

pub(crate) fn prompt(id: &str, task: Task, bucket: Bucket) -> PromptRef {
    PromptRef {
        id: PromptId::new(id).unwrap(),
        task: Some(task),
        bucket: Some(bucket),
        prompt_tokens: Some(nz(100)),
        max_new_tokens: nz(4),
        answer: None,
    }
}

fn variant(id: &str, role: VariantRole, control: Option<&str>) -> PlannedVariant {
    PlannedVariant {
        id: vid(id),
        role,
        control: control.map(vid),
        factor: None,
        hypothesis: "for a test".into(),
        model: None,
        flags: BTreeMap::new(),
        differs_in: Vec::new(),
        expect: Expectation::default(),
    }
}

pub(crate) fn load_id() -> LoadId {
    LoadId::new("c8").unwrap()
}

/// C1, its copy C1b, and the given treatments, each with its control; one closed loop of 8; δ 3 %, α 5 %.
pub(crate) fn plan(treatments: &[(&str, &str)]) -> Plan {
    let mut variants = vec![
        variant("C1", VariantRole::Baseline, None),
        variant("C1b", VariantRole::Aa, Some("C1")),
    ];
    variants.extend(
        treatments
            .iter()
            .map(|(id, control)| variant(id, VariantRole::Treatment, Some(control))),
    );
    Plan {
        v: V,
        name: "test".into(),
        engine_kind: EngineKind::Simulated,
        method_version: METHOD_VERSION,
        seed: 1,
        sources: Vec::new(),
        profile: Profile {
            name: "l4".into(),
            gpu: Some("L4".into()),
            gpu_memory_bytes: Some(Bytes(24 << 30)),
            machine_type: Some("g2".into()),
            model: "m".into(),
            dtype: Some("float16".into()),
            context_tokens: Some(nz(8192)),
            price_micro_usd_per_hour: None,
        },
        engine: EngineSpec {
            dialect: Dialect::Vllm,
            version: "0.32.0".into(),
            provider: Provider::Process {
                command: vec!["engine".into()],
            },
            served_model: "m".into(),
            api_key_env: None,
        },
        prompts: prompt_set("p"),
        fillers: prompt_set("f"),
        order: BlockOrder::Random,
        loads: vec![NamedLoad {
            id: load_id(),
            load: Load::Closed { concurrency: nz(8) },
        }],
        variants,
        output: OutputPolicy {
            stop: Stop::Fixed,
            temperature: ratio(0.0),
            seed: 0,
            keep_text: false,
        },
        warm_up: WarmUp { requests: 0 },
        timeouts: Timeouts {
            startup_ns: WallNanos::from_secs(1),
            connect_ns: Nanos::from_secs(1),
            ttft_ns: Nanos::from_secs(1),
            idle_ns: Nanos::from_secs(1),
            total_ns: Nanos::from_secs(1),
            stop_grace_ns: WallNanos::from_secs(1),
        },
        gates: Gates {
            schedule_lag_p99_ns: Nanos::from_millis(1),
            schedule_lag_ttft_ratio: ratio(0.01),
            event_loop_lag_p99_ns: Nanos::from_millis(2),
            event_loop_lag_ttft_ratio: ratio(0.01),
            starvation_ratio: ratio(0.02),
            certified_error_delta_ratio: ratio(0.5),
            client_thread_cpu_ratio: ratio(0.8),
            achieved_rate_ratio: ratio(0.02),
            held_window_ratio: ratio(0.6),
            min_requests: 10,
            min_duration_ns: Nanos::from_secs(5),
            failures_ratio: ratio(0.01),
        },
        slo: Slo::default(),
        primary_metric: MetricName::OutputThroughput,
        delta: Margin::new(0.03).unwrap(),
        alpha: Margin::new(0.05).unwrap(),
        telemetry_interval_ns: Nanos::from_secs(1),
        retakes: 0,
        give_up_after: None,
        on_repeated_failure: OnRepeatedFailure::GoOn,
        limits: Limits::default(),
        predicted_wall_ns: Nanos::ZERO,
        predicted_cost_micro_usd: None,
        prompt_share_ratio: ratio(1.0),
        blocks: Vec::new(),
    }
}

/// The same on servers that are up already: the baseline and its copy at one address, the treatment of this name at another.
pub(crate) fn of_servers(treatment: &str) -> Plan {
    let mut plan = plan(&[(treatment, "C1")]);
    let other = OtherServer {
        base: "http://127.0.0.1:2".into(),
        served_model: "m".into(),
        dialect: plan.engine.dialect,
        api_key_env: None,
        more_prompt_tokens: 0,
    };
    plan.engine.provider = Provider::Url {
        base: "http://127.0.0.1:1".into(),
        others: BTreeMap::from([(vid(treatment), other)]),
        simulated: false,
        asked_at_most: Capabilities::FULL,
        cache_salt: true,
        accept_unknown_cache: false,
    };
    plan
}

/// A valid, confirmed cell with the given metrics.
pub(crate) fn cell(variant: &str, block: u32, metrics: &[(MetricName, f64)]) -> CellMetrics {
    CellMetrics {
        block,
        variant: vid(variant),
        load: load_id(),
        take: 1,
        validity: Validity::Valid,
        treatment: Treatment::Confirmed,
        served: true,
        completed: 100,
        failed: 0,
        e2e_s: Vec::new(),
        metrics: metrics.iter().copied().collect(),
        ttft_kind: Some(TtftKind::Token),
    }
}

/// A completed trace: sent at `sent_ms`, first token after `ttft_ms`, then one chunk per (gap in ms, tokens).
pub(crate) fn completed(prompt: &str, sent_ms: u64, ttft_ms: u64, first: u32, rest: &[(u64, u32)]) -> Trace {
    let mut chunks = vec![Chunk {
        gap: Nanos::ZERO,
        tokens: first,
    }];
    chunks.extend(rest.iter().map(|(gap, tokens)| Chunk {
        gap: Nanos::from_millis(*gap),
        tokens: *tokens,
    }));
    let tokens = chunks.iter().map(|c| c.tokens).sum();
    let completion = Completion::new(
        TtftKind::Token,
        Nanos::from_millis(ttft_ms),
        Some(Nanos::from_millis(ttft_ms)),
        chunks,
        TokenCounts::usage(nz(100), nz(tokens)),
        FinishReason::Length,
        sha(),
    )
    .unwrap();
    let finished = TrialInstant::from_millis(sent_ms).after(completion.e2e());
    trace(prompt, sent_ms, finished, Outcome::Completed(completion))
}

/// A completed trace without token counts per chunk.
pub(crate) fn content_only(prompt: &str, sent_ms: u64, ttft_ms: u64, tokens: u32) -> Trace {
    let chunks = vec![
        Chunk {
            gap: Nanos::ZERO,
            tokens: 0,
        },
        Chunk {
            gap: Nanos::from_millis(10),
            tokens: 0,
        },
    ];
    let ttft = Nanos::from_millis(ttft_ms);
    let completion = Completion::new(
        TtftKind::Content,
        ttft,
        Some(ttft),
        chunks,
        TokenCounts::usage(nz(100), nz(tokens)),
        FinishReason::Length,
        sha(),
    )
    .unwrap();
    let finished = TrialInstant::from_millis(sent_ms).after(completion.e2e());
    trace(prompt, sent_ms, finished, Outcome::Completed(completion))
}

/// The same of an answer whose tokens nobody counted.
pub(crate) fn uncounted(prompt: &str, sent_ms: u64, ttft_ms: u64) -> Trace {
    let counted = content_only(prompt, sent_ms, ttft_ms, 4);
    let c = counted.completion().unwrap();
    let bare = Completion::new(
        c.ttft_kind(),
        c.first_chunk(),
        c.ttft_content(),
        c.chunks().to_vec(),
        TokenCounts::unknown(),
        c.finish_reason(),
        sha(),
    );
    Trace {
        outcome: Outcome::Completed(bare.unwrap()),
        ..counted
    }
}

/// An answer that came as one whole.
pub(crate) fn whole(prompt: &str, sent_ms: u64, e2e_ms: u64) -> Trace {
    let completion = Completion::whole(Nanos::from_millis(e2e_ms), NonZeroU32::new(9), sha());
    let finished = TrialInstant::from_millis(sent_ms + e2e_ms);
    trace(prompt, sent_ms, finished, Outcome::Completed(completion))
}

/// A failed trace.
pub(crate) fn failed(prompt: &str, sent_ms: u64, reason: Reason) -> Trace {
    let failure = Failure::new(reason, None, "for a test", Nanos::from_millis(5));
    trace(
        prompt,
        sent_ms,
        TrialInstant::from_millis(sent_ms + 5),
        Outcome::Failed(failure),
    )
}

fn trace(prompt: &str, sent_ms: u64, finished_ns: TrialInstant, outcome: Outcome) -> Trace {
    Trace {
        v: V,
        request_id: RequestId::new(format!("{prompt}-{sent_ms}")).unwrap(),
        prompt_id: PromptId::new(prompt).unwrap(),
        block: 1,
        variant: vid("C1"),
        seq: 0,
        attempt: 1,
        measured: true,
        scheduled_ns: TrialInstant::from_millis(sent_ms),
        sent_ns: Some(TrialInstant::from_millis(sent_ms)),
        connect_ns: Nanos::ZERO,
        headers_ns: None,
        finished_ns,
        expected_prompt_tokens: None,
        outcome,
    }
}

pub(crate) fn window(start_ms: u64, end_ms: u64) -> Window {
    Window {
        start_ns: TrialInstant::from_millis(start_ms),
        end_ns: TrialInstant::from_millis(end_ms),
    }
}

/// The record of a trial that no gate holds anything against, once its counts are those of at least ten requests.
pub(crate) fn record(variant: &str, block: u32) -> TrialRecord {
    TrialRecord {
        v: V,
        id: TrialId::new(format!("b{block:02}-01-{variant}-c8-t1")).unwrap(),
        block,
        order: 1,
        variant: vid(variant),
        load: load_id(),
        take: 1,
        session: NonZeroU32::MIN,
        engine_kind: EngineKind::Simulated,
        time_scale: nz(20),
        started_utc: "2026-01-01T00:00:00Z".into(),
        span: Some(window(0, 10_000)),
        held: Some(window(0, 10_000)),
        counts: TrialCounts::default(),
        instrument: Some(calm()),
        scheduled_rate_per_s: None,
        end: TrialEnd::Finished,
    }
}

/// What an instrument says that nothing disturbed.
fn calm() -> Instrument {
    let clock = ClockReading {
        unix_ns: 1_795_000_000_000_000_000,
        monotonic_ns: 86_400_000_000_000,
    };
    Instrument {
        schedule_lag_p50_ns: Nanos(1000),
        schedule_lag_p99_ns: Nanos(10_000),
        schedule_lag_max_ns: Nanos(20_000),
        event_loop_ticks: 3200,
        event_loop_missed_ticks: 0,
        event_loop_lag_p50_ns: Nanos(1000),
        event_loop_lag_p99_ns: Nanos(10_000),
        event_loop_lag_max_ns: Nanos(20_000),
        starvation: Starvation::default(),
        client_thread_cpu_ratio: ratio(0.1),
        achieved_rate_per_s: None,
        stale_connections: 0,
        clocks_start: clock,
        clocks_end: clock,
    }
}

/// The engine of a trial; it shows nothing of itself.
pub(crate) fn engine(variant: &str, block: u32) -> EngineRecord {
    EngineRecord {
        v: V,
        trial: record(variant, block).id,
        variant: vid(variant),
        engine_kind: EngineKind::Simulated,
        cache_salt: None,
        capabilities: None,
        capability_notes: Vec::new(),
        server: None,
        argv: Vec::new(),
        env: BTreeMap::new(),
        flags: BTreeMap::new(),
        version: None,
        served_model: None,
        cache_config: BTreeMap::new(),
        effective: BTreeMap::new(),
        metrics: None,
        startup_ns: None,
        prefix_cache_wanted: false,
        cache_at_start: CacheState::Empty,
        restart_would_show: true,
        checks: Vec::new(),
        refusal: None,
        ended: String::new(),
        failure: None,
    }
}

/// A machine without a GPU whose instrument was not calibrated.
pub(crate) fn environment() -> EnvironmentRecord {
    EnvironmentRecord {
        gpus: Vec::new(),
        instrument: None,
        ..examples::environment()
    }
}

/// A trial whose traces have gone by.
pub(crate) fn reduce(
    plan: &Plan,
    record: TrialRecord,
    engine: EngineRecord,
    telemetry: &[TelemetrySample],
    traces: &[Trace],
) -> Trial {
    reduce_beside(&[], plan, record, engine, telemetry, traces)
}

/// The same on a machine with these GPUs.
pub(crate) fn reduce_beside(
    gpus: &[GpuFacts],
    plan: &Plan,
    record: TrialRecord,
    engine: EngineRecord,
    telemetry: &[TelemetrySample],
    traces: &[Trace],
) -> Trial {
    let prompts = Prompts::of(plan);
    let mut reducer = Reducer::new(&prompts, plan.slo, gpus, record, engine, telemetry.to_vec());
    for trace in traces {
        reducer.add(trace, prompts.answer_found(trace));
    }
    reducer.finish()
}

/// A whole trial of one variant in one block: what its traces say is counted in its record too.
pub(crate) fn trial(plan: &Plan, variant: &str, block: u32, traces: &[Trace]) -> Trial {
    let mut record = record(variant, block);
    for trace in traces.iter().filter(|t| t.measured) {
        record.counts.planned += 1;
        match &trace.outcome {
            Outcome::Completed(_) => record.counts.completed += 1,
            Outcome::Failed(f) => *record.counts.failed.entry(f.reason).or_default() += 1,
        }
    }
    reduce(plan, record, engine(variant, block), &[], traces)
}
