//! One small valid value of each document: printed in `docs/FORMATS.md`, and the start of tests everywhere.
#![expect(
    clippy::expect_used,
    reason = "constants that a unit test constructs once; a wrong one never leaves it"
)]

mod findings;
mod pin;

pub use findings::findings;
pub use pin::pin;

use crate::{
    ArgValue, BlockOrder, Bucket, Bytes, Chunk, ClockAnchor, ClockReading, CloudFacts, CloudProvider, Completion,
    Correction, Dialect, EngineKind, EngineMetrics, EngineRecord, EngineSpec, EnvironmentRecord, Expectation, Failure,
    FieldValue, FinishReason, Gates, GpuFacts, GpuSample, HistogramRise, HostFacts, HostSample, Instrument,
    InstrumentCertificate, Limits, Load, LoadId, METHOD_VERSION, Margin, Message, MetricName, ModelFacts, NamedLoad,
    Nanos, OnRepeatedFailure, Origin, Outcome, OutputPolicy, PlainPrompt, Plan, PlannedBlock, PlannedTrial,
    PlannedVariant, Profile, Prompt, PromptId, PromptManifest, PromptRef, PromptSetId, PromptSetRef, PromptSource,
    Provider, Ratio, Reason, RequestId, Role, RunEnd, RunId, RunManifest, RunRef, SealedFile, SessionRecord, Sha256Hex,
    Slo, SourceFile, SourceRecord, Starvation, Stop, Superseded, Task, TelemetrySample, ThrottleReason, Timeouts,
    TokenCounts, Trace, TrialCounts, TrialId, TrialInstant, TrialRecord, TrialSummary, TtftKind, Unpacked, V,
    VariantId, VariantRole, Versions, WallNanos, WarmUp, WeightFile, Window, Wish,
};
use std::{collections::BTreeMap, num::NonZeroU32};

const OK: &str = "a constant of this file";

fn n(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).expect(OK)
}

fn ratio(value: f64) -> Ratio {
    Ratio::new(value).expect(OK)
}

fn digest(digit: u8) -> Sha256Hex {
    Sha256Hex::from_bytes([digit; 32])
}

fn anchor(seconds: u64) -> ClockAnchor {
    let utc = format!("2026-11-22T10:00:{:02}Z", seconds % 60);
    ClockAnchor {
        utc,
        monotonic_ns: WallNanos::from_secs(seconds),
    }
}

/// A row of `prompts/*.jsonl`.
#[must_use]
pub fn prompt() -> Prompt {
    let record = |record: &str| SourceRecord {
        dataset: "factbook".into(),
        record: record.into(),
    };
    Prompt {
        v: V,
        id: PromptId::new("qa-S-0001").expect(OK),
        task: Task::Qa,
        bucket: Bucket::S,
        block: 1,
        prompt_tokens: n(137),
        max_new_tokens: n(64),
        answer: Some("47,719 sq km".into()),
        rendered_sha256: digest(1),
        source: PromptSource {
            primary: record("slovakia/area"),
            distractors: vec![record("peru/climate")],
        },
        messages: vec![Message {
            role: Role::User,
            content: "Slovakia. …".into(),
        }],
    }
}

/// A prompt manifest.
#[must_use]
pub fn prompt_manifest() -> PromptManifest {
    PromptManifest {
        v: V,
        id: PromptSetId::new("l4-1800").expect(OK),
        file: "l4-1800.jsonl".into(),
        sha256: digest(2),
        bytes: Bytes(14_000_000),
        prompts: 1800,
        blocks: 10,
        context_tokens: n(8192),
        longest_common_prefix_tokens: 9,
        model: "mistralai/Mistral-7B-Instruct-v0.3".into(),
        tokenizer_sha256: digest(3),
        chat_template_sha256: digest(4),
        inputs: vec![SourceFile {
            path: "datasets/l4.toml".into(),
            sha256: digest(5),
        }],
        seed: 7,
    }
}

