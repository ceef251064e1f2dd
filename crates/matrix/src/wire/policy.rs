//! The sections that fix how is measured: experiment, output, warm-up, timeouts, gates, objectives, telemetry, prediction.

use crate::{
    error::Problem,
    reader::{At, Table},
    values::Positive,
};
use servelab_schema::{
    BlockOrder, Gates, Margin, MetricName, Nanos, OnRepeatedFailure, OutputPolicy, RunId, Slo, Timeouts, VariantId,
    WallNanos, WarmUp,
};
use std::num::NonZeroU32;

/// `[experiment]`.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) seed: u64,
    pub(crate) blocks: NonZeroU32,
    pub(crate) retakes: u32,
    pub(crate) requests_per_block: Option<At<NonZeroU32>>,
    pub(crate) order: BlockOrder,
    pub(crate) give_up_after: Option<NonZeroU32>,
    pub(crate) on_repeated_failure: OnRepeatedFailure,
    pub(crate) primary_metric: MetricName,
    pub(crate) delta: Margin,
    pub(crate) alpha: Margin,
    /// The variants to run; all where absent.
    pub(crate) variants: Option<Vec<At<VariantId>>>,
}

/// `[predict]`: what the predicted wall time is guessed from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Predict {
    pub(crate) startup: Nanos,
    pub(crate) prefill_tokens_per_s: NonZeroU32,
    pub(crate) time_per_output_token: Nanos,
    pub(crate) wall_overhead_per_trial: Nanos,
}

/// The name of the matrix: it becomes part of folder names.
pub(super) fn name(root: &mut Table<'_>) -> Option<At<String>> {
    let name: At<String> = root.req("name")?;
    match RunId::new(name.value.as_str()) {
        Ok(_) => Some(name),
        Err(_) => {
            let text = format!(
                "`{}` is no name; use 1 to 96 of the characters A-Z a-z 0-9 . _ - and begin with a letter or digit",
                name.value
            );
            root.refuse(&name.place, "name", Problem::Value(text));
            None
        }
    }
}

pub(super) fn experiment(mut t: Table<'_>) -> Option<Experiment> {
    let seed = t.value("seed");
    let blocks = t.value("blocks");
    let retakes = t.value("retakes");
    let requests_per_block = t.opt("requests-per-block");
    let order = t.value("order");
    let give_up_after: Option<u32> = t.value("give-up-after");
    let on_repeated_failure = t.value("on-repeated-failure");
    let primary_metric = t.value("primary-metric");
    let delta = t.value("delta");
    let alpha = t.value("alpha");
    let has_variants = t.has("variants");
    let variants: Option<Vec<At<VariantId>>> = t.list("variants");
    if variants.as_ref().is_some_and(Vec::is_empty) {
        let place = t.place.clone();
        let text = "empty; name variants, such as [\"C1\"], or remove this key to run all";
        t.refuse(&place, "variants", Problem::Value(text.into()));
    }
    t.finish();
    Some(Experiment {
        seed: seed?,
        blocks: blocks?,
        retakes: retakes?,
        requests_per_block,
        order: order?,
        give_up_after: NonZeroU32::new(give_up_after?),
        on_repeated_failure: on_repeated_failure?,
        primary_metric: primary_metric?,
        delta: delta?,
        alpha: alpha?,
        variants: if has_variants { Some(variants?) } else { None },
    })
}

pub(super) fn output(mut t: Table<'_>) -> Option<OutputPolicy> {
    let stop = t.value("stop");
    let temperature = t.value("temperature");
    let seed = t.value("seed");
    let keep_text = t.value("keep-text");
    t.finish();
    Some(OutputPolicy {
        stop: stop?,
        temperature: temperature?,
        seed: seed?,
        keep_text: keep_text?,
    })
}

pub(super) fn warm_up(mut t: Table<'_>) -> Option<WarmUp> {
    let requests = t.value("requests");
    t.finish();
    Some(WarmUp { requests: requests? })
}

pub(super) fn timeouts(mut t: Table<'_>) -> Option<Timeouts> {
    let mut read = |key| t.value::<Positive>(key).map(|p| p.0);
    let startup = read("startup");
    let connect = read("connect");
    let ttft = read("ttft");
    let idle = read("idle");
    let total = read("total");
    let stop_grace = read("stop-grace");
    t.finish();
    Some(Timeouts {
        startup_ns: WallNanos::given(startup?),
        connect_ns: connect?,
        ttft_ns: ttft?,
        idle_ns: idle?,
        total_ns: total?,
        stop_grace_ns: WallNanos::given(stop_grace?),
    })
}

pub(super) fn gates(mut t: Table<'_>) -> Option<Gates> {
    let schedule_lag_p99 = t.value("schedule-lag-p99");
    let schedule_lag_ttft = t.value("schedule-lag-ttft-ratio");
    let event_loop_lag_p99 = t.value("event-loop-lag-p99");
    let event_loop_lag_ttft = t.value("event-loop-lag-ttft-ratio");
    let starvation = t.value("starvation-ratio");
    let certified_error_delta = t.value("certified-error-delta-ratio");
    let client_thread_cpu = t.value("client-thread-cpu-ratio");
    let achieved_rate = t.value("achieved-rate-ratio");
    let held_window = t.value("held-window-ratio");
    let min_requests = t.value("min-requests");
    let min_duration = t.value("min-duration");
    let failures = t.value("failures-ratio");
    t.finish();
    Some(Gates {
        schedule_lag_p99_ns: schedule_lag_p99?,
        schedule_lag_ttft_ratio: schedule_lag_ttft?,
        event_loop_lag_p99_ns: event_loop_lag_p99?,
        event_loop_lag_ttft_ratio: event_loop_lag_ttft?,
        starvation_ratio: starvation?,
        certified_error_delta_ratio: certified_error_delta?,
        client_thread_cpu_ratio: client_thread_cpu?,
        achieved_rate_ratio: achieved_rate?,
        held_window_ratio: held_window?,
        min_requests: min_requests?,
        min_duration_ns: min_duration?,
        failures_ratio: failures?,
    })
}

pub(super) fn slo(mut t: Table<'_>) -> Slo {
    let mut read = |key| t.opt::<Positive>(key).map(|p| p.value.0);
    let slo = Slo {
        ttft_ns: read("ttft"),
        tpot_ns: read("tpot"),
        e2e_ns: read("e2e"),
    };
    t.finish();
    slo
}

pub(super) fn telemetry(mut t: Table<'_>) -> Option<Nanos> {
    let interval = t.value::<Positive>("interval");
    t.finish();
    Some(interval?.0)
}

pub(super) fn predict(mut t: Table<'_>) -> Option<Predict> {
    let startup = t.value("startup");
    let prefill = t.value("prefill-tokens-per-s");
    let per_token = t.value::<Positive>("time-per-output-token");
    let overhead = t.value("wall-overhead-per-trial");
    t.finish();
    Some(Predict {
        startup: startup?,
        prefill_tokens_per_s: prefill?,
        time_per_output_token: per_token?.0,
        wall_overhead_per_trial: overhead?,
    })
}
