//! Whether one load was measured well: the gates of a plan that need no plan, with METHOD's limits.

use crate::figures::Counts;
pub(crate) use servelab_findings::AskedRate;
use servelab_findings::{GateFacts, Medians, evaluate_limits};
use servelab_load::{LoadResult, Stop};
use servelab_schema::{
    CacheState, GateName, GateResult, Gates, Load, Margin, Reason, Treatment, TrialCounts, VariantRole, Window,
};
use std::num::NonZeroU32;

/// The gates that a single load can fail.
const GATES: [GateName; 8] = [
    GateName::ScheduleLag,
    GateName::EventLoopLag,
    GateName::Starvation,
    GateName::ClientCpu,
    GateName::AchievedRate,
    GateName::Failures,
    GateName::PromptTokens,
    GateName::Clock,
];

/// Each gate's result for a load.
pub(crate) fn gates(
    load: Load,
    asked_rate: AskedRate,
    result: &LoadResult,
    requests: &Counts,
    medians: Medians,
    held: Option<Window>,
) -> Vec<GateResult> {
    // What the user cut off is no failure.
    let interrupted = result.stopped == Some(Stop::Cancelled);
    let unsent = if interrupted { requests.never_sent } else { 0 };
    let counts = TrialCounts {
        planned: requests.planned.saturating_sub(requests.cut_off).saturating_sub(unsent),
        completed: requests.completed,
        failed: requests.failed_by_reason.clone(),
        fillers_completed: requests.warm_up_completed,
        fillers_failed: requests.warm_up_failed,
        gave_up_after: requests.gave_up_after,
    };
    let facts = GateFacts {
        load,
        role: VariantRole::Baseline,
        instrument: Some(&result.instrument),
        counts: &counts,
        span: result.span,
        held,
        median_ttft: medians.ttft,
        median_generation: medians.generation,
        delta: Margin::DEFAULT,
        scheduled_rate_per_s: result.scheduled_rate_per_s,
        asked_rate,
        engine_alive: Ok(()),
        restart_would_show: false,
        prompt_token_mismatches: counts.failed.get(&Reason::PromptTokenMismatch).copied().unwrap_or(0),
        prefix_cache_hit_ratio: None,
        cache: CacheState::Accepted,
        prefix_caching_allowed: true,
        treatment: Treatment::Unobservable,
        time_scale: NonZeroU32::MIN,
        certificate: None,
        work: None,
    };
    evaluate_limits(&Gates::default(), &GATES, &facts)
}
