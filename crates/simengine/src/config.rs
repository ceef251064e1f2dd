//! From vLLM's flags to the effective engine configuration: defaults of vLLM 0.32 on a GPU of the L4's size, its refusals, and
//! the memory budget. No I/O.

use serde::Deserialize;

use crate::dialect::Dialect;
use crate::error::SimError;
use crate::flags::{Flags, Given};
use crate::profile::{Profile, Weights};

/// The vLLM version whose behaviour is simulated.
pub const VLLM_VERSION: &str = "0.32.0";

/// Bytes that the CUDA graphs take (not with `--enforce-eager`), and the CUDA context with its libraries.
const GRAPH_BYTES: f64 = 0.35e9;
const CONTEXT_BYTES: f64 = 0.2e9;
pub(crate) const GIB: f64 = 1_073_741_824.0;

/// N-gram speculation (prompt lookup).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ngram {
    /// Draft tokens per step.
    #[serde(rename = "num_speculative_tokens")]
    pub tokens: u32,
    /// Longest n-gram looked up.
    #[serde(rename = "prompt_lookup_max", default = "default_lookup")]
    pub lookup_max: u32,
    /// Shortest n-gram looked up.
    #[serde(rename = "prompt_lookup_min", default)]
    pub lookup_min: u32,
}

fn default_lookup() -> u32 {
    5
}

/// What the engine runs with, every field resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Whose server it is.
    pub dialect: Dialect,
    /// GPU and model.
    pub profile: Profile,
    /// The model as named on the command line.
    pub model: String,
    /// The names clients may use, first is the answer's.
    pub served_names: Vec<String>,
    /// Context limit in tokens.
    pub max_model_len: u32,
    /// Token budget of one step.
    pub max_num_batched_tokens: u32,
    /// Most sequences in one step.
    pub max_num_seqs: u32,
    /// Share of device memory the engine may take.
    pub gpu_memory_utilization: f64,
    /// May a prompt be split over steps?
    pub chunked_prefill: bool,
    /// May a step hold prompts and decoding sequences together?
    pub mixed_steps: bool,
    /// Are finished prompts' KV blocks found again?
    pub prefix_caching: bool,
    /// Tokens per KV block.
    pub block_size: u32,
    /// No CUDA graphs, no torch.compile.
    pub enforce_eager: bool,
    /// As given: `auto`, `fp8`, …
    pub kv_cache_dtype: String,
    /// Host memory for KV blocks, in GiB.
    pub kv_offloading_gib: Option<f64>,
    /// Weights kept in host memory, in GiB.
    pub cpu_offload_gib: f64,
    /// N-gram speculation.
    pub ngram: Option<Ngram>,
    /// Precision of the linear layers.
    pub weights: Weights,
    /// As given.
    pub quantization: Option<String>,
    /// As given: `auto`, `bfloat16`, …
    pub dtype: String,
    /// API server processes.
    pub api_servers: u32,
    /// Tokenizer workers per API server.
    pub renderer_workers: u32,
    /// Is the next step prepared while the GPU works?
    pub async_scheduling: bool,
    /// vLLM's `--seed`.
    pub seed: u64,
    /// Are request ids echoed in a header?
    pub request_id_headers: bool,
    /// Bytes of the KV cache.
    pub kv_cache_bytes: u64,
    /// The `non-default args` dictionary in Python's notation.
    pub non_default_args: String,
    /// SGLang's effective arguments by field, in the order of its log; empty for vLLM.
    pub server_args: Vec<(&'static str, serde_json::Value)>,
    /// Is there a `/metrics`?
    pub has_metrics: bool,
    /// Flags that the engine knows and this simulator gives no effect.
    pub without_effect: Vec<String>,
    /// Things the engine would warn of.
    pub warnings: Vec<String>,
}

