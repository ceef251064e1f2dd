//! SGLang mode: pages, stream form, refusals and metrics as SGLang's source has them.

use crate::common::{self, Cli, Ended, sim};
use clap::Parser;
use serde_json::{Value, json};
use servelab_simengine::run::configure;
use servelab_simengine::sglang::evidence;

const MODE: &str = "--dialect sglang";

fn lines(flags: &str) -> String {
    let line = format!("sim --tokenizer-dir unused {MODE} --served-model-name tiny -- --model-path m {flags}");
    let args = Cli::try_parse_from(line.split_whitespace()).unwrap().sim;
    let config = configure(&args, 30_000).unwrap();
    let mut lines = evidence::before_start(&config, 1.0);
    lines.extend(evidence::after_start(&config, 1.0));
    lines.join("\n")
}

#[test]
fn the_log_shows_the_effective_arguments() {
    let text = lines("--disable-radix-cache --kv-cache-dtype fp8_e5m2 --max-running-requests 8 --log-level info");
    let args = text.lines().find(|l| l.contains("server_args=ServerArgs(")).unwrap();
    for part in [
        "model_path='m'",
        "served_model_name='tiny'",
        "disable_radix_cache=True",
        "disable_cuda_graph=False",
        "kv_cache_dtype='fp8_e5m2'",
        "max_running_requests=8",
        "quantization=None",
        "mem_fraction_static=0.85",
        "log_level='info'",
    ] {
        assert!(args.contains(part), "{part}: {args}");
    }
    assert!(text.contains("KV Cache is allocated. dtype: torch.float8_e5m2, #tokens: "));
    assert!(text.contains("--log-level is accepted and has no effect"));
    assert!(evidence::ready().contains("The server is fired up and ready to roll!"));
}

#[test]
fn pages_go_by_both_names_and_metrics_only_on_demand() {
    let sim = sim(MODE, "", "");
    for path in ["/health", "/health_generate", "/v1/models", "/metrics"] {
        assert_eq!(sim.get(path).status, 200, "{path}");
    }
    assert_eq!(sim.get("/version").status, 404);
    for path in ["/server_info", "/get_server_info"] {
        let info = sim.get(path).json();
        assert_eq!(info["version"], "0.5.19");
        assert_eq!(info["engine_kind"], "simulated");
        assert_eq!(info["chunked_prefill_size"], 2048);
        assert_eq!(info["served_model_name"], "tiny");
        assert!(info["max_total_num_tokens"].as_u64().unwrap() > 2048);
    }
    assert_eq!(sim.get("/get_model_info").json()["model_path"], "m");
    let without = common::sim(&format!("{MODE} --hidden-ignore-flag enable-metrics"), "", "");
    assert_eq!(without.get("/metrics").status, 404);
}

#[test]
fn it_listens_before_it_is_healthy() {
    let sim = sim(&format!("{MODE} --not-ready"), "", "");
    for path in ["/health", "/health_generate"] {
        assert_eq!(sim.get(path).status, 503);
    }
    assert_eq!(sim.get("/model_info").status, 200);
    sim.server.set_ready();
    assert_eq!(sim.get("/health").status, 200);
}

#[test]
fn a_chat_stream_has_a_role_tokens_an_end_and_usage() {
    let sim = sim(MODE, "", "");
    let answer = sim.chat("hello", ",\"max_tokens\":4,\"ignore_eos\":true");
    assert_eq!((answer.status, answer.ended), (200, Ended::Body));
    assert_eq!(answer.data().last().unwrap(), "[DONE]");
    let events = answer.events();
    assert_eq!(events.len(), 1 + 4 + 1 + 1);
    let choice = |i: usize| events[i]["choices"][0].clone();
    assert_eq!(choice(0)["delta"], json!({"role": "assistant", "content": ""}));
    assert!(events[0].get("usage").is_none());
    let counts: Vec<u64> = events[1..5]
        .iter()
        .map(|e| e["usage"]["completion_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1, 2, 3, 4]);
    assert!(events[1..5].iter().all(|e| e["choices"][0]["finish_reason"].is_null()));
    assert_eq!(
        choice(5),
        json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "length", "matched_stop": null})
    );
    assert_eq!(events[6]["choices"], json!([]));
    let keys: Vec<&String> = events[6]["usage"].as_object().unwrap().keys().collect();
    let want = [
        "prompt_tokens",
        "total_tokens",
        "completion_tokens",
        "prompt_tokens_details",
        "reasoning_tokens",
    ];
    assert_eq!(keys, want);
    assert_eq!(events[6]["usage"]["completion_tokens"], 4);
}

