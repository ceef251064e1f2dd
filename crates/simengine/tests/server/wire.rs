//! The wire against recorded vLLM 0.32 captures: every recorded request is sent again, and the answer must have the same status,
//! the same headers and the same JSON keys in the same order, with the values that do not depend on the model.

use crate::common::{self, Ended, Raw, content_of, data, receive, send, sim};
use serde_json::Value;

fn capture(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/captures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A recorded answer: status, header names, body.
fn recorded(name: &str) -> (u16, Vec<String>, String) {
    let text = capture(&format!("{name}.txt"));
    let text = text.split("\n[curl rc=").next().unwrap().replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(n, _)| n.to_owned())
        .collect();
    (status, headers, body.to_owned())
}

/// Keys in order at every level; leaves are kept where they may not differ.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", keep(k, v))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
    }
}

fn keep(key: &str, value: &Value) -> String {
    match (key, value) {
        (
            "object" | "role" | "model" | "finish_reason" | "stop_reason" | "index" | "prompt_tokens" | "message"
            | "type" | "param" | "code",
            v,
        ) if !v.is_object() => v.to_string(),
        _ => shape(value),
    }
}

/// Events of one kind look alike, so a stream is compared by its distinct shapes in order.
fn shapes(events: &[String]) -> Vec<String> {
    let mut all: Vec<String> = events
        .iter()
        .map(|d| {
            if d == "[DONE]" {
                d.clone()
            } else {
                shape(&serde_json::from_str(d).unwrap())
            }
        })
        .collect();
    all.dedup();
    all
}

fn replay(sim: &common::Sim, name: &str) -> (Raw, (u16, Vec<String>, String)) {
    let request = capture(&format!("{name}.request.json"));
    let (line, body) = request.split_once('\n').unwrap();
    let (method, path) = line.split_once(' ').unwrap();
    (sim.ask(method, path, body.trim_end_matches('\n')), recorded(name))
}

fn same_head(name: &str, ours: &Raw, status: u16, headers: &[String]) {
    assert_eq!(ours.status, status, "{name}");
    let names: Vec<&str> = ours
        .headers
        .iter()
        .map(|(n, _)| n.as_str())
        .filter(|n| *n != "x-servelab-engine-kind")
        .collect();
    let theirs: Vec<&str> = headers.iter().map(String::as_str).collect();
    let sorted = |mut v: Vec<&str>| {
        v.sort_unstable();
        v.join(" ")
    };
    assert_eq!(sorted(names), sorted(theirs), "{name}");
    assert_eq!(ours.header("x-servelab-engine-kind"), Some("simulated"), "{name}");
}

#[test]
fn streams_have_the_recorded_shape() {
    let sim = sim("--empty-token-probability 0.2", "", "");
    for name in [
        "chat_stream_continuous_usage",
        "chat_stream_max_completion_tokens",
        "chat_stream_min_tokens",
        "chat_stream_no_usage",
        "chat_stream_usage",
        "completions_stream_continuous_usage",
        "completions_stream_usage",
        "completions_token_ids_prompt",
    ] {
        let (ours, (status, headers, body)) = replay(&sim, name);
        same_head(name, &ours, status, &headers);
        assert_eq!(ours.ended, Ended::Body, "{name}");
        let theirs = data(&body);
        assert_eq!(shapes(&ours.data()), shapes(&theirs), "{name}");
        assert_eq!(ours.data().last().unwrap(), "[DONE]");
        assert_eq!(ours.header("content-type"), Some("text/event-stream; charset=utf-8"));
        // One event a token here, as there: the counts agree too.
        assert_eq!(ours.data().len(), theirs.len(), "{name}");
    }
}

#[test]
fn whole_answers_have_the_recorded_shape() {
    let sim = sim("", "", "");
    for name in ["chat_nonstream", "completions_nonstream", "unknown_field"] {
        let (ours, (status, headers, body)) = replay(&sim, name);
        same_head(name, &ours, status, &headers);
        let theirs: Value = serde_json::from_str(&body).unwrap();
        // How long an answer is by itself is the model's affair.
        let mut mine = ours.json();
        mine["choices"][0]["finish_reason"] = theirs["choices"][0]["finish_reason"].clone();
        assert_eq!(shape(&mine), shape(&theirs), "{name}");
    }
}

