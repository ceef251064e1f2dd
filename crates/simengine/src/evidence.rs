//! What the simulated engine says while it starts: the lines that prove a configuration took effect, in vLLM's form, each
//! marked SIMULATED.

use crate::clock;
use crate::config::{EngineConfig, VLLM_VERSION};
use crate::profile::Weights;

fn line(level: &str, text: &str) -> String {
    let pid = std::process::id();
    format!(
        "(SimulatedEngine pid={pid}) {level} {} [servelab-sim] SIMULATED: {text}",
        clock::log_stamp(clock::unix_s())
    )
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn python(b: bool) -> &'static str {
    if b { "True" } else { "False" }
}

/// Lines before the engine is built.
#[must_use]
pub fn before_start(config: &EngineConfig, time_scale: f64) -> Vec<String> {
    let p = &config.profile;
    let mut lines = vec![
        line(
            "INFO",
            &format!(
                "simulated engine, profile {} ({} with {}), time scale {time_scale}; no GPU, no model, no real measurement",
                p.name, p.gpu, p.model
            ),
        ),
        line("INFO", &format!("non-default args: {}", config.non_default_args)),
    ];
    lines.extend(config.warnings.iter().map(|w| line("WARNING", w)));
    lines.extend(config.without_effect.iter().map(|f| {
        line(
            "WARNING",
            &format!("{f} is accepted and has no effect on the timing model"),
        )
    }));
    lines.push(line("INFO", &format!("Using max model len {}", config.max_model_len)));
    if config.chunked_prefill {
        let budget = config.max_num_batched_tokens;
        lines.push(line(
            "INFO",
            &format!("Chunked prefill is enabled with max_num_batched_tokens={budget}."),
        ));
    }
    if config.enforce_eager {
        lines.push(line(
            "WARNING",
            "Enforce eager set, disabling torch.compile and CUDAGraphs",
        ));
    }
    if config.api_servers > 1 {
        lines.push(line(
            "INFO",
            &format!("Started {} API server processes", config.api_servers),
        ));
    }
    if config.cpu_offload_gib > 0.0 {
        lines.push(line("INFO", "Offloader set to UVAOffloader"));
    }
    let speculative = config.ngram.map_or_else(
        || "None".to_owned(),
        |n| {
            format!(
                "SpeculativeConfig(method='ngram', model=None, num_spec_tokens={})",
                n.tokens
            )
        },
    );
    let quantization = config.quantization.clone().unwrap_or_else(|| match config.weights {
        Weights::Fp8 => "fp8".to_owned(),
        Weights::Bf16 => "None".to_owned(),
    });
    let offloading = config
        .kv_offloading_gib
        .map_or_else(|| "None".to_owned(), |g| format!("{g:?}"));
    lines.push(line(
        "INFO",
        &format!(
            "Initializing a V1 LLM engine (v{VLLM_VERSION}) with config: model='{}', speculative_config={speculative}, tokenizer='{}', dtype=torch.bfloat16, max_seq_len={}, tensor_parallel_size=1, quantization={quantization}, enforce_eager={}, kv_cache_dtype={}, device_config=simulated, seed={}, served_model_name={}, enable_prefix_caching={}, enable_chunked_prefill={}, async_scheduling={}, max_num_batched_tokens={}, max_num_seqs={}, kv_offloading_size={offloading}, engine_kind=simulated",
            config.model,
            config.model,
            config.max_model_len,
            python(config.enforce_eager),
            config.kv_cache_dtype,
            config.seed,
            config.served_names.first().map_or("", String::as_str),
            python(config.prefix_caching),
            python(config.chunked_prefill),
            python(config.async_scheduling),
            config.max_num_batched_tokens,
            config.max_num_seqs,
        ),
    ));
    lines
}

/// Lines after start-up.
#[must_use]
#[expect(clippy::as_conversions, reason = "token counts below 2^53, for display")]
pub fn after_start(config: &EngineConfig, startup_s: f64) -> Vec<String> {
    let tokens = config.kv_cache_tokens();
    let concurrency = tokens as f64 / f64::from(config.max_model_len);
    vec![
        line(
            "INFO",
            &format!(
                "GPU KV cache size: {} tokens, Maximum concurrency for {} tokens per request: {concurrency:.2}x",
                thousands(tokens),
                thousands(config.max_model_len.into())
            ),
        ),
        line(
            "INFO",
            &format!("init engine (profile, create kv cache, warmup model) took {startup_s:.2} s of engine time"),
        ),
    ]
}

/// A line in the same form.
#[must_use]
pub fn info(text: &str) -> String {
    line("INFO", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (n, s) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (57_856, "57,856"),
            (1_048_576, "1,048,576"),
        ] {
            assert_eq!(thousands(n), s);
        }
    }
}
