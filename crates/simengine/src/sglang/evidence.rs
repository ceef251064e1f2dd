//! What the simulated engine says while it starts in SGLang mode, each line marked SIMULATED.

use serde_json::Value;

use crate::clock;
use crate::config::{EngineConfig, GIB, count, python_json};
use crate::dialect::Dialect;

fn line(text: &str) -> String {
    format!(
        "[{}] [servelab-sim] SIMULATED: {text}",
        clock::iso_stamp(clock::unix_s())
    )
}

/// Lines before the engine is built.
#[must_use]
pub fn before_start(config: &EngineConfig, time_scale: f64) -> Vec<String> {
    let p = &config.profile;
    let mut lines = vec![line(&format!(
        "simulated engine in SGLang mode, profile {} ({} with {}), time scale {time_scale}; no GPU, no model, no real measurement",
        p.name, p.gpu, p.model
    ))];
    lines.extend(config.warnings.iter().map(|w| line(w)));
    let unmodelled = |flag: &String| line(&format!("{flag} is accepted and has no effect on the timing model"));
    lines.extend(config.without_effect.iter().map(unmodelled));
    let fields: Vec<String> = config
        .server_args
        .iter()
        .map(|(name, value)| format!("{}={}", name.replace('-', "_"), python_json(value)))
        .collect();
    lines.push(line(&format!("server_args=ServerArgs({})", fields.join(", "))));
    lines
}

/// Lines after start-up.
#[must_use]
pub fn after_start(config: &EngineConfig, startup_s: f64) -> Vec<String> {
    let tokens = config.kv_cache_tokens();
    let half = count(tokens * config.kv_bytes_per_token()) / 2.0 / GIB;
    let dtype = match config.kv_cache_dtype.as_str() {
        "fp8_e5m2" => "torch.float8_e5m2",
        "fp8_e4m3" => "torch.float8_e4m3fn",
        _ => "torch.bfloat16",
    };
    let mut lines = vec![line(&format!(
        "KV Cache is allocated. dtype: {dtype}, #tokens: {tokens}, K size: {half:.2} GB, V size: {half:.2} GB"
    ))];
    if !config.enforce_eager {
        lines.push(line("Capture cuda graph end."));
    }
    let chunk = if config.chunked_prefill {
        config.max_num_batched_tokens.to_string()
    } else {
        "-1".to_owned()
    };
    lines.push(line(&format!(
        "max_total_num_tokens={tokens}, chunked_prefill_size={chunk}, max_prefill_tokens=16384, max_running_requests={}, context_len={}, startup={startup_s:.2} s of engine time",
        config.max_num_seqs, config.max_model_len
    )));
    lines
}

/// The line that says the server takes requests.
#[must_use]
pub fn ready() -> String {
    line("The server is fired up and ready to roll!")
}

/// The body of `/server_info`.
#[must_use]
pub fn server_info(config: &EngineConfig) -> String {
    let mut map = serde_json::Map::new();
    for (name, value) in &config.server_args {
        map.insert(name.replace('-', "_"), value.clone());
    }
    map.insert("status".to_owned(), "ready".into());
    map.insert("max_total_num_tokens".to_owned(), config.kv_cache_tokens().into());
    map.insert(
        "max_req_input_len".to_owned(),
        config.max_model_len.saturating_sub(6).into(),
    );
    map.insert("internal_states".to_owned(), Value::Array(Vec::new()));
    map.insert("version".to_owned(), Dialect::Sglang.version().into());
    map.insert("engine_kind".to_owned(), "simulated".into());
    map.insert("profile".to_owned(), config.profile.name.into());
    Value::Object(map).to_string()
}

/// The body of `/model_info`.
#[must_use]
pub fn model_info(config: &EngineConfig) -> String {
    serde_json::json!({"model_path": config.model, "tokenizer_path": config.model, "is_generation": true,
        "preferred_sampling_params": null, "weight_version": "default", "engine_kind": "simulated"})
    .to_string()
}
