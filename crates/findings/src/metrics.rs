//! Metrics of one trial from its traces, with METHOD's formulas.
//!
//! Latencies are of measured requests that completed; a failure has none, and counts as +∞ in the percentiles that stand
//! beside the success-only ones. Throughput is taken in the held window, fillers included, because it is the window and
//! not the request that had the load.

use crate::num::{count, len_u32, nanos};
use servelab_schema::{Completion, MetricName, Nanos, Slo, Trace, TtftKind, Window};
use servelab_stats::{Certification, OrInfinite, Probability, Sample, Summary, certify};
use std::collections::BTreeMap;

/// One metric of one trial, in [`MetricName::unit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricValue {
    /// The value.
    pub value: f64,
    /// Number of requests behind it.
    pub n: u32,
    /// What n certifies; none for metrics that are no percentile.
    pub certified: Option<Certification>,
}

/// Which kinds of first timestamp the completed measured requests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KindSeen {
    /// No completed request.
    #[default]
    None,
    /// All of one kind.
    One(TtftKind),
    /// Both kinds: their latencies are not one sample, so the trial has no latency metrics.
    Mixed,
}

impl KindSeen {
    /// The kind, where there is exactly one.
    #[must_use]
    pub const fn kind(self) -> Option<TtftKind> {
        match self {
            Self::One(kind) => Some(kind),
            Self::None | Self::Mixed => None,
        }
    }

    pub(crate) fn of<'a>(completions: impl Iterator<Item = &'a Completion>) -> Self {
        completions
            .map(Completion::ttft_kind)
            .fold(Self::None, |seen, kind| match seen {
                Self::None => Self::One(kind),
                Self::One(other) if other == kind => seen,
                _ => Self::Mixed,
            })
    }
}

/// Metrics of one trial.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrialMetrics {
    /// Kinds of first timestamp among the completed measured requests.
    pub kind: KindSeen,
    /// Success-only metrics; one that has no data is absent.
    pub values: BTreeMap<MetricName, MetricValue>,
    /// The percentiles again with every failed measured request as +∞, in seconds.
    pub with_failures: BTreeMap<MetricName, OrInfinite>,
    /// Figures that no verdict is built on.
    pub descriptive: Descriptive,
}

impl TrialMetrics {
    /// Median time to first token, as the schedule-lag gate wants it.
    #[must_use]
    pub fn median_ttft(&self) -> Option<Nanos> {
        self.values.get(&MetricName::TtftP50).map(|m| Nanos(nanos(m.value)))
    }
}

/// Figures that stand beside the metrics. They describe, and no verdict is built on them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Descriptive {
    /// Σ `usage.prompt_tokens` of completed measured requests / (their first send → last completion), tokens/s.
    pub input_throughput_tokens_per_s: Option<f64>,
    /// Σ `usage.completion_tokens` of completed measured requests over the same duration, tokens/s.
    pub completed_output_throughput_tokens_per_s: Option<f64>,
    /// Sum of the two, tokens/s.
    pub total_throughput_tokens_per_s: Option<f64>,
    /// Measured requests that completed within every objective / all measured requests; none without objectives.
    pub goodput_ratio: Option<f64>,
    /// 1 / TPOT of each request: tokens/s that one user sees.
    pub interactivity_tokens_per_s: Option<Summary>,
    /// E2E / N of each request, seconds.
    pub ntpot_s: Option<Summary>,
    /// Gaps between consecutive token chunks, seconds. Not comparable between variants with different tokens per chunk.
    pub icl_s: Option<Summary>,
    /// Tokens per token chunk after each request's first one.
    pub tokens_per_chunk: Option<Summary>,
    /// First non-empty text − sent, seconds.
    pub ttft_content_s: Option<Summary>,
    /// First token chunk − scheduled, seconds: what a user of an open loop waits.
    pub ttft_from_scheduled_s: Option<Summary>,
    /// Time to open the connection, of requests that opened one, seconds.
    pub connect_s: Option<Summary>,
    /// Tokens generated per completed measured request.
    pub output_tokens: Option<Summary>,
}

