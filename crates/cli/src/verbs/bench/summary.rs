//! From the traces of one load to its figures, with METHOD's formulas. Pure.

use serde::Serialize;
use servelab_findings::{
    CacheState, GateFacts, OrInfinite, Summary, evaluate_limits,
    metrics::{KindSeen, trial_metrics},
};
use servelab_load::{LoadResult, Stop, bench::conversation::turn_of};
use servelab_schema::{
    Completion, GateName, GateOutcome, GateResult, Gates, Instrument, Load, Margin, Nanos, Outcome, Ratio, Reason, Slo,
    Trace, Treatment, TrialCounts, TtftKind, VariantRole, Window,
};
use servelab_stats::{Certification, Probability, Quantile, Sample, smallest_certifying_n};
use std::{collections::BTreeMap, num::NonZeroU32};

/// The gates that a single load can fail.
const GATES: [GateName; 8] = [
    GateName::ScheduleLag,
    GateName::EventLoopLag,
    GateName::Starvation,
    GateName::ClientCpu,
    GateName::AchievedRate,
    GateName::Failures,
    GateName::PromptTokens,
    GateName::Clock,
];

/// The percentiles that are shown.
const PERCENTILES: [(&str, Probability); 4] = [
    ("p50", Probability::P50),
    ("p90", Probability::P90),
    ("p95", Probability::P95),
    ("p99", Probability::P99),
];

/// METHOD's limits of validity; those that only a plan can set do not apply.
fn limits() -> Gates {
    let ratio = |r| Ratio::new(r).unwrap_or_default();
    Gates {
        schedule_lag_p99_ns: Nanos::from_millis(1),
        schedule_lag_ttft_ratio: ratio(0.01),
        event_loop_lag_p99_ns: Nanos::from_millis(2),
        event_loop_lag_ttft_ratio: ratio(0.01),
        starvation_ratio: ratio(0.02),
        certified_error_delta_ratio: ratio(0.5),
        client_thread_cpu_ratio: ratio(0.8),
        achieved_rate_ratio: ratio(0.02),
        held_window_ratio: ratio(0.0),
        min_requests: 0,
        min_duration_ns: Nanos::ZERO,
        failures_ratio: ratio(0.01),
    }
}

/// One percentile in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Percentile {
    /// `p50`, `p90`, `p95` or `p99`.
    pub(super) p: &'static str,
    /// Of the completed requests.
    pub(super) value_s: f64,
    /// With every failed request as +∞; null = infinite.
    pub(super) with_failures_s: Option<f64>,
    /// Upper bound at 99 % confidence, failures as +∞; null where n is too small or the bound is +∞.
    pub(super) certified_bound_s: Option<f64>,
    /// Smallest n that certifies this percentile.
    pub(super) needs_n: u32,
}

/// One latency over the completed requests, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Latency {
    /// Requests behind it.
    pub(super) n: u32,
    /// Failed requests, which count as +∞ in `with_failures_s`.
    pub(super) failed: u32,
    pub(super) mean_s: f64,
    pub(super) max_s: f64,
    pub(super) percentiles: Vec<Percentile>,
}

impl Latency {
    fn of(values: Vec<f64>, failed: u32) -> Option<Self> {
        let sample = Sample::new(values).ok()?;
        let percentile = |(name, p): (&'static str, Probability)| Percentile {
            p: name,
            value_s: sample.quantile(p),
            with_failures_s: match sample.quantile_with_failures(p, failed) {
                OrInfinite::Finite(s) => Some(s),
                OrInfinite::Infinite => None,
            },
            certified_bound_s: match Quantile::of(&sample, failed, p).certified {
                Certification::Certified { bound, .. } => bound.finite(),
                Certification::NotCertifiable { .. } => None,
            },
            needs_n: smallest_certifying_n(p),
        };
        Some(Self {
            n: sample.n(),
            failed,
            mean_s: sample.mean(),
            max_s: sample.max(),
            percentiles: PERCENTILES.map(percentile).into(),
        })
    }

    /// The value of one percentile, in seconds.
    pub(super) fn at(&self, p: &str) -> Option<&Percentile> {
        self.percentiles.iter().find(|q| q.p == p)
    }
}

/// Mean and spread of a figure that is no latency of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) n: u32,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl From<Summary> for Spread {
    fn from(s: Summary) -> Self {
        let Summary {
            n,
            mean,
            p50,
            p90,
            p95,
            p99,
            max,
            ..
        } = s;
        Self {
            n,
            mean,
            p50,
            p90,
            p95,
            p99,
            max,
        }
    }
}

