//! One take: a closed loop played on paper, with its record, engine record and telemetry. Facts only: what they amount to is
//! settled by `findings`, as in any run.

use super::{Arm, Fixture, Rng, digest, plan::CONCURRENCY};
use servelab_evidence::RunWriter;
use servelab_schema::{
    ArgValue, CacheState, Check, CheckResult, Chunk, ClockReading, Completion, EffectiveField, EngineMetrics,
    EngineRecord, Failure, FieldKind, FinishReason, GpuSample, HistogramRise, HostSample, Instrument, Nanos, Outcome,
    Plan, PlannedBlock, PlannedTrial, PromptRef, Ratio, Reason, RequestId, SpeculationRise, Starvation,
    TelemetrySample, ThrottleReason, TokenCounts, TokenSource, Trace, Treatment, TrialCounts, TrialEnd, TrialId,
    TrialInstant, TrialRecord, TtftKind, V, VariantId, Window,
};
use std::collections::BTreeMap;

/// Both clocks, seconds after some moment.
const fn clocks(seconds: u64) -> ClockReading {
    ClockReading {
        unix_ns: (1_795_000_000 + seconds) * 1_000_000_000,
        monotonic_ns: (86_400 + seconds) * 1_000_000_000,
    }
}

fn nanos(seconds: f64) -> Nanos {
    Nanos(format!("{:.0}", seconds * 1e9).parse().unwrap())
}

pub(crate) fn write(
    run: &RunWriter,
    f: &Fixture,
    plan: &Plan,
    (block, take): (&PlannedBlock, u32),
    planned: &PlannedTrial,
    arm: &Arm,
) -> TrialId {
    let id = TrialId::new(format!(
        "b{:02}-{:02}-{}-c8-t{take}",
        block.block, planned.order, arm.id
    ))
    .unwrap();
    let started = arm.treatment != Treatment::Rejected;
    let traces = if started { play(f, plan, block, arm) } else { Vec::new() };
    let late = f.invalid.contains(&(block.block, arm.id));
    let record = TrialRecord {
        take,
        ..record(f, &id, plan, block, planned, &traces, late)
    };
    let take = run.trial(&id).unwrap();
    let told = if f.full { told(arm, &traces) } else { Told::default() };
    let mut engine = EngineRecord {
        effective: told.effective,
        metrics: told.metrics,
        capability_notes: if f.counted_here && arm.id == f.arms[0].id {
            vec!["the server refuses ignore_eos".to_owned()]
        } else {
            Vec::new()
        },
        ..engine(&id, plan, arm, f.full)
    };
    if let Some(words) = f.words.as_ref().filter(|_| arm.factor.is_some()) {
        says(&mut engine, words, block.block == 1);
    }
    take.engine(&engine).unwrap();
    if started {
        let mut rows = take.traces().unwrap();
        rows.append_all(&traces).unwrap();
        rows.finish().unwrap();
        let mut rows = take.telemetry().unwrap();
        rows.append_all(&telemetry(&traces, f.gpu)).unwrap();
        rows.finish().unwrap();
    }
    take.text("server.log", "INFO <b>ready</b>\n").unwrap();
    take.finish(&record).unwrap();
    id
}

/// An engine that says these words in every place; where it dies, of its death too.
fn says(engine: &mut EngineRecord, words: &str, dies: bool) {
    let said = || words.to_owned();
    engine.version = Some(said());
    engine.served_model = Some(said());
    if dies {
        engine.failure = Some(said());
    }
    engine.ended = said();
    engine.cache_config.insert(said(), said());
    let field = EffectiveField::setting(words);
    engine
        .effective
        .extend([(said(), field.clone()), ("seed".to_owned(), field)]);
    for check in &mut engine.checks {
        check.found = Some(said());
    }
    if let Some(metrics) = &mut engine.metrics {
        metrics.finished = Some(BTreeMap::from([(said(), 1)]));
    }
}

