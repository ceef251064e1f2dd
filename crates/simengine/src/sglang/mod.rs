//! SGLang mode: its flags to the effective configuration, and what it says of itself. Read in SGLang's source and documentation; no
//! capture of a real server was at hand (docs/SIMULATOR.md says what is imitated).

pub mod evidence;

use serde_json::{Value, json};

use crate::config::{EngineConfig, GIB, Ngram, bytes, count, float, int};
use crate::dialect::Dialect;
use crate::error::SimError;
use crate::flags::{Flags, Given};
use crate::profile::{Profile, Weights};

/// Share of device memory for weights and KV cache where none is given, as SGLang logged it on an L4.
const MEM_FRACTION: f64 = 0.85;
/// Prefill chunk on GPUs of less than 35 GB, as SGLang logged it on an L4.
const CHUNK: u32 = 2048;
/// Bounds of the running requests where none are given: 512 per full context, within these.
const RUNNING: (u32, u32) = (2048, 4096);
/// Draft tokens of n-gram speculation where none are given.
const NGRAM_DRAFTS: u32 = 12;

/// The flags that `resolve` gives a meaning.
const MODELLED: [&str; 27] = [
    "model-path",
    "tokenizer-path",
    "context-length",
    "host",
    "port",
    "served-model-name",
    "dtype",
    "quantization",
    "kv-cache-dtype",
    "mem-fraction-static",
    "max-running-requests",
    "max-total-tokens",
    "chunked-prefill-size",
    "page-size",
    "schedule-policy",
    "random-seed",
    "enable-metrics",
    "attention-backend",
    "speculative-algorithm",
    "speculative-num-draft-tokens",
    "disable-radix-cache",
    "disable-cuda-graph",
    "disable-overlap-schedule",
    "enable-mixed-chunk",
    "tokenizer-worker-num",
    "cpu-offload-gb",
    "tensor-parallel-size",
];

fn refused(text: &str) -> SimError {
    SimError::Config(text.to_owned())
}

fn ngram(flags: &Flags) -> Result<Option<Ngram>, SimError> {
    match flags.value("speculative-algorithm") {
        None => Ok(None),
        Some("NGRAM") => {
            let drafts = int(flags, "speculative-num-draft-tokens")?.unwrap_or(NGRAM_DRAFTS);
            // One of them is the token that needs no guess.
            Ok(Some(Ngram {
                tokens: drafts.saturating_sub(1).max(1),
                lookup_max: 18,
                lookup_min: 1,
            }))
        }
        Some(other) => Err(refused(&format!(
            "speculative algorithm {other} is not modelled: there is no draft model here; use NGRAM"
        ))),
    }
}

/// The chunk as given: none where chunking is off (−1).
fn chunk(flags: &Flags) -> Result<Option<u32>, SimError> {
    match flags.value("chunked-prefill-size") {
        Some("-1") => Ok(None),
        _ => Ok(Some(int(flags, "chunked-prefill-size")?.unwrap_or(CHUNK).max(1))),
    }
}

