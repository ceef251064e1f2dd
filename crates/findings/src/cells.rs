//! One variant under one load: everything that its trials that count say together.

use crate::{
    Trial,
    engine_counts::{EngineTrial, engine_counts},
    num::len_u32,
    pooled::{PooledOptions, distributions},
    reduce::Prompts,
    request::Request,
    validity::Judged,
};
use servelab_schema::{
    Bucket, LoadId, MetricName, Plan, Reason, Task, VariantId,
    findings::{
        ArmQuality, CellFindings, Described, DescribedMetric, DescribedStatistic, Descriptive, GpuFindings, KindSeen,
        OutsideFindings, OverBlocks, PooledGroup, Summary, TrialGpus,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Resamples of the block bootstrap.
const RESAMPLES: u32 = 1000;

/// Most points of an ECDF, about.
const ECDF_POINTS: usize = 400;

/// A take with what the whole run decided of it.
#[derive(Clone, Copy)]
pub(crate) struct Take<'t> {
    pub(crate) trial: &'t Trial,
    pub(crate) judged: &'t Judged,
    /// False where another take stands for the same cell and block.
    pub(crate) stands: bool,
}

impl Take<'_> {
    /// True where its numbers are compared and pooled.
    pub(crate) fn counts(&self) -> bool {
        self.stands && self.judged.validity.is_valid()
    }
}

/// One variant under one load; none where it has no trial.
pub(crate) fn cell(
    plan: &Plan,
    prompts: &Prompts<'_>,
    (load, variant): (&LoadId, &VariantId),
    takes: &[Take<'_>],
    quality: ArmQuality,
) -> Option<CellFindings> {
    let of_cell = |t: &&Take<'_>| &t.trial.record.load == load && &t.trial.record.variant == variant;
    let all: Vec<Take<'_>> = takes.iter().filter(of_cell).copied().collect();
    if all.is_empty() {
        return None;
    }
    let counted: Vec<&Trial> = all.iter().filter(|t| t.counts()).map(|t| t.trial).collect();
    let requests = || counted.iter().flat_map(|t| &t.requests);
    let everywhere = || all.iter().flat_map(|t| &t.trial.requests);
    let described: Vec<&Descriptive> = counted
        .iter()
        .filter_map(|t| Some(&t.metrics.as_ref()?.descriptive))
        .collect();
    let kind = counted
        .iter()
        .filter_map(|t| Some(t.metrics.as_ref()?.kind))
        .fold(KindSeen::None, join);
    let blocks: Vec<_> = counted.iter().map(|t| t.requests.iter()).collect();
    let options = PooledOptions {
        resamples: RESAMPLES,
        seed: plan.seed,
        ecdf_points: ECDF_POINTS,
    };
    let engines: Vec<EngineTrial<'_>> = counted
        .iter()
        .map(|t| EngineTrial {
            metrics: t.engine.metrics.as_ref(),
            kv_used: &t.kv_used,
        })
        .collect();
    Some(CellFindings {
        variant: variant.clone(),
        load: load.clone(),
        blocks: len_u32(counted.len()),
        left_out: len_u32(all.len() - counted.len()),
        ttft_kind: kind.kind(),
        completed: completed(requests()),
        failures: failures(requests()),
        completed_everywhere: completed(everywhere()),
        failures_everywhere: failures(everywhere()),
        prompt_tokens_total: total(&described, |d| d.prompt_tokens_total),
        completion_tokens_total: total(&described, |d| d.completion_tokens_total),
        over_blocks: over_blocks(&counted, kind),
        described: figures(&described, kind),
        latencies: if kind == KindSeen::Mixed {
            Vec::new()
        } else {
            distributions(&blocks, &options)
        },
        groups: groups(prompts, &counted, kind, &options),
        quality,
        engine: engine_counts(&engines),
        outside: outside(&counted),
        gpu: gpus(&counted),
    })
}

/// A total over trials; none where that of any is unknown.
fn total(of: &[&Descriptive], tokens: fn(&Descriptive) -> Option<u64>) -> Option<u64> {
    let sum = of.iter().map(|d| tokens(d)).sum::<Option<u64>>();
    sum.filter(|n| *n > 0)
}

/// The kinds of two trials together.
fn join(a: KindSeen, b: KindSeen) -> KindSeen {
    match b {
        KindSeen::None => a,
        KindSeen::One(kind) => a.and(kind),
        KindSeen::Mixed => KindSeen::Mixed,
    }
}

fn completed<'r>(requests: impl Iterator<Item = &'r Request>) -> u32 {
    len_u32(requests.filter(|r| r.outcome.is_ok()).count())
}

