//! SGLang's series, with the meaning that its `metrics_collector.py` gives them: token and request counters rise when a request
//! ends, inter-token latency is observed once per token, and a speculative step is one verification.

use std::fmt::Write as _;

use super::{Finished, Histogram};
use crate::config::EngineConfig;
use crate::step::Gauges;

const TTFT: &[f64] = &[
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
];
const E2E: &[f64] = &[
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0, 600.0, 1200.0,
    1800.0, 2400.0,
];
const ITL: &[f64] = &[
    0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0,
    2.0, 4.0, 6.0, 8.0,
];
const QUEUE: &[f64] = &[
    0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0,
    100.0, 200.0, 500.0, 1000.0, 2000.0, 3000.0,
];

/// Labels of the scheduler's series before the model's name.
const RANK: &str = "engine_type=\"unified\",";
const RANK_AFTER: &str = ",pp_rank=\"0\",tp_rank=\"0\"";

/// What SGLang counts.
#[derive(Debug)]
pub(super) struct Series {
    capacity_tokens: u64,
    speculating: bool,
    ttft: Histogram,
    itl: Histogram,
    e2e: Histogram,
    queue: Histogram,
    prompt_tokens: u64,
    generation_tokens: u64,
    requests: u64,
    aborted: u64,
    verifications: u64,
    drafted: u64,
    accepted: u64,
}

impl Series {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let h = Histogram::new;
        Self {
            capacity_tokens: config.kv_cache_tokens(),
            speculating: config.ngram.is_some(),
            ttft: h(
                "sglang:time_to_first_token_seconds",
                "Time to first token (engine seconds).",
                TTFT,
            ),
            itl: h(
                "sglang:inter_token_latency_seconds",
                "Time per token between two outputs (engine seconds).",
                ITL,
            ),
            e2e: h(
                "sglang:e2e_request_latency_seconds",
                "Time of a request (engine seconds).",
                E2E,
            ),
            queue: h("sglang:queue_time_seconds", "Time waiting (engine seconds).", QUEUE),
            prompt_tokens: 0,
            generation_tokens: 0,
            requests: 0,
            aborted: 0,
            verifications: 0,
            drafted: 0,
            accepted: 0,
        }
    }

    /// A step has verified these drafts: length and accepted.
    pub(super) fn verified(&mut self, drafts: &[(u32, u32)]) {
        for (length, accepted) in drafts {
            self.verifications += 1;
            self.drafted += u64::from(*length);
            self.accepted += u64::from(*accepted);
        }
    }

    /// Tokens came out `since_s` after the last ones, or after the arrival.
    pub(super) fn tokens(&mut self, tokens: u32, since_s: f64, first: bool) {
        if first {
            self.ttft.observe(since_s);
        } else {
            self.itl.observe_each(since_s / f64::from(tokens.max(1)), tokens);
        }
    }

    /// A request has ended.
    pub(super) fn finished(&mut self, f: &Finished) {
        if f.reason == "abort" {
            self.aborted += 1;
            return;
        }
        self.requests += 1;
        self.prompt_tokens += u64::from(f.prompt_tokens);
        self.generation_tokens += u64::from(f.output_tokens);
        self.e2e.observe(f.last_token_s - f.arrival_s);
        self.queue.observe((f.started_s - f.arrival_s).max(0.0));
    }

    #[expect(clippy::as_conversions, reason = "counters below 2^53, printed as Prometheus floats")]
    pub(super) fn render(&self, g: &Gauges, model: &str, out: &mut String) {
        let mut one = |name: &str, kind: &str, labels: &str, value: f64| {
            let _ = writeln!(
                out,
                "# HELP {name} Simulated.\n# TYPE {name} {kind}\n{name}{{{labels}}} {value:?}"
            );
        };
        let scheduler = format!("{RANK}{model}{RANK_AFTER}");
        let ratio = |part: u64, whole: u64| {
            if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
        };
        let used = g.kv_usage * self.capacity_tokens as f64;
        one("sglang:num_running_reqs", "gauge", &scheduler, g.running as f64);
        one("sglang:num_queue_reqs", "gauge", &scheduler, g.waiting as f64);
        one("sglang:token_usage", "gauge", &scheduler, g.kv_usage);
        one("sglang:num_used_tokens", "gauge", &scheduler, used.round());
        let hit_rate = ratio(g.prefix_hits, g.prefix_queries);
        one("sglang:cache_hit_rate", "gauge", &scheduler, hit_rate);
        let capacity = self.capacity_tokens as f64;
        one("sglang:max_total_num_tokens", "gauge", &scheduler, capacity);
        let retracted = "sglang:num_retracted_requests_total";
        one(retracted, "counter", &scheduler, g.preemptions as f64);
        if self.speculating {
            let length = 1.0 + ratio(self.accepted, self.verifications);
            one("sglang:spec_accept_length", "gauge", &scheduler, length);
            let rate = ratio(self.accepted, self.drafted);
            one("sglang:spec_accept_rate", "gauge", &scheduler, rate);
            let calls = self.verifications as f64;
            one("sglang:spec_verify_calls_total", "counter", model, calls);
        }
        let streaming = format!("is_streaming=\"true\",{model}");
        let prompt = self.prompt_tokens as f64;
        one("sglang:prompt_tokens_total", "counter", &streaming, prompt);
        let generated = self.generation_tokens as f64;
        one("sglang:generation_tokens_total", "counter", &streaming, generated);
        one("sglang:num_requests_total", "counter", &streaming, self.requests as f64);
        one(
            "sglang:num_aborted_requests_total",
            "counter",
            model,
            self.aborted as f64,
        );
        if g.prefix_hits > 0 {
            let device = format!("cache_source=\"device\",{model}");
            one("sglang:cached_tokens_total", "counter", &device, g.prefix_hits as f64);
        }
        self.ttft.render("is_streaming=\"true\",", model, out);
        self.itl.render("", model, out);
        self.e2e.render("is_streaming=\"true\",", model, out);
        self.queue.render(RANK, model, out);
    }
}