/// How many requests ended how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Measured requests that were to be sent; of a load that lasts for a time, that were sent.
    pub(super) planned: u32,
    pub(super) completed: u32,
    pub(super) failed: u32,
    pub(super) failed_by_reason: BTreeMap<Reason, u32>,
    /// In flight when the user interrupted; neither completed nor failed.
    pub(super) cut_off: u32,
    /// Never sent: the load was interrupted, or an earlier turn of the conversation failed.
    pub(super) never_sent: u32,
    /// Warm-up requests that completed, and that failed.
    pub(super) warm_up_completed: u32,
    pub(super) warm_up_failed: u32,
    /// The engine's own words, one example for each reason.
    pub(super) examples: BTreeMap<Reason, String>,
}

/// Rates over the window: from the first send, or the end of the ramp, to the last end, or the end of the duration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Throughput {
    pub(super) window_s: f64,
    /// Requests completed inside the window / its length.
    pub(super) requests_per_s: f64,
    /// Tokens that arrived inside the window / its length; null where the engine does not count them chunk by chunk.
    pub(super) output_tokens_per_s: Option<f64>,
    /// Σ `usage.completion_tokens` of completed requests / (first send → last completion).
    pub(super) completed_output_tokens_per_s: Option<f64>,
    /// Σ `usage.prompt_tokens` of completed requests over the same.
    pub(super) input_tokens_per_s: Option<f64>,
    /// The two together.
    pub(super) total_tokens_per_s: Option<f64>,
    /// Requests completed inside the window that meet every objective / its length; null without objectives.
    pub(super) goodput_requests_per_s: Option<f64>,
    /// Requests that met every objective / all that were measured; null without objectives.
    pub(super) goodput_ratio: Option<f64>,
}

/// Asked, scheduled and achieved arrivals of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Rates {
    pub(super) asked_per_s: f64,
    /// Of the very arrivals that the seed gave.
    pub(super) scheduled_per_s: Option<f64>,
    pub(super) achieved_per_s: Option<f64>,
}

/// The figures of one load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) requests: Counts,
    pub(super) throughput: Option<Throughput>,
    /// What TTFT is: the first token, or the first text.
    pub(super) ttft_kind: Option<TtftKind>,
    /// Tokens and texts are mixed, so that latencies are of neither kind and left out.
    pub(super) mixed_ttft_kinds: bool,
    /// First token chunk − sent.
    pub(super) ttft: Option<Latency>,
    /// (last − first token chunk) / (N − m₁).
    pub(super) tpot: Option<Latency>,
    /// Last token chunk − sent.
    pub(super) e2e: Option<Latency>,
    /// First token chunk − scheduled.
    pub(super) ttft_from_scheduled: Option<Latency>,
    /// Last token chunk − scheduled.
    pub(super) e2e_from_scheduled: Option<Latency>,
    /// TTFT of each turn of the conversations, by its number from 1.
    pub(super) ttft_by_turn: BTreeMap<u32, Latency>,
    /// Gaps between token chunks, seconds.
    pub(super) icl_s: Option<Spread>,
    pub(super) tokens_per_chunk: Option<Spread>,
    /// First non-empty text − sent, seconds.
    pub(super) ttft_content_s: Option<Spread>,
    /// Tokens/s that one user sees: 1 / TPOT.
    pub(super) interactivity_tokens_per_s: Option<Spread>,
    /// E2E / N, seconds.
    pub(super) ntpot_s: Option<Spread>,
    pub(super) output_tokens: Option<Spread>,
    /// Opening a connection, seconds, of requests that had to.
    pub(super) connect_s: Option<Spread>,
    pub(super) rates: Option<Rates>,
    pub(super) instrument: Instrument,
    pub(super) gates: Vec<GateResult>,
    /// False where a gate failed.
    pub(super) valid: bool,
    pub(super) interrupted: bool,
}

impl Figures {
    /// True where requests ended and none of them completed.
    pub(super) const fn all_failed(&self) -> bool {
        self.requests.completed == 0
    }
}

/// What a load was and what it left.
pub(super) struct Measured<'a> {
    pub(super) load: Load,
    pub(super) slo: Slo,
    /// While this lasts the load is not yet whole.
    pub(super) ramp: Nanos,
    pub(super) result: &'a LoadResult,
    pub(super) traces: &'a [Trace],
}

/// Requests that were cut off by the user are nobody's failures.
fn is_cut_off(trace: &Trace) -> bool {
    matches!(&trace.outcome, Outcome::Failed(f) if f.reason == Reason::Cancelled)
}