fn variant(id: &str, role: VariantRole, control: Option<&str>, eager: bool) -> PlannedVariant {
    let origin = Origin {
        file: "matrix/c1-c8.toml".into(),
        line: 12,
        key: "variant.args.enforce-eager".into(),
    };
    let treated = role == VariantRole::Treatment;
    let value = FieldValue {
        value: ArgValue::Switch(eager),
        origin,
    };
    PlannedVariant {
        id: VariantId::new(id).expect(OK),
        role,
        control: control.map(|c| VariantId::new(c).expect(OK)),
        factor: treated.then(|| "enforce-eager".into()),
        hypothesis: if treated {
            "Without CUDA graphs every step pays its launches".into()
        } else {
            String::new()
        },
        model: None,
        flags: BTreeMap::from([("enforce-eager".to_owned(), value)]),
        differs_in: if treated {
            vec!["enforce-eager".into()]
        } else {
            Vec::new()
        },
        expect: if treated {
            let non_default_args = BTreeMap::from([("enforce_eager".to_owned(), "True".to_owned())]);
            Expectation {
                non_default_args,
                ..Expectation::default()
            }
        } else {
            Expectation::default()
        },
    }
}

/// Gates as METHOD gives them.
#[must_use]
pub fn gates() -> Gates {
    Gates {
        schedule_lag_p99_ns: Nanos::from_millis(1),
        schedule_lag_ttft_ratio: ratio(0.01),
        event_loop_lag_p99_ns: Nanos::from_millis(2),
        event_loop_lag_ttft_ratio: ratio(0.01),
        starvation_ratio: ratio(0.02),
        certified_error_delta_ratio: ratio(0.5),
        client_thread_cpu_ratio: ratio(0.8),
        achieved_rate_ratio: ratio(0.02),
        held_window_ratio: ratio(0.6),
        min_requests: 1,
        min_duration_ns: Nanos::ZERO,
        failures_ratio: ratio(0.01),
    }
}

/// A prompt that was made for servers.
#[must_use]
pub fn plain_prompt() -> PlainPrompt {
    PlainPrompt {
        v: V,
        id: PromptId::new("b01-001").expect(OK),
        prompt_tokens: None,
        max_new_tokens: NonZeroU32::MIN.saturating_add(127),
        messages: vec![Message {
            role: Role::User,
            content: "Note amber basin cedar delta ember fjord 1.\n\nDescribe how bread dough rises.".into(),
        }],
    }
}

