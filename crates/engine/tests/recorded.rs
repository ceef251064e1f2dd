//! Recorded words of real vLLM versions: what their pages and logs say is understood. Pages without comments and without
//! histograms of no use here; logs are the lines of evidence.

use servelab_engine::{
    Snapshot, counted,
    effective::{ConfigSources, effective},
    log,
};
use servelab_schema::{EffectiveField, same_value};
use servelab_schema::{EngineMetrics, Ratio};
use std::collections::BTreeMap;

const NEW: &str = include_str!("data/vllm-0.32.0.prom");
const NEW_BEFORE: &str = include_str!("data/vllm-0.32.0-before.prom");
const OLD: &str = include_str!("data/vllm-0.8.5.post2.prom");
const OLD_BEFORE: &str = include_str!("data/vllm-0.8.5.post2-before.prom");
const NGRAM: &str = include_str!("data/vllm-0.32.0-ngram.prom");
const LORA: &str = include_str!("data/vllm-0.32.0-lora.prom");

const BASE_NEW: &str = include_str!("data/vllm-0.32.0-C1-baseline.log");
const BASE_OLD: &str = include_str!("data/vllm-0.8.5.post2-base.log");
const KV_FP8_NEW: &str = include_str!("data/vllm-0.32.0-C5-kv-fp8-dies.log");
const OFFLOAD_NEW: &str = include_str!("data/vllm-0.32.0-C6-kv-offload.log");
const NGRAM_NEW: &str = include_str!("data/vllm-0.32.0-C7-ngram.log");
const WEIGHTS_NEW: &str = include_str!("data/vllm-0.32.0-C8-fp8-dies.log");
const SERVERS_NEW: &str = include_str!("data/vllm-0.32.0-api-servers-2.log");
const EAGER_NEW: &str = include_str!("data/vllm-0.32.0-smollm2-eager.log");
const CHUNKED_OLD: &str = include_str!("data/vllm-0.8.5.post2-C2.log");
const KV_FP8_OLD: &str = include_str!("data/vllm-0.8.5.post2-C5fp8.log");
const NGRAM_OLD: &str = include_str!("data/vllm-0.8.5.post2-C7.log");

#[test]
fn metrics_of_both_versions_mean_the_same() {
    for page in [NEW, OLD, NEW_BEFORE, OLD_BEFORE, NGRAM, LORA] {
        let snapshot = Snapshot::parse(page);
        assert_eq!(snapshot.running(), Some(0.0));
        assert_eq!(snapshot.waiting(), Some(0.0));
        assert!(snapshot.kv_cache_used().is_some());
        let refused = servelab_engine::prometheus::parse(page).refused;
        assert!(refused.is_empty(), "every line is read: {refused:?}");
    }
    let config = Snapshot::parse(NEW).cache_config();
    assert_eq!(config.get("cache_dtype").unwrap(), "auto");
    assert_eq!(config.get("enable_prefix_caching").unwrap(), "True");
    assert_eq!(config.get("num_gpu_blocks").unwrap(), "8192");
}

fn of(before: &str, after: &str) -> EngineMetrics {
    counted(&Snapshot::parse(before), &Snapshot::parse(after))
}

#[test]
fn what_0_32_counted_between_two_pages() {
    let metrics = of(NEW_BEFORE, NEW);
    assert_eq!(metrics.prompt_tokens, Some(145));
    assert_eq!(metrics.generation_tokens, Some(216));
    assert_eq!(metrics.preemptions, Some(0));
    assert_eq!(
        (metrics.prefix_cache_queries, metrics.prefix_cache_hits),
        (Some(145), Some(0))
    );
    assert_eq!(metrics.prefix_cache_hit_ratio.map(Ratio::get), Some(0.0));
    let finished = metrics.finished.unwrap();
    assert_eq!((finished["stop"], finished["length"], finished["abort"]), (1, 16, 0));
    assert_eq!(metrics.speculation, None, "absent is unknown, not 0");
    let ttft = metrics.ttft.unwrap();
    assert_eq!(ttft.count, 17);
    assert!((ttft.sum_s - (2.328_245_878 - 0.252_489_567)).abs() < 1e-6);
    assert_eq!(ttft.at_most.len(), 22);
    assert_eq!(ttft.at_most.last().unwrap(), &(2560.0, 17));
    let counts = [metrics.itl, metrics.e2e, metrics.queue, metrics.prefill, metrics.decode].map(|h| h.unwrap().count);
    assert_eq!(counts, [199, 17, 17, 17, 17]);
}

#[test]
fn what_0_8_5_counted_between_two_pages() {
    let metrics = of(OLD_BEFORE, OLD);
    assert_eq!(metrics.prompt_tokens, Some(145));
    assert_eq!(metrics.generation_tokens, Some(212));
    assert_eq!(
        metrics.finished,
        Some(BTreeMap::from([("length".to_owned(), 16), ("stop".to_owned(), 1)]))
    );
    assert_eq!(metrics.prefix_cache_hit_ratio, None, "this engine shows none");
    // These series were not there before the first request.
    let counts = [
        metrics.ttft,
        metrics.itl,
        metrics.e2e,
        metrics.queue,
        metrics.prefill,
        metrics.decode,
    ];
    assert_eq!(counts.map(|h| h.unwrap().count), [17, 195, 17, 17, 17, 17]);
}

