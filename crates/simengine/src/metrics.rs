//! `/metrics` with the engine's names, and the simulator's own: engine kind, time scale, lateness. Seconds are engine seconds
//! (wall seconds times the time scale), but for the lateness.

mod histogram;
mod sglang;

use std::fmt::Write as _;

use hdrhistogram::Histogram as Hdr;

use crate::config::EngineConfig;
use crate::dialect::Dialect;
use crate::step::Gauges;

use histogram::Histogram;

const TTFT: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const ITL: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const STEP_TOKENS: &[f64] = &[
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0,
];
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
const REASONS: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];

/// The times of one finished request, in engine seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished {
    /// vLLM's reason.
    pub reason: &'static str,
    /// When the request had been read.
    pub arrival_s: f64,
    /// When the scheduler first ran it.
    pub started_s: f64,
    /// When its first token came out.
    pub first_token_s: f64,
    /// When its last token came out.
    pub last_token_s: f64,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// Token limit.
    pub max_tokens: u32,
}

/// How late emissions were: wall nanoseconds from the deadline to the end of the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lateness {
    /// Emissions.
    pub count: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// Largest.
    pub max_ns: u64,
}

/// All counters of a run.
#[derive(Debug)]
pub struct Metrics {
    started_unix_s: f64,
    dialect: Dialect,
    /// SGLang's own, where it is the dialect.
    sglang: sglang::Series,
    labels: String,
    cache_info: String,
    speculation: Option<usize>,
    time_scale: f64,
    gauges: Gauges,
    kv_usage: f64,
    prompt_tokens: u64,
    generation_tokens: u64,
    success: [u64; REASONS.len()],
    drafts: u64,
    draft_tokens: u64,
    accepted_tokens: u64,
    accepted_by_position: Vec<u64>,
    ttft: Histogram,
    itl: Histogram,
    tpot: Histogram,
    e2e: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    step_tokens: Histogram,
    request_prompt: Histogram,
    request_generation: Histogram,
    request_max_tokens: Histogram,
    request_longest: Histogram,
    request_n: Histogram,
    lateness: Option<Hdr<u64>>,
    tokenize_overrun_s: f64,
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(config: &EngineConfig, time_scale: f64) -> Self {
        let model = config.served_names.first().map_or("", String::as_str);
        let mut escaped = String::new();
        crate::chunk::escape(model, &mut escaped);
        let python = |b: bool| if b { "True" } else { "False" };
        let offload = config
            .kv_offloading_gib
            .map_or_else(|| "None".to_owned(), |g| format!("{g:?}"));
        let cache_info = format!(
            "vllm:cache_config_info{{block_size=\"{}\",cache_dtype=\"{}\",enable_prefix_caching=\"{}\",engine=\"0\",engine_kind=\"simulated\",gpu_memory_utilization=\"{:?}\",kv_cache_memory_bytes=\"{}\",kv_cache_size_tokens=\"{}\",kv_offloading_backend=\"native\",kv_offloading_size=\"{offload}\",num_cpu_blocks=\"None\",num_gpu_blocks=\"{}\",num_gpu_blocks_override=\"None\"}} 1.0",
            config.block_size,
            config.kv_cache_dtype,
            python(config.prefix_caching),
            config.gpu_memory_utilization,
            config.kv_cache_bytes,
            config.kv_cache_tokens(),
            config.num_gpu_blocks(),
        );
        let h = Histogram::new;
        Self {
            started_unix_s: crate::clock::unix_exact_s(),
            dialect: config.dialect,
            sglang: sglang::Series::new(config),
            labels: format!("model_name=\"{escaped}\""),
            cache_info,
            speculation: config.ngram.map(|n| usize::try_from(n.tokens).unwrap_or(0)),
            time_scale,
            gauges: Gauges::default(),
            kv_usage: 0.0,
            prompt_tokens: 0,
            generation_tokens: 0,
            success: [0; REASONS.len()],
            drafts: 0,
            draft_tokens: 0,
            accepted_tokens: 0,
            accepted_by_position: vec![0; config.ngram.map_or(0, |n| usize::try_from(n.tokens).unwrap_or(0))],
            ttft: h(
                "vllm:time_to_first_token_seconds",
                "Time to first token (engine seconds).",
                TTFT,
            ),
            itl: h(
                "vllm:inter_token_latency_seconds",
                "Time between two outputs of a request (engine seconds).",
                ITL,
            ),
            tpot: h(
                "vllm:request_time_per_output_token_seconds",
                "Time per output token of a request (engine seconds).",
                ITL,
            ),
            e2e: h(
                "vllm:e2e_request_latency_seconds",
                "Time from arrival to last token (engine seconds).",
                REQUEST,
            ),
            queue: h(
                "vllm:request_queue_time_seconds",
                "Time waiting (engine seconds).",
                REQUEST,
            ),
            inference: h(
                "vllm:request_inference_time_seconds",
                "Time running (engine seconds).",
                REQUEST,
            ),
            prefill: h(
                "vllm:request_prefill_time_seconds",
                "Time in prefill (engine seconds).",
                REQUEST,
            ),
            decode: h(
                "vllm:request_decode_time_seconds",
                "Time in decode (engine seconds).",
                REQUEST,
            ),
            step_tokens: h(
                "vllm:iteration_tokens_total",
                "Positions computed per step.",
                STEP_TOKENS,
            ),
            request_prompt: h("vllm:request_prompt_tokens", "Prompt tokens per request.", TOKENS),
            request_generation: h(
                "vllm:request_generation_tokens",
                "Generated tokens per request.",
                TOKENS,
            ),
            request_max_tokens: h("vllm:request_params_max_tokens", "Token limit per request.", TOKENS),
            request_longest: h(
                "vllm:request_max_num_generation_tokens",
                "Tokens of a request's longest answer.",
                TOKENS,
            ),
            request_n: h("vllm:request_params_n", "Answers asked for per request.", CHOICES),
            lateness: Hdr::new_with_bounds(1, 60_000_000_000, 3).ok(),
            tokenize_overrun_s: 0.0,
        }
    }