fn counts(traces: &[&Trace], counts: &TrialCounts) -> Counts {
    let mut failed_by_reason = counts.failed.clone();
    let cut_off = failed_by_reason.remove(&Reason::Cancelled).unwrap_or(0);
    let failed = failed_by_reason.values().sum();
    let ended = counts.completed.saturating_add(failed).saturating_add(cut_off);
    let mut examples = BTreeMap::new();
    for trace in traces {
        if let Outcome::Failed(failure) = &trace.outcome {
            let status = failure
                .http_status
                .filter(|s| *s != 200)
                .map(|s| format!("HTTP {s}: "))
                .unwrap_or_default();
            examples
                .entry(failure.reason)
                .or_insert_with(|| format!("{status}{}", failure.detail));
        }
    }
    examples.remove(&Reason::Cancelled);
    Counts {
        planned: counts.planned,
        completed: counts.completed,
        failed,
        failed_by_reason,
        cut_off,
        never_sent: counts.planned.saturating_sub(ended),
        warm_up_completed: counts.fillers_completed,
        warm_up_failed: counts.fillers_failed,
        examples,
    }
}

/// From the first send, or the end of the ramp, to the last end; where time ends the load, to that time: neither what rises
/// nor what drains is the load that was asked for. A load that ends within its ramp has no other window than that.
fn window(result: &LoadResult, ramp: Nanos) -> Option<Window> {
    let held = result.held?;
    let end_ns = result
        .until
        .map_or(held.end_ns, |until| until.min(held.end_ns).max(held.start_ns));
    let risen = held.start_ns.saturating_add(ramp);
    let window = Window {
        start_ns: if risen < end_ns { risen } else { held.start_ns },
        end_ns,
    };
    (window.length() > Nanos::ZERO).then_some(window)
}

