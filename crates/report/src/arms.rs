//! One variant under one load: what its trials took of the GPUs, what its engines counted, and what passed outside them.

use crate::results::{OverBlocks, Results, Take};
use servelab_findings::{
    EngineCounts, EngineTrial, NoTriangle, TimeOutside, TrialGpus, engine_counts, time_outside, trial_gpus,
};
use servelab_schema::{NamedLoad, PlannedVariant, ThrottleReason};
use std::collections::{BTreeMap, BTreeSet};

/// A variant under a load, over its trials that count.
#[derive(Debug)]
pub(crate) struct Arm<'a> {
    pub(crate) load: &'a NamedLoad,
    pub(crate) variant: &'a PlannedVariant,
    /// Of each trial with GPU samples.
    pub(crate) gpus: Vec<TrialGpus>,
    pub(crate) counts: EngineCounts,
    pub(crate) outside: Outside,
}

/// Server against client.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Of each trial in which both saw the same requests.
    pub(crate) trials: Vec<TimeOutside>,
    /// Why the other trials have none, with their number.
    pub(crate) why_not: BTreeMap<NoTriangle, u32>,
}

/// Every arm, by load and variant in the plan's order.
pub(crate) fn arms<'a>(results: &Results<'a>) -> Vec<Arm<'a>> {
    let run = results.run;
    let mut arms = Vec::new();
    for load in &run.plan.loads {
        for variant in &run.plan.variants {
            let takes: Vec<&Take<'a>> = results.counted(&load.id, &variant.id).collect();
            let facts = &run.environment.gpus;
            let gpus = takes.iter().filter_map(|take| {
                let row = take.row;
                trial_gpus(facts, row.record.held?, &row.telemetry, &row.traces)
            });
            let trials: Vec<EngineTrial<'_>> = takes
                .iter()
                .map(|take| EngineTrial {
                    metrics: take.row.engine.metrics.as_ref(),
                    telemetry: &take.row.telemetry,
                    held: take.row.record.held,
                })
                .collect();
            arms.push(Arm {
                load,
                variant,
                gpus: gpus.collect(),
                counts: engine_counts(&trials),
                outside: outside(&takes),
            });
        }
    }
    arms
}

fn outside(takes: &[&Take<'_>]) -> Outside {
    let mut outside = Outside::default();
    for take in takes {
        match time_outside(&take.row.traces, take.row.engine.metrics.as_ref()) {
            Ok(found) => outside.trials.push(found),
            Err(why) => {
                let n = outside.why_not.entry(why).or_default();
                *n = n.saturating_add(1);
            }
        }
    }
    outside
}

impl Outside {
    /// Requests that both saw.
    pub(crate) fn requests(&self) -> u32 {
        self.trials.iter().map(|t| t.requests).sum()
    }

    pub(crate) fn client_s(&self) -> Option<OverBlocks> {
        OverBlocks::of(self.trials.iter().map(|t| t.client_s))
    }

    pub(crate) fn server_s(&self) -> Option<OverBlocks> {
        OverBlocks::of(self.trials.iter().map(|t| t.server_s))
    }

    pub(crate) fn outside_s(&self) -> Option<OverBlocks> {
        OverBlocks::of(self.trials.iter().map(TimeOutside::outside_s))
    }

    /// Why trials have no such comparison, in words; empty where all have one.
    pub(crate) fn why_not(&self) -> String {
        let said = self.why_not.iter().map(|(why, n)| match n {
            1 => why.to_string(),
            n => format!("{why} ({n} trials)"),
        });
        said.collect::<Vec<_>>().join("; ")
    }
}

impl Arm<'_> {
    /// Trials with GPU samples.
    pub(crate) fn gpu_trials(&self) -> u32 {
        u32::try_from(self.gpus.len()).unwrap_or(u32::MAX)
    }

    fn over(&self, of: fn(&TrialGpus) -> Option<f64>) -> Option<OverBlocks> {
        OverBlocks::of(self.gpus.iter().filter_map(of))
    }

    pub(crate) fn joules_per_output_token(&self) -> Option<OverBlocks> {
        self.over(TrialGpus::joules_per_output_token)
    }

    pub(crate) fn watts(&self) -> Option<OverBlocks> {
        self.over(TrialGpus::mean_watts)
    }

    pub(crate) fn utilisation_ratio(&self) -> Option<OverBlocks> {
        self.over(TrialGpus::utilisation_ratio)
    }

    /// Throttled share of the worst GPU of each trial.
    pub(crate) fn throttled_ratio(&self) -> Option<OverBlocks> {
        self.over(|t| t.gpus.iter().filter_map(|g| g.throttled_ratio).reduce(f64::max))
    }

    /// Highest over the trials and GPUs.
    pub(crate) fn memory_peak_bytes(&self) -> Option<u64> {
        self.gpus
            .iter()
            .flat_map(|t| &t.gpus)
            .filter_map(|g| g.peak_memory_bytes)
            .max()
    }

    /// Lowest over the trials and GPUs.
    pub(crate) fn memory_headroom_bytes(&self) -> Option<u64> {
        self.gpus
            .iter()
            .flat_map(|t| &t.gpus)
            .filter_map(|g| g.headroom_bytes)
            .min()
    }

    /// Highest over the trials and GPUs.
    pub(crate) fn celsius(&self) -> Option<u32> {
        self.gpus
            .iter()
            .flat_map(|t| &t.gpus)
            .filter_map(|g| g.max_temperature_celsius)
            .max()
    }

    /// Every reason that was given for throttling.
    pub(crate) fn throttle_reasons(&self) -> BTreeSet<ThrottleReason> {
        let times = self.gpus.iter().flat_map(|t| &t.gpus).flat_map(|g| &g.throttled);
        times.flat_map(|t| t.reasons.iter().copied()).collect()
    }

    /// Measured requests that met a throttled GPU, and all that were sent.
    pub(crate) fn throttled_requests(&self) -> (u32, u32) {
        let met: usize = self.gpus.iter().map(|t| t.throttled_requests.len()).sum();
        let all = self.gpus.iter().map(|t| t.requests).sum();
        (u32::try_from(met).unwrap_or(u32::MAX), all)
    }
}
