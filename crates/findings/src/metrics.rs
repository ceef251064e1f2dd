//! Metrics of one trial from its traces, with METHODOLOGY's formulas.
//!
//! Latencies are of measured requests that completed; a failure has none, and counts as +∞ in the percentiles that stand
//! beside the success-only ones and in what certifies them. Throughput is taken in the held window, fillers included, because
//! it is the window and not the request that had the load.
//!
//! Traces go by one at a time ([`Measuring`]) and are not kept.

use crate::{
    convert::{certified, or_infinite, summary_of},
    icl::Gaps,
    num::{count, len_u32},
    request::{Done, Request, UNKNOWN_PROMPT},
    tokens_in_window::TokensInWindow,
};
use servelab_schema::{
    Completion, MetricName, Nanos, Slo, TokenSource, Trace, TrialInstant, Window,
    findings::{Descriptive, KindSeen, MetricValue, OrInfinite, Summary, TrialMetrics},
};
use servelab_stats::{Probability, Sample};
use std::{collections::BTreeMap, num::NonZeroU32};

/// Metrics of one trial from all its traces. `held` is the window of the held load.
///
/// Latency metrics are absent where the two kinds of TTFT are mixed; output throughput where any completion in the window
/// has no token counts per chunk; goodput where no objective is declared.
#[must_use]
pub fn trial_metrics<'t>(held: Window, slo: &Slo, traces: impl IntoIterator<Item = &'t Trace>) -> TrialMetrics {
    let mut measuring = Measuring::new(Some(held), *slo);
    for trace in traces {
        measuring.add(trace, UNKNOWN_PROMPT, None);
    }
    measuring.metrics().unwrap_or_default()
}

/// The times against which a client's errors are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Medians {
    /// Time to first token; none where the two kinds of it are mixed.
    pub ttft: Option<Nanos>,
    /// From the first to the last token, of the requests that took any time.
    pub generation: Option<Nanos>,
}

/// The medians of a load's completed measured requests.
#[must_use]
pub fn medians<'t>(traces: impl IntoIterator<Item = &'t Trace>) -> Medians {
    let mut measuring = Measuring::new(None, Slo::default());
    for trace in traces {
        measuring.add(trace, UNKNOWN_PROMPT, None);
    }
    Medians {
        ttft: measuring.median_ttft(),
        generation: measuring.median_generation(),
    }
}

/// What is kept of a completed measured request until its trial has ended.
#[derive(Debug, Clone, Copy)]
struct Extra {
    content_ns: Option<Nanos>,
    from_scheduled_ns: Option<Nanos>,
    finished_ns: Option<Nanos>,
    connect_ns: Nanos,
    prompt_tokens: Option<NonZeroU32>,
}

/// The metrics of a trial while its traces go by.
#[derive(Debug)]
pub(crate) struct Measuring {
    held: Option<Window>,
    slo: Slo,
    pub(crate) requests: Vec<Request>,
    pub(crate) kind: KindSeen,
    /// Who counted the tokens of the completed so far, as long as it was everywhere the same.
    source: Option<TokenSource>,
    extras: Vec<Extra>,
    gaps: Gaps,
    /// How many chunks after each request's first one had how many tokens.
    chunk_tokens: BTreeMap<u32, u64>,
    pub(crate) inside: TokensInWindow,
    good: u32,
    completed_inside: u32,
    good_inside: u32,
    first_sent: Option<TrialInstant>,
    last_finished: Option<TrialInstant>,
}

impl Measuring {
    pub(crate) fn new(held: Option<Window>, slo: Slo) -> Self {
        Self {
            held,
            slo,
            requests: Vec::new(),
            kind: KindSeen::None,
            source: None,
            extras: Vec::new(),
            gaps: Gaps::new(),
            chunk_tokens: BTreeMap::new(),
            inside: TokensInWindow::default(),
            good: 0,
            completed_inside: 0,
            good_inside: 0,
            first_sent: None,
            last_finished: None,
        }
    }

