//! The same trial by task and bucket. Groups get a median and a throughput only: 20 requests certify no more.

use crate::metrics::{KindSeen, MetricValue, e2e_s, tokens_inside, tpot_s, ttft_s};
use crate::num::{count, len_u32};
use servelab_schema::{Bucket, Completion, Nanos, Plan, PromptId, PromptRef, Task, Trace, Window};
use servelab_stats::{Probability, Sample, certify};
use std::collections::BTreeMap;

/// Metrics of the measured requests of one task and bucket in one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupMetrics {
    /// What was asked for.
    pub task: Task,
    /// Length class.
    pub bucket: Bucket,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed.
    pub failed: u32,
    /// Median time to first token, seconds.
    pub ttft_p50_s: Option<MetricValue>,
    /// Median time per output token, seconds.
    pub tpot_p50_s: Option<MetricValue>,
    /// Median end-to-end time, seconds.
    pub e2e_p50_s: Option<MetricValue>,
    /// Tokens of this group's measured requests that arrived inside the held window / its length: the group's share of the
    /// throughput, tokens/s.
    pub output_throughput_tokens_per_s: Option<f64>,
}

/// Groups of one trial in the order of [`Task::ALL`] × [`Bucket::ALL`]; groups without a measured request are absent, and so
/// are traces of prompts that the plan does not list.
#[must_use]
pub fn groups(plan: &Plan, held: Window, traces: &[Trace]) -> Vec<GroupMetrics> {
    let prompts: BTreeMap<&PromptId, &PromptRef> = plan.prompts.prompts.iter().map(|p| (&p.id, p)).collect();
    let mut by_group: BTreeMap<(Task, Bucket), Vec<&Trace>> = BTreeMap::new();
    for trace in traces.iter().filter(|t| t.measured) {
        if let Some(prompt) = prompts.get(&trace.prompt_id) {
            by_group.entry((prompt.task, prompt.bucket)).or_default().push(trace);
        }
    }
    by_group
        .into_iter()
        .map(|((task, bucket), traces)| group(task, bucket, held, &traces))
        .collect()
}

fn group(task: Task, bucket: Bucket, held: Window, traces: &[&Trace]) -> GroupMetrics {
    let done: Vec<&Completion> = traces.iter().filter_map(|t| t.completion()).collect();
    let failed = len_u32(traces.len().saturating_sub(done.len()));
    let mixed = KindSeen::of(done.iter().copied()) == KindSeen::Mixed;
    let median = |of: fn(&Completion) -> Option<f64>| {
        let sample = Sample::new(done.iter().filter_map(|c| of(c)).collect::<Vec<_>>())
            .ok()
            .filter(|_| !mixed)?;
        let certified = Some(certify(&sample, failed, Probability::P50));
        Some(MetricValue {
            value: sample.quantile(Probability::P50),
            n: sample.n(),
            certified,
        })
    };
    let seconds = held.length().as_secs_f64();
    let tokens = tokens_inside(held, traces.iter().copied()).filter(|_| held.length() > Nanos::ZERO);
    GroupMetrics {
        task,
        bucket,
        completed: len_u32(done.len()),
        failed,
        ttft_p50_s: median(ttft_s),
        tpot_p50_s: median(tpot_s),
        e2e_p50_s: median(e2e_s),
        output_throughput_tokens_per_s: tokens.map(|(tokens, _)| count(tokens) / seconds),
    }
}

#[cfg(test)]
mod tests;
