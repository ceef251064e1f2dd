//! The plan of a made-up run.

use super::{Arm, Fixture, Rng, digest};
use servelab_schema::{
    ArgValue, BlockOrder, Bucket, Bytes, Dialect, EngineKind, EngineSpec, Expectation, FieldValue, Gates, Limits, Load,
    LoadId, METHOD_VERSION, Margin, MetricName, NamedLoad, Nanos, OnRepeatedFailure, Origin, OutputPolicy, Plan,
    PlannedBlock, PlannedTrial, PlannedVariant, Profile, PromptId, PromptRef, PromptSetId, PromptSetRef, Provider,
    Ratio, Slo, SourceFile, Stop, Task, Timeouts, V, VariantId, VariantRole, WallNanos, WarmUp,
};
use std::{collections::BTreeMap, num::NonZeroU32};

/// Requests in flight.
pub(crate) const CONCURRENCY: u32 = 8;

pub(crate) fn nz(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn ratio(value: f64) -> Ratio {
    Ratio::new(value).unwrap()
}

pub(crate) fn plan(f: &Fixture) -> Plan {
    let provider = if f.real_engine {
        Provider::Process {
            command: vec!["vllm".into(), "serve".into(), "m".into()],
        }
    } else {
        Provider::Sim {
            time_scale: nz(20),
            seed: 1,
            tokenizer: "datasets/tokenizers/m".into(),
            extra_args: Vec::new(),
        }
    };
    let arms = f.all_arms();
    Plan {
        v: V,
        name: "c1-c8".into(),
        engine_kind: if f.real_engine {
            EngineKind::Measured
        } else {
            EngineKind::Simulated
        },
        method_version: METHOD_VERSION,
        seed: 42,
        sources: vec![SourceFile {
            path: "matrix/c1-c8.toml".into(),
            sha256: digest(1),
        }],
        profile: Profile {
            name: "l4-mistral-7b".into(),
            gpu: Some("NVIDIA L4".into()),
            gpu_memory_bytes: Some(Bytes(24_000_000_000)),
            machine_type: Some("g2-standard-8".into()),
            model: "mistralai/Mistral-7B-Instruct-v0.3".into(),
            dtype: Some("bfloat16".into()),
            context_tokens: Some(nz(8192)),
            price_micro_usd_per_hour: Some(850_000),
        },
        engine: EngineSpec {
            dialect: Dialect::Vllm,
            version: "0.32.0".into(),
            provider,
            served_model: "mistral-7b".into(),
            api_key_env: None,
        },
        prompts: prompt_set("l4-demo", "qa", f.blocks * f.per_cell, f.full),
        fillers: prompt_set("l4-filler", "fill", 2, false),
        order: BlockOrder::Random,
        loads: vec![NamedLoad {
            id: load_id(),
            load: Load::Closed {
                concurrency: nz(CONCURRENCY),
            },
        }],
        variants: arms.iter().map(variant).collect(),
        output: OutputPolicy {
            stop: if f.natural { Stop::Natural } else { Stop::Fixed },
            temperature: ratio(0.0),
            seed: 1,
            keep_text: f.full,
        },
        warm_up: WarmUp { requests: CONCURRENCY },
        timeouts: Timeouts {
            startup_ns: WallNanos::from_secs(300),
            connect_ns: Nanos::from_secs(5),
            ttft_ns: Nanos::from_secs(60),
            idle_ns: Nanos::from_secs(30),
            total_ns: Nanos::from_secs(300),
            stop_grace_ns: WallNanos::from_secs(30),
        },
        gates: Gates {
            schedule_lag_p99_ns: Nanos::from_millis(1),
            schedule_lag_ttft_ratio: ratio(0.01),
            event_loop_lag_p99_ns: Nanos::from_millis(2),
            event_loop_lag_ttft_ratio: ratio(0.01),
            starvation_ratio: ratio(0.02),
            // The example certificate is coarse beside these short times.
            certified_error_delta_ratio: ratio(5.0),
            client_thread_cpu_ratio: ratio(0.8),
            achieved_rate_ratio: ratio(0.02),
            held_window_ratio: ratio(0.6),
            min_requests: 9,
            min_duration_ns: Nanos::from_secs(1),
            // Fixtures make whole handfuls of requests fail to be looked at.
            failures_ratio: ratio(0.5),
        },
        slo: Slo {
            ttft_ns: Some(Nanos::from_secs(2)),
            tpot_ns: Some(Nanos::from_millis(100)),
            e2e_ns: None,
        },
        primary_metric: MetricName::OutputThroughput,
        delta: Margin::new(0.03).unwrap(),
        alpha: Margin::new(0.05).unwrap(),
        telemetry_interval_ns: Nanos::from_secs(1),
        retakes: 0,
        give_up_after: None,
        on_repeated_failure: OnRepeatedFailure::GoOn,
        limits: Limits::default(),
        predicted_wall_ns: Nanos::from_secs(600),
        predicted_cost_micro_usd: None,
        prompt_share_ratio: ratio(1.0),
        blocks: (1..=f.blocks).map(|block| planned_block(f, block, &arms)).collect(),
    }
}

pub(crate) fn load_id() -> LoadId {
    LoadId::new("c8").unwrap()
}

fn variant(arm: &Arm) -> PlannedVariant {
    let control = (arm.id != "C1").then(|| VariantId::new("C1").unwrap());
    let origin = Origin {
        file: "matrix/c1-c8.toml".into(),
        line: 7,
        key: "variant.args".into(),
    };
    let setting = arm.factor.unwrap_or("max-num-seqs").to_owned();
    let flag = FieldValue {
        value: ArgValue::Text(format!("<{}>", arm.id)),
        origin,
    };
    PlannedVariant {
        id: VariantId::new(arm.id).unwrap(),
        role: match arm.id {
            "C1" => VariantRole::Baseline,
            "C1b" => VariantRole::Aa,
            _ => VariantRole::Treatment,
        },
        control,
        factor: arm.factor.map(str::to_owned),
        hypothesis: arm.hypothesis.clone(),
        model: None,
        flags: BTreeMap::from([(setting.clone(), flag)]),
        differs_in: arm.factor.map(|_| setting).into_iter().collect(),
        expect: Expectation::default(),
    }
}

fn cells() -> impl Iterator<Item = (Task, Bucket)> {
    Task::ALL
        .into_iter()
        .flat_map(|task| Bucket::ALL.map(|bucket| (task, bucket)))
}

fn prompt_set(id: &str, prefix: &str, per_cell: u32, answers: bool) -> PromptSetRef {
    let mut rng = Rng(9);
    let prompts = cells().flat_map(|(task, bucket)| {
        let (low, high) = bucket.bounds();
        (0..per_cell).map(move |i| (task, bucket, i, low.max(64), high.min(4096)))
    });
    let prompts = prompts.map(|(task, bucket, i, low, high)| PromptRef {
        id: PromptId::new(format!("{prefix}-{task}-{bucket}-{i:04}")).unwrap(),
        task: Some(task),
        bucket: Some(bucket),
        prompt_tokens: Some(nz(low + u32::try_from(rng.next() % u64::from(high - low)).unwrap())),
        max_new_tokens: nz(32),
        answer: (answers && task == Task::Qa).then(|| format!("number {i}")),
    });
    PromptSetRef {
        id: PromptSetId::new(id).unwrap(),
        path: format!("prompts/{id}.jsonl"),
        sha256: digest(2),
        tokenizer_sha256: Some(digest(3)),
        chat_template_sha256: Some(digest(4)),
        prompts: prompts.collect(),
    }
}

fn planned_block(f: &Fixture, block: u32, arms: &[Arm]) -> PlannedBlock {
    let prompts = cells().flat_map(|(task, bucket)| {
        let first = (block - 1) * f.per_cell;
        (first..first + f.per_cell).map(move |i| PromptId::new(format!("qa-{task}-{bucket}-{i:04}")).unwrap())
    });
    let mut order: Vec<&Arm> = arms.iter().collect();
    let turn = usize::try_from(block).unwrap() % order.len();
    order.rotate_left(turn);
    let trials = (1..).zip(order).map(|(order, arm)| PlannedTrial {
        order,
        variant: VariantId::new(arm.id).unwrap(),
        load: load_id(),
        prompts: None,
    });
    PlannedBlock {
        block,
        seed: u64::from(block),
        prompts: prompts.collect(),
        trials: trials.collect(),
    }
}
