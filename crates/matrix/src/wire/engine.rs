//! `[profile]` and `[engine]`.

use crate::{
    error::Problem,
    reader::{At, Table},
    values::{MicroUsd, ProjectPath},
    version::EngineVersion,
};
use servelab_schema::{Bytes, Profile, Provider};
use std::num::NonZeroU32;

/// `[engine]`.
#[derive(Debug)]
pub(crate) struct EngineSection {
    pub(crate) dialect: String,
    pub(crate) version: At<EngineVersion>,
    pub(crate) served_model: String,
    pub(crate) provider: Provider,
    /// The tokenizer folder as written, where the provider names one.
    pub(crate) tokenizer: Option<At<ProjectPath>>,
}

pub(super) fn profile(mut t: Table<'_>) -> Option<Profile> {
    let name: Option<String> = t.value("name");
    let gpu = t.value("gpu");
    let memory: Option<NonZeroU32> = t.value("gpu-memory-gb");
    let machine_type = t.value("machine-type");
    let model = t.value("model");
    let dtype = t.value("dtype");
    let context_tokens = t.value("context-tokens");
    let price: Option<At<MicroUsd>> = t.opt("price-usd-per-hour");
    t.finish();
    Some(Profile {
        name: name?,
        gpu: gpu?,
        gpu_memory_bytes: Bytes(u64::from(memory?.get()) * 1_000_000_000),
        machine_type: machine_type?,
        model: model?,
        dtype: dtype?,
        context_tokens: context_tokens?,
        price_micro_usd_per_hour: price.map(|p| p.value.0),
    })
}

pub(super) fn engine(mut t: Table<'_>) -> Option<EngineSection> {
    let dialect: Option<At<String>> = t.req("dialect");
    let version = t.req("version");
    let served_model = t.value("served-model");
    let provider = t.req_table("provider").and_then(provider);
    // Flags, log lines and metric names are those of vLLM; another dialect needs its own catalogue first.
    if let Some(d) = &dialect
        && d.value != "vllm"
    {
        let text = format!("unknown dialect `{}`; write \"vllm\"", d.value);
        t.refuse(&d.place, "dialect", Problem::Value(text));
    }
    t.finish();
    let (provider, tokenizer) = provider?;
    Some(EngineSection {
        dialect: dialect?.value,
        version: version?,
        served_model: served_model?,
        provider,
        tokenizer,
    })
}

fn provider(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let sim = t.table("sim");
    let process = t.table("process");
    let place = t.place.clone();
    if sim.is_some() && process.is_some() {
        t.refuse(
            &place,
            "process",
            Problem::Value("two providers; keep one of: sim, process".into()),
        );
    }
    let read = match (sim, process) {
        (Some(sim), _) => self::sim(sim),
        (None, Some(process)) => self::process(process),
        (None, None) => {
            if !t.has("sim") && !t.has("process") {
                t.req_table("sim");
            }
            None
        }
    };
    t.finish();
    read
}

fn sim(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let time_scale = t.value("time-scale");
    let seed = t.value("seed");
    let tokenizer: Option<At<ProjectPath>> = t.req("tokenizer");
    let extra_args: Option<Vec<At<String>>> = if t.has("extra-args") {
        t.list("extra-args")
    } else {
        Some(Vec::new())
    };
    t.finish();
    let tokenizer = tokenizer?;
    let provider = Provider::Sim {
        time_scale: time_scale?,
        seed: seed?,
        tokenizer: tokenizer.value.0.clone(),
        extra_args: extra_args?.into_iter().map(|a| a.value).collect(),
    };
    Some((provider, Some(tokenizer)))
}

fn process(mut t: Table<'_>) -> Option<(Provider, Option<At<ProjectPath>>)> {
    let place = t.place.clone();
    if !t.has("command") {
        t.refuse(
            &place,
            "command",
            Problem::Missing {
                example: "command = [\"vllm\", \"serve\", \"MODEL\"]".into(),
            },
        );
    }
    let command: Option<Vec<At<String>>> = t.list("command");
    if command.as_ref().is_some_and(Vec::is_empty) {
        t.refuse(
            &place,
            "command",
            Problem::Value("empty; name a program, such as [\"vllm\", \"serve\", \"MODEL\"]".into()),
        );
    }
    t.finish();
    let command: Vec<String> = command?.into_iter().map(|a| a.value).collect();
    (!command.is_empty()).then_some((Provider::Process { command }, None))
}
