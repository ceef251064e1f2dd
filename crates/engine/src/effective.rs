//! The effective configuration of an engine, read off what it says of itself: one map, field to text.
//!
//! | field | where it is from |
//! | --- | --- |
//! | the engine's own names, nested ones with dots (`kv_cache_dtype`, `compilation_config.mode`) | vLLM: the line `Initializing a V1 LLM engine (v…) with config: …`, or `/server_info`; SGLang: `server_args=ServerArgs(…)`, or its page of the server |
//! | `engine_core`, `engine_version` | `V0` or `V1` and the version in that line |
//! | `argument.NAME` | what the engine was told, by its own account: `non-default args: {…}`, `args: Namespace(…)`. Not proof of anything |
//! | `cache_config.LABEL` | labels of the metric `cache_config_info` |
//! | `kv_cache_tokens` | `GPU KV cache size: N tokens`, else blocks × block size of `cache_config_info`; SGLang: `max_total_num_tokens` |
//! | `attention_backend` | the line that names the choice |
//! | `enable_chunked_prefill`, `max_num_batched_tokens` | `Chunked prefill is enabled with max_num_batched_tokens=N`, where the configuration does not say |
//! | `async_scheduling` | the line that says that it is enabled, disabled or will be |
//! | `max_model_len`, `offloader`, `api_server_count` | `Using max model len N`, `Offloader set to X`, `Started N API server processes` |
//!
//! Values stand in the one spelling of [`normal_value`](servelab_schema::normal_value), texts without quotes, numbers without
//! thousands separators; what a field is, and which flags set it, is the dialect's to say. What is not said is absent. Where a log says a thing several times (one line a process), the first one counts.

use crate::{
    Snapshot, dialect,
    python::{flatten, unquote},
};
use serde_json::Value;
use servelab_schema::EffectiveField;
use std::collections::BTreeMap;

/// Fields that tell where it runs, not what it does.
const PLACE: [&str; 6] = ["host", "port", "subparser", "uds", "nccl_port", "dist_init_addr"];

/// Ends of names of fields that hold secrets, at any depth.
const SECRET: [&str; 9] = [
    "api_key",
    "access_key",
    "secret_key",
    "password",
    "passwd",
    "secret",
    "hf_token",
    "auth_token",
    "access_token",
];

/// True where a field is kept.
fn is_setting(name: &str) -> bool {
    !PLACE.contains(&name) && !is_secret(name)
}

/// True where a part of a dotted name says that what it holds is secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    name.split('.').any(|part| SECRET.iter().any(|end| part.ends_with(end)))
}

/// Labels of `cache_config_info` that are no configuration.
const NO_SETTING: [&str; 2] = ["engine", "engine_kind"];

/// Pages that repeat what varies with every look.
const MOMENTARY: [&str; 4] = ["internal_states", "last_gen_throughput", "load", "step_time_dict"];

/// Where an engine says what its configuration is.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConfigSources<'a> {
    /// Its log; none where servelab does not have it.
    pub log: Option<&'a str>,
    /// Its `/metrics`.
    pub metrics: Option<&'a Snapshot>,
    /// Its page about the server: `/server_info`, `/get_server_info`.
    pub server_info: Option<&'a str>,
}