/// A plan of four blocks with a baseline, its copy and one variant on a simulated engine.
#[must_use]
pub fn plan() -> Plan {
    let prompt = prompt();
    let reference = PromptRef {
        id: prompt.id.clone(),
        task: Some(prompt.task),
        bucket: Some(prompt.bucket),
        prompt_tokens: Some(prompt.prompt_tokens),
        max_new_tokens: prompt.max_new_tokens,
        answer: prompt.answer.clone(),
    };
    let set = |id: &str| PromptSetRef {
        id: PromptSetId::new(id).expect(OK),
        path: format!("prompts/{id}.jsonl"),
        sha256: digest(2),
        tokenizer_sha256: Some(digest(3)),
        chat_template_sha256: Some(digest(4)),
        prompts: vec![reference.clone()],
    };
    let load = LoadId::new("c8").expect(OK);
    let variants = vec![
        variant("C1", VariantRole::Baseline, None, false),
        variant("C1b", VariantRole::Aa, Some("C1"), false),
        variant("C3", VariantRole::Treatment, Some("C1"), true),
    ];
    let block = |block: u32| PlannedBlock {
        block,
        seed: u64::from(block),
        prompts: vec![prompt.id.clone()],
        trials: (1..)
            .zip(&variants)
            .map(|(order, v)| PlannedTrial {
                order,
                variant: v.id.clone(),
                load: load.clone(),
                prompts: None,
            })
            .collect(),
    };
    Plan {
        v: V,
        name: "example".into(),
        engine_kind: EngineKind::Simulated,
        method_version: METHOD_VERSION,
        seed: 7,
        sources: vec![SourceFile {
            path: "matrix/c1-c8.toml".into(),
            sha256: digest(6),
        }],
        profile: Profile {
            name: "l4-mistral-7b".into(),
            gpu: Some("NVIDIA L4".into()),
            gpu_memory_bytes: Some(Bytes(24 << 30)),
            machine_type: Some("g2-standard-8".into()),
            model: "mistralai/Mistral-7B-Instruct-v0.3".into(),
            dtype: Some("float16".into()),
            context_tokens: Some(n(8192)),
            price_micro_usd_per_hour: None,
        },
        engine: EngineSpec {
            dialect: Dialect::Vllm,
            version: "0.32.0".into(),
            provider: Provider::Sim {
                time_scale: n(20),
                seed: 7,
                tokenizer: "datasets/tokenizers/mistral-7b-instruct-v0.3".into(),
                extra_args: Vec::new(),
            },
            served_model: "mistral".into(),
            api_key_env: Some("ENGINE_API_KEY".into()),
        },
        prompts: set("l4-1800"),
        fillers: set("l4-filler-90"),
        order: BlockOrder::Random,
        loads: vec![NamedLoad {
            id: load.clone(),
            load: Load::Closed { concurrency: n(8) },
        }],
        variants: variants.clone(),
        output: OutputPolicy {
            stop: Stop::Fixed,
            temperature: ratio(0.0),
            seed: 7,
            keep_text: true,
        },
        warm_up: WarmUp { requests: 8 },
        timeouts: Timeouts {
            startup_ns: WallNanos::from_secs(600),
            connect_ns: Nanos::from_secs(5),
            ttft_ns: Nanos::from_secs(120),
            idle_ns: Nanos::from_secs(60),
            total_ns: Nanos::from_secs(600),
            stop_grace_ns: WallNanos::from_secs(10),
        },
        gates: gates(),
        slo: Slo {
            ttft_ns: Some(Nanos::from_secs(2)),
            tpot_ns: Some(Nanos::from_millis(100)),
            e2e_ns: Some(Nanos::from_secs(30)),
        },
        primary_metric: MetricName::OutputThroughput,
        delta: Margin::new(0.03).expect(OK),
        alpha: Margin::new(0.05).expect(OK),
        telemetry_interval_ns: Nanos::from_secs(1),
        retakes: 1,
        give_up_after: NonZeroU32::new(20),
        on_repeated_failure: OnRepeatedFailure::Stop,
        limits: Limits::default(),
        predicted_wall_ns: Nanos::from_secs(90),
        predicted_cost_micro_usd: None,
        prompt_share_ratio: ratio(1.0),
        blocks: (1..=4).map(block).collect(),
    }
}

/// The environment of a run.
#[must_use]
pub fn environment() -> EnvironmentRecord {
    EnvironmentRecord {
        v: V,
        servelab_version: "0.1.0".into(),
        servelab_sha256: Some(digest(7)),
        git: Some("0123abc-dirty".into()),
        host: HostFacts {
            cpu: Some("AMD EPYC".into()),
            cpus: 2,
            memory_bytes: Some(Bytes(24 << 30)),
            kernel: Some("6.1.0".into()),
            os: Some("Debian GNU/Linux 12 (bookworm)".into()),
            open_files_limit: Some(20_000),
        },
        gpus: vec![gpu_facts()],
        gpu_note: None,
        instrument: Some(certificate()),
        cloud: Some(CloudFacts {
            provider: CloudProvider::Gcp,
            machine_type: "g2-standard-8".into(),
            zone: Some("europe-west4-a".into()),
            image: Some("projects/debian-cloud/global/images/debian-12".into()),
        }),
        model: Some(ModelFacts {
            id: "Qwen/Qwen2.5-7B-Instruct".into(),
            tokenizer_sha256: Some(digest(2)),
            chat_template_sha256: Some(digest(3)),
            revision: Some("a09a35458c702b33eeacc393d103063234e8bc28".into()),
            weights: vec![WeightFile {
                name: "model-00001-of-00004.safetensors".into(),
                bytes: Bytes(3_945_441_440),
                sha256: digest(6),
            }],
            weights_note: None,
        }),
        variant_models: Vec::new(),
        env_names: vec!["HOME".into(), "PATH".into()],
        machine: Some(crate::MachineHold::Alone {
            held: vec!["machine".into()],
        }),
        started: anchor(0),
    }
}