/// The flags that `resolve` gives a meaning.
const MODELLED: [&str; 24] = [
    "model",
    "max-model-len",
    "max-num-batched-tokens",
    "max-num-seqs",
    "gpu-memory-utilization",
    "enable-chunked-prefill",
    "enable-prefix-caching",
    "block-size",
    "enforce-eager",
    "kv-cache-dtype",
    "kv-offloading-size",
    "kv-offloading-backend",
    "cpu-offload-gb",
    "speculative-config",
    "quantization",
    "dtype",
    "api-server-count",
    "renderer-num-workers",
    "async-scheduling",
    "seed",
    "served-model-name",
    "tokenizer",
    "enable-request-id-headers",
    "kv-cache-memory-bytes",
];

pub(crate) fn int(flags: &Flags, name: &'static str) -> Result<Option<u32>, SimError> {
    let Some(text) = flags.value(name) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| flags.refused(format!("argument --{name}: invalid int value: '{text}'")))
}

/// vLLM's readable integers: `8k` = 8,000, `8K` = 8,192, likewise m/M and g/G.
fn readable_int(flags: &Flags, name: &'static str) -> Result<Option<u32>, SimError> {
    let Some(text) = flags.value(name) else { return Ok(None) };
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k')) => (text.get(..at), 1e3),
        Some((at, 'K')) => (text.get(..at), 1024.0),
        Some((at, 'm')) => (text.get(..at), 1e6),
        Some((at, 'M')) => (text.get(..at), 1_048_576.0),
        Some(_) | None => (Some(text), 1.0),
    };
    let value = digits.and_then(|d| d.parse::<f64>().ok()).map(|v| v * factor);
    match value {
        Some(v) if v >= 1.0 && v <= f64::from(u32::MAX) && v.fract().abs() < f64::EPSILON => Ok(Some(whole(v))),
        Some(_) | None => Err(SimError::Flags(format!(
            "argument --{name}: invalid human_readable_int value: '{text}'"
        ))),
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has checked the range"
)]
fn whole(value: f64) -> u32 {
    value as u32
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "byte counts below 2^53; a negative one saturates to 0, which the caller refuses"
)]
pub(crate) fn bytes(value: f64) -> u64 {
    value as u64
}

pub(crate) fn float(flags: &Flags, name: &'static str) -> Result<Option<f64>, SimError> {
    let Some(text) = flags.value(name) else { return Ok(None) };
    text.parse()
        .ok()
        .filter(|v: &f64| v.is_finite())
        .map(Some)
        .ok_or_else(|| flags.refused(format!("argument --{name}: invalid float value: '{text}'")))
}

fn ngram(flags: &Flags) -> Result<Option<Ngram>, SimError> {
    let Some(text) = flags.value("speculative-config") else {
        return Ok(None);
    };
    let mut table: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(|e| {
        SimError::Flags(format!(
            "argument --speculative-config: invalid loads value: '{text}' ({e})"
        ))
    })?;
    let method = table.remove("method").and_then(|m| m.as_str().map(str::to_owned));
    table.remove("model");
    if method.as_deref() != Some("ngram") {
        return Err(SimError::Config(format!(
            "only n-gram speculation is modelled, not method {}; use {{\"method\":\"ngram\",…}}",
            method.as_deref().unwrap_or("(none)")
        )));
    }
    let ngram: Ngram = serde_json::from_value(serde_json::Value::Object(table))
        .map_err(|e| SimError::Config(format!("1 validation error for SpeculativeConfig\n  Value error, {e}")))?;
    if ngram.tokens == 0 || ngram.lookup_min > ngram.lookup_max {
        return Err(SimError::Config(
            "1 validation error for SpeculativeConfig\n  num_speculative_tokens must be at least 1 and prompt_lookup_min at most prompt_lookup_max".to_owned(),
        ));
    }
    Ok(Some(ngram))
}