#[test]
fn completions_end_in_their_last_token_event() {
    let sim = sim(MODE, "", "");
    let body = r#"{"model":"anything","prompt":"a b c","max_tokens":2,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#;
    let events = sim.post("/v1/completions", body).events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(events[1]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[1]["choices"][0]["matched_stop"], Value::Null);
    assert_eq!(events[1]["model"], "anything", "any name is served");
    let whole = sim
        .chat("hello", ",\"max_tokens\":2,\"ignore_eos\":true,\"stream\":false")
        .json();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 2);
}

#[test]
fn refusals_are_flat_and_come_before_the_stream() {
    let sim = sim(MODE, "", "");
    let refused = |more: &str| {
        let answer = sim.chat("hello", more);
        assert_eq!(answer.status, 400);
        let body = answer.json();
        assert_eq!(body["object"], "error");
        assert_eq!(body["code"], 400);
        assert!(body.get("error").is_none());
        body["message"].as_str().unwrap().to_owned()
    };
    let text = refused(",\"max_tokens\":2048");
    assert!(
        text.contains("exceeds the model's maximum context length of 2048 tokens"),
        "{text}"
    );
    // A request that fills the context exactly is refused as well.
    let prompt = sim.chat("hello", ",\"max_tokens\":1").events();
    let tokens = prompt.last().unwrap()["usage"]["prompt_tokens"].as_u64().unwrap();
    refused(&format!(",\"max_tokens\":{}", 2048 - tokens));
    let long = sim.chat(&"word ".repeat(3000), ",\"max_tokens\":1");
    assert!(
        long.json()["message"]
            .as_str()
            .unwrap()
            .contains("is longer than the model's context length")
    );
}

#[test]
fn faults_take_sglangs_form() {
    let script = "[[fault]]\nrequest = 1\nkind = \"error-event\"\n[[fault]]\nrequest = 2\nkind = \"http-status\"\nstatus = 503\n[[fault]]\nrequest = 3\nkind = \"abort\"\n";
    let sim = sim(MODE, "", script);
    let broken = sim.chat("hello", ",\"max_tokens\":9,\"ignore_eos\":true");
    let last = broken.events().pop().unwrap();
    assert_eq!(last["error"]["object"], "error");
    assert_eq!(broken.data().last().unwrap(), "[DONE]");
    let refused = sim.chat("hello", "");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], 503);
    let aborted = sim.chat("hello", ",\"max_tokens\":9,\"ignore_eos\":true").events();
    assert_eq!(aborted[aborted.len() - 2]["choices"][0]["finish_reason"], "abort");
}

#[test]
fn metrics_count_what_has_ended() {
    let flags = "--speculative-algorithm NGRAM --speculative-num-draft-tokens 5";
    let sim = sim(MODE, flags, "");
    let prompt = "the sea is wide and ".repeat(40);
    for _ in 0..2 {
        let answer = sim.chat(&prompt, ",\"max_tokens\":20,\"ignore_eos\":true");
        assert_eq!(answer.events().last().unwrap()["usage"]["completion_tokens"], 20);
    }
    let text = sim.get("/metrics").text();
    assert!(!text.contains("vllm:") && text.contains("servelab_engine_info{engine_kind=\"simulated\"} 1"));
    assert!((sim.metric("sglang:generation_tokens_total") - 40.0).abs() < 1e-9);
    assert!((sim.metric("sglang:num_requests_total") - 2.0).abs() < 1e-9);
    // One observation per token after the first output.
    let tokens = sim.metric("sglang:inter_token_latency_seconds_count");
    assert!((30.0..=38.0).contains(&tokens), "{tokens}");
    let gaps = sim.metric("sglang:inter_token_latency_seconds_sum");
    let (ttft, e2e) = (
        sim.metric("sglang:time_to_first_token_seconds_sum"),
        sim.metric("sglang:e2e_request_latency_seconds_sum"),
    );
    assert!((ttft + gaps - e2e).abs() < 1e-9, "{ttft} {gaps} {e2e}");
    assert!(sim.metric("sglang:spec_accept_length") >= 1.0);
    // The second prompt was found in the radix cache.
    assert!(sim.metric("sglang:cached_tokens_total") > 100.0);
    assert!(sim.metric("sglang:num_queue_reqs").abs() < 1e-9);
}