    /// One attempt of the trial. `prompt` is its place in the plan.
    pub(crate) fn add(&mut self, trace: &Trace, prompt: u32, answer_found: Option<bool>) {
        if let Some(held) = self.held {
            self.inside.add(held, trace);
        }
        if !trace.measured {
            return;
        }
        self.requests.push(Request::new(prompt, trace, answer_found));
        if let Some(completion) = trace.completion() {
            self.completed(trace, completion);
        }
    }

    fn completed(&mut self, trace: &Trace, c: &Completion) {
        let first = self.extras.is_empty();
        self.source = c.token_source().filter(|source| first || self.source == Some(*source));
        self.kind = self.kind.and(c.ttft_kind());
        let good = meets(&self.slo, c);
        self.good += u32::from(good);
        let ended = trace.finished_ns;
        if self
            .held
            .is_some_and(|held| held.start_ns < ended && ended <= held.end_ns)
        {
            self.completed_inside += 1;
            self.good_inside += u32::from(good);
        }
        if let Some(sent) = trace.sent_ns {
            self.first_sent = Some(self.first_sent.map_or(sent, |first| first.min(sent)));
        }
        self.last_finished = self.last_finished.max(Some(trace.finished_ns));
        self.extras.push(Extra {
            content_ns: c.ttft_content(),
            from_scheduled_ns: c.ttft().and_then(|ttft| trace.from_scheduled(ttft)),
            finished_ns: trace.sent_ns.map(|sent| trace.finished_ns.since(sent)),
            connect_ns: trace.connect_ns,
            prompt_tokens: c.prompt_tokens(),
        });
        for chunk in c.chunks().iter().skip(1) {
            self.gaps.add(chunk.gap.0);
            if chunk.tokens > 0 {
                *self.chunk_tokens.entry(chunk.tokens).or_default() += 1;
            }
        }
    }

    fn done(&self) -> impl Iterator<Item = &Done> {
        self.requests.iter().filter_map(Request::done)
    }

    /// Median time to first token of the completed measured requests, as the schedule-lag gate wants it.
    pub(crate) fn median_ttft(&self) -> Option<Nanos> {
        let sample = Sample::new(self.done().filter_map(Done::ttft_s).collect::<Vec<_>>()).ok()?;
        let median = sample.quantile(Probability::P50);
        (self.kind != KindSeen::Mixed).then(|| Nanos(crate::num::nanos(median)))
    }

    /// Median time from the first to the last token of the completed measured requests that took any.
    pub(crate) fn median_generation(&self) -> Option<Nanos> {
        let sample = Sample::new(self.done().filter_map(Done::generation_s).collect::<Vec<_>>()).ok()?;
        Some(Nanos(crate::num::nanos(sample.quantile(Probability::P50))))
    }

    /// The metrics; none where no load was held.
    pub(crate) fn metrics(&self) -> Option<TrialMetrics> {
        let held = self.held?;
        let completed = len_u32(self.extras.len());
        let failed = len_u32(self.requests.len()) - completed;
        let mut values = self.throughputs(held, completed);
        let mut with_failures = BTreeMap::new();
        if self.kind != KindSeen::Mixed {
            for family in FAMILIES {
                let latencies: Vec<f64> = self.done().filter_map(family.of).collect();
                if let Ok(sample) = Sample::new(latencies) {
                    values.extend(family.values(&sample, failed));
                    with_failures.extend(family.with_failures(&sample, failed));
                }
            }
        }
        let descriptive = self.descriptive();
        if let Some(value) = descriptive.total_throughput_tokens_per_s {
            let total = MetricValue {
                value,
                n: completed,
                certified: None,
            };
            values.insert(MetricName::TotalThroughput, total);
        }
        Some(TrialMetrics {
            kind: self.kind,
            values,
            with_failures,
            descriptive,
        })
    }

