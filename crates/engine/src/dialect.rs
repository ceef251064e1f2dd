//! What differs between engines: the pages that tell of them, and what their metrics are called. Names of one meaning stand
//! together, the newest vLLM's first; those of two engines never meet on one page, so whoever reads a page need not know
//! whose it is. From captures of vLLM 0.8.5.post2 and 0.32.0, and from SGLang's own source (no capture of it was at hand).

use serde_json::Value;
use servelab_schema::{ArgValue, Dialect, EffectiveField, FieldKind, PlannedVariant, normal_value};
use std::collections::BTreeMap;

/// Pages of an engine about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Answers 200 once requests are taken.
    pub(crate) health: &'static str,
    /// JSON with a `version`, the first that answers.
    pub(crate) version: &'static [&'static str],
    /// The metrics, the first that answers.
    pub(crate) metrics: &'static [&'static str],
    /// JSON with the configuration, the first that answers. vLLM has it in its development mode only.
    pub(crate) server_info: &'static [&'static str],
}

/// The pages of a dialect.
pub(crate) const fn pages(dialect: Dialect) -> Pages {
    match dialect {
        Dialect::Vllm => Pages {
            health: "/health",
            version: &["/version"],
            metrics: &["/metrics"],
            server_info: &["/server_info"],
        },
        // `/get_server_info` is the older name.
        Dialect::Sglang => Pages {
            health: "/health",
            version: &["/server_info", "/get_server_info"],
            // An app of its own that some versions answer for with a redirect, which is not followed.
            metrics: &["/metrics", "/metrics/"],
            server_info: &["/server_info", "/get_server_info"],
        },
    }
}

/// Where any engine, whatever its dialect, may say that it is the simulated one and which version it has. Whoever wants to
/// know asks for all of them: an engine has only those of its own dialect.
pub const IDENTITY: [&str; 4] = ["/version", "/server_info", "/get_server_info", "/v1/models"];

/// True where a page of [`IDENTITY`] says that the simulated engine answers.
#[must_use]
pub fn says_simulated(page: &Value) -> bool {
    page.get("engine_kind").and_then(Value::as_str) == Some("simulated")
}

/// The variable that vLLM takes its API key from.
pub const KEY_VARIABLE: &str = "VLLM_API_KEY";

/// The variable that an engine takes its API key from; none where it takes it as a flag only, which would show it in the
/// list of processes.
#[must_use]
pub const fn key_variable(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Vllm => Some(KEY_VARIABLE),
        Dialect::Sglang => None,
    }
}

/// What stands for the model in a command of a matrix.
const MODEL: &str = "{model}";

/// Words of a matrix with the model in its place.
#[must_use]
pub fn with_model(words: &[String], model: &str) -> Vec<String> {
    words.iter().map(|word| word.replace(MODEL, model)).collect()
}

/// The command-line words of a variant's flags. SGLang's switches have no opposite: off is what they are where they are not
/// given.
#[must_use]
pub fn flag_words(dialect: Dialect, variant: &PlannedVariant) -> Vec<String> {
    match dialect {
        Dialect::Vllm => variant.argv(),
        Dialect::Sglang => {
            let given = variant.flags.iter().filter(|(_, f)| f.value != ArgValue::Switch(false));
            given.flat_map(|(name, field)| field.value.to_argv(name)).collect()
        }
    }
}

/// The command-line words that name the model.
#[must_use]
pub fn model_words(dialect: Dialect, model: &str) -> Vec<String> {
    match dialect {
        Dialect::Vllm => vec![model.to_owned()],
        Dialect::Sglang => vec!["--model-path".to_owned(), model.to_owned()],
    }
}

/// Flags that name the model, of all dialects.
const MODEL_FLAGS: [&str; 2] = ["--model", "--model-path"];

/// The word of a command that names the model: behind its flag, else the first behind `serve`; none where the plan's model
/// stands in its place.
#[must_use]
pub fn model_word(words: &[String]) -> Option<&str> {
    let behind = |mark: &str| {
        let at = words.iter().position(|w| w == mark)?;
        words.get(at + 1).map(String::as_str)
    };
    let joined = |flag: &str| words.iter().find_map(|w| w.strip_prefix(flag)?.strip_prefix('='));
    let flagged = MODEL_FLAGS
        .iter()
        .find_map(|flag| behind(flag).or_else(|| joined(flag)));
    let named = flagged.or_else(|| behind("serve").filter(|word| !word.starts_with('-')));
    named.filter(|word| !word.contains(MODEL))
}