/// Metrics of one trial from all its traces. `held` is the window of the held load.
///
/// Latency metrics are absent where the two kinds of TTFT are mixed; output throughput where any completion in the window
/// has no token counts per chunk; goodput where no objective is declared.
#[must_use]
pub fn trial_metrics(held: Window, slo: &Slo, traces: &[Trace]) -> TrialMetrics {
    let measured: Vec<&Trace> = traces.iter().filter(|t| t.measured).collect();
    let done: Vec<(&Trace, &Completion)> = measured.iter().filter_map(|t| Some((*t, t.completion()?))).collect();
    let failed = len_u32(measured.len().saturating_sub(done.len()));
    let kind = KindSeen::of(done.iter().map(|(_, c)| *c));

    let mut values = throughputs(held, slo, traces, &done);
    let mut with_failures = BTreeMap::new();
    if kind != KindSeen::Mixed {
        for family in FAMILIES {
            let latencies: Vec<f64> = done.iter().filter_map(|(_, c)| (family.of)(c)).collect();
            if let Ok(sample) = Sample::new(latencies) {
                values.extend(family.values(&sample));
                with_failures.extend(family.with_failures(&sample, failed));
            }
        }
    }
    TrialMetrics {
        kind,
        values,
        with_failures,
        descriptive: descriptive(slo, &measured, &done),
    }
}

/// Time to first token, seconds.
#[must_use]
pub fn ttft_s(c: &Completion) -> Option<f64> {
    Some(c.ttft().as_secs_f64())
}

/// Time per output token after the first chunk, seconds.
#[must_use]
pub fn tpot_s(c: &Completion) -> Option<f64> {
    c.tpot_ns().map(|ns| ns / 1e9)
}

/// Last token chunk − sent, seconds.
#[must_use]
pub fn e2e_s(c: &Completion) -> Option<f64> {
    Some(c.e2e().as_secs_f64())
}

/// The metrics that summarise one latency.
struct Family {
    of: fn(&Completion) -> Option<f64>,
    mean: MetricName,
    percentiles: [(MetricName, Probability); 3],
}

const FAMILIES: [Family; 3] = [
    Family {
        of: ttft_s,
        mean: MetricName::TtftMean,
        percentiles: [
            (MetricName::TtftP50, Probability::P50),
            (MetricName::TtftP90, Probability::P90),
            (MetricName::TtftP95, Probability::P95),
        ],
    },
    Family {
        of: tpot_s,
        mean: MetricName::TpotMean,
        percentiles: [
            (MetricName::TpotP50, Probability::P50),
            (MetricName::TpotP90, Probability::P90),
            (MetricName::TpotP95, Probability::P95),
        ],
    },
    Family {
        of: e2e_s,
        mean: MetricName::E2eMean,
        percentiles: [
            (MetricName::E2eP50, Probability::P50),
            (MetricName::E2eP90, Probability::P90),
            (MetricName::E2eP95, Probability::P95),
        ],
    },
];

impl Family {
    fn values(&self, sample: &Sample) -> impl Iterator<Item = (MetricName, MetricValue)> {
        let mean = MetricValue {
            value: sample.mean(),
            n: sample.n(),
            certified: None,
        };
        let percentile = |(name, p)| {
            let certified = Some(certify(sample, p));
            (
                name,
                MetricValue {
                    value: sample.quantile(p),
                    n: sample.n(),
                    certified,
                },
            )
        };
        std::iter::once((self.mean, mean)).chain(self.percentiles.map(percentile))
    }

    fn with_failures(&self, sample: &Sample, failed: u32) -> impl Iterator<Item = (MetricName, OrInfinite)> {
        self.percentiles
            .map(|(name, p)| (name, sample.quantile_with_failures(p, failed)))
            .into_iter()
    }
}

fn throughputs(
    held: Window,
    slo: &Slo,
    traces: &[Trace],
    done: &[(&Trace, &Completion)],
) -> BTreeMap<MetricName, MetricValue> {
    let mut values = BTreeMap::new();
    let seconds = held.length().as_secs_f64();
    if held.length() == Nanos::ZERO || done.is_empty() {
        return values;
    }
    let rate = |requests: u32| MetricValue {
        value: f64::from(requests) / seconds,
        n: len_u32(done.len()),
        certified: None,
    };
    values.insert(MetricName::RequestThroughput, rate(len_u32(done.len())));
    if has_objective(slo) {
        values.insert(
            MetricName::Goodput,
            rate(len_u32(done.iter().filter(|(_, c)| meets(slo, c)).count())),
        );
    }
    if let Some((tokens, n)) = tokens_inside(held, traces) {
        let value = MetricValue {
            value: count(tokens) / seconds,
            n,
            certified: None,
        };
        values.insert(MetricName::OutputThroughput, value);
    }
    values
}