#[test]
fn speculation_moves_its_counters() {
    let metrics = of("", NGRAM);
    let speculation = metrics.speculation.unwrap();
    assert_eq!(speculation.drafts, Some(6));
    assert_eq!((speculation.draft_tokens, speculation.accepted_tokens), (22, 22));
    assert_eq!(speculation.accepted_per_position, [6, 6, 5, 5]);
    assert_eq!(of("", LORA).speculation, None);
    assert_eq!(
        of(NEW, NGRAM),
        EngineMetrics::default(),
        "two processes have no difference"
    );
}

#[test]
fn the_first_error_of_a_failed_start_is_its_cause() {
    let kv = log::root_cause(KV_FP8_NEW).unwrap();
    assert_eq!(
        kv,
        "NotImplementedError: FP8 KV cache on CPU requires x86 with AVX-512 or AMX."
    );
    let weights = log::root_cause(WEIGHTS_NEW).unwrap();
    assert!(
        weights.starts_with("RuntimeError: _C::static_scaled_fp8_quant()"),
        "{weights}"
    );
}

#[test]
fn arguments_that_are_not_defaults() {
    let args = log::non_default_args(NGRAM_NEW).unwrap();
    assert_eq!(args.get("dtype").unwrap(), "bfloat16");
    assert!(args.get("speculative_config").unwrap().contains("'method': 'ngram'"));
}

fn check(log: &str, expected: &[(&str, &str)]) -> BTreeMap<String, EffectiveField> {
    let fields = effective(ConfigSources {
        log: Some(log),
        ..ConfigSources::default()
    });
    for (field, value) in expected {
        let found = fields.get(*field).map(|f| f.value.as_str());
        assert!(
            found.is_some_and(|f| same_value(f, value)),
            "{field}: {found:?}, not {value}"
        );
    }
    for place in ["argument.host", "argument.port", "argument.api_key"] {
        assert!(!fields.contains_key(place), "where it runs is no setting");
    }
    fields
}

#[test]
fn effective_configuration_of_0_32() {
    let base = check(
        BASE_NEW,
        &[
            ("engine_core", "V1"),
            ("engine_version", "0.32.0"),
            ("dtype", "torch.bfloat16"),
            ("kv_cache_dtype", "auto"),
            ("enforce_eager", "False"),
            ("enable_prefix_caching", "True"),
            ("enable_chunked_prefill", "True"),
            ("speculative_config", "None"),
            ("compilation_config.mode", "<CompilationMode.DYNAMO_TRACE_ONCE: 2>"),
            ("kernel_config.enable_jit_warmup", "True"),
            ("argument.max_model_len", "2048"),
            ("max_model_len", "2048"),
            ("kv_cache_tokens", "1048576"),
        ],
    );
    assert!(base.len() > 100, "{}", base.len());
    assert!(!base.contains_key("attention_backend"), "not said on a CPU");
    check(
        EAGER_NEW,
        &[
            ("enforce_eager", "True"),
            ("compilation_config.mode", "<CompilationMode.NONE: 0>"),
        ],
    );
    check(
        KV_FP8_NEW,
        &[("kv_cache_dtype", "fp8"), ("argument.kv_cache_dtype", "fp8")],
    );
    check(OFFLOAD_NEW, &[("argument.kv_offloading_size", "1.0")]);
    check(
        NGRAM_NEW,
        &[
            ("speculative_config.method", "ngram"),
            ("speculative_config.num_spec_tokens", "4"),
            ("argument.speculative_config.prompt_lookup_max", "4"),
            ("async_scheduling", "False"),
        ],
    );
    check(WEIGHTS_NEW, &[("engine_core", "V1"), ("argument.quantization", "fp8")]);
    check(
        SERVERS_NEW,
        &[("api_server_count", "2"), ("argument.renderer_num_workers", "2")],
    );
}

#[test]
fn effective_configuration_of_0_8_5() {
    check(
        BASE_OLD,
        &[
            ("engine_core", "V0"),
            ("engine_version", "0.8.5.post2"),
            ("enforce_eager", "True"),
            ("chunked_prefill_enabled", "False"),
            ("enable_chunked_prefill", "False"),
            ("compilation_config.max_capture_size", "256"),
            ("attention_backend", "Torch SDPA"),
            ("argument.swap_space", "4"),
        ],
    );
    check(
        CHUNKED_OLD,
        &[
            ("enable_chunked_prefill", "True"),
            ("max_num_batched_tokens", "256"),
            ("argument.enable_chunked_prefill", "True"),
        ],
    );
    check(KV_FP8_OLD, &[("argument.kv_cache_dtype", "fp8")]);
    check(NGRAM_OLD, &[("argument.max_model_len", "2048")]);
    let fields = effective(ConfigSources {
        metrics: Some(&Snapshot::parse(OLD)),
        ..ConfigSources::default()
    });
    assert_eq!(fields["kv_cache_tokens"].value, "1048576", "blocks times block size");
}
