//! The predicted wall time and cost: an upper guess from token counts and declared speeds, not a measurement.
//!
//! A trial takes the start of the engine, the work of its requests (measured, warm-up and as many fillers as are in
//! flight), and what does not scale. Work = prompt tokens / prefill speed + output tokens × time per token / streams.
//! An open loop takes at least as long as its arrivals. Engine time is divided by the time scale.

use crate::{prompts::token_sums, wire::Predict};
use servelab_schema::{EngineKind, Load, Nanos, Plan, PromptRef};
use std::collections::BTreeMap;

/// Streams that an open loop is guessed to keep in flight.
const OPEN_STREAMS: u64 = 16;

/// Wall time of the whole plan.
pub(crate) fn wall(plan: &Plan, predict: &Predict) -> Nanos {
    let by_id: BTreeMap<_, &PromptRef> = plan.prompts.prompts.iter().map(|p| (&p.id, p)).collect();
    let (filler_prompt, filler_new) = token_sums(plan.fillers.prompts.iter());
    let fillers = u64::try_from(plan.fillers.prompts.len()).unwrap_or(1).max(1);
    let mut total: u64 = 0;
    for block in &plan.blocks {
        for trial in &block.trials {
            let prompts: Vec<&PromptRef> = block
                .prompts_of(trial)
                .iter()
                .filter_map(|id| by_id.get(id).copied())
                .collect();
            let (prompt, new) = token_sums(prompts.iter().copied());
            let requests = u64::try_from(prompts.len()).unwrap_or(0);
            let Some(load) = plan.load(&trial.load) else { continue };
            let (streams, arrivals_ns) = match load {
                Load::Closed { concurrency } => (u64::from(concurrency.get()), 0),
                Load::Open { rate_per_s, .. } => (OPEN_STREAMS, arrivals(requests, rate_per_s.get())),
            };
            let unmeasured = u64::from(plan.warm_up.requests) + streams;
            let prompt = u128::from(prompt + unmeasured * filler_prompt / fillers);
            let new = u128::from(new + unmeasured * filler_new / fillers);
            let work = prompt * 1_000_000_000 / u128::from(predict.prefill_tokens_per_s.get())
                + new * u128::from(predict.time_per_output_token.0) / u128::from(streams);
            let engine = nanos(u128::from(predict.startup.0) + work.max(arrivals_ns));
            let wall = plan
                .engine
                .time_scale()
                .wall(engine)
                .0
                .saturating_add(predict.wall_overhead_per_trial.0);
            total = total.saturating_add(wall);
        }
    }
    Nanos(total)
}

fn nanos(ns: u128) -> Nanos {
    Nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[expect(
    clippy::as_conversions,
    reason = "a guess of nanoseconds; a float beyond the range saturates"
)]
fn arrivals(requests: u64, rate_per_s: f64) -> u128 {
    (requests as f64 / rate_per_s * 1e9) as u128
}

/// Cost of that time, where a price is declared and the engine is not simulated.
pub(crate) fn cost_micro_usd(plan: &Plan, wall: Nanos) -> Option<u64> {
    if plan.engine_kind == EngineKind::Simulated {
        return None;
    }
    let price = u128::from(plan.profile.price_micro_usd_per_hour?);
    u64::try_from((price * u128::from(wall.0)).div_ceil(3_600_000_000_000)).ok()
}