    fn throughputs(&self, held: Window, completed: u32) -> BTreeMap<MetricName, MetricValue> {
        let mut values = BTreeMap::new();
        let seconds = held.length().as_secs_f64();
        if held.length() == Nanos::ZERO || completed == 0 {
            return values;
        }
        let of = |value: f64, n: u32| MetricValue {
            value,
            n,
            certified: None,
        };
        let inside = self.completed_inside;
        values.insert(MetricName::RequestThroughput, of(f64::from(inside) / seconds, inside));
        if has_objective(&self.slo) {
            values.insert(MetricName::Goodput, of(f64::from(self.good_inside) / seconds, inside));
        }
        if let Some((tokens, n)) = self.inside.known() {
            values.insert(MetricName::OutputThroughput, of(count(tokens) / seconds, n));
        }
        values
    }

    fn descriptive(&self) -> Descriptive {
        let seconds = self
            .first_sent
            .zip(self.last_finished)
            .map(|(first, last)| last.since(first).as_secs_f64())
            .filter(|seconds| *seconds > 0.0);
        let prompt_tokens = total(self.extras.iter().map(|e| e.prompt_tokens));
        let completion_tokens = total(self.done().map(|d| d.tokens));
        let input = seconds.zip(prompt_tokens).map(|(s, n)| count(n) / s);
        let output = seconds.zip(completion_tokens).map(|(s, n)| count(n) / s);
        let extras = || self.extras.iter();
        let seconds_of = |of: fn(&Extra) -> Option<Nanos>| summary_of(extras().filter_map(of).map(Nanos::as_secs_f64));
        // Means and percentiles of two kinds of timestamps together would be of neither.
        let one_kind = self.kind != KindSeen::Mixed;
        let of_one_kind = |s: Option<Summary>| s.filter(|_| one_kind);
        Descriptive {
            prompt_tokens_total: prompt_tokens,
            completion_tokens_total: completion_tokens,
            token_source: self.source,
            input_throughput_tokens_per_s: input,
            completed_output_throughput_tokens_per_s: output,
            total_throughput_tokens_per_s: input.zip(output).map(|(i, o)| i + o),
            goodput_ratio: (has_objective(&self.slo) && !self.requests.is_empty())
                .then(|| f64::from(self.good) / count(u64::from(len_u32(self.requests.len())))),
            interactivity_tokens_per_s: of_one_kind(summary_of(
                self.done()
                    .filter_map(Done::tpot_s)
                    .filter(|t| *t > 0.0)
                    .map(f64::recip),
            )),
            request_throughput_tokens_per_s: of_one_kind(summary_of(
                self.done()
                    .filter_map(Done::ntpot_s)
                    .filter(|t| *t > 0.0)
                    .map(f64::recip),
            )),
            ntpot_s: of_one_kind(summary_of(self.done().filter_map(Done::ntpot_s))),
            icl_s: of_one_kind(self.gaps.summary_s()),
            tokens_per_chunk: of_one_kind(counted(&self.chunk_tokens)),
            ttft_content_s: seconds_of(|e| e.content_ns),
            ttft_from_scheduled_s: of_one_kind(seconds_of(|e| e.from_scheduled_ns)),
            finished_s: seconds_of(|e| e.finished_ns),
            connect_s: seconds_of(|e| Some(e.connect_ns).filter(|c| *c > Nanos::ZERO)),
            output_tokens: summary_of(self.done().filter_map(|d| d.tokens).map(tokens)),
            prompt_tokens: summary_of(extras().filter_map(|e| e.prompt_tokens).map(tokens)),
        }
    }
}

/// The metrics that summarise one latency.
struct Family {
    of: fn(&Done) -> Option<f64>,
    mean: MetricName,
    percentiles: [(MetricName, Probability); 3],
}