fn failures<'r>(requests: impl Iterator<Item = &'r Request>) -> BTreeMap<Reason, u32> {
    let mut out: BTreeMap<Reason, u32> = BTreeMap::new();
    for reason in requests.filter_map(|r| r.outcome.err()) {
        *out.entry(reason).or_default() += 1;
    }
    out
}

/// Where trials of both kinds of first tokens count, a mean over them would be of neither.
fn over_blocks(counted: &[&Trial], kind: KindSeen) -> BTreeMap<MetricName, OverBlocks> {
    let of = |name: MetricName| {
        let values = counted
            .iter()
            .filter_map(|t| Some(t.metrics.as_ref()?.values.get(&name)?.value));
        Some((name, OverBlocks::of(values)?))
    };
    let one_sample = |name: &MetricName| kind != KindSeen::Mixed || !name.depends_on_first_tokens();
    MetricName::ALL.into_iter().filter(one_sample).filter_map(of).collect()
}

/// Which statistics of a block's summary are carried on.
type Statistic = (DescribedStatistic, fn(&Summary) -> f64);
const STATISTICS: [Statistic; 4] = [
    (DescribedStatistic::Mean, |s| s.mean),
    (DescribedStatistic::P50, |s| s.p50),
    (DescribedStatistic::P95, |s| s.p95),
    (DescribedStatistic::P99, |s| s.p99),
];

fn figures(blocks: &[&Descriptive], kind: KindSeen) -> Vec<Described> {
    use DescribedMetric as M;
    type Single = (M, fn(&Descriptive) -> Option<f64>);
    type Several = (M, fn(&Descriptive) -> Option<Summary>);
    let single: [Single; 3] = [
        (M::InputThroughput, |d| d.input_throughput_tokens_per_s),
        (M::CompletedOutputThroughput, |d| {
            d.completed_output_throughput_tokens_per_s
        }),
        (M::GoodputRatio, |d| d.goodput_ratio),
    ];
    let several: [Several; 11] = [
        (M::Interactivity, |d| d.interactivity_tokens_per_s),
        (M::PerRequestThroughput, |d| d.request_throughput_tokens_per_s),
        (M::Ntpot, |d| d.ntpot_s),
        (M::Icl, |d| d.icl_s),
        (M::TokensPerChunk, |d| d.tokens_per_chunk),
        (M::TtftContent, |d| d.ttft_content_s),
        (M::TtftFromScheduled, |d| d.ttft_from_scheduled_s),
        (M::Finished, |d| d.finished_s),
        (M::Connect, |d| d.connect_s),
        (M::OutputTokens, |d| d.output_tokens),
        (M::PromptTokens, |d| d.prompt_tokens),
    ];
    let figure = |metric, statistic, values: Vec<f64>| {
        OverBlocks::of(values.into_iter()).map(|over_blocks| Described {
            metric,
            statistic,
            over_blocks,
        })
    };
    let mut out: Vec<Described> = Vec::new();
    let one_sample = |metric: M| kind != KindSeen::Mixed || !metric.depends_on_first_tokens();
    for (metric, of) in single.into_iter().filter(|(m, _)| one_sample(*m)) {
        let values = blocks.iter().filter_map(|d| of(d)).collect();
        out.extend(figure(metric, DescribedStatistic::Value, values));
    }
    for (metric, of) in several.into_iter().filter(|(m, _)| one_sample(*m)) {
        for (statistic, value) in STATISTICS {
            let values = blocks.iter().filter_map(|d| of(d).map(|s| value(&s))).collect();
            out.extend(figure(metric, statistic, values));
        }
    }
    out
}

