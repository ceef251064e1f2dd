//! One take of a trial.

use super::{Row, Scope, exact};
use servelab_schema::{
    MetricName,
    findings::{OrInfinite, Summary, TrialFindings, TrialMetrics},
};

pub(super) fn rows(trial: &TrialFindings, out: &mut Vec<Row>) {
    let Some(metrics) = &trial.metrics else { return };
    let new = |metric: &'static str, statistic, unit| Row {
        trial: Some(trial.id.clone()),
        ..Row::new(Scope::Trial, (&trial.load, &trial.variant), metric, statistic, unit)
    };
    for (name, value) in &metrics.values {
        // The statistic is part of the name there: `ttft-p95`.
        let row = new(name.as_str(), "value", name.unit())
            .value(value.value)
            .n(value.n, "requests");
        out.push(with_failures(row, *name, metrics));
    }
    let d = &metrics.descriptive;
    for (metric, value, unit) in [
        ("input-throughput", d.input_throughput_tokens_per_s, "tokens/s"),
        (
            "completed-output-throughput",
            d.completed_output_throughput_tokens_per_s,
            "tokens/s",
        ),
        ("goodput-ratio", d.goodput_ratio, "ratio"),
    ] {
        let n = trial.counts.completed;
        out.extend(value.map(|v| new(metric, "value", unit).value(v).n(n, "requests")));
    }
    for (metric, tokens) in [
        ("prompt-tokens-total", d.prompt_tokens_total),
        ("completion-tokens-total", d.completion_tokens_total),
    ] {
        let row = |tokens| {
            new(metric, "sum", "tokens")
                .value(exact(tokens))
                .n(trial.counts.completed, "requests")
        };
        out.extend(tokens.map(row));
    }
    for (metric, summary, unit, n_of) in [
        ("interactivity", &d.interactivity_tokens_per_s, "tokens/s", "requests"),
        (
            "per-request-throughput",
            &d.request_throughput_tokens_per_s,
            "tokens/s",
            "requests",
        ),
        ("ntpot", &d.ntpot_s, "s", "requests"),
        ("icl", &d.icl_s, "s", "chunks"),
        ("tokens-per-chunk", &d.tokens_per_chunk, "tokens", "chunks"),
        ("ttft-content", &d.ttft_content_s, "s", "requests"),
        ("ttft-from-scheduled", &d.ttft_from_scheduled_s, "s", "requests"),
        ("finished", &d.finished_s, "s", "requests"),
        ("connect", &d.connect_s, "s", "requests"),
        ("output-tokens", &d.output_tokens, "tokens", "requests"),
        ("prompt-tokens", &d.prompt_tokens, "tokens", "requests"),
    ] {
        let Some(s) = summary else { continue };
        let each = statistics(s).map(|(statistic, value)| new(metric, statistic, unit).value(value).n(s.n, n_of));
        out.extend(each);
    }
}

/// Description, not certification: a trial alone certifies little.
fn statistics(s: &Summary) -> impl Iterator<Item = (&'static str, f64)> {
    let known = [
        ("mean", s.mean),
        ("min", s.min),
        ("p50", s.p50),
        ("p90", s.p90),
        ("p95", s.p95),
        ("p99", s.p99),
        ("max", s.max),
    ];
    known.into_iter().chain(s.sd.map(|sd| ("sd", sd)))
}

fn with_failures(row: Row, name: MetricName, metrics: &TrialMetrics) -> Row {
    match metrics.with_failures.get(&name) {
        Some(OrInfinite::Finite(value)) => Row {
            with_failures: Some(*value),
            ..row
        },
        Some(OrInfinite::Infinite) => Row {
            with_failures_infinite: true,
            ..row
        },
        None => row,
    }
}