const FAMILIES: [Family; 3] = [
    Family {
        of: Done::ttft_s,
        mean: MetricName::TtftMean,
        percentiles: [
            (MetricName::TtftP50, Probability::P50),
            (MetricName::TtftP90, Probability::P90),
            (MetricName::TtftP95, Probability::P95),
        ],
    },
    Family {
        of: Done::tpot_s,
        mean: MetricName::TpotMean,
        percentiles: [
            (MetricName::TpotP50, Probability::P50),
            (MetricName::TpotP90, Probability::P90),
            (MetricName::TpotP95, Probability::P95),
        ],
    },
    Family {
        of: |d| Some(d.e2e_s()),
        mean: MetricName::E2eMean,
        percentiles: [
            (MetricName::E2eP50, Probability::P50),
            (MetricName::E2eP90, Probability::P90),
            (MetricName::E2eP95, Probability::P95),
        ],
    },
];

impl Family {
    fn values(&self, sample: &Sample, failed: u32) -> impl Iterator<Item = (MetricName, MetricValue)> {
        let mean = MetricValue {
            value: sample.mean(),
            n: sample.n(),
            certified: None,
        };
        let percentile = |(name, p)| {
            let value = MetricValue {
                value: sample.quantile(p),
                n: sample.n(),
                certified: Some(certified(sample, p, failed)),
            };
            (name, value)
        };
        std::iter::once((self.mean, mean)).chain(self.percentiles.map(percentile))
    }

    fn with_failures(&self, sample: &Sample, failed: u32) -> impl Iterator<Item = (MetricName, OrInfinite)> {
        self.percentiles
            .map(|(name, p)| (name, or_infinite(sample.quantile_with_failures(p, failed))))
            .into_iter()
    }
}

const fn has_objective(slo: &Slo) -> bool {
    slo.ttft_ns.is_some() || slo.tpot_ns.is_some() || slo.e2e_ns.is_some()
}

/// The sum of counts; none where there are none, or any of them is unknown: a part of a total is no total.
fn total(counts: impl Iterator<Item = Option<NonZeroU32>>) -> Option<u64> {
    let sum = counts.map(|n| n.map(|n| u64::from(n.get()))).sum::<Option<u64>>();
    sum.filter(|n| *n > 0)
}

fn tokens(n: NonZeroU32) -> f64 {
    f64::from(n.get())
}

/// True where a completion meets every declared objective; a completion without TPOT, or without TTFT, meets any objective
/// of it.
#[must_use]
pub fn meets(slo: &Slo, c: &Completion) -> bool {
    slo.ttft_ns.is_none_or(|most| c.ttft().is_none_or(|ttft| ttft <= most))
        && slo.e2e_ns.is_none_or(|most| c.e2e() <= most)
        && slo
            .tpot_ns
            .is_none_or(|most| c.tpot_s().is_none_or(|tpot| tpot <= most.as_secs_f64()))
}

/// The figures of values that are counted and not listed; percentiles are exact.
fn counted(values: &BTreeMap<u32, u64>) -> Option<Summary> {
    let n: u64 = values.values().sum();
    let (min, max) = (*values.keys().next()?, *values.keys().next_back()?);
    let sum: f64 = values.iter().map(|(x, k)| f64::from(*x) * count(*k)).sum();
    let mean = sum / count(n);
    let squares: f64 = values
        .iter()
        .map(|(x, k)| (f64::from(*x) - mean).powi(2) * count(*k))
        .sum();
    let order = |i: u64| {
        let mut seen = 0;
        let found = values.iter().find(|(_, k)| {
            seen += **k;
            seen > i
        });
        f64::from(found.map_or(max, |(x, _)| *x))
    };
    // Hyndman and Fan's type 7, as everywhere.
    let at = |p: f64| {
        let position = count(n - 1) * p;
        let below = crate::num::floor(position);
        let (low, high) = (order(below), order(below + 1));
        (high - low).mul_add(position - count(below), low)
    };
    Some(Summary {
        n,
        mean,
        sd: (n > 1).then(|| (squares / count(n - 1)).sqrt()),
        min: f64::from(min),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        max: f64::from(max),
    })
}

#[cfg(test)]
mod tests;