#[test]
fn errors_are_the_recorded_ones_word_for_word() {
    let sim = sim("", "", "");
    for name in [
        "err_context_overflow_chat",
        "err_context_overflow_completions",
        "err_context_overflow_maxtokens",
        "err_malformed_json",
        "err_max_tokens_zero",
        "err_min_gt_max",
        "err_n0",
        "err_no_messages",
        "err_stream_options_no_stream",
        "err_temperature_neg",
        "err_temperature_string",
        "err_unknown_model",
    ] {
        let (ours, (status, headers, body)) = replay(&sim, name);
        same_head(name, &ours, status, &headers);
        assert_eq!(ours.text(), body.trim_end_matches('\n'), "{name}");
    }
    for (method, path, name) in [
        ("GET", "/nothing", "err_404_route"),
        ("GET", "/v1/chat/completions", "err_405"),
    ] {
        let (status, headers, body) = recorded(name);
        let ours = sim.ask(method, path, "");
        same_head(name, &ours, status, &headers);
        assert_eq!(ours.text(), body.trim_end_matches('\n'));
    }
}

#[test]
fn tokenize_counts_as_recorded() {
    let sim = sim("", "", "");
    for name in [
        "tokenize_messages",
        "tokenize_prompt",
        "tokenize_prompt_nospecial",
        "detokenize",
    ] {
        let (ours, (status, headers, body)) = replay(&sim, name);
        same_head(name, &ours, status, &headers);
        assert_eq!(ours.text(), body.trim_end_matches('\n'), "{name}");
    }
}

#[test]
fn plain_routes_and_their_marks() {
    let sim = sim("", "", "");
    for (path, name) in [
        ("/health", "GET_health"),
        ("/ping", "GET_ping"),
        ("/v1/models", "GET_v1_models"),
        ("/version", "GET_version"),
    ] {
        let (status, headers, _) = recorded(name);
        same_head(name, &sim.get(path), status, &headers);
    }
    let version = sim.get("/version").json();
    assert_eq!(
        (version["version"].as_str(), version["engine_kind"].as_str()),
        (Some("0.32.0"), Some("simulated"))
    );
    let models = sim.get("/v1/models").json();
    let theirs: Value = serde_json::from_str(&recorded("GET_v1_models").2).unwrap();
    let keys = |v: &Value| v["data"][0].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&models), keys(&theirs));
    assert_eq!(models["data"][0]["owned_by"], "servelab-simulated");
    let answer = sim.chat("hello", ",\"max_tokens\":2");
    assert!(
        answer.events().last().unwrap()["system_fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("simulated-")
    );
}