/// The GPU of that machine.
#[must_use]
pub fn gpu_facts() -> GpuFacts {
    GpuFacts {
        index: 0,
        name: Some("NVIDIA L4".into()),
        uuid: Some("GPU-00000000-0000-0000-0000-000000000000".into()),
        driver: Some("580.95.05".into()),
        cuda: Some("13.0".into()),
        memory_total_bytes: Some(Bytes(24 << 30)),
        memory_used_at_start_bytes: Some(Bytes(300 << 20)),
        power_at_start_milliwatts: Some(16_500),
        power_limit_milliwatts: Some(72_000),
        max_sm_clock_mhz: Some(2_040),
        max_memory_clock_mhz: Some(6_251),
        ecc_enabled: Some(true),
    }
}

/// One reading of that GPU.
#[must_use]
pub fn gpu_sample() -> GpuSample {
    GpuSample {
        index: 0,
        memory_used_bytes: Some(Bytes(21 << 30)),
        utilisation_ratio: Some(ratio(0.98)),
        power_milliwatts: Some(71_400),
        energy_millijoules: Some(9_123_456),
        temperature_celsius: Some(68),
        sm_clock_mhz: Some(1_410),
        memory_clock_mhz: Some(6_251),
        throttle: Some(vec![ThrottleReason::SwPowerCap]),
        ecc_corrected_errors: Some(0),
        ecc_uncorrected_errors: Some(0),
        pcie_tx_bytes_per_s: Some(1_200_000),
        pcie_rx_bytes_per_s: Some(800_000),
        compute_pids: Some(vec![4242]),
    }
}

/// What the load generator can do on that machine.
#[must_use]
pub fn certificate() -> InstrumentCertificate {
    InstrumentCertificate {
        measured_utc: "2026-11-22T09:59:58Z".into(),
        highest_requests_per_s: 21_000,
        highest_chunks_per_s: 60_000,
        server_cpu_ratio: ratio(0.97),
        load: Load::Closed { concurrency: n(8) },
        time_scale: n(1),
        request_bytes_mean: Some(5_200),
        request_bytes_max: Some(41_000),
        chunks: 64,
        chunks_per_s: Some(800),
        ttft_ns: Nanos::from_millis(50),
        itl_ns: Nanos::from_millis(10),
        requests: 24,
        ttft_error_p50_ns: Nanos(90_000),
        ttft_error_p99_ns: Nanos(210_000),
        gap_error_p50_ns: Nanos(9_000),
        gap_error_p99_ns: Nanos(80_000),
    }
}

/// Name of the take that the other documents speak of.
#[must_use]
pub fn trial_id() -> TrialId {
    TrialId::new("b01-03-C3-c8-t1").expect(OK)
}

/// What was started for a take.
#[must_use]
pub fn engine_record() -> EngineRecord {
    EngineRecord {
        v: V,
        trial: trial_id(),
        variant: VariantId::new("C3").expect(OK),
        engine_kind: EngineKind::Simulated,
        cache_salt: None,
        capabilities: None,
        capability_notes: Vec::new(),
        argv: vec!["servelab".into(), "sim".into(), "--".into(), "--enforce-eager".into()],
        env: BTreeMap::new(),
        flags: BTreeMap::from([("enforce-eager".to_owned(), ArgValue::Switch(true))]),
        server: None,
        version: Some("0.32.0".into()),
        served_model: Some("mistral".into()),
        cache_config: BTreeMap::from([("cache_dtype".to_owned(), "auto".to_owned())]),
        effective: BTreeMap::from([("enforce_eager".to_owned(), crate::EffectiveField::setting("True"))]),
        prefix_cache_wanted: false,
        cache_at_start: crate::CacheState::Empty,
        restart_would_show: true,
        metrics: Some(engine_metrics()),
        startup_ns: Some(Nanos::from_secs(12)),
        checks: vec![crate::Check {
            expected: "effective enforce_eager = true".into(),
            found: Some("true".into()),
            result: crate::CheckResult::Found,
            field: Some("enforce_eager".into()),
            told: false,
        }],
        refusal: None,
        ended: "SIGTERM, exit status: 0".into(),
        failure: None,
    }
}

