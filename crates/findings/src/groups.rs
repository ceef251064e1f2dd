//! The same trial by task and bucket. Groups get a median and a throughput only: 20 requests certify no more.

use crate::{
    convert::certified,
    num::{count, len_u32},
    request::{Done, Request},
    tokens_in_window::TokensInWindow,
};
use servelab_schema::{
    Bucket, Nanos, Task, Trace, TtftKind, Window,
    findings::{GroupMetrics, KindSeen, MetricValue},
};
use servelab_stats::{Probability, Sample};
use std::collections::BTreeMap;

/// What goes by of a group's measured requests.
#[derive(Debug, Default)]
struct Group {
    inside: TokensInWindow,
    kind: KindSeen,
}

/// The groups of a trial while its traces go by.
#[derive(Debug, Default)]
pub(crate) struct Grouping(BTreeMap<(Task, Bucket), Group>);

impl Grouping {
    /// One measured request of a group.
    pub(crate) fn add(&mut self, of: (Task, Bucket), held: Option<Window>, trace: &Trace) {
        let group = self.0.entry(of).or_default();
        if let Some(held) = held {
            group.inside.add(held, trace);
        }
        let kind: Option<TtftKind> = trace.completion().map(servelab_schema::Completion::ttft_kind);
        group.kind = kind.map_or(group.kind, |kind| group.kind.and(kind));
    }

    /// Groups in the order of [`Task::ALL`] × [`Bucket::ALL`]; `of` says which group a prompt of the plan is in.
    pub(crate) fn metrics(
        &self,
        held: Window,
        requests: &[Request],
        of: impl Fn(u32) -> Option<(Task, Bucket)>,
    ) -> Vec<GroupMetrics> {
        let mut members: BTreeMap<(Task, Bucket), Vec<&Request>> = BTreeMap::new();
        for request in requests {
            if let Some(name) = of(request.prompt) {
                members.entry(name).or_default().push(request);
            }
        }
        let none = Group::default();
        let metrics = |((task, bucket), requests): ((Task, Bucket), Vec<&Request>)| {
            let group = self.0.get(&(task, bucket)).unwrap_or(&none);
            group.metrics(task, bucket, held, &requests)
        };
        members.into_iter().map(metrics).collect()
    }
}

impl Group {
    fn metrics(&self, task: Task, bucket: Bucket, held: Window, requests: &[&Request]) -> GroupMetrics {
        let done: Vec<&Done> = requests.iter().filter_map(|r| r.done()).collect();
        let failed = len_u32(requests.len() - done.len());
        let median = |of: fn(&Done) -> Option<f64>| {
            let sample = Sample::new(done.iter().filter_map(|d| of(d)).collect::<Vec<_>>()).ok();
            sample
                .filter(|_| self.kind != KindSeen::Mixed)
                .map(|sample| MetricValue {
                    value: sample.quantile(Probability::P50),
                    n: sample.n(),
                    certified: Some(certified(&sample, Probability::P50, failed)),
                })
        };
        let tokens = self.inside.known().filter(|_| held.length() > Nanos::ZERO);
        GroupMetrics {
            task,
            bucket,
            completed: len_u32(done.len()),
            failed,
            ttft_p50_s: median(Done::ttft_s),
            tpot_p50_s: median(Done::tpot_s),
            e2e_p50_s: median(|d| Some(d.e2e_s())),
            output_throughput_tokens_per_s: tokens.map(|(tokens, _)| count(tokens) / held.length().as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests;