/// Every slot sends its next request when its last has ended; fillers come before the first and after the last measured.
fn play(f: &Fixture, plan: &Plan, block: &PlannedBlock, arm: &Arm) -> Vec<Trace> {
    let seed = u64::from(block.block) * 1_000 + u64::from(arm.id.bytes().map(u32::from).sum::<u32>());
    let mut rng = Rng(seed);
    // All arms of a block share its drift; each start has its own spread.
    let drift = Rng(u64::from(block.block)).near_one(0.05);
    let speed = arm.speed * drift * rng.near_one(0.015);
    let fillers = plan.fillers.prompts.iter().cycle();
    let lead = usize::try_from(CONCURRENCY).unwrap();
    let measured = block
        .prompts
        .iter()
        .map(|id| plan.prompts.prompts.iter().find(|p| &p.id == id).unwrap());
    let queue = fillers
        .clone()
        .take(lead)
        .map(|p| (p, false))
        .chain(measured.map(|p| (p, true)));
    let mut slots = vec![0.0_f64; lead];
    let mut traces = Vec::new();
    let mut fails = if arm.id == "C2" { f.failures.clone() } else { Vec::new() };
    let mut send = |slots: &mut Vec<f64>, seq: u32, prompt: &PromptRef, measured: bool, rng: &mut Rng| {
        let (slot, free) = slots
            .iter()
            .copied()
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        let words = if measured { fails.pop() } else { None };
        let (trace, end) = request(f, block, arm, speed, seq, prompt, measured, free, words, rng);
        slots[slot] = end;
        traces.push(trace);
    };
    let mut seq = 0;
    for (prompt, measured) in queue {
        send(&mut slots, seq, prompt, measured, &mut rng);
        seq += 1;
    }
    let last = slots.iter().copied().fold(0.0, f64::max);
    for prompt in fillers {
        if slots.iter().all(|free| *free >= last) {
            break;
        }
        send(&mut slots, seq, prompt, false, &mut rng);
        seq += 1;
    }
    traces.sort_by_key(|t| t.finished_ns);
    traces
}

#[expect(
    clippy::too_many_arguments,
    reason = "a made-up request is made of independent facts"
)]
fn request(
    f: &Fixture,
    block: &PlannedBlock,
    arm: &Arm,
    speed: f64,
    seq: u32,
    prompt: &PromptRef,
    measured: bool,
    free: f64,
    words: Option<String>,
    rng: &mut Rng,
) -> (Trace, f64) {
    let ttft = (0.04 + f64::from(prompt.prompt_tokens.unwrap().get()) * 2.2e-4) / speed * rng.near_one(0.2);
    let sent = TrialInstant::START.after(nanos(free + 3e-5));
    let id = format!("b{:02}-{}-{seq:04}-a1", block.block, arm.id);
    let (outcome, finished) = match words {
        Some(words) => {
            let after = nanos(ttft);
            let failure = Failure::new(Reason::ErrorEvent, Some(200), &words, after);
            (Outcome::Failed(failure), sent.after(after))
        }
        None => {
            let tokens = f64::from(prompt.max_new_tokens.get()) * arm.length;
            let tokens = format!("{tokens:.0}").parse().unwrap();
            let chunks = chunks(arm, speed, tokens, rng);
            let text = f.full.then(|| text(arm, prompt));
            let done = Completion::new(
                TtftKind::Token,
                nanos(ttft),
                Some(nanos(ttft)),
                chunks,
                TokenCounts {
                    source: if f.counted_here {
                        TokenSource::Tokenizer
                    } else {
                        TokenSource::Usage
                    },
                    ..TokenCounts::usage(prompt.prompt_tokens.unwrap(), tokens.try_into().unwrap())
                },
                if arm.length < 1.0 {
                    FinishReason::Stop
                } else {
                    FinishReason::Length
                },
                text.as_deref()
                    .map_or(digest(5), |t| digest(t.bytes().fold(7, |h, b| h.wrapping_mul(31) ^ b))),
            );
            let done = done.unwrap().with_text(text);
            let end = sent.after(done.e2e()).after(Nanos(50_000));
            (Outcome::Completed(done), end)
        }
    };
    let trace = Trace {
        v: V,
        request_id: RequestId::new(id).unwrap(),
        prompt_id: prompt.id.clone(),
        block: block.block,
        variant: VariantId::new(arm.id).unwrap(),
        seq,
        attempt: 1,
        measured,
        scheduled_ns: TrialInstant::START.after(nanos(free)),
        sent_ns: Some(sent),
        connect_ns: Nanos::ZERO,
        headers_ns: Some(sent.after(Nanos(900_000))),
        finished_ns: finished,
        expected_prompt_tokens: prompt.prompt_tokens,
        outcome,
    };
    (trace, finished.as_secs_f64())
}