/// Tokens that arrived after the window's start and not after its end, and from how many requests; none where no token
/// did or a timeline without token counts touches the window.
pub(crate) fn tokens_inside<'a>(held: Window, traces: impl IntoIterator<Item = &'a Trace>) -> Option<(u64, u32)> {
    let (mut tokens, mut requests) = (0_u64, 0_u32);
    for trace in traces {
        let inside = trace
            .token_arrivals()
            .filter(|(at, _)| *at > held.start_ns && *at <= held.end_ns);
        let (mut sum, mut any, mut unknown) = (0_u64, false, false);
        for (_, n) in inside {
            sum = sum.saturating_add(u64::from(n));
            any = true;
            unknown |= n == 0;
        }
        if unknown {
            return None;
        }
        tokens = tokens.saturating_add(sum);
        requests = requests.saturating_add(u32::from(any));
    }
    (requests > 0).then_some((tokens, requests))
}

const fn has_objective(slo: &Slo) -> bool {
    slo.ttft_ns.is_some() || slo.tpot_ns.is_some() || slo.e2e_ns.is_some()
}

/// True where a completion meets every declared objective; a completion without TPOT meets any TPOT objective.
#[must_use]
pub fn meets(slo: &Slo, c: &Completion) -> bool {
    slo.ttft_ns.is_none_or(|most| c.ttft() <= most)
        && slo.e2e_ns.is_none_or(|most| c.e2e() <= most)
        && slo
            .tpot_ns
            .is_none_or(|most| c.tpot_ns().is_none_or(|tpot| tpot <= count(most.0)))
}

fn summary(values: impl Iterator<Item = f64>) -> Option<Summary> {
    Sample::new(values.collect::<Vec<_>>()).ok().map(|s| s.summary())
}

fn descriptive(slo: &Slo, measured: &[&Trace], done: &[(&Trace, &Completion)]) -> Descriptive {
    let first = done.iter().filter_map(|(t, _)| t.sent_ns).min();
    let last = done.iter().map(|(t, _)| t.finished_ns).max();
    let seconds = first
        .zip(last)
        .map(|(first, last)| last.saturating_sub(first).as_secs_f64())
        .filter(|seconds| *seconds > 0.0);
    let sum = |of: fn(&Completion) -> u32| count(done.iter().map(|(_, c)| u64::from(of(c))).sum());
    let input = seconds.map(|s| sum(|c| c.prompt_tokens().get()) / s);
    let output = seconds.map(|s| sum(|c| c.completion_tokens().get()) / s);
    let good = done.iter().filter(|(_, c)| meets(slo, c)).count();
    let all = || done.iter().copied();
    let chunks = || all().flat_map(|(_, c)| c.chunks().iter().skip(1));
    // Means and percentiles of two kinds of timestamps together would be of neither.
    let one_kind = KindSeen::of(all().map(|(_, c)| c)) != KindSeen::Mixed;
    let of_one_kind = |s: Option<Summary>| s.filter(|_| one_kind);
    Descriptive {
        input_throughput_tokens_per_s: input,
        completed_output_throughput_tokens_per_s: output,
        total_throughput_tokens_per_s: input.zip(output).map(|(i, o)| i + o),
        goodput_ratio: (has_objective(slo) && !measured.is_empty())
            .then(|| f64::from(len_u32(good)) / f64::from(len_u32(measured.len()))),
        interactivity_tokens_per_s: of_one_kind(summary(
            all()
                .filter_map(|(_, c)| tpot_s(c))
                .filter(|t| *t > 0.0)
                .map(f64::recip),
        )),
        ntpot_s: of_one_kind(summary(
            all().map(|(_, c)| c.e2e().as_secs_f64() / f64::from(c.completion_tokens().get())),
        )),
        icl_s: of_one_kind(summary(chunks().map(|c| c.gap.as_secs_f64()))),
        tokens_per_chunk: of_one_kind(summary(chunks().filter(|c| c.tokens > 0).map(|c| f64::from(c.tokens)))),
        ttft_content_s: summary(all().filter_map(|(_, c)| c.ttft_content()).map(Nanos::as_secs_f64)),
        ttft_from_scheduled_s: of_one_kind(summary(all().filter_map(|(t, c)| {
            Some(
                t.sent_ns?
                    .saturating_add(c.ttft())
                    .saturating_sub(t.scheduled_ns)
                    .as_secs_f64(),
            )
        }))),
        connect_s: summary(
            all()
                .map(|(t, _)| t.connect_ns)
                .filter(|c| *c > Nanos::ZERO)
                .map(Nanos::as_secs_f64),
        ),
        output_tokens: summary(all().map(|(_, c)| f64::from(c.completion_tokens().get()))),
    }
}

#[cfg(test)]
mod tests;