/// The effective configuration by field, see the head of this module; empty where nothing is said.
#[must_use]
pub fn effective(sources: ConfigSources<'_>) -> BTreeMap<String, EffectiveField> {
    let mut fields = Fields::default();
    if let Some(log) = sources.log {
        // Configuration first: what single lines say only fills its gaps.
        log.lines().for_each(|line| fields.configuration(line));
        log.lines().for_each(|line| fields.remark(line));
    }
    if let Some(page) = sources.server_info {
        fields.server_info(page);
    }
    if let Some(metrics) = sources.metrics {
        fields.cache_config(&metrics.cache_config());
    }
    fields.aliases();
    fields.0.retain(|name, _| !is_secret(name));
    let named = |(name, value): (String, String)| {
        let field = dialect::field(&name, &value);
        (name, field)
    };
    fields.0.into_iter().map(named).collect()
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Fields {
    /// What was said first stays.
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.into());
    }

    fn add_all(&mut self, fields: BTreeMap<String, String>) {
        for (name, value) in fields {
            self.add(&name, value);
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Lines that hold a whole configuration.
    fn configuration(&mut self, line: &str) {
        if let Some((_, args)) = line.split_once("non-default args: {") {
            self.arguments(args);
        } else if let Some((_, args)) = line.split_once("server_args=ServerArgs(") {
            let mut args = flatten(args);
            args.retain(|name, _| is_setting(name));
            self.add_all(args);
        } else if let Some((_, args)) = line.split_once(" args: Namespace(") {
            self.arguments(args);
        } else if let Some((_, rest)) = line.split_once("Initializing a ")
            && let Some((engine, config)) = rest.split_once(" with config: ")
            && let Some((core, version)) = engine.split_once(" LLM engine (v")
        {
            self.add("engine_core", core);
            self.add("engine_version", version.trim_end_matches(')'));
            self.add_all(flatten(config));
        }
    }

    fn arguments(&mut self, inside: &str) {
        for (name, value) in flatten(inside) {
            if is_setting(&name) {
                self.add(&format!("argument.{name}"), value);
            }
        }
    }

    /// Lines that tell one thing.
    fn remark(&mut self, line: &str) {
        let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
        if let Some(tokens) = after("KV cache size: ").and_then(|rest| number_before(rest, " tokens")) {
            self.add("kv_cache_tokens", tokens);
        }
        if let Some(tokens) = after("max_total_num_tokens=").map(digits)
            && !tokens.is_empty()
        {
            self.add("kv_cache_tokens", tokens);
        }
        if let Some(rest) = after("Chunked prefill is enabled with max_num_batched_tokens=") {
            self.add("max_num_batched_tokens", digits(rest));
            self.add("enable_chunked_prefill", "True");
        }
        if let Some(length) = after("Using max model len ") {
            self.add("max_model_len", digits(length));
        }
        if let Some(kind) = after("Offloader set to ") {
            self.add("offloader", word(kind));
        }
        if let Some(count) = after("Started ").and_then(|rest| number_before(rest, " API server process")) {
            self.add("api_server_count", count);
        }
        if let Some(on) = async_scheduling(line) {
            self.add("async_scheduling", if on { "True" } else { "False" });
        }
        if let Some(backend) = attention_backend(line) {
            if self.get("attention_backend") == Some("None") {
                self.0.remove("attention_backend");
            }
            self.add("attention_backend", backend);
        }
    }

    /// A page in JSON: vLLM holds its configuration line in `vllm_config`, SGLang its fields side by side.
    fn server_info(&mut self, page: &str) {
        let Ok(Value::Object(mut page)) = serde_json::from_str(page) else {
            return;
        };
        match page.remove("vllm_config") {
            Some(Value::String(config)) => self.add_all(flatten(&config)),
            Some(config) => self.json("", &config, 0),
            None => {
                page.retain(|name, _| !MOMENTARY.contains(&name.as_str()) && is_setting(name));
                self.json("", &Value::Object(page), 0);
            }
        }
    }

    fn json(&mut self, name: &str, value: &Value, depth: u32) {
        match value {
            Value::Object(fields) if depth < 8 => {
                for (key, value) in fields {
                    let name = if name.is_empty() {
                        key.clone()
                    } else {
                        format!("{name}.{key}")
                    };
                    self.json(&name, value, depth + 1);
                }
            }
            Value::String(text) => self.add(name, text.clone()),
            Value::Bool(true) => self.add(name, "True"),
            Value::Bool(false) => self.add(name, "False"),
            Value::Null => self.add(name, "None"),
            other => self.add(name, other.to_string()),
        }
    }

    fn cache_config(&mut self, labels: &BTreeMap<String, String>) {
        for (label, value) in labels.iter().filter(|(label, _)| !NO_SETTING.contains(&label.as_str())) {
            self.add(&format!("cache_config.{label}"), value.clone());
        }
        let count = |label: &str| labels.get(label)?.parse::<u64>().ok();
        let tokens = count("num_gpu_blocks")
            .zip(count("block_size"))
            .and_then(|(blocks, size)| blocks.checked_mul(size));
        if let Some(tokens) = tokens.filter(|t| *t > 0) {
            self.add("kv_cache_tokens", tokens.to_string());
        }
    }

    /// One name for what versions and engines call differently; the engine's own name stays beside it.
    fn aliases(&mut self) {
        const SAME: [(&str, &str); 3] = [
            ("chunked_prefill_enabled", "enable_chunked_prefill"),
            ("max_total_num_tokens", "kv_cache_tokens"),
            ("scheduler_info.max_total_num_tokens", "kv_cache_tokens"),
        ];
        for (own, name) in SAME {
            if let Some(value) = self.get(own).map(str::to_owned) {
                self.add(name, value);
            }
        }
    }
}

/// The digits at the beginning, without thousands separators.
fn digits(text: &str) -> String {
    let number = text.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
    number.filter(char::is_ascii_digit).collect()
}

fn number_before(text: &str, unit: &str) -> Option<String> {
    let (number, _) = text.split_once(unit)?;
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == ',');
    is_number.then(|| digits(number))
}