    /// A step has begun: its size, its drafts, and the gauges.
    pub fn step(&mut self, positions: u32, drafts: &[(u32, u32)], gauges: Gauges) {
        self.step_tokens.observe(f64::from(positions));
        self.sglang.verified(drafts);
        for (length, accepted) in drafts {
            self.drafts += 1;
            self.draft_tokens += u64::from(*length);
            self.accepted_tokens += u64::from(*accepted);
            for count in self
                .accepted_by_position
                .iter_mut()
                .take(usize::try_from(*accepted).unwrap_or(0))
            {
                *count += 1;
            }
        }
        self.set_gauges(gauges);
    }

    /// The gauges alone.
    pub fn set_gauges(&mut self, gauges: Gauges) {
        self.gauges = gauges;
        self.kv_usage = gauges.kv_usage;
    }

    /// Tokens came out for a request: `since_s` after its previous ones, or after its arrival where `first`.
    pub fn tokens(&mut self, tokens: u32, since_s: f64, first: Option<u32>) {
        self.generation_tokens += u64::from(tokens);
        match first {
            Some(prompt_tokens) => {
                self.prompt_tokens += u64::from(prompt_tokens);
                self.ttft.observe(since_s);
            }
            None => self.itl.observe(since_s),
        }
        self.sglang.tokens(tokens, since_s, first.is_some());
    }