/// Resolves the flags for `profile`. `host` and `port` only appear in the evidence line.
///
/// # Errors
/// [`SimError::Flags`] for values of the wrong type; [`SimError::Config`] where vLLM would refuse to build the engine.
pub fn resolve(flags: &Flags, profile: Profile, host: &str, port: u16) -> Result<EngineConfig, SimError> {
    let model = flags
        .model_tag
        .clone()
        .or_else(|| flags.value("model").map(str::to_owned))
        .unwrap_or_else(|| profile.model.to_owned());
    for single in ["tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"] {
        if flags.value(single).is_some_and(|v| v != "1") {
            return Err(SimError::Config(format!(
                "--{single} above 1 is not modelled: the profile has one {}",
                profile.gpu
            )));
        }
    }
    let mut warnings = Vec::new();
    let max_model_len = readable_int(flags, "max-model-len")?.unwrap_or(profile.max_position);
    let chunked_prefill = flags.toggle("enable-chunked-prefill").unwrap_or(true);
    if !chunked_prefill {
        warnings.push(
            "chunked prefill is disabled by hand, which vLLM does not officially support for this model".to_owned(),
        );
    }
    let default_budget = if chunked_prefill { 2048 } else { max_model_len.max(2048) };
    let max_num_batched_tokens = readable_int(flags, "max-num-batched-tokens")?.unwrap_or(default_budget);
    let max_num_seqs = int(flags, "max-num-seqs")?.unwrap_or_else(|| max_num_batched_tokens.min(256));
    if max_num_seqs == 0 {
        return Err(refused("max_num_seqs must be greater than 0"));
    }
    if !chunked_prefill && max_num_batched_tokens < max_model_len {
        return Err(refused(&format!(
            "max_num_batched_tokens ({max_num_batched_tokens}) is smaller than max_model_len ({max_model_len}). This effectively limits the maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase max_num_batched_tokens or decrease max_model_len."
        )));
    }
    if max_num_batched_tokens < max_num_seqs {
        return Err(refused(&format!(
            "max_num_batched_tokens ({max_num_batched_tokens}) must be greater than or equal to max_num_seqs ({max_num_seqs})."
        )));
    }
    let ngram = ngram(flags)?;
    let mut async_scheduling = flags.toggle("async-scheduling").unwrap_or(true);
    if ngram.is_some() && async_scheduling {
        if flags.toggle("async-scheduling") == Some(true) {
            return Err(refused(
                "async scheduling is not supported with ngram-based speculative decoding",
            ));
        }
        async_scheduling = false;
        warnings.push(
            "Async scheduling not supported with ngram-based speculative decoding and will be disabled.".to_owned(),
        );
    }
    let quantization = flags.value("quantization").map(str::to_owned);
    let named_fp8 = model.to_ascii_lowercase().contains("fp8");
    let weights = match quantization.as_deref() {
        None if named_fp8 => Weights::Fp8,
        None => Weights::Bf16,
        Some("fp8" | "fp8_per_tensor") => Weights::Fp8,
        Some(other) => {
            return Err(SimError::Config(format!(
                "quantization {other} is not modelled; use fp8 or fp8_per_tensor"
            )));
        }
    };
    let kv_cache_dtype = flags.value("kv-cache-dtype").unwrap_or("auto").to_owned();
    if !matches!(
        kv_cache_dtype.as_str(),
        "auto" | "bfloat16" | "fp8" | "fp8_e4m3" | "fp8_e5m2"
    ) {
        return Err(SimError::Config(format!(
            "kv-cache-dtype {kv_cache_dtype} is not modelled; use auto or fp8"
        )));
    }
    if kv_cache_dtype.starts_with("fp8") {
        warnings.push(
            "an fp8 KV cache selects another attention backend on this GPU (FlashInfer instead of FlashAttention)"
                .to_owned(),
        );
    }
    let gpu_memory_utilization = float(flags, "gpu-memory-utilization")?.unwrap_or(0.92);
    if !(gpu_memory_utilization > 0.0 && gpu_memory_utilization <= 1.0) {
        return Err(refused(&format!(
            "gpu_memory_utilization must be in (0, 1], got {gpu_memory_utilization}"
        )));
    }
    let kv_offloading_gib = float(flags, "kv-offloading-size")?;
    if kv_offloading_gib.is_some() && flags.value("kv-offloading-backend").unwrap_or("native") != "native" {
        return Err(SimError::Config(
            "only --kv-offloading-backend native is modelled".to_owned(),
        ));
    }
    let served = flags.list("served-model-name");
    let mut config = EngineConfig {
        dialect: Dialect::Vllm,
        server_args: Vec::new(),
        has_metrics: true,
        mixed_steps: true,
        profile,
        served_names: if served.is_empty() { vec![model.clone()] } else { served },
        model,
        max_model_len,
        max_num_batched_tokens,
        max_num_seqs,
        gpu_memory_utilization,
        chunked_prefill,
        prefix_caching: flags.toggle("enable-prefix-caching").unwrap_or(true),
        block_size: int(flags, "block-size")?.unwrap_or(16).max(1),
        enforce_eager: flags.toggle("enforce-eager").unwrap_or(false),
        kv_cache_dtype,
        kv_offloading_gib,
        cpu_offload_gib: float(flags, "cpu-offload-gb")?.unwrap_or(0.0).max(0.0),
        ngram,
        weights,
        quantization,
        dtype: flags.value("dtype").unwrap_or("auto").to_owned(),
        api_servers: int(flags, "api-server-count")?.unwrap_or(1).max(1),
        renderer_workers: int(flags, "renderer-num-workers")?.unwrap_or(1).max(1),
        async_scheduling,
        seed: int(flags, "seed")?.unwrap_or(0).into(),
        request_id_headers: flags.toggle("enable-request-id-headers").unwrap_or(false),
        kv_cache_bytes: 0,
        non_default_args: non_default_args(flags, host, port),
        without_effect: flags
            .iter()
            .map(|(n, _)| n)
            .filter(|n| !MODELLED.contains(n))
            .map(|n| format!("--{n}"))
            .collect(),
        warnings,
    };
    config.kv_cache_bytes = match float(flags, "kv-cache-memory-bytes")? {
        Some(given) => bytes(given),
        None => config.free_bytes()?,
    };
    let tokens = config.kv_cache_tokens();
    if tokens < u64::from(max_model_len) {
        return Err(SimError::Config(format!(
            "To serve at least one request with the models's max seq len ({max_model_len}), {:.2} GiB KV cache is needed, which is larger than the available KV cache memory ({:.2} GiB, {tokens} tokens). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
            count(u64::from(max_model_len) * config.kv_bytes_per_token()) / GIB,
            count(config.kv_cache_bytes) / GIB,
        )));
    }
    Ok(config)
}