/// What an arm says to a prompt: the known answer as often as the arm is right, and one word in ten of the copy's own.
fn text(arm: &Arm, prompt: &PromptRef) -> String {
    let luck = |salt: u64| {
        let seed = prompt
            .id
            .as_str()
            .bytes()
            .fold(salt, |h, b| h.wrapping_mul(1_099_511) ^ u64::from(b));
        f64::from(u32::try_from(Rng(seed).next() >> 32).unwrap()) / f64::from(u32::MAX)
    };
    let own = if arm.id != "C1" && luck(5) < 0.1 {
        ", I believe"
    } else {
        ""
    };
    match &prompt.answer {
        Some(answer) if luck(3) < arm.right => format!("It is <b>{}</b>{own}.", answer.to_uppercase()),
        Some(_) => format!("I do not know{own}."),
        None => format!("Words about {}{own}.", prompt.id),
    }
}

fn chunks(arm: &Arm, speed: f64, tokens: u32, rng: &mut Rng) -> Vec<Chunk> {
    let mut left = tokens;
    let mut chunks = Vec::new();
    while left > 0 {
        let together = arm.tokens_per_chunk.min(left);
        let gap = 0.06 * f64::from(together) / speed * rng.near_one(0.1);
        let gap = if chunks.is_empty() { Nanos::ZERO } else { nanos(gap) };
        chunks.push(Chunk { gap, tokens: together });
        left -= together;
    }
    chunks
}

/// What an engine shows of itself.
#[derive(Default)]
struct Told {
    effective: BTreeMap<String, EffectiveField>,
    metrics: Option<EngineMetrics>,
}

/// The engine's own view of the trial: every first token came 30 ms before the client saw it.
fn told(arm: &Arm, traces: &[Trace]) -> Told {
    if traces.is_empty() {
        return Told::default();
    }
    let done: Vec<&Completion> = traces.iter().filter_map(Trace::completion).collect();
    let ttfts: Vec<f64> = done.iter().map(|c| c.ttft().unwrap().as_secs_f64() - 0.03).collect();
    let rise = |scale: f64| {
        let values: Vec<f64> = ttfts.iter().map(|t| t * scale).collect();
        let at_most = [0.01, 0.1, 0.25, 0.5, 1.0].map(|b| {
            let n = values.iter().filter(|v| **v <= b).count();
            (b, u64::try_from(n).unwrap())
        });
        HistogramRise {
            count: u64::try_from(values.len()).unwrap(),
            sum_s: values.iter().sum(),
            at_most: at_most.to_vec(),
        }
    };
    let drafts = arm.tokens_per_chunk > 1;
    let tokens = if arm.id == "C5" { "200000" } else { "100000" };
    let room = EffectiveField {
        kind: FieldKind::Room,
        ..EffectiveField::setting(tokens)
    };
    let scheduling = EffectiveField::setting(if drafts { "False" } else { "True" });
    let mut effective = BTreeMap::from([
        ("async_scheduling".to_owned(), scheduling),
        ("kv_cache_tokens".to_owned(), room),
    ]);
    // The control does not show the setting at all.
    let own = |factor: &str| {
        (
            factor.replace('-', "_"),
            EffectiveField::setting(&format!("<{}>", arm.id)),
        )
    };
    effective.extend(arm.factor.map(own));
    Told {
        effective,
        metrics: Some(EngineMetrics {
            preemptions: Some(2),
            prefix_cache_queries: Some(1000),
            prefix_cache_hits: Some(125),
            speculation: drafts.then(|| SpeculationRise {
                drafts: Some(100),
                draft_tokens: 200,
                accepted_tokens: 110,
                accepted_per_position: vec![80, 30],
            }),
            ttft: Some(rise(1.0)),
            queue: Some(rise(0.25)),
            prefill: Some(rise(0.75)),
            ..EngineMetrics::default()
        }),
    }
}