#[test]
fn usage_counts_every_token_and_the_role_none() {
    let sim = sim("--empty-token-probability 0.3", "", "");
    let answer = sim.chat(
        "Write one sentence about the sea.",
        ",\"max_tokens\":40,\"ignore_eos\":true",
    );
    let events = answer.events();
    let counts: Vec<u64> = events
        .iter()
        .map(|e| e["usage"]["completion_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(counts[0], 0);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(counts[1..41], (1..=40).collect::<Vec<u64>>());
    let last = events.last().unwrap();
    assert_eq!(
        (
            last["choices"].as_array().unwrap().len(),
            last["usage"]["total_tokens"].as_u64()
        ),
        (0, Some(50))
    );
    let empty = events[1..41]
        .iter()
        .filter(|e| content_of(e).unwrap().is_empty())
        .count();
    assert!((3..25).contains(&empty), "{empty} tokens without text");
}

#[test]
fn several_tokens_in_an_event_where_speculation_accepts() {
    let sim = sim(
        "",
        r#"--speculative-config {"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}"#,
        "",
    );
    let answer = sim.chat(
        "Summarise the main points of this article.",
        ",\"max_tokens\":120,\"ignore_eos\":true",
    );
    let mut before = 0;
    let mut sizes = Vec::new();
    for event in &answer.events()[1..] {
        let now = event["usage"]["completion_tokens"].as_u64().unwrap();
        sizes.push(now - before);
        before = now;
    }
    assert_eq!(before, 120);
    assert!(
        sizes.iter().all(|s| *s <= 5) && sizes.iter().any(|s| *s >= 3) && sizes.contains(&1),
        "{sizes:?}"
    );
    let accepted = sim.metric("vllm:spec_decode_num_accepted_tokens_total");
    assert!(accepted > 0.0 && sim.metric("vllm:spec_decode_num_draft_tokens_total") > accepted);
    assert!(sim.metric("vllm:spec_decode_num_accepted_tokens_per_pos_total{engine=\"0\",position=\"3\"") > 0.0);
}

#[test]
fn same_seed_same_text_whatever_the_variant() {
    let text = |options: &str, flags: &str, more: &str| {
        sim(options, flags, "")
            .chat("A question about the sea?", more)
            .content()
    };
    let more = ",\"max_tokens\":64,\"ignore_eos\":true";
    let base = text("--seed 7", "", more);
    assert!(base.len() > 100, "{base}");
    assert_eq!(base, text("--seed 7", "--quantization fp8 --enforce-eager", more));
    assert_eq!(
        base,
        text(
            "--seed 7",
            r#"--speculative-config {"method":"ngram","num_speculative_tokens":4}"#,
            more
        )
    );
    assert_ne!(base, text("--seed 8", "", more));
    // Sampled answers follow the request's own seed.
    let sampled = |seed: u32| format!(",\"max_tokens\":64,\"ignore_eos\":true,\"temperature\":0.8,\"seed\":{seed}");
    let fields = |s: &str| s.replace(",\"temperature\":0.8", "");
    assert!(fields(&sampled(1)).contains("seed"));
    let body = |seed| common::chat_body("x", &sampled(seed)).replacen("\"temperature\":0,", "", 1);
    let sim = sim("", "", "");
    let ask = |seed| sim.post("/v1/chat/completions", &body(seed)).content();
    assert_eq!(ask(1), ask(1));
    assert_ne!(ask(1), ask(2));
}

#[test]
fn natural_ends_and_stop_strings() {
    let sim = sim("", "", "");
    let natural = sim.chat("Question: where is the sea? Answer:", ",\"max_tokens\":2000");
    let events = natural.events();
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert!(
        content_of(&events[events.len() - 2]).unwrap().is_empty(),
        "the last token ends the text and shows none"
    );
    let stopped = sim.chat("hello", ",\"max_tokens\":500,\"ignore_eos\":true,\"stop\":[\"e\"]");
    let events = stopped.events();
    let last = &events[events.len() - 2]["choices"][0];
    assert_eq!(
        (last["finish_reason"].as_str(), last["stop_reason"].as_str()),
        (Some("stop"), Some("e"))
    );
    assert!(!stopped.content().contains('e'));
}

#[test]
fn token_ids_and_request_ids() {
    let sim = sim("--empty-token-probability 0", "--enable-request-id-headers", "");
    let mut socket = sim.connect();
    let mut rest = Vec::new();
    let body = common::chat_body(
        "Write one sentence about the sea.",
        ",\"max_tokens\":3,\"ignore_eos\":true,\"return_token_ids\":true",
    );
    send(
        &mut socket,
        "POST",
        "/v1/chat/completions",
        &body,
        "x-request-id: b03-C7-0041-a1\r\n",
    );
    let answer = receive(&mut socket, &mut rest);
    assert_eq!(answer.header("x-request-id"), Some("b03-C7-0041-a1"));
    let events = answer.events();
    assert_eq!(events[0]["id"], "chatcmpl-b03-C7-0041-a1");
    assert_eq!(events[0]["prompt_token_ids"].as_array().unwrap().len(), 10);
    let ids: Vec<u64> = events[1..4]
        .iter()
        .flat_map(|e| e["choices"][0]["token_ids"].as_array().unwrap())
        .map(|v| v.as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), 3);
    // The ids decode to the text that was sent.
    let decoded = sim.post("/detokenize", &format!("{{\"tokens\":{ids:?}}}")).json();
    assert_eq!(decoded["prompt"].as_str().unwrap().trim_start(), answer.content());
    // The same connection takes the next request.
    send(&mut socket, "GET", "/health", "", "");
    assert_eq!(receive(&mut socket, &mut rest).status, 200);
}

#[test]
fn metrics_have_vllms_names() {
    let sim = sim("", "", "");
    sim.chat("hello", ",\"max_tokens\":5,\"ignore_eos\":true");
    let text = sim.get("/metrics").text();
    let theirs = capture("GET_metrics_after.txt");
    let names = |t: &str| -> Vec<String> {
        t.lines()
            .filter(|l| l.starts_with("vllm:"))
            .map(|l| l.split(['{', ' ']).next().unwrap().to_owned())
            .collect()
    };
    let known = names(&theirs);
    for name in names(&text) {
        assert!(known.contains(&name), "{name} is no metric of vLLM 0.32");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for needed in [
        "vllm:kv_cache_usage_perc",
        "vllm:num_requests_waiting",
        "vllm:prefix_cache_queries_total",
        "vllm:num_preemptions_total",
        "vllm:inter_token_latency_seconds_sum",
        "vllm:request_queue_time_seconds_count",
    ] {
        assert!(text.contains(needed), "{needed}");
    }
    assert!((sim.metric("vllm:prompt_tokens_total") - 5.0).abs() < 1e-9);
    assert!((sim.metric("vllm:generation_tokens_total") - 5.0).abs() < 1e-9);
    assert!((sim.metric("vllm:request_success_total{engine=\"0\",finished_reason=\"length\"") - 1.0).abs() < 1e-9);
    assert!((sim.metric("vllm:time_to_first_token_seconds_count") - 1.0).abs() < 1e-9);
    // A decode step of this model reads 14 GB at 300 GB/s: the histogram is in engine seconds.
    let (sum, count) = (
        sim.metric("vllm:inter_token_latency_seconds_sum"),
        sim.metric("vllm:inter_token_latency_seconds_count"),
    );
    assert!((0.045..0.055).contains(&(sum / count)), "{sum} {count}");
    assert!((sim.metric("servelab_engine_info{engine_kind=\"simulated\"}") - 1.0).abs() < 1e-9);
    assert!(sim.metric("servelab_sim_lateness_seconds_count") >= 5.0);
    assert!(text.contains("vllm:cache_config_info{block_size=\"16\",cache_dtype=\"auto\""));
}

#[test]
fn a_repeated_prompt_hits_the_prefix_cache_unless_salted_or_switched_off() {
    let prompt = "the sea is wide and ".repeat(40);
    let hits = |flags: &str, more: [&str; 2]| {
        let sim = sim("", flags, "");
        for m in more {
            sim.chat(&prompt, &format!(",\"max_tokens\":2{m}"));
        }
        sim.metric("vllm:prefix_cache_hits_total")
    };
    assert!(hits("", ["", ""]) > 100.0);
    assert!(hits("", [",\"cache_salt\":\"a\"", ",\"cache_salt\":\"b\""]).abs() < 1e-9);
    assert!(hits("--no-enable-prefix-caching", ["", ""]).abs() < 1e-9);
}

#[test]
fn stopping_in_flight_ends_streams_as_recorded() {
    // Real time: 2000 tokens would take 100 s, so the stop comes in the middle.
    let sim = sim("--time-scale 20", "", "");
    let mut socket = sim.connect();
    send(
        &mut socket,
        "POST",
        "/v1/chat/completions",
        &common::chat_body("hello", ",\"max_tokens\":2000,\"ignore_eos\":true"),
        "",
    );
    let mut rest = Vec::new();
    // Wait for the first token event.
    let mut block = [0u8; 4096];
    while !String::from_utf8_lossy(&rest).contains("\"completion_tokens\":1,") {
        let n = std::io::Read::read(&mut socket, &mut block).unwrap();
        rest.extend_from_slice(&block[..n]);
    }
    sim.server.stop();
    let answer = receive(&mut socket, &mut rest);
    assert_eq!(answer.ended, Ended::Body);
    let theirs = capture("sigterm_inflight.txt");
    assert!(theirs.contains("\"finish_reason\":\"abort\",\"stop_reason\":null,\"token_ids\":null}]"));
    let events = answer.events();
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "abort");
    let tokens = events.last().unwrap()["usage"]["completion_tokens"].as_u64().unwrap();
    assert!((1..2000).contains(&tokens));
    assert_eq!(answer.data().last().unwrap(), "[DONE]");
}

#[test]
fn a_client_that_goes_frees_the_engine() {
    let sim = sim("--time-scale 20", "", "");
    let mut socket = sim.connect();
    send(
        &mut socket,
        "POST",
        "/v1/chat/completions",
        &common::chat_body("hello", ",\"max_tokens\":2000,\"ignore_eos\":true"),
        "",
    );
    let mut block = [0u8; 512];
    assert!(std::io::Read::read(&mut socket, &mut block).unwrap() > 0);
    while sim.metric("vllm:num_requests_running") < 1.0 {}
    drop(socket);
    // 2000 tokens would take 5 s here; the engine is empty well before.
    while sim.metric("vllm:num_requests_running") > 0.0 {}
    assert!(sim.metric("vllm:generation_tokens_total") < 1900.0);
    assert!(sim.metric("vllm:kv_cache_usage_perc").abs() < 1e-9);
    assert!(
        sim.metric("vllm:request_success_total{engine=\"0\",finished_reason=\"abort\"")
            .abs()
            < 1e-9
    );
}
