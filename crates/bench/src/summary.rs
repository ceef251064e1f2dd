//! From the traces of one load to its figures, with METHOD's formulas: those of `findings`, over the window of a load that is
//! not held. Pure.

use crate::{
    client::ClientFigures,
    figures::{Counts, Figures, Latency, LoadEnd, Rates, Throughput},
    remedy::remedy,
    validity::{AskedRate, gates},
};
use servelab_findings::{medians, trial_metrics};
use servelab_load::{LoadResult, Stop, bench::conversation::turn_of};
use servelab_schema::{
    Completion, Load, MetricName, Nanos, Outcome, Reason, Slo, Trace, TrialCounts, TrialInstant, Validity, Window,
    findings::KindSeen,
};
use std::collections::BTreeMap;

/// What a load was and what it left.
pub(crate) struct Measured<'a> {
    pub(crate) load: Load,
    pub(crate) slo: Slo,
    /// While this lasts the load is not yet whole.
    pub(crate) ramp: Nanos,
    /// Whether an open loop's arrivals were to keep its rate.
    pub(crate) asked_rate: AskedRate,
    pub(crate) result: &'a LoadResult,
    pub(crate) traces: &'a [Trace],
}

/// Requests that were cut off by the user are nobody's failures.
fn is_cut_off(trace: &Trace) -> bool {
    matches!(&trace.outcome, Outcome::Failed(f) if f.reason == Reason::Cancelled)
}

fn counts(traces: &[&Trace], counts: &TrialCounts) -> Counts {
    let mut failed_by_reason = counts.failed.clone();
    let cut_off = failed_by_reason.remove(&Reason::Cancelled).unwrap_or(0);
    let failed = failed_by_reason.values().sum();
    let ended = counts.completed + failed + cut_off;
    let (mut examples, mut remedies) = (BTreeMap::new(), BTreeMap::new());
    for trace in traces {
        if let Outcome::Failed(failure) = &trace.outcome {
            let status = failure
                .http_status
                .filter(|s| *s != 200)
                .map(|s| format!("HTTP {s}: "))
                .unwrap_or_default();
            if let Some(helps) = remedy(failure.reason, failure.http_status) {
                remedies.entry(failure.reason).or_insert_with(|| helps.to_owned());
            }
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
        gave_up_after: counts.gave_up_after,
        examples,
        remedies,
    }
}

/// From the first send, or the end of the ramp, to the last end; where time ends the load, to that time: neither what rises
/// nor what drains is the load that was asked for. A load that ends within its ramp has no other window than that.
fn window(result: &LoadResult, ramp: Nanos) -> Option<Window> {
    let held = result.held?;
    let end_ns = result
        .until
        .map_or(held.end_ns, |until| until.min(held.end_ns).max(held.start_ns));
    let risen = held.start_ns.after(ramp);
    let window = Window {
        start_ns: if risen < end_ns { risen } else { held.start_ns },
        end_ns,
    };
    (window.length() > Nanos::ZERO).then_some(window)
}

fn ttft_s(c: &Completion) -> Option<f64> {
    c.ttft().map(Nanos::as_secs_f64)
}

/// The figures of one load.
pub(crate) fn figures(measured: &Measured<'_>) -> Figures {
    let Measured {
        load,
        slo,
        ramp,
        asked_rate,
        result,
        traces,
    } = measured;
    let own: Vec<&Trace> = traces.iter().filter(|t| t.measured).collect();
    let requests = counts(&own, &result.counts);
    let window = window(result, *ramp);
    let whole = window.unwrap_or(Window {
        start_ns: TrialInstant::START,
        end_ns: TrialInstant::START,
    });
    let ended = || traces.iter().filter(|t| !is_cut_off(t));
    let metrics = trial_metrics(whole, slo, ended());
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
    let turns: BTreeMap<u32, Vec<f64>> = done.iter().fold(BTreeMap::new(), |mut turns, (t, c)| {
        if let Some(turn) = turn_of(&t.prompt_id) {
            turns.entry(turn).or_insert_with(Vec::new).extend(ttft_s(c));
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
        let value = |name| metrics.values.get(&name).map(|m| m.value);
        Throughput {
            window_s: seconds,
            requests_per_s: value(MetricName::RequestThroughput),
            output_tokens_per_s: value(MetricName::OutputThroughput),
            completed_output_tokens_per_s: described.completed_output_throughput_tokens_per_s,
            input_tokens_per_s: described.input_throughput_tokens_per_s,
            total_tokens_per_s: described.total_throughput_tokens_per_s,
            goodput_requests_per_s: value(MetricName::Goodput),
            goodput_ratio: described.goodput_ratio,
        }
    });
    let gates = gates(*load, *asked_rate, result, &requests, medians(ended()), window);
    Figures {
        throughput,
        ttft_kind: metrics.kind.kind(),
        token_source: described.token_source,
        mixed_ttft_kinds: mixed,
        ttft: latency(&|_, c| ttft_s(c)),
        tpot: latency(&|_, c| c.tpot_s()),
        e2e: latency(&|_, c| Some(c.e2e().as_secs_f64())),
        ttft_from_scheduled: latency(&|t, c| Some(t.from_scheduled(c.ttft()?)?.as_secs_f64())),
        e2e_from_scheduled: latency(&|t, c| Some(t.from_scheduled(c.e2e())?.as_secs_f64())),
        ttft_by_turn: ttft_by_turn.collect(),
        icl_s: described.icl_s,
        tokens_per_chunk: described.tokens_per_chunk,
        ttft_content_s: described.ttft_content_s,
        interactivity_tokens_per_s: described.interactivity_tokens_per_s,
        ntpot_s: described.ntpot_s,
        output_tokens: described.output_tokens,
        connect_s: described.connect_s,
        rates: match load {
            Load::Open { rate_per_s, .. } => Some(Rates {
                asked_per_s: rate_per_s.get(),
                scheduled_per_s: result.scheduled_rate_per_s,
                achieved_per_s: result.instrument.achieved_rate_per_s,
            }),
            Load::Closed { .. } => None,
        },
        instrument: ClientFigures::from(&result.instrument),
        valid: Validity::from_gates(&gates).is_valid(),
        gates,
        end: match result.stopped {
            Some(Stop::Cancelled | Stop::EngineExited) => LoadEnd::Interrupted,
            Some(Stop::GaveUp) => LoadEnd::GaveUp,
            None => LoadEnd::Complete,
        },
        requests,
    }
}

#[cfg(test)]
pub(crate) mod tests;