fn refused(text: &str) -> SimError {
    SimError::Config(format!("1 validation error for SchedulerConfig\n  Value error, {text}"))
}

#[expect(clippy::as_conversions, reason = "byte counts below 2^53")]
pub(crate) fn count(value: u64) -> f64 {
    value as f64
}

impl EngineConfig {
    /// Is the KV cache kept in FP8?
    #[must_use]
    pub fn kv_fp8(&self) -> bool {
        self.kv_cache_dtype.starts_with("fp8")
    }

    /// KV bytes of one token.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> u64 {
        self.profile.kv_bytes_per_token(self.kv_fp8())
    }

    /// Blocks of the KV cache.
    #[must_use]
    pub fn num_gpu_blocks(&self) -> u64 {
        self.kv_cache_bytes / (self.kv_bytes_per_token() * u64::from(self.block_size))
    }

    /// Tokens that fit the KV cache, in whole blocks.
    #[must_use]
    pub fn kv_cache_tokens(&self) -> u64 {
        self.num_gpu_blocks() * u64::from(self.block_size)
    }

    /// Host memory for KV blocks, in bytes.
    #[must_use]
    pub fn host_kv_bytes(&self) -> f64 {
        self.kv_offloading_gib.unwrap_or(0.0) * GIB
    }

    /// Weights that stay in host memory, in bytes.
    #[must_use]
    pub fn offloaded_weight_bytes(&self) -> f64 {
        (self.cpu_offload_gib * GIB).min(count(self.profile.weight_bytes(self.weights)))
    }

    /// CPU workers that render and tokenize prompts.
    #[must_use]
    pub fn tokenizer_workers(&self) -> u32 {
        self.api_servers.saturating_mul(self.renderer_workers)
    }

    /// What device memory leaves for the KV cache: utilisation × memory − weights − activations of one full step − logits −
    /// CUDA graphs − context. The activations are the widest live tensors: gate and up (2 × intermediate) and four of the
    /// residual's width, two bytes each, for every token of the budget.
    fn free_bytes(&self) -> Result<u64, SimError> {
        let p = &self.profile;
        let per_token = f64::from(2 * p.intermediate + 4 * p.hidden) * 2.0;
        let activations = f64::from(self.max_num_batched_tokens) * per_token;
        let logits = f64::from(self.max_num_seqs) * f64::from(p.vocabulary) * 4.0;
        let graphs = if self.enforce_eager { 0.0 } else { GRAPH_BYTES };
        let weights = count(p.weight_bytes(self.weights)) - self.offloaded_weight_bytes();
        let free = count(p.memory_bytes) * self.gpu_memory_utilization
            - weights
            - activations
            - logits
            - graphs
            - CONTEXT_BYTES;
        if free <= 0.0 {
            return Err(SimError::Config(format!(
                "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine (weights {:.2} GiB, limit {:.2} GiB).",
                weights / GIB,
                count(p.memory_bytes) * self.gpu_memory_utilization / GIB
            )));
        }
        Ok(bytes(free))
    }
}