/// True where a variant asks for a cache of prompt beginnings by name: shared tokens are then no contamination. SGLang has
/// one unless it is told otherwise, so it must be told that it shall.
#[must_use]
pub fn wants_prefix_cache(dialect: Dialect, variant: &PlannedVariant) -> bool {
    let (flag, value) = match dialect {
        Dialect::Vllm => ("enable-prefix-caching", true),
        Dialect::Sglang => ("disable-radix-cache", false),
    };
    variant
        .flags
        .get(flag)
        .is_some_and(|f| f.value == ArgValue::Switch(value))
}

/// Fields that say how much room for tokens the engine found: the one in tokens first, then the same in other units.
const ROOM: &str = "kv_cache_tokens";
const ROOM_DETAILS: [&str; 6] = [
    "kv_cache_memory_bytes",
    "kv_cache_max_concurrency",
    "num_gpu_blocks",
    "num_cpu_blocks",
    "max_total_num_tokens",
    "kv_cache_size_tokens",
];

/// Flags whose field has another name in some place: flag, then field.
const ALIASES: [(&str, &str); 3] = [
    ("kv_cache_dtype", "cache_dtype"),
    ("swap_space", "swap_space_bytes"),
    ("model", "tokenizer"),
];

/// What a field of the effective configuration is, with its value in the one spelling: the only list of what engines' fields
/// mean. A flag sets a field where its name is part of the field's, or is named by `set_by`.
pub(crate) fn field(name: &str, value: &str) -> EffectiveField {
    let lower = name.to_lowercase();
    let parts = || lower.split('.');
    let kind = if name.starts_with("argument.") {
        FieldKind::Argument
    } else if parts().any(|part| part == ROOM) {
        FieldKind::Room
    } else if parts().any(|part| ROOM_DETAILS.contains(&part)) {
        FieldKind::RoomDetail
    } else {
        FieldKind::Setting
    };
    let others = parts().flat_map(|part| {
        let alias = ALIASES.iter().find(|(_, field)| *field == part).map(|(flag, _)| *flag);
        [alias, part.strip_suffix("_config")].into_iter().flatten()
    });
    EffectiveField {
        value: normal_value(value),
        kind,
        set_by: others.map(str::to_owned).collect(),
    }
}

/// True where an engine's effective configuration says that it has no cache of prompt beginnings.
#[must_use]
pub fn has_no_prefix_cache(effective: &BTreeMap<String, EffectiveField>) -> bool {
    const SHOWN: [(&str, &str); 3] = [
        ("enable_prefix_caching", "false"),
        ("cache_config.enable_prefix_caching", "false"),
        ("disable_radix_cache", "true"),
    ];
    let says = |(field, value): &(&str, &str)| effective.get(*field).is_some_and(|f| f.value == *value);
    SHOWN.iter().any(says)
}

type Names = &'static [&'static str];

/// Share of the KV cache in use, a gauge.
pub(crate) const KV_USED: Names = &[
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "sglang:token_usage",
];
/// Requests being worked on, a gauge.
pub(crate) const RUNNING: Names = &["vllm:num_requests_running", "sglang:num_running_reqs"];
/// Requests that wait, a gauge.
pub(crate) const WAITING: Names = &["vllm:num_requests_waiting", "sglang:num_queue_reqs"];
/// The labels of its one series are the cache's configuration.
pub(crate) const CACHE_CONFIG: &str = "vllm:cache_config_info";

/// When the process began, Unix seconds: two pages with two values are of two processes.
pub(crate) const PROCESS_START: &str = "process_start_time_seconds";

/// Prompt tokens, a counter.
pub(crate) const PROMPT_TOKENS: Names = &["vllm:prompt_tokens_total", "sglang:prompt_tokens_total"];
/// Generated tokens, a counter.
pub(crate) const GENERATION_TOKENS: Names = &["vllm:generation_tokens_total", "sglang:generation_tokens_total"];
/// Finished requests, a counter, and the label with the reason.
pub(crate) const FINISHED: (&str, &str) = ("vllm:request_success_total", "finished_reason");
/// Finished requests of an engine that counts no reasons, and the word that stands for one.
pub(crate) const FINISHED_WITHOUT_REASON: [(&str, &str); 2] = [
    ("sglang:num_requests_total", "any"),
    ("sglang:num_aborted_requests_total", "abort"),
];
/// Requests that were put back to make room, a counter.
pub(crate) const PREEMPTIONS: Names = &["vllm:num_preemptions_total", "sglang:num_retracted_requests_total"];
/// Prompt tokens looked up in the prefix cache, a counter. SGLang looks up every one.
pub(crate) const PREFIX_QUERIES: Names = &[
    "vllm:prefix_cache_queries_total",
    "vllm:gpu_prefix_cache_queries_total",
    "sglang:prompt_tokens_total",
];
/// Of these found, a counter.
pub(crate) const PREFIX_HITS: Names = &[
    "vllm:prefix_cache_hits_total",
    "vllm:gpu_prefix_cache_hits_total",
    "sglang:cached_tokens_total",
];
/// Their share since the start, a gauge of engines without these counters. SGLang's `cache_hit_rate` is of the last batch
/// alone and is not taken for it.
pub(crate) const PREFIX_HIT_GAUGE: Names = &["vllm:gpu_prefix_cache_hit_rate"];

