//! Recorded words of real vLLM versions: what their pages and logs say is understood.

use servelab_engine::{Snapshot, log};

const NEW: &str = include_str!("data/vllm-0.32.0.prom");
const OLD: &str = include_str!("data/vllm-0.8.5.post2.prom");
const NGRAM: &str = include_str!("data/vllm-0.32.0-ngram.prom");

#[test]
fn metrics_of_both_versions_mean_the_same() {
    for page in [NEW, OLD] {
        let snapshot = Snapshot::parse(page);
        assert_eq!(snapshot.running(), Some(0.0));
        assert_eq!(snapshot.waiting(), Some(0.0));
        assert!(snapshot.kv_cache_used().is_some());
        assert!(
            servelab_engine::prometheus::parse(page).refused.is_empty(),
            "every line is read"
        );
    }
    let config = Snapshot::parse(NEW).cache_config();
    assert_eq!(config.get("cache_dtype").unwrap(), "auto");
    assert_eq!(config.get("enable_prefix_caching").unwrap(), "True");
    assert_eq!(config.get("num_gpu_blocks").unwrap(), "8192");
}

#[test]
fn speculation_moves_its_counters() {
    let (before, after) = (Snapshot::parse(""), Snapshot::parse(NGRAM));
    assert!(after.rise(&before, "vllm:spec_decode_num_drafts_total").unwrap() > 0.0);
    let plain = Snapshot::parse(NEW);
    assert_eq!(
        plain.rise(&before, "vllm:spec_decode_num_drafts_total"),
        None,
        "absent is unknown, not 0"
    );
}

#[test]
fn the_first_error_of_a_failed_start_is_its_cause() {
    let kv = log::root_cause(include_str!("data/vllm-0.32.0-C5-kv-fp8-dies.log")).unwrap();
    assert_eq!(
        kv,
        "NotImplementedError: FP8 KV cache on CPU requires x86 with AVX-512 or AMX."
    );
    let weights = log::root_cause(include_str!("data/vllm-0.32.0-C8-fp8-dies.log")).unwrap();
    assert!(
        weights.starts_with("RuntimeError: _C::static_scaled_fp8_quant()"),
        "{weights}"
    );
}

#[test]
fn arguments_that_are_not_defaults() {
    let args = log::non_default_args(include_str!("data/vllm-0.32.0-C7-ngram.log")).unwrap();
    assert_eq!(args.get("dtype").unwrap(), "bfloat16");
    assert!(args.get("speculative_config").unwrap().contains("'method': 'ngram'"));
}