/// Python's notation of one given value.
fn python(name: &str, given: &Given) -> String {
    let scalar = |text: &str| {
        if matches!(name, "served-model-name") {
            return format!("'{text}'");
        }
        let is_float = matches!(name, "gpu-memory-utilization" | "kv-offloading-size" | "cpu-offload-gb");
        if let Some(v) = text.parse::<f64>().ok().filter(|_| is_float) {
            return format!("{v:?}");
        }
        if text.parse::<i64>().is_ok() || text.parse::<f64>().is_ok() {
            return text.to_owned();
        }
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => python_json(&value),
            Ok(_) | Err(_) => format!("'{text}'"),
        }
    };
    match given {
        Given::Bool(true) => "True".to_owned(),
        Given::Bool(false) => "False".to_owned(),
        Given::One(text) => scalar(text),
        Given::Many(list) => {
            let items: Vec<String> = list.iter().map(|t| scalar(t)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

pub(crate) fn python_json(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => format!("'{s}'"),
        Value::Array(items) => format!("[{}]", items.iter().map(python_json).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let items: Vec<String> = map.iter().map(|(k, v)| format!("'{k}': {}", python_json(v))).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// The `non-default args` dictionary for what was given, in Python's notation.
#[must_use]
pub fn non_default_args(flags: &Flags, host: &str, port: u16) -> String {
    const DEFAULTS: [(&str, &str); 7] = [
        ("seed", "0"),
        ("kv-cache-dtype", "auto"),
        ("dtype", "auto"),
        ("gpu-memory-utilization", "0.92"),
        ("cpu-offload-gb", "0"),
        ("renderer-num-workers", "1"),
        ("kv-offloading-backend", "native"),
    ];
    let mut items = Vec::new();
    if let Some(tag) = &flags.model_tag {
        items.push(format!("'model_tag': '{tag}'"));
    }
    items.push(format!("'host': '{host}'"));
    items.push(format!("'port': {port}"));
    if let Some(tag) = &flags.model_tag {
        items.push(format!("'model': '{tag}'"));
    }
    for (name, given) in flags.iter() {
        let is_default = DEFAULTS.iter().any(|(n, d)| *n == name && flags.value(name) == Some(d))
            || (name == "enforce-eager" && *given == Given::Bool(false));
        let named_already = name == "model" && flags.model_tag.is_some();
        if !(is_default || named_already) {
            items.push(format!("'{}': {}", name.replace('-', "_"), python(name, given)));
        }
    }
    format!("{{{}}}", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;
    use crate::profile::L4_MISTRAL_7B;

    fn config(line: &str) -> Result<EngineConfig, SimError> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        resolve(&parse(&args)?, L4_MISTRAL_7B, "127.0.0.1", 8000)
    }

    fn refused_with(line: &str, text: &str) {
        let e = config(line).unwrap_err().to_string();
        assert!(e.contains(text), "{line}: {e}");
    }

    #[test]
    fn defaults_are_the_gpu_ones() {
        let c = config("--max-model-len 8192").unwrap();
        assert!(c.chunked_prefill && c.prefix_caching && c.async_scheduling && !c.enforce_eager);
        assert_eq!(
            (c.max_num_batched_tokens, c.max_num_seqs, c.block_size),
            (2048, 256, 16)
        );
        assert_eq!(c.model, "mistralai/Mistral-7B-Instruct-v0.3");
        assert_eq!(c.served_names, ["mistralai/Mistral-7B-Instruct-v0.3"]);
        assert_eq!(c.weights, Weights::Bf16);
    }

    #[test]
    fn each_variant_changes_what_it_should() {
        let base = config("m --max-model-len 8192").unwrap();
        let fp8_kv = config("m --max-model-len 8192 --kv-cache-dtype fp8").unwrap();
        assert!(fp8_kv.kv_cache_tokens() > 2 * base.kv_cache_tokens() - 64);
        let fp8 = config("m --max-model-len 8192 --quantization fp8").unwrap();
        assert_eq!(fp8.weights, Weights::Fp8);
        assert_eq!(fp8.kv_cache_bytes - base.kv_cache_bytes, 6_979_321_856);
        assert_eq!(
            config("org/Mistral-7B-FP8 --max-model-len 8192").unwrap().weights,
            Weights::Fp8
        );
        let eager = config("m --max-model-len 8192 --enforce-eager").unwrap();
        assert!(eager.kv_cache_bytes > base.kv_cache_bytes);
        let ngram =
            config(r#"m --speculative-config {"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}"#)
                .unwrap();
        assert_eq!(
            ngram.ngram,
            Some(Ngram {
                tokens: 4,
                lookup_max: 4,
                lookup_min: 0
            })
        );
        assert!(!ngram.async_scheduling && !ngram.warnings.is_empty());
        let pool = config("m --api-server-count 2 --renderer-num-workers 2").unwrap();
        assert_eq!((base.tokenizer_workers(), pool.tokenizer_workers()), (1, 4));
        let unchunked = config("m --max-model-len 8192 --no-enable-chunked-prefill").unwrap();
        assert_eq!(unchunked.max_num_batched_tokens, 8192);
        assert_eq!(config("m --max-model-len 8k").unwrap().max_model_len, 8000);
        assert_eq!(config("m --max-model-len 8K").unwrap().max_model_len, 8192);
    }

    #[test]
    fn refusals_are_vllms() {
        refused_with(
            "--no-enable-chunked-prefill --max-num-batched-tokens 256 --max-model-len 2048",
            "max_num_batched_tokens (256) is smaller than max_model_len (2048)",
        );
        refused_with(
            "--max-num-batched-tokens 64 --max-num-seqs 128",
            "must be greater than or equal to max_num_seqs (128)",
        );
        refused_with(
            "--gpu-memory-utilization 0.5",
            "No available memory for the cache blocks",
        );
        refused_with(
            "--gpu-memory-utilization 0.7 --max-model-len 32768",
            "max seq len (32768)",
        );
        refused_with(
            "--max-num-seqs many",
            "argument --max-num-seqs: invalid int value: 'many'",
        );
        refused_with("--max-model-len eight", "invalid human_readable_int value: 'eight'");
        refused_with(r#"--speculative-config {"method":"eagle"}"#, "only n-gram speculation");
        refused_with("--tensor-parallel-size 2", "not modelled");
        assert_eq!(config("--swap-space 4").unwrap_err().exit_code(), 2);
        assert_eq!(config("--gpu-memory-utilization 0.5").unwrap_err().exit_code(), 1);
    }

    #[test]
    fn evidence_is_in_python_notation() {
        let c = config(r#"m --max-model-len 2048 --served-model-name tiny --enforce-eager --no-enable-prefix-caching --kv-offloading-size 1 --seed 0 --speculative-config {"method":"ngram","num_speculative_tokens":4}"#).unwrap();
        assert_eq!(
            c.non_default_args,
            "{'model_tag': 'm', 'host': '127.0.0.1', 'port': 8000, 'model': 'm', 'max_model_len': 2048, 'served_model_name': ['tiny'], 'enforce_eager': True, 'enable_prefix_caching': False, 'kv_offloading_size': 1.0, 'speculative_config': {'method': 'ngram', 'num_speculative_tokens': 4}}"
        );
    }
}