/// Resolves SGLang's flags for `profile`. `host` and `port` only appear in the evidence.
///
/// # Errors
/// [`SimError::SglangFlags`] for values of the wrong type; [`SimError::Config`] for what SGLang would refuse while it starts, and for
/// what is not modelled.
pub fn resolve(flags: &Flags, profile: Profile, host: &str, port: u16) -> Result<EngineConfig, SimError> {
    for single in ["tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"] {
        if flags.value(single).is_some_and(|v| v != "1") {
            let gpu = profile.gpu;
            return Err(refused(&format!(
                "--{single} above 1 is not modelled: the profile has one {gpu}"
            )));
        }
    }
    let model = flags.value("model-path").unwrap_or(profile.model).to_owned();
    let quantization = flags.value("quantization").map(str::to_owned);
    let named_fp8 = model.to_ascii_lowercase().contains("fp8");
    let weights = match quantization.as_deref() {
        None if named_fp8 => Weights::Fp8,
        None => Weights::Bf16,
        Some("fp8" | "w8a8_fp8") => Weights::Fp8,
        Some(other) => return Err(refused(&format!("quantization {other} is not modelled; use fp8"))),
    };
    let kv_cache_dtype = flags.value("kv-cache-dtype").unwrap_or("auto").to_owned();
    if kv_cache_dtype == "fp4_e2m1" {
        return Err(refused("kv-cache-dtype fp4_e2m1 is not modelled; use auto or fp8_e5m2"));
    }
    let mem_fraction = float(flags, "mem-fraction-static")?.unwrap_or(MEM_FRACTION);
    if !(mem_fraction > 0.0 && mem_fraction < 1.0) {
        return Err(refused(&format!(
            "mem_fraction_static must be between 0 and 1, got {mem_fraction}"
        )));
    }
    let switch = |name: &str| flags.toggle(name).unwrap_or(false);
    let max_model_len = int(flags, "context-length")?.unwrap_or(profile.max_position);
    let chunk = chunk(flags)?;
    let ngram = ngram(flags)?;
    let mut warnings = Vec::new();
    let mut overlap = !switch("disable-overlap-schedule");
    let mut mixed_steps = switch("enable-mixed-chunk");
    if ngram.is_some() {
        warnings.push(
            "The overlap scheduler and mixed chunked prefill are disabled because of using ngram speculative decoding."
                .to_owned(),
        );
        (overlap, mixed_steps) = (false, false);
    }
    let mut config = EngineConfig {
        dialect: Dialect::Sglang,
        profile,
        served_names: vec![flags.value("served-model-name").unwrap_or(&model).to_owned()],
        model,
        max_model_len,
        max_num_batched_tokens: chunk.unwrap_or(max_model_len),
        max_num_seqs: 1,
        gpu_memory_utilization: mem_fraction,
        chunked_prefill: chunk.is_some(),
        mixed_steps,
        prefix_caching: !switch("disable-radix-cache"),
        block_size: int(flags, "page-size")?.unwrap_or(1).max(1),
        enforce_eager: switch("disable-cuda-graph"),
        kv_cache_dtype,
        kv_offloading_gib: None,
        cpu_offload_gib: float(flags, "cpu-offload-gb")?.unwrap_or(0.0).max(0.0),
        ngram,
        weights,
        quantization,
        dtype: flags.value("dtype").unwrap_or("auto").to_owned(),
        api_servers: 1,
        renderer_workers: int(flags, "tokenizer-worker-num")?.unwrap_or(1).max(1),
        async_scheduling: overlap,
        seed: int(flags, "random-seed")?.unwrap_or(0).into(),
        request_id_headers: false,
        kv_cache_bytes: 0,
        non_default_args: String::new(),
        server_args: Vec::new(),
        has_metrics: switch("enable-metrics"),
        without_effect: flags
            .iter()
            .map(|(n, _)| n)
            .filter(|n| !MODELLED.contains(n))
            .map(|n| format!("--{n}"))
            .collect(),
        warnings,
    };
    // The static share holds the weights and the KV cache; activations live in the rest.
    let pool = count(profile.memory_bytes) * mem_fraction - count(profile.weight_bytes(weights))
        + config.offloaded_weight_bytes();
    config.kv_cache_bytes = bytes(pool);
    if let Some(most) = int(flags, "max-total-tokens")? {
        config.kv_cache_bytes = config.kv_cache_bytes.min(u64::from(most) * config.kv_bytes_per_token());
    }
    if config.kv_cache_tokens() == 0 {
        return Err(refused(&format!(
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: mem_fraction_static={mem_fraction} (weights {:.2} GB of {:.2} GB)",
            count(profile.weight_bytes(weights)) / GIB,
            count(profile.memory_bytes) / GIB,
        )));
    }
    let by_context = config
        .kv_cache_tokens()
        .saturating_mul(512)
        .checked_div(u64::from(max_model_len))
        .unwrap_or(0);
    let usual = u32::try_from(by_context)
        .unwrap_or(u32::MAX)
        .clamp(RUNNING.0, RUNNING.1);
    config.max_num_seqs = int(flags, "max-running-requests")?.unwrap_or(usual).max(1);
    config.server_args = server_args(&config, flags, chunk, host, port);
    Ok(config)
}

