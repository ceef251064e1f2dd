//! What is written of a take that was cut off: what its folder shows, and nothing else.

use super::plan::Found;
use servelab_schema::{CacheState, EngineRecord, Outcome, Plan, Trace, TrialCounts, TrialEnd, TrialRecord, V};
use std::{collections::BTreeMap, num::NonZeroU32};

/// Adds one row to the counts.
pub(super) fn count(counts: &mut TrialCounts, trace: &Trace) {
    let n = match (&trace.outcome, trace.measured) {
        (Outcome::Completed(_), true) => &mut counts.completed,
        (Outcome::Completed(_), false) => &mut counts.fillers_completed,
        (Outcome::Failed(failure), true) => counts.failed.entry(failure.reason).or_default(),
        (Outcome::Failed(_), false) => &mut counts.fillers_failed,
    };
    // As many as there are rows in a file.
    *n += 1;
}

/// `trial.json` of a take that did not run to its end. The counts are those of the whole rows.
pub(super) fn trial(
    plan: &Plan,
    take: &Found<'_>,
    why: &str,
    (started_utc, session): (String, NonZeroU32),
    counts: TrialCounts,
) -> TrialRecord {
    TrialRecord {
        v: V,
        id: take.id.clone(),
        block: take.block.block,
        order: take.trial.order,
        variant: take.trial.variant.clone(),
        load: take.trial.load.clone(),
        take: take.take,
        session,
        engine_kind: plan.engine_kind,
        time_scale: plan.engine.time_scale().get(),
        started_utc,
        span: None,
        held: None,
        counts: TrialCounts {
            planned: u32::try_from(take.block.prompts_of(take.trial).len()).unwrap_or(u32::MAX),
            ..counts
        },
        instrument: None,
        scheduled_rate_per_s: None,
        end: TrialEnd::Interrupted { why: why.to_owned() },
    }
}

/// `engine.json` of such a take, where there is none.
pub(super) fn engine(plan: &Plan, take: &Found<'_>, why: &str) -> EngineRecord {
    let variant = plan.variant(&take.trial.variant);
    let flags = variant.map(|v| v.flags.iter().map(|(name, field)| (name.clone(), field.value.clone())));
    EngineRecord {
        v: V,
        trial: take.id.clone(),
        variant: take.trial.variant.clone(),
        engine_kind: plan.engine_kind,
        argv: Vec::new(),
        env: BTreeMap::new(),
        server: None,
        cache_salt: None,
        capabilities: None,
        capability_notes: Vec::new(),
        flags: flags.into_iter().flatten().collect(),
        version: None,
        served_model: None,
        cache_config: BTreeMap::new(),
        effective: BTreeMap::new(),
        metrics: None,
        startup_ns: None,
        prefix_cache_wanted: false,
        cache_at_start: CacheState::Empty,
        restart_would_show: false,
        checks: Vec::new(),
        refusal: None,
        ended: "not recorded".to_owned(),
        failure: Some(why.to_owned()),
    }
}