/// Drafts made, a counter.
pub(crate) const DRAFTS: Names = &["vllm:spec_decode_num_drafts_total"];
/// Tokens drafted, a counter.
pub(crate) const DRAFT_TOKENS: Names = &["vllm:spec_decode_num_draft_tokens_total"];
/// Drafted tokens that were accepted, a counter.
pub(crate) const ACCEPTED_TOKENS: Names = &["vllm:spec_decode_num_accepted_tokens_total"];
/// The same by position, a counter, and the label with the position from 0.
pub(crate) const ACCEPTED_BY_POSITION: (&str, &str) =
    ("vllm:spec_decode_num_accepted_tokens_per_pos_total", "position");

/// Arrival to first token, a histogram.
pub(crate) const TTFT: Names = &["vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds"];
/// Between two tokens, a histogram.
pub(crate) const ITL: Names = &[
    "vllm:inter_token_latency_seconds",
    "vllm:time_per_output_token_seconds",
    "sglang:inter_token_latency_seconds",
    "sglang:time_per_output_token_seconds",
];
/// Arrival to last token, a histogram.
pub(crate) const E2E: Names = &["vllm:e2e_request_latency_seconds", "sglang:e2e_request_latency_seconds"];
/// Waiting, a histogram.
pub(crate) const QUEUE: Names = &["vllm:request_queue_time_seconds", "sglang:queue_time_seconds"];
/// First step to first token, a histogram.
pub(crate) const PREFILL: Names = &["vllm:request_prefill_time_seconds"];
/// First to last token, a histogram.
pub(crate) const DECODE: Names = &["vllm:request_decode_time_seconds"];

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{FieldValue, Origin, examples};

    fn variant(flags: &[(&str, ArgValue)]) -> PlannedVariant {
        let origin = Origin {
            file: "t.toml".into(),
            line: 1,
            key: "k".into(),
        };
        let field = |value: &ArgValue| FieldValue {
            value: value.clone(),
            origin: origin.clone(),
        };
        let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), field(value)));
        PlannedVariant {
            flags: flags.collect(),
            ..examples::plan().variants[0].clone()
        }
    }

    #[test]
    fn a_cache_that_is_off_is_said_in_either_way() {
        let says = |field: &str, value: &str| {
            let shown = EffectiveField::setting(value);
            has_no_prefix_cache(&BTreeMap::from([(field.to_owned(), shown)]))
        };
        assert!(says("cache_config.enable_prefix_caching", "False") && says("enable_prefix_caching", "False"));
        assert!(says("disable_radix_cache", "True"));
        assert!(!says("enable_prefix_caching", "True") && !says("disable_radix_cache", "False"));
        assert!(!has_no_prefix_cache(&BTreeMap::new()), "not said");
    }

    #[test]
    fn switches_of_sglang_have_no_opposite() {
        let (on, off) = (ArgValue::Switch(true), ArgValue::Switch(false));
        let arm = variant(&[
            ("chunked-prefill-size", ArgValue::Integer(-1)),
            ("disable-radix-cache", off.clone()),
            ("enable-metrics", on.clone()),
        ]);
        let words = flag_words(Dialect::Sglang, &arm);
        assert_eq!(words, ["--chunked-prefill-size", "-1", "--enable-metrics"]);
        assert!(flag_words(Dialect::Vllm, &arm).contains(&"--no-disable-radix-cache".to_owned()));
        assert!(wants_prefix_cache(Dialect::Sglang, &arm) && !wants_prefix_cache(Dialect::Vllm, &arm));
        assert!(!wants_prefix_cache(
            Dialect::Sglang,
            &variant(&[("disable-radix-cache", on)])
        ));
        assert!(
            !wants_prefix_cache(Dialect::Sglang, &variant(&[])),
            "not asked for by name"
        );
    }

    #[test]
    fn the_word_that_names_the_model() {
        let check = |words: &str, expected: Option<&str>| {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            assert_eq!(model_word(&words), expected, "{words:?}");
        };
        check("vllm serve /m --port 1", Some("/m"));
        check("vllm serve --model org/m", Some("org/m"));
        check("vllm serve --config x.yaml", None);
        check("python -m sglang.launch_server --model-path /m", Some("/m"));
        check("x --model=/m", Some("/m"));
        check("", None);
        // The plan's model stands there.
        check("vllm serve {model} --port 1", None);
    }
}