/// The begin of a take.
#[must_use]
pub fn event() -> crate::RunEvent {
    crate::RunEvent {
        v: V,
        utc: "2026-11-22T10:00:01Z".into(),
        at_ns: WallNanos::from_secs(1),
        level: crate::EventLevel::Info,
        part: "servelab_runner::run".into(),
        what: "a take begins".into(),
        fields: BTreeMap::from([("trial".to_owned(), trial_id().to_string())]),
    }
}

/// What an engine counted in a trial without speculation.
#[must_use]
pub fn engine_metrics() -> EngineMetrics {
    let rise = |count, sum_s| HistogramRise {
        count,
        sum_s,
        at_most: vec![(0.1, 0), (1.0, count)],
    };
    EngineMetrics {
        prompt_tokens: Some(27_400),
        generation_tokens: Some(12_800),
        finished: Some(BTreeMap::from([("length".to_owned(), 200)])),
        preemptions: Some(0),
        prefix_cache_queries: Some(27_400),
        prefix_cache_hits: Some(0),
        prefix_cache_hit_ratio: Some(ratio(0.0)),
        ttft: Some(rise(200, 24.5)),
        ..EngineMetrics::default()
    }
}

/// An attempt that completed: 4 tokens in 3 chunks.
#[must_use]
pub fn trace() -> Trace {
    let chunk = |gap: u64, tokens: u32| Chunk {
        gap: Nanos(gap),
        tokens,
    };
    let completion = Completion::new(
        TtftKind::Token,
        Nanos(122_068_811),
        Some(Nanos(122_068_811)),
        vec![chunk(0, 1), chunk(49_120_033, 2), chunk(50_230_871, 1)],
        TokenCounts::usage(n(137), n(4)),
        FinishReason::Length,
        digest(8),
    );
    Trace {
        v: V,
        request_id: RequestId::new("b01-C3-0000-a1").expect(OK),
        prompt_id: prompt().id,
        block: 1,
        variant: VariantId::new("C3").expect(OK),
        seq: 0,
        attempt: 1,
        measured: true,
        scheduled_ns: TrialInstant(812_000_000),
        sent_ns: Some(TrialInstant(812_031_400)),
        connect_ns: Nanos::ZERO,
        headers_ns: Some(TrialInstant(934_100_211)),
        finished_ns: TrialInstant(1_033_500_000),
        expected_prompt_tokens: Some(n(137)),
        outcome: Outcome::Completed(completion.expect(OK)),
    }
}

/// An attempt that failed after HTTP 200.
#[must_use]
pub fn failed_trace() -> Trace {
    let failure = Failure::new(
        Reason::ErrorEvent,
        Some(200),
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        Nanos(401_220_000),
    );
    let request_id = RequestId::new("b01-C3-0001-a1").expect(OK);
    Trace {
        request_id,
        seq: 1,
        outcome: Outcome::Failed(failure),
        ..trace()
    }
}

/// A telemetry sample.
#[must_use]
pub fn telemetry() -> TelemetrySample {
    TelemetrySample {
        v: V,
        t_ns: TrialInstant::from_secs(2),
        host: HostSample {
            cpu_busy_ratio: Some(ratio(0.5)),
            memory_used_bytes: Some(Bytes(1 << 30)),
            load1_ratio: Some(ratio(1.25)),
            engine_cpu_ns: Some(Nanos::from_millis(300)),
            engine_rss_bytes: Some(Bytes(90 << 20)),
            client_cpu_ns: Some(Nanos::from_millis(100)),
            client_rss_bytes: Some(Bytes(30 << 20)),
        },
        engine_running: Some(8),
        engine_waiting: Some(0),
        kv_cache_used_ratio: Some(ratio(0.31)),
        gpus: vec![gpu_sample()],
        gpu_note: None,
    }
}