fn groups(prompts: &Prompts<'_>, counted: &[&Trial], kind: KindSeen, options: &PooledOptions) -> Vec<PooledGroup> {
    let names: BTreeSet<(Task, Bucket)> = counted
        .iter()
        .flat_map(|t| &t.groups)
        .map(|g| (g.task, g.bucket))
        .collect();
    let options = PooledOptions {
        ecdf_points: 0,
        ..*options
    };
    names
        .into_iter()
        .map(|(task, bucket)| {
            let is_member = |r: &&Request| prompts.group(r.prompt) == Some((task, bucket));
            let blocks: Vec<_> = counted.iter().map(|t| t.requests.iter().filter(is_member)).collect();
            let members = || blocks.iter().flat_map(Clone::clone);
            let of_group = counted.iter().flat_map(|t| &t.groups);
            let of_group = of_group.filter(|g| (g.task, g.bucket) == (task, bucket));
            PooledGroup {
                task,
                bucket,
                completed: completed(members()),
                failed: failures(members()).values().sum(),
                output_throughput_tokens_per_s: OverBlocks::of(
                    of_group.filter_map(|g| g.output_throughput_tokens_per_s),
                ),
                latencies: if kind == KindSeen::Mixed {
                    Vec::new()
                } else {
                    distributions(&blocks, &options)
                },
            }
        })
        .collect()
}

fn outside(counted: &[&Trial]) -> OutsideFindings {
    let seen = || counted.iter().filter_map(|t| t.outside.as_ref().ok());
    let mut why_not: BTreeMap<_, u32> = BTreeMap::new();
    for why in counted.iter().filter_map(|t| t.outside.as_ref().err()) {
        *why_not.entry(*why).or_default() += 1;
    }
    OutsideFindings {
        trials: len_u32(seen().count()),
        requests: seen().map(|t| t.requests).sum(),
        client_s: OverBlocks::of(seen().map(|t| t.client_s)),
        engine_s: OverBlocks::of(seen().map(|t| t.server_s)),
        outside_s: OverBlocks::of(seen().map(|t| t.outside_s())),
        why_not: why_not.into_iter().collect(),
    }
}

fn gpus(counted: &[&Trial]) -> Option<GpuFindings> {
    let trials: Vec<&TrialGpus> = counted.iter().filter_map(|t| t.gpus.as_ref()).collect();
    let over = |of: fn(&TrialGpus) -> Option<f64>| OverBlocks::of(trials.iter().filter_map(|t| of(t)));
    let each = || trials.iter().flat_map(|t| &t.gpus);
    (!trials.is_empty()).then(|| GpuFindings {
        trials: len_u32(trials.len()),
        joules_per_output_token: over(TrialGpus::joules_per_output_token),
        watts: over(TrialGpus::mean_watts),
        utilisation_ratio: over(TrialGpus::utilisation_ratio),
        throttled_ratio: over(|t| t.gpus.iter().filter_map(|g| g.throttled_ratio).reduce(f64::max)),
        memory_peak_bytes: each().filter_map(|g| g.peak_memory_bytes).max(),
        memory_headroom_bytes: each().filter_map(|g| g.headroom_bytes).min(),
        max_temperature_celsius: each().filter_map(|g| g.max_temperature_celsius).max(),
        throttle_reasons: each()
            .flat_map(|g| &g.throttled)
            .flat_map(|t| t.reasons.iter().copied())
            .collect(),
        throttled_requests: trials.iter().map(|t| len_u32(t.throttled_requests.len())).sum(),
        requests: trials.iter().map(|t| t.requests).sum(),
    })
}
