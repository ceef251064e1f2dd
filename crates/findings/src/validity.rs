//! Which trials count: every gate, over facts and settled treatments.

use crate::{
    Trial,
    gates::{AskedRate, GateFacts, evaluate},
    treatment::{self, Settled},
};
use servelab_schema::{
    Check, EngineRecord, EnvironmentRecord, GateResult, Plan, Treatment, TrialEnd, Validity, VariantRole,
};

/// What the whole run decides of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Whether the setting took effect.
    pub treatment: Treatment,
    /// The evidence: what the start showed, and how that compares with the control's starts.
    pub checks: Vec<Check>,
    /// Every gate.
    pub gates: Vec<GateResult>,
    /// Whether the trial counts.
    pub validity: Validity,
}

/// Settles treatment and validity of every trial over all of them: the one place where either is decided. The result is
/// final where `trials` are all the run has; while it goes on, it is what is known so far.
#[must_use]
pub fn judge(plan: &Plan, environment: &EnvironmentRecord, trials: &[Trial]) -> Vec<Judged> {
    let starts: Vec<&EngineRecord> = trials.iter().map(|t| &t.engine).collect();
    let settled = treatment::settle(plan, &starts);
    trials
        .iter()
        .zip(settled)
        .map(|(trial, settled)| of_trial(plan, environment, trial, settled))
        .collect()
}

fn of_trial(plan: &Plan, environment: &EnvironmentRecord, trial: &Trial, settled: Settled) -> Judged {
    let (record, engine) = (&trial.record, &trial.engine);
    let role = plan.variant(&record.variant).map_or(VariantRole::Treatment, |v| v.role);
    let load = plan.load(&record.load).copied();
    let gates = load.map_or_else(Vec::new, |load| {
        let facts = GateFacts {
            load,
            role,
            instrument: record.instrument.as_ref(),
            counts: &record.counts,
            span: record.span,
            held: record.held,
            median_ttft: trial.median_ttft,
            median_generation: trial.median_generation,
            delta: plan.delta,
            scheduled_rate_per_s: record.scheduled_rate_per_s,
            asked_rate: AskedRate::of_trial(plan, &record.counts),
            engine_alive: engine.failure.clone().map_or(Ok(()), Err),
            restart_would_show: engine.restart_would_show,
            prompt_token_mismatches: trial.prompt_token_mismatches,
            prefix_cache_hit_ratio: engine.metrics.as_ref().and_then(|m| m.prefix_cache_hit_ratio),
            cache: engine.cache_at_start,
            prefix_caching_allowed: engine.prefix_cache_wanted,
            treatment: settled.treatment,
            time_scale: record.time_scale,
            certificate: environment.instrument.as_ref(),
            work: trial.work,
        };
        evaluate(plan, &facts)
    });
    let validity = match &record.end {
        TrialEnd::Interrupted { why } => Validity::Aborted { why: why.clone() },
        TrialEnd::Finished => Validity::from_gates(&gates),
    };
    Judged {
        treatment: settled.treatment,
        checks: settled.checks,
        gates,
        validity,
    }
}