    /// A request has ended.
    pub fn finished(&mut self, f: &Finished) {
        if let Some(count) = REASONS
            .iter()
            .position(|r| *r == f.reason)
            .and_then(|i| self.success.get_mut(i))
        {
            *count += 1;
        }
        self.sglang.finished(f);
        self.e2e.observe(f.last_token_s - f.arrival_s);
        self.queue.observe((f.started_s - f.arrival_s).max(0.0));
        self.inference.observe((f.last_token_s - f.started_s).max(0.0));
        self.prefill.observe((f.first_token_s - f.started_s).max(0.0));
        self.decode.observe((f.last_token_s - f.first_token_s).max(0.0));
        if f.output_tokens > 1 {
            self.tpot
                .observe((f.last_token_s - f.first_token_s) / f64::from(f.output_tokens - 1));
        }
        self.request_prompt.observe(f64::from(f.prompt_tokens));
        self.request_generation.observe(f64::from(f.output_tokens));
        self.request_max_tokens.observe(f64::from(f.max_tokens));
        // One choice per request: the longest answer is the answer.
        self.request_longest.observe(f64::from(f.output_tokens));
        self.request_n.observe(1.0);
    }

    /// A write ended `late_ns` wall nanoseconds after its deadline.
    pub fn late(&mut self, late_ns: u64) {
        if let Some(h) = &mut self.lateness {
            h.saturating_record(late_ns.max(1));
        }
    }

    /// Real tokenization took `engine_s` engine seconds longer than the modelled one.
    pub fn tokenize_overrun(&mut self, engine_s: f64) {
        self.tokenize_overrun_s += engine_s;
    }

    /// Lateness so far.
    #[must_use]
    pub fn lateness(&self) -> Lateness {
        self.lateness
            .as_ref()
            .filter(|h| !h.is_empty())
            .map_or_else(Lateness::default, |h| Lateness {
                count: h.len(),
                p50_ns: h.value_at_quantile(0.5),
                p99_ns: h.value_at_quantile(0.99),
                max_ns: h.max(),
            })
    }