/// The first word, without quotes and the full stop behind it.
fn word(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or_default();
    unquote(word.trim_end_matches(['.', ',', ';']))
}

fn async_scheduling(line: &str) -> Option<bool> {
    let lower = line.to_ascii_lowercase();
    let (_, rest) = lower
        .split_once("async scheduling")
        .or_else(|| lower.split_once("asynchronous scheduling"))?;
    if rest.contains("disabled") || rest.contains("is off") {
        Some(false)
    } else {
        (rest.contains("is enabled") || rest.contains("is on")).then_some(true)
    }
}

/// From `Using X backend` or `Using X attention backend …` the X, where X is about attention: there are backends of much
/// else, which name what they are for before or behind the word.
fn attention_backend(line: &str) -> Option<String> {
    const KINDS: [&str; 8] = [
        "attn",
        "attention",
        "flash",
        "sdpa",
        "xformers",
        "triton",
        "mla",
        "flex",
    ];
    let (name, rest) = match line.split_once("Using ") {
        Some((_, rest)) => rest.split_once(" backend")?,
        // SGLang's words where nothing was asked for.
        None => {
            let (_, rest) = line.split_once("Attention backend not explicitly specified. Use ")?;
            return Some(word(rest));
        }
    };
    let (name, said) = match name.strip_suffix(" attention") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let behind = rest.trim_start();
    let ends = behind.is_empty() || behind.starts_with('.') || behind.starts_with("on V");
    let lower = name.to_ascii_lowercase();
    let fits = said || (ends && KINDS.iter().any(|kind| lower.contains(kind)));
    let other = ["moe", "prefill", "sampl", "linear", "gemm"]
        .iter()
        .any(|w| lower.contains(w));
    let short = name.split_whitespace().count() <= 3 && !name.is_empty();
    (fits && !other && short).then(|| unquote(name.trim_start_matches("AttentionBackendEnum.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(log: &str, field: &str, expected: Option<&str>) {
        let sources = ConfigSources {
            log: Some(log),
            ..ConfigSources::default()
        };
        assert_eq!(
            effective(sources).get(field).map(|f| f.value.as_str()),
            expected,
            "{log}"
        );
    }

    #[test]
    fn attention_backends() {
        let name = "attention_backend";
        for (line, expected) in [
            (
                "INFO [cuda.py:1] Using FLASH_ATTN attention backend out of potential backends: ['A', 'B'].",
                Some("FLASH_ATTN"),
            ),
            (
                "INFO [cuda.py:1] Using Flash Attention backend on V1 engine.",
                Some("Flash Attention"),
            ),
            (
                "INFO [cuda.py:1] Using AttentionBackendEnum.FLASHINFER backend.",
                Some("FLASHINFER"),
            ),
            ("INFO [cpu.py:45] Using Torch SDPA backend.", Some("Torch SDPA")),
            ("INFO Using 'MARLIN' WNA16 MoE backend.", None),
            ("INFO Using FLASH_ATTN MLA prefill backend.", None),
            ("INFO Using FlashInfer backend for top-p & top-k sampling.", None),
            ("INFO Using xgrammar backend.", None),
            ("Using NCCL", None),
            (
                "Attention backend not explicitly specified. Use fa3 backend by default.",
                Some("fa3"),
            ),
        ] {
            check(line, name, expected);
        }
    }

    #[test]
    fn asynchronous_scheduling() {
        let name = "async_scheduling";
        check("[vllm.py:1] Asynchronous scheduling is enabled.", name, Some("true"));
        check("[vllm.py:1] Asynchronous scheduling is disabled.", name, Some("false"));
        check(
            "WARNING Async scheduling not supported with ngram-based speculative decoding and will be disabled.",
            name,
            Some("false"),
        );
        check("nothing of the kind", name, None);
    }

    #[test]
    fn remarks() {
        check(
            "GPU KV cache size: 1,048,576 tokens, Maximum",
            "kv_cache_tokens",
            Some("1048576"),
        );
        check("KV cache size: many tokens", "kv_cache_tokens", None);
        check("Started 2 API server processes", "api_server_count", Some("2"));
        check("Started server process [12]", "api_server_count", None);
        check("Offloader set to UVAOffloader", "offloader", Some("UVAOffloader"));
        check("Using max model len 2048", "max_model_len", Some("2048"));
        check(
            "max_total_num_tokens=71654, chunked_prefill_size=2048, ",
            "kv_cache_tokens",
            Some("71654"),
        );
    }

    #[test]
    fn the_configuration_is_believed_before_a_remark() {
        let log = "Chunked prefill is enabled with max_num_batched_tokens=256.\n\
                   Initializing a V1 LLM engine (v0.32.0) with config: enable_chunked_prefill=False, seed=0\n";
        check(log, "enable_chunked_prefill", Some("false"));
        check(log, "max_num_batched_tokens", Some("256"));
        check(log, "engine_core", Some("V1"));
        check(log, "engine_version", Some("0.32.0"));
    }

    #[test]
    fn pages_of_the_server() {
        let read = |page: &str| {
            effective(ConfigSources {
                server_info: Some(page),
                ..ConfigSources::default()
            })
        };
        let vllm = read(r#"{"vllm_config": "model='m', enforce_eager=True, compilation_config={'mode': 0}"}"#);
        assert_eq!(vllm["enforce_eager"].value, "true");
        assert_eq!(vllm["compilation_config.mode"].value, "0");
        let sglang = read(
            r#"{"model_path": "m", "port": 3, "admin_api_key": "s3cret", "disable_radix_cache": true, "internal_states": [{"x": 1}], "max_total_num_tokens": 9}"#,
        );
        assert_eq!(sglang["disable_radix_cache"].value, "true");
        assert_eq!(sglang["kv_cache_tokens"].value, "9");
        assert!(!sglang.values().any(|v| v.value == "s3cret"));
        assert!(!sglang.contains_key("port") && !sglang.contains_key("internal_states"));
        assert!(read("<html>").is_empty() && read("[1]").is_empty());
    }

    #[test]
    fn secrets_at_any_depth_are_no_configuration() {
        let page = r#"{"server_args": {"api_key": "s3cret", "tp": 1}, "env": {"AWS-SECRET-KEY": "s3cret"}, "db": {"Password": {"now": "s3cret"}}}"#;
        let log = "Initializing a V1 LLM engine (v1) with config: a=1, kv=X(extra={'api_key': 's3cret', 'n': 2}), max_total_num_tokens=3\n\
                   server_args=ServerArgs(x=Y(hf_token='s3cret'), tokenizer_mode='auto')\n";
        let found = effective(ConfigSources {
            log: Some(log),
            metrics: None,
            server_info: Some(page),
        });
        assert!(!found.values().any(|v| v.value.contains("s3cret")), "{found:?}");
        for kept in ["a", "kv.extra.n", "server_args.tp", "kv_cache_tokens", "tokenizer_mode"] {
            assert!(found.contains_key(kept), "{kept}: {found:?}");
        }
    }

    #[test]
    fn blocks_and_their_size_tell_the_tokens() {
        let page =
            Snapshot::parse("vllm:cache_config_info{block_size=\"16\",engine=\"0\",num_gpu_blocks=\"65536\"} 1\n");
        let fields = effective(ConfigSources {
            metrics: Some(&page),
            ..ConfigSources::default()
        });
        assert_eq!(fields["kv_cache_tokens"].value, "1048576");
        assert_eq!(fields["cache_config.block_size"].value, "16");
        assert!(!fields.contains_key("cache_config.engine"));
    }

    proptest! {
        #[test]
        fn any_log_and_page_is_read(log in any::<String>(), page in any::<String>()) {
            let _ = effective(ConfigSources { log: Some(&log), metrics: None, server_info: Some(&page) });
        }

        #[test]
        fn what_looks_like_a_line_is_read(mark in prop::sample::select(vec![
            "non-default args: {", " args: Namespace(", "server_args=ServerArgs(", "Initializing a V1 LLM engine (v1) with config: ",
            "KV cache size: ", "Using ", "Started ", "Async scheduling ", "max_total_num_tokens=",
        ]), rest in "[ -~\u{e4}]{0,120}") {
            let _ = effective(ConfigSources { log: Some(&format!("{mark}{rest}")), ..ConfigSources::default() });
        }
    }
}