fn gpu_at(second: u64) -> GpuSample {
    GpuSample {
        power_milliwatts: Some(60_000),
        energy_millijoules: None,
        throttle: Some(
            (second == 1)
                .then_some(ThrottleReason::HwThermalSlowdown)
                .into_iter()
                .collect(),
        ),
        ..servelab_schema::examples::gpu_sample()
    }
}

fn telemetry(traces: &[Trace], gpu: bool) -> Vec<TelemetrySample> {
    let end = traces.iter().map(|t| t.finished_ns.0).max().unwrap_or(0);
    let samples = (0..=end / 1_000_000_000).map(|second| {
        let t_ns = TrialInstant::from_secs(second);
        let flying = traces
            .iter()
            .filter(|t| t.sent_ns.is_some_and(|s| s <= t_ns) && t.finished_ns > t_ns)
            .count();
        let running = u32::try_from(flying).unwrap();
        TelemetrySample {
            v: V,
            t_ns,
            host: HostSample {
                cpu_busy_ratio: Ratio::new(0.5).ok(),
                memory_used_bytes: None,
                load1_ratio: None,
                engine_cpu_ns: None,
                engine_rss_bytes: None,
                client_cpu_ns: None,
                client_rss_bytes: None,
            },
            engine_running: Some(running.saturating_sub(running / 4)),
            engine_waiting: Some(running / 4),
            kv_cache_used_ratio: Ratio::new(f64::from(running) / 12.0).ok(),
            gpus: gpu.then(|| gpu_at(second)).into_iter().collect(),
            gpu_note: None,
        }
    });
    samples.collect()
}