    /// The exposition text.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "counters below 2^53, printed as Prometheus floats")]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        if self.dialect == Dialect::Sglang {
            self.sglang.render(&self.gauges, &self.labels, &mut out);
            self.render_own(&mut out);
            return out;
        }
        let labels = &self.labels;
        let mut one = |name: &str, kind: &str, help: &str, extra: &[(String, f64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (more, value) in extra {
                let _ = writeln!(out, "{name}{{engine=\"0\",{more}{labels}}} {value:?}");
            }
        };
        let plain = |v: f64| vec![(String::new(), v)];
        let g = &self.gauges;
        one(
            "vllm:num_requests_running",
            "gauge",
            "Requests in the batch.",
            &plain(g.running as f64),
        );
        one(
            "vllm:num_requests_waiting",
            "gauge",
            "Requests waiting.",
            &plain(g.waiting as f64),
        );
        one(
            "vllm:num_requests_waiting_by_reason",
            "gauge",
            "Requests waiting, by reason.",
            &[
                ("reason=\"capacity\",".to_owned(), g.waiting as f64),
                ("reason=\"deferred\",".to_owned(), 0.0),
            ],
        );
        one(
            "vllm:kv_cache_usage_perc",
            "gauge",
            "KV-cache usage, 1 = full.",
            &plain(self.kv_usage),
        );
        one(
            "vllm:prefix_cache_queries_total",
            "counter",
            "Prompt tokens looked up.",
            &plain(g.prefix_queries as f64),
        );
        one(
            "vllm:prefix_cache_hits_total",
            "counter",
            "Prompt tokens found.",
            &plain(g.prefix_hits as f64),
        );
        one(
            "vllm:prompt_tokens_cached_total",
            "counter",
            "Prompt tokens taken from a cache.",
            &plain(g.prefix_hits as f64),
        );
        one(
            "vllm:num_preemptions_total",
            "counter",
            "Preemptions.",
            &plain(g.preemptions as f64),
        );
        one(
            "vllm:prompt_tokens_total",
            "counter",
            "Prompt tokens processed.",
            &plain(self.prompt_tokens as f64),
        );
        let computed = self.prompt_tokens.saturating_sub(g.prefix_hits);
        one(
            "vllm:prompt_tokens_by_source_total",
            "counter",
            "Prompt tokens by where they came from.",
            &[
                ("source=\"local_compute\",".to_owned(), computed as f64),
                ("source=\"local_cache_hit\",".to_owned(), g.prefix_hits as f64),
                ("source=\"external_kv_transfer\",".to_owned(), 0.0),
            ],
        );
        one(
            "vllm:generation_tokens_total",
            "counter",
            "Tokens generated.",
            &plain(self.generation_tokens as f64),
        );
        let reasons: Vec<(String, f64)> = REASONS
            .iter()
            .zip(self.success)
            .map(|(r, n)| (format!("finished_reason=\"{r}\","), n as f64))
            .collect();
        one(
            "vllm:request_success_total",
            "counter",
            "Requests ended, by reason.",
            &reasons,
        );
        if self.speculation.is_some() {
            one(
                "vllm:spec_decode_num_drafts_total",
                "counter",
                "Drafts.",
                &plain(self.drafts as f64),
            );
            one(
                "vllm:spec_decode_num_draft_tokens_total",
                "counter",
                "Draft tokens.",
                &plain(self.draft_tokens as f64),
            );
            one(
                "vllm:spec_decode_num_accepted_tokens_total",
                "counter",
                "Accepted draft tokens.",
                &plain(self.accepted_tokens as f64),
            );
            let by_position: Vec<(String, f64)> = self
                .accepted_by_position
                .iter()
                .enumerate()
                .map(|(i, n)| (format!("position=\"{i}\","), *n as f64))
                .collect();
            one(
                "vllm:spec_decode_num_accepted_tokens_per_pos_total",
                "counter",
                "Accepted draft tokens by position.",
                &by_position,
            );
        }
        for histogram in [
            &self.ttft,
            &self.itl,
            &self.tpot,
            &self.e2e,
            &self.queue,
            &self.inference,
            &self.prefill,
            &self.decode,
            &self.step_tokens,
            &self.request_prompt,
            &self.request_generation,
            &self.request_max_tokens,
            &self.request_longest,
            &self.request_n,
        ] {
            histogram.render("engine=\"0\",", labels, &mut out);
        }
        let _ = writeln!(
            out,
            "# HELP vllm:cache_config_info Cache configuration.\n# TYPE vllm:cache_config_info gauge\n{}",
            self.cache_info
        );
        self.render_own(&mut out);
        out
    }

    #[expect(clippy::as_conversions, reason = "nanoseconds to seconds, for display")]
    fn render_own(&self, out: &mut String) {
        let late = self.lateness();
        let s = |ns: u64| ns as f64 / 1e9;
        let _ = writeln!(
            out,
            "# HELP process_start_time_seconds Start of the process, Unix seconds.\n# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {:?}",
            self.started_unix_s
        );
        let _ = writeln!(
            out,
            "# HELP servelab_engine_info What kind of engine this is.\n# TYPE servelab_engine_info gauge"
        );
        let _ = writeln!(out, "servelab_engine_info{{engine_kind=\"simulated\"}} 1");
        let _ = writeln!(
            out,
            "# HELP servelab_sim_time_scale Engine seconds per wall second.\n# TYPE servelab_sim_time_scale gauge"
        );
        let _ = writeln!(out, "servelab_sim_time_scale {:?}", self.time_scale);
        let name = "servelab_sim_lateness_seconds";
        let _ = writeln!(
            out,
            "# HELP {name} Wall seconds from an emission's deadline to the end of its write.\n# TYPE {name} summary"
        );
        let _ = writeln!(
            out,
            "{name}{{quantile=\"0.5\"}} {:?}\n{name}{{quantile=\"0.99\"}} {:?}",
            s(late.p50_ns),
            s(late.p99_ns)
        );
        let _ = writeln!(
            out,
            "{name}{{quantile=\"1\"}} {:?}\n{name}_count {}",
            s(late.max_ns),
            late.count
        );
        let name = "servelab_sim_tokenize_overrun_seconds_total";
        let _ = writeln!(
            out,
            "# HELP {name} Engine seconds by which real tokenization outlasted the modelled one.\n# TYPE {name} counter"
        );
        let _ = writeln!(out, "{name} {:?}", self.tokenize_overrun_s);
    }
}