/// A finished take.
#[must_use]
pub fn trial_record() -> TrialRecord {
    TrialRecord {
        v: V,
        id: trial_id(),
        block: 1,
        order: 3,
        variant: VariantId::new("C3").expect(OK),
        load: LoadId::new("c8").expect(OK),
        take: 1,
        session: NonZeroU32::MIN,
        engine_kind: EngineKind::Simulated,
        time_scale: n(20),
        started_utc: "2026-11-22T10:00:01Z".into(),
        end: crate::TrialEnd::Finished,
        span: Some(Window {
            start_ns: TrialInstant::START,
            end_ns: TrialInstant::from_secs(2),
        }),
        held: Some(Window {
            start_ns: TrialInstant(812_031_400),
            end_ns: TrialInstant(1_033_500_000),
        }),
        counts: TrialCounts {
            planned: 2,
            completed: 1,
            failed: BTreeMap::from([(Reason::ErrorEvent, 1)]),
            fillers_completed: 8,
            fillers_failed: 0,
            gave_up_after: None,
        },
        instrument: Some(Instrument {
            schedule_lag_p50_ns: Nanos(31_400),
            schedule_lag_p99_ns: Nanos(90_000),
            schedule_lag_max_ns: Nanos(120_000),
            event_loop_ticks: 9,
            event_loop_missed_ticks: 0,
            event_loop_lag_p50_ns: Nanos(20_000),
            event_loop_lag_p99_ns: Nanos(300_000),
            event_loop_lag_max_ns: Nanos(300_000),
            starvation: Starvation {
                wall_ns: 112_000_000,
                stolen_ratio: Some(ratio(0.0)),
                throttled_count: None,
                throttled_ratio: None,
                run_queue_wait_ratio: Some(ratio(0.001)),
                run_queue_turns: Some(410),
                involuntary_switches: Some(3),
            },
            client_thread_cpu_ratio: ratio(0.12),
            achieved_rate_per_s: None,
            stale_connections: 0,
            clocks_start: ClockReading {
                unix_ns: 1_795_428_001_000_000_000,
                monotonic_ns: 86_400_000_000_000,
            },
            clocks_end: ClockReading {
                unix_ns: 1_795_428_001_112_000_000,
                monotonic_ns: 86_400_112_000_000,
            },
        }),
        scheduled_rate_per_s: None,
    }
}

/// The manifest of a run.
#[must_use]
pub fn manifest() -> RunManifest {
    let record = trial_record();
    RunManifest {
        v: Versions::LATEST,
        run_id: RunId::new("example-20261122-100000").expect(OK),
        name: "example".into(),
        engine_kind: EngineKind::Simulated,
        time_scale: n(20),
        method_version: METHOD_VERSION,
        servelab_version: "0.1.0".into(),
        plan_sha256: digest(9),
        prompts_sha256: digest(2),
        started: anchor(0),
        finished: anchor(59),
        end: RunEnd::Complete,
        sessions: vec![session()],
        files: vec![
            SealedFile {
                path: "plan.json".into(),
                bytes: Bytes(4096),
                sha256: digest(9),
                unpacked: None,
            },
            SealedFile {
                path: format!("trials/{}/traces.jsonl.zst", record.id),
                bytes: Bytes(2048),
                sha256: digest(10),
                unpacked: Some(Unpacked {
                    bytes: Bytes(16_384),
                    sha256: digest(11),
                }),
            },
        ],
        trials: vec![TrialSummary {
            id: record.id,
            validity: crate::Validity::Valid,
        }],
    }
}

/// `sessions/2/session.json`.
#[must_use]
pub fn session() -> SessionRecord {
    SessionRecord {
        v: V,
        session: n(2),
        earlier: Some(digest(8)),
        wish: Wish {
            skip: vec!["C4".into()],
            ..Wish::default()
        },
        plan_sha256: digest(9),
        before_ns: WallNanos::from_secs(40),
        earlier_ended_utc: "2026-11-22T10:00:40Z".into(),
        started: anchor(1860),
    }
}

/// `runs/corrections/N.json`.
#[must_use]
pub fn correction() -> Correction {
    Correction {
        v: V,
        number: n(1),
        run: RunRef {
            run_id: manifest().run_id,
            fingerprint: digest(5),
        },
        superseded: Superseded::Cell {
            variant: VariantId::new("C7").expect(OK),
            load: LoadId::new("c16").expect(OK),
        },
        by: Some(RunRef {
            run_id: RunId::new("example-20261123-090000").expect(OK),
            fingerprint: digest(6),
        }),
        reason: "the draft model of C7 was that of another tokenizer".into(),
        who: "ada".into(),
        utc: "2026-11-23T11:00:00Z".into(),
    }
}