fn record(
    f: &Fixture,
    id: &TrialId,
    plan: &Plan,
    block: &PlannedBlock,
    planned: &PlannedTrial,
    traces: &[Trace],
    late: bool,
) -> TrialRecord {
    let measured = || traces.iter().filter(|t| t.measured);
    let sent = |ts: &mut dyn Iterator<Item = &Trace>| ts.filter_map(|t| t.sent_ns).min();
    let ended = |ts: &mut dyn Iterator<Item = &Trace>| ts.map(|t| t.finished_ns).max();
    let window = |start: Option<TrialInstant>, end: Option<TrialInstant>| {
        Some(Window {
            start_ns: start?,
            end_ns: end?,
        })
    };
    let failed = u32::try_from(measured().filter(|t| t.completion().is_none()).count()).unwrap();
    TrialRecord {
        v: V,
        id: id.clone(),
        block: block.block,
        order: planned.order,
        variant: planned.variant.clone(),
        load: planned.load.clone(),
        take: 1,
        session: std::num::NonZeroU32::MIN,
        engine_kind: plan.engine_kind,
        time_scale: plan.engine.time_scale().get(),
        started_utc: format!("2026-11-21T10:{:02}:{:02}Z", block.block, planned.order),
        end: if f.aborted && traces.is_empty() {
            TrialEnd::Interrupted {
                why: "the engine never started".to_owned(),
            }
        } else {
            TrialEnd::Finished
        },
        span: window(sent(&mut traces.iter()), ended(&mut traces.iter())),
        held: window(sent(&mut measured()), ended(&mut measured())),
        counts: TrialCounts {
            planned: u32::try_from(block.prompts.len()).unwrap(),
            completed: u32::try_from(measured().count()).unwrap() - failed,
            failed: if failed > 0 {
                BTreeMap::from([(Reason::ErrorEvent, failed)])
            } else {
                BTreeMap::new()
            },
            fillers_completed: u32::try_from(traces.iter().filter(|t| !t.measured).count()).unwrap(),
            fillers_failed: 0,
            gave_up_after: None,
        },
        instrument: (!traces.is_empty()).then(|| Instrument {
            schedule_lag_p50_ns: Nanos(30_000),
            schedule_lag_p99_ns: if late { Nanos::from_millis(40) } else { Nanos(90_000) },
            schedule_lag_max_ns: Nanos::from_millis(41),
            event_loop_ticks: 600,
            event_loop_missed_ticks: 0,
            event_loop_lag_p50_ns: Nanos(20_000),
            event_loop_lag_p99_ns: Nanos(400_000),
            event_loop_lag_max_ns: Nanos(900_000),
            starvation: Starvation::default(),
            client_thread_cpu_ratio: Ratio::new(0.12).unwrap(),
            achieved_rate_per_s: None,
            stale_connections: 0,
            clocks_start: clocks(0),
            clocks_end: clocks(3),
        }),
        scheduled_rate_per_s: None,
    }
}

/// What an arm's engine shows of its setting, so that the run settles on the arm's treatment.
fn check(arm: &Arm, setting: &str) -> Check {
    let (result, found) = match arm.treatment {
        Treatment::Confirmed => (CheckResult::Found, Some(format!("{setting} = <{}>", arm.id))),
        // The control leaves it as the engine ships it.
        Treatment::NoOp => (CheckResult::Differs, Some("False".to_owned())),
        Treatment::Substituted => (CheckResult::Differs, Some("another".to_owned())),
        Treatment::Rejected | Treatment::Unobservable => (CheckResult::Unknown, None),
    };
    Check {
        expected: format!("log contains \"{setting}\""),
        found,
        result,
        field: None,
        told: false,
    }
}

fn engine(id: &TrialId, plan: &Plan, arm: &Arm, prefix_cache_wanted: bool) -> EngineRecord {
    let setting = arm.factor.unwrap_or("max-num-seqs");
    let rejected = arm.treatment == Treatment::Rejected;
    let words = rejected.then(|| format!("error: unrecognized arguments: --{setting}"));
    EngineRecord {
        v: V,
        trial: id.clone(),
        variant: VariantId::new(arm.id).unwrap(),
        engine_kind: plan.engine_kind,
        server: None,
        cache_salt: None,
        capabilities: None,
        capability_notes: Vec::new(),
        argv: vec![
            "servelab".into(),
            "sim".into(),
            format!("--{setting}"),
            arm.id.to_owned(),
        ],
        env: BTreeMap::new(),
        flags: BTreeMap::from([(setting.to_owned(), ArgValue::Text(arm.id.to_owned()))]),
        version: (!rejected).then(|| "0.32.0".to_owned()),
        served_model: (!rejected).then(|| "mistral-7b".to_owned()),
        cache_config: BTreeMap::from([("block_size".to_owned(), "16".to_owned())]),
        effective: BTreeMap::new(),
        metrics: None,
        startup_ns: (!rejected).then(|| Nanos::from_secs(41)),
        prefix_cache_wanted,
        cache_at_start: CacheState::Empty,
        restart_would_show: true,
        checks: arm.factor.map(|_| check(arm, setting)).into_iter().collect(),
        refusal: words.clone(),
        ended: if rejected {
            "exit 2".to_owned()
        } else {
            "SIGTERM, exit 0".to_owned()
        },
        failure: words,
    }
}
