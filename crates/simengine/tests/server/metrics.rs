//! The simulator's series against those that a real vLLM 0.32 was seen to have.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::sim;

const RECORDED: &str = include_str!("../data/vllm-0.32.0-series.txt");
/// The simulator's only label of its own.
const MARK: &str = "engine_kind";

/// Names and label names of every sample line of vLLM's.
fn series(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|l| l.starts_with("vllm:")) {
        let (name, rest) = line.split_once('{').unwrap();
        let labels = rest
            .split("=\"")
            .map(|piece| piece.rsplit([',', '{', '"']).next().unwrap());
        let labels = labels.filter(|l| !l.is_empty() && !l.contains(' ') && !l.contains('}'));
        found
            .entry(name.to_owned())
            .or_default()
            .extend(labels.map(str::to_owned));
    }
    found
}

fn recorded() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rows = RECORDED.lines().filter(|l| !l.starts_with('#'));
    rows.map(|l| l.split_once(' ').unwrap())
        .map(|(name, labels)| (name, labels.split(',').collect()))
        .collect()
}

#[test]
fn every_series_and_label_is_one_of_vllms() {
    let recorded = recorded();
    let flags = r#"--speculative-config {"method":"ngram","num_speculative_tokens":4}"#;
    let sim = sim("", flags, "");
    sim.chat("Summarise: the sea is wide.", ",\"max_tokens\":40,\"ignore_eos\":true");
    let ours = series(&sim.get("/metrics").text());
    assert!(ours.len() > 50, "{ours:?}");
    for (name, labels) in &ours {
        let Some(real) = recorded.get(name.as_str()) else {
            panic!("vLLM has no {name}");
        };
        let own: Vec<&String> = labels
            .iter()
            .filter(|l| !real.contains(l.as_str()) && *l != MARK)
            .collect();
        assert!(own.is_empty(), "{name} has labels that vLLM's has not: {own:?}");
        // Whoever reads a series by its labels must find them, but for the many of the cache's configuration.
        let lacking: Vec<_> = real.iter().filter(|l| !labels.contains(**l)).collect();
        assert!(
            lacking.is_empty() || name == "vllm:cache_config_info",
            "{name} lacks {lacking:?}"
        );
    }
    for needed in [
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:e2e_request_latency_seconds_bucket",
        "vllm:request_queue_time_seconds_bucket",
        "vllm:request_prefill_time_seconds_bucket",
        "vllm:request_decode_time_seconds_bucket",
        "vllm:request_time_per_output_token_seconds_bucket",
        "vllm:num_preemptions_total",
        "vllm:spec_decode_num_accepted_tokens_per_pos_total",
        "vllm:prompt_tokens_cached_total",
        "vllm:prompt_tokens_by_source_total",
        "vllm:num_requests_waiting_by_reason",
    ] {
        assert!(ours.contains_key(needed), "{needed}");
    }
}

#[test]
fn the_parts_of_a_request_add_up_in_engine_seconds() {
    // 5000 times faster than life: wall seconds would be 5000 times smaller.
    let sim = sim("", "", "");
    for _ in 0..3 {
        sim.chat("hello", ",\"max_tokens\":20,\"ignore_eos\":true");
    }
    let sum = |name: &str| sim.metric(&format!("vllm:{name}_sum"));
    let (queue, prefill, decode) = (
        sum("request_queue_time_seconds"),
        sum("request_prefill_time_seconds"),
        sum("request_decode_time_seconds"),
    );
    let e2e = sum("e2e_request_latency_seconds");
    assert!(
        (queue + prefill + decode - e2e).abs() < 1e-9,
        "{queue} {prefill} {decode} {e2e}"
    );
    assert!((sum("request_inference_time_seconds") - prefill - decode).abs() < 1e-9);
    assert!((sum("time_to_first_token_seconds") - queue - prefill).abs() < 1e-9);
    assert!((sum("inter_token_latency_seconds") - decode).abs() < 1e-9);
    // 19 steps of about 50 ms each, three times: a roofline of 14.5 GB at 300 GB/s.
    assert!(decode > 3.0 * 19.0 * 0.04, "{decode}");
}