/// SGLang's arguments after its own adjustments, which is what it logs and what `/server_info` shows.
fn server_args(
    config: &EngineConfig,
    flags: &Flags,
    chunk: Option<u32>,
    host: &str,
    port: u16,
) -> Vec<(&'static str, Value)> {
    let given = |name: &str| flags.value(name).map_or(Value::Null, |v| json!(v));
    let number = |name: &str| {
        flags
            .value(name)
            .and_then(|v| v.parse::<i64>().ok())
            .map_or(Value::Null, |v| json!(v))
    };
    let or = |name: &str, usual: &str| json!(flags.value(name).unwrap_or(usual));
    let speculating = config.ngram.map_or(Value::Null, |n| json!(n.tokens + 1));
    let mut fields = vec![
        ("model_path", json!(config.model)),
        (
            "tokenizer_path",
            json!(flags.value("tokenizer-path").unwrap_or(&config.model)),
        ),
        ("tokenizer_worker_num", json!(config.renderer_workers)),
        ("context_length", number("context-length")),
        ("host", json!(host)),
        ("port", json!(port)),
        ("dtype", json!(config.dtype)),
        ("quantization", json!(config.quantization)),
        ("kv_cache_dtype", json!(config.kv_cache_dtype)),
        ("mem_fraction_static", json!(config.gpu_memory_utilization)),
        ("max_running_requests", number("max-running-requests")),
        ("max_total_tokens", number("max-total-tokens")),
        ("chunked_prefill_size", chunk.map_or_else(|| json!(-1), |c| json!(c))),
        ("max_prefill_tokens", json!(16_384)),
        ("schedule_policy", or("schedule-policy", "fcfs")),
        ("schedule_conservativeness", json!(1.0)),
        ("page_size", json!(config.block_size)),
        ("device", json!("simulated")),
        ("tp_size", json!(1)),
        ("pp_size", json!(1)),
        ("random_seed", json!(config.seed)),
        ("enable_metrics", json!(config.has_metrics)),
        ("served_model_name", json!(config.served_names.first())),
        ("attention_backend", or("attention-backend", "flashinfer")),
        ("speculative_algorithm", given("speculative-algorithm")),
        ("speculative_num_draft_tokens", speculating),
        ("cpu_offload_gb", json!(config.cpu_offload_gib)),
        ("disable_radix_cache", json!(!config.prefix_caching)),
        ("disable_cuda_graph", json!(config.enforce_eager)),
        ("disable_overlap_schedule", json!(!config.async_scheduling)),
        ("enable_mixed_chunk", json!(config.mixed_steps)),
    ];
    // What is accepted and not modelled is shown as given, as SGLang would.
    for (name, value) in flags.iter().filter(|(n, _)| !MODELLED.contains(n)) {
        let Some(name) = crate::flags::canonical(Dialect::Sglang, name) else {
            continue;
        };
        let value = match value {
            Given::Bool(b) => json!(b),
            Given::One(text) if name == "api-key" => json!(text),
            Given::One(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
            Given::Many(list) => json!(list),
        };
        fields.push((name, value));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse_for;
    use crate::profile::L4_MISTRAL_7B;

    fn config(line: &str) -> Result<EngineConfig, SimError> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        resolve(&parse_for(Dialect::Sglang, &args)?, L4_MISTRAL_7B, "127.0.0.1", 30_000)
    }

    fn field(config: &EngineConfig, name: &str) -> Value {
        let found = config.server_args.iter().find(|(n, _)| *n == name);
        found.unwrap_or_else(|| panic!("{name}")).1.clone()
    }

    #[test]
    fn defaults_are_those_logged_on_an_l4() {
        let c = config("--model-path m").unwrap();
        assert!(c.chunked_prefill && c.prefix_caching && c.async_scheduling);
        assert!(!c.enforce_eager && !c.mixed_steps && !c.has_metrics);
        assert_eq!(
            (c.max_num_batched_tokens, c.block_size, c.max_num_seqs),
            (2048, 1, 2048)
        );
        assert_eq!(field(&c, "mem_fraction_static"), json!(0.85));
        assert_eq!(field(&c, "chunked_prefill_size"), json!(2048));
        assert_eq!(field(&c, "quantization"), Value::Null);
    }

    #[test]
    fn each_flag_changes_what_it_should() {
        let base = config("--model-path m").unwrap();
        let fp8 = config("--model-path m --kv-cache-dtype fp8_e5m2").unwrap();
        assert!(fp8.kv_cache_tokens() >= 2 * base.kv_cache_tokens());
        assert_eq!(config("--model m --quantization fp8").unwrap().weights, Weights::Fp8);
        assert!(config("--disable-cuda-graph").unwrap().enforce_eager);
        assert!(!config("--disable-radix-cache").unwrap().prefix_caching);
        assert!(!config("--disable-overlap-schedule").unwrap().async_scheduling);
        assert!(!config("--chunked-prefill-size -1").unwrap().chunked_prefill);
        assert_eq!(config("--max-running-requests 4").unwrap().max_num_seqs, 4);
        assert_eq!(config("--max-total-tokens 20480").unwrap().kv_cache_tokens(), 20_480);
        let ngram = config("--speculative-algorithm NGRAM --speculative-num-draft-tokens 5").unwrap();
        assert_eq!(ngram.ngram.map(|n| n.tokens), Some(4));
        assert!(!ngram.async_scheduling && ngram.warnings.len() == 1);
        assert_eq!(field(&ngram, "disable_overlap_schedule"), json!(true));
    }

    #[test]
    fn refusals_name_the_flag() {
        let refused = |line: &str, text: &str, code: u8| {
            let e = config(line).unwrap_err();
            assert!(e.to_string().contains(text), "{line}: {e}");
            assert_eq!(e.exit_code(), code, "{line}");
        };
        refused(
            "--max_prefill_tokens 32768",
            "launch_server.py: error: unrecognized arguments: --max_prefill_tokens",
            2,
        );
        refused("--enforce-eager", "unrecognized arguments: --enforce-eager", 2);
        refused("--kv-cache-dtype fp8", "invalid choice: 'fp8'", 2);
        refused("--context-length eight", "invalid int value: 'eight'", 2);
        refused("--mem-fraction-static 0.3", "increase --mem-fraction-static", 1);
        refused("--speculative-algorithm EAGLE", "EAGLE is not modelled", 1);
        refused("--tp 2", "--tensor-parallel-size above 1", 1);
    }
}