fn number(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// The figures of one load.
pub(super) fn figures(measured: &Measured<'_>) -> Figures {
    let Measured {
        load,
        slo,
        ramp,
        result,
        traces,
    } = measured;
    let own: Vec<&Trace> = traces.iter().filter(|t| t.measured).collect();
    let requests = counts(&own, &result.counts);
    let window = window(result, *ramp);
    let whole = window.unwrap_or(Window {
        start_ns: Nanos::ZERO,
        end_ns: Nanos::ZERO,
    });
    let metrics = trial_metrics(whole, slo, traces);
    let described = metrics.descriptive;
    let done: Vec<(&Trace, &Completion)> = own.iter().filter_map(|t| Some((*t, t.completion()?))).collect();
    let failed = |of: &dyn Fn(&Trace) -> bool| {
        let failures = own
            .iter()
            .filter(|t| t.completion().is_none() && !is_cut_off(t) && of(t));
        u32::try_from(failures.count()).unwrap_or(u32::MAX)
    };
    let all = |_: &Trace| true;
    let mixed = metrics.kind == KindSeen::Mixed;
    let latency = |of: &dyn Fn(&Trace, &Completion) -> Option<f64>| {
        let values = || done.iter().filter_map(|(t, c)| of(t, c)).collect();
        (!mixed).then(|| Latency::of(values(), failed(&all))).flatten()
    };
    let since_scheduled = |t: &Trace, after: Nanos| {
        Some(
            t.sent_ns?
                .saturating_add(after)
                .saturating_sub(t.scheduled_ns)
                .as_secs_f64(),
        )
    };
    let turns: BTreeMap<u32, Vec<f64>> = done.iter().fold(BTreeMap::new(), |mut turns, (t, c)| {
        if let Some(turn) = turn_of(&t.prompt_id) {
            turns.entry(turn).or_insert_with(Vec::new).push(c.ttft().as_secs_f64());
        }
        turns
    });
    let ttft_by_turn = turns.into_iter().filter(|_| !mixed).filter_map(|(turn, values)| {
        Some((
            turn,
            Latency::of(values, failed(&|t: &Trace| turn_of(&t.prompt_id) == Some(turn)))?,
        ))
    });
    let throughput = window.map(|window| {
        let seconds = window.length().as_secs_f64();
        let inside = || {
            done.iter()
                .filter(|(t, _)| t.finished_ns > window.start_ns && t.finished_ns <= window.end_ns)
        };
        let good = inside().filter(|(_, c)| meets(slo, c)).count();
        Throughput {
            window_s: seconds,
            requests_per_s: number(inside().count()) / seconds,
            output_tokens_per_s: metrics
                .values
                .get(&servelab_schema::MetricName::OutputThroughput)
                .map(|m| m.value),
            completed_output_tokens_per_s: described.completed_output_throughput_tokens_per_s,
            input_tokens_per_s: described.input_throughput_tokens_per_s,
            total_tokens_per_s: described.total_throughput_tokens_per_s,
            goodput_requests_per_s: described.goodput_ratio.map(|_| number(good) / seconds),
            goodput_ratio: described.goodput_ratio,
        }
    });
    let median = |of: fn(&Completion) -> Nanos| {
        let mut times: Vec<Nanos> = done.iter().map(|(_, c)| of(c)).filter(|t| *t > Nanos::ZERO).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let medians = Medians {
        ttft: median(Completion::ttft),
        generation: median(|c| c.e2e().saturating_sub(c.ttft())),
    };
    let gates = gates(*load, result, &requests, medians, window);
    Figures {
        throughput,
        ttft_kind: metrics.kind.kind(),
        mixed_ttft_kinds: mixed,
        ttft: latency(&|_, c| Some(c.ttft().as_secs_f64())),
        tpot: latency(&|_, c| Some(c.tpot_ns()? / 1e9)),
        e2e: latency(&|_, c| Some(c.e2e().as_secs_f64())),
        ttft_from_scheduled: latency(&|t, c| since_scheduled(t, c.ttft())),
        e2e_from_scheduled: latency(&|t, c| since_scheduled(t, c.e2e())),
        ttft_by_turn: ttft_by_turn.collect(),
        icl_s: described.icl_s.map(Into::into),
        tokens_per_chunk: described.tokens_per_chunk.map(Into::into),
        ttft_content_s: described.ttft_content_s.map(Into::into),
        interactivity_tokens_per_s: described.interactivity_tokens_per_s.map(Into::into),
        ntpot_s: described.ntpot_s.map(Into::into),
        output_tokens: described.output_tokens.map(Into::into),
        connect_s: described.connect_s.map(Into::into),
        rates: match load {
            Load::Open { rate_per_s, .. } => Some(Rates {
                asked_per_s: rate_per_s.get(),
                scheduled_per_s: result.scheduled_rate_per_s,
                achieved_per_s: result.instrument.achieved_rate_per_s,
            }),
            Load::Closed { .. } => None,
        },
        instrument: result.instrument.clone(),
        valid: gates.iter().all(|g| g.outcome != GateOutcome::Failed),
        gates,
        interrupted: result.stopped == Some(Stop::Cancelled),
        requests,
    }
}

/// True where a completion meets every declared objective; one without TPOT meets any TPOT objective.
fn meets(slo: &Slo, c: &Completion) -> bool {
    let within = |limit: Option<Nanos>, seconds: f64| limit.is_none_or(|most| seconds <= most.as_secs_f64());
    within(slo.ttft_ns, c.ttft().as_secs_f64())
        && within(slo.e2e_ns, c.e2e().as_secs_f64())
        && c.tpot_ns().is_none_or(|ns| within(slo.tpot_ns, ns / 1e9))
}

/// The times against which the client's errors are held.
#[derive(Debug, Clone, Copy)]
struct Medians {
    ttft: Option<Nanos>,
    /// From the first to the last token, of the requests that took any time.
    generation: Option<Nanos>,
}

fn gates(
    load: Load,
    result: &LoadResult,
    requests: &Counts,
    medians: Medians,
    held: Option<Window>,
) -> Vec<GateResult> {
    // What the user cut off is no failure.
    let interrupted = result.stopped == Some(Stop::Cancelled);
    let unsent = if interrupted { requests.never_sent } else { 0 };
    let counts = TrialCounts {
        planned: requests.planned.saturating_sub(requests.cut_off).saturating_sub(unsent),
        completed: requests.completed,
        failed: requests.failed_by_reason.clone(),
        fillers_completed: requests.warm_up_completed,
        fillers_failed: requests.warm_up_failed,
    };
    let facts = GateFacts {
        load,
        role: VariantRole::Baseline,
        instrument: Some(&result.instrument),
        counts: &counts,
        span: result.span,
        held,
        median_ttft: medians.ttft,
        median_generation: medians.generation,
        delta: Margin::DEFAULT,
        scheduled_rate_per_s: result.scheduled_rate_per_s,
        engine_alive: Ok(()),
        prompt_token_mismatches: counts.failed.get(&Reason::PromptTokenMismatch).copied().unwrap_or(0),
        prefix_cache_hit_ratio: None,
        cache: CacheState::Accepted,
        prefix_caching_allowed: true,
        treatment: Treatment::Unobservable,
        time_scale: NonZeroU32::MIN,
        certificate: None,
        work: None,
    };
    let mut gates = evaluate_limits(&limits(), &GATES, &facts);
    // One arrival has no rate.
    if result.scheduled_rate_per_s.is_none() {
        for gate in gates.iter_mut().filter(|g| g.gate == GateName::AchievedRate) {
            gate.outcome = GateOutcome::NotApplicable;
        }
    }
    gates
}
