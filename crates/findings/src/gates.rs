//! The rules of validity of one trial, applied to what was observed.
//!
//! Errors of the client arrive already multiplied by the time scale (as `Instrument` documents) and are compared with the
//! limits as they are: the same wall-clock error weighs 20 times as much in a simulation that runs 20 times faster. What
//! was not measured never passes a gate that needs it. What the gates ask of the client itself is in `client`.

mod client;

use servelab_schema::{
    CacheState, GateName, GateOutcome, GateResult, Gates, Instrument, InstrumentCertificate, Load, Margin, Nanos, Plan,
    Ratio, Treatment, TrialCounts, VariantRole, Window,
};
use std::num::NonZeroU32;

/// Share of prompt tokens from a prefix cache that counts as contamination where prefix caching is not allowed.
///
/// Not 0, because engines count the tokens of the chat template that all prompts share; packed prompts share less than
/// one cache block otherwise.
pub const CACHE_HIT_LIMIT_RATIO: f64 = 0.01;

/// What was observed of a trial, as far as a gate needs it.
#[derive(Debug, Clone)]
pub struct GateFacts<'a> {
    /// The load that was put on the engine.
    pub load: Load,
    /// What the variant is in the experiment; only a treatment must show that it took effect.
    pub role: VariantRole,
    /// What the instrument measured of itself; none where the engine never started.
    pub instrument: Option<&'a Instrument>,
    /// How many requests ended how.
    pub counts: &'a TrialCounts,
    /// From the first to the last request.
    pub span: Option<Window>,
    /// While the load was held.
    pub held: Option<Window>,
    /// Median time to first token of the measured requests, engine time.
    pub median_ttft: Option<Nanos>,
    /// Median time from the first to the last token of the measured requests that took any, engine time.
    pub median_generation: Option<Nanos>,
    /// Smallest effect that matters.
    pub delta: Margin,
    /// Mean rate of the schedule's measured arrivals: what the achieved rate is held against, since a random schedule
    /// differs from its nominal rate by chance. None in a closed loop.
    pub scheduled_rate_per_s: Option<f64>,
    /// Whether the engine lived through the trial, or how it ended.
    pub engine_alive: Result<(), String>,
    /// Requests whose `usage.prompt_tokens` was not the packed count.
    pub prompt_token_mismatches: u32,
    /// Share of prompt tokens from the engine's prefix cache; none where it does not say.
    pub prefix_cache_hit_ratio: Option<Ratio>,
    /// What the prefix cache held of others when the trial began.
    pub cache: CacheState,
    /// Whether the plan allows a prefix cache.
    pub prefix_caching_allowed: bool,
    /// Whether the setting took effect.
    pub treatment: Treatment,
    /// Engine seconds per wall second: for the texts, and to hold rates of engine time against a certificate of wall time.
    pub time_scale: NonZeroU32,
    /// What the instrument was certified for on this machine; none where it was not calibrated.
    pub certificate: Option<&'a InstrumentCertificate>,
    /// What the instrument had to do; none where nothing was sent.
    pub work: Option<Work>,
}

/// What the instrument had to do in a trial, fillers included: mean rates of engine time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Requests per second.
    pub requests_per_s: f64,
    /// Token chunks per second.
    pub chunks_per_s: f64,
}

impl Work {
    /// Rates over a span; none where the span has no length.
    #[must_use]
    pub fn over(span: Window, requests: u64, chunks: u64) -> Option<Self> {
        let seconds = span.length().as_secs_f64();
        (seconds > 0.0).then(|| Self {
            requests_per_s: count(requests) / seconds,
            chunks_per_s: count(chunks) / seconds,
        })
    }
}

/// Every gate of [`GateName::ALL`], in that order.
#[must_use]
pub fn evaluate(plan: &Plan, facts: &GateFacts<'_>) -> Vec<GateResult> {
    evaluate_limits(&plan.gates, &GateName::ALL, facts)
}

/// The gates named, in that order, against limits that come from no plan.
#[must_use]
pub fn evaluate_limits(limits: &Gates, gates: &[GateName], facts: &GateFacts<'_>) -> Vec<GateResult> {
    // An engine that never served leaves nothing to measure: only that, and its treatment, is to be said of the trial.
    let never_served = facts.instrument.is_none() && facts.engine_alive.is_err();
    gates
        .iter()
        .map(|&gate| {
            let mut checked = check(gate, limits, facts);
            if never_served && !matches!(gate, GateName::EngineAlive | GateName::Treatment) {
                checked = Check::not_applicable("the engine never served", checked.limit);
            }
            let Check {
                outcome,
                observed,
                limit,
            } = checked;
            GateResult {
                gate,
                outcome,
                observed,
                limit,
            }
        })
        .collect()
}

/// A gate's result before it has its name.
struct Check {
    outcome: GateOutcome,
    observed: String,
    limit: String,
}

impl Check {
    fn new(passed: bool, observed: impl Into<String>, limit: impl Into<String>) -> Self {
        let outcome = if passed {
            GateOutcome::Passed
        } else {
            GateOutcome::Failed
        };
        Self {
            outcome,
            observed: observed.into(),
            limit: limit.into(),
        }
    }

    fn not_applicable(observed: impl Into<String>, limit: impl Into<String>) -> Self {
        Self {
            outcome: GateOutcome::NotApplicable,
            observed: observed.into(),
            limit: limit.into(),
        }
    }
}

const NOT_MEASURED: &str = "not measured";

fn check(gate: GateName, limits: &Gates, facts: &GateFacts<'_>) -> Check {
    match gate {
        GateName::Certificate => client::certificate(facts),
        GateName::CertifiedError => client::certified_error(limits, facts),
        GateName::ScheduleLag => client::schedule_lag(limits, facts),
        GateName::EventLoopLag => client::event_loop_lag(limits, facts),
        GateName::Starvation => client::starvation(limits, facts),
        GateName::ClientCpu => client::cpu(limits, facts),
        GateName::AchievedRate => client::achieved_rate(limits, facts),
        GateName::Clock => client::clock(facts),
        GateName::HeldWindow => held_window(limits, facts),
        GateName::MinRequests => {
            let least = limits.min_requests;
            let done = facts.counts.completed;
            Check::new(
                done >= least,
                format!("{done} completed"),
                format!("≥ {least} completed"),
            )
        }
        GateName::MinDuration => {
            let least = limits.min_duration_ns;
            let seen = facts.held.map(Window::length);
            let observed = seen.map_or_else(|| NOT_MEASURED.to_owned(), |s| format!("{s} held"));
            Check::new(seen.is_some_and(|s| s >= least), observed, format!("≥ {least} held"))
        }
        GateName::Failures => failures(limits, facts.counts),
        GateName::EngineAlive => match &facts.engine_alive {
            Ok(()) => Check::new(true, "alive throughout", "no exit, no restart"),
            Err(why) => Check::new(false, why.as_str(), "no exit, no restart"),
        },
        GateName::PromptTokens => {
            let seen = facts.prompt_token_mismatches;
            Check::new(seen == 0, format!("{seen} mismatches"), "0 mismatches")
        }
        GateName::CacheContamination => cache(facts),
        GateName::Treatment => treatment(facts),
    }
}

/// Counts of a trial are far below 2^53.
#[expect(clippy::as_conversions, reason = "exact below 2^53")]
const fn count(n: u64) -> f64 {
    n as f64
}

fn percent(ratio: f64) -> String {
    let text = format!("{:.2}", ratio * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn held_window(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let least = limits.held_window_ratio;
    let limit = format!("≥ {} of the trial", percent(least.get()));
    let share = facts.held.zip(facts.span).and_then(|(held, span)| {
        let span = span.length().as_secs_f64();
        (span > 0.0).then(|| held.length().as_secs_f64() / span)
    });
    match share {
        Some(share) => Check::new(share >= least.get(), format!("{} of the trial", percent(share)), limit),
        None => Check::new(false, NOT_MEASURED, limit),
    }
}

/// A planned request that never ended is no success either.
fn failures(limits: &Gates, counts: &TrialCounts) -> Check {
    let most = limits.failures_ratio;
    let limit = format!("≤ {}", percent(most.get()));
    let failed = counts.failures();
    let all = counts.planned.max(counts.completed.saturating_add(failed));
    let missing = all.saturating_sub(counts.completed).saturating_sub(failed);
    if all == 0 {
        return Check::new(false, "no request", limit);
    }
    let share = f64::from(failed.saturating_add(missing)) / f64::from(all);
    let mut observed = format!("{failed} of {all} failed ({})", percent(share));
    if missing > 0 {
        observed = format!(
            "{failed} of {all} failed and {missing} never ended ({})",
            percent(share)
        );
    }
    Check::new(share <= most.get(), observed, limit)
}

fn cache(facts: &GateFacts<'_>) -> Check {
    let limit = format!("≤ {} of prompt tokens from the cache", percent(CACHE_HIT_LIMIT_RATIO));
    let observed = facts
        .prefix_cache_hit_ratio
        .map(|r| format!("{} from the cache", percent(r.get())));
    match (facts.prefix_caching_allowed, facts.prefix_cache_hit_ratio) {
        (true, _) => Check::not_applicable(
            observed.unwrap_or_else(|| NOT_MEASURED.into()),
            "the plan allows a prefix cache",
        ),
        (false, None) => match facts.cache {
            CacheState::Empty => Check::not_applicable("the engine does not say; it held nothing before", limit),
            CacheState::Salted => Check::not_applicable("the engine does not say; requests carried a salt", limit),
            CacheState::Accepted => Check::not_applicable("the engine does not say, which the plan accepts", limit),
            CacheState::Unknown => Check::new(
                false,
                "the server was up before, does not say what it takes from a cache, and takes no salt",
                format!("{limit}, or engine.provider.url.accept-unknown-cache"),
            ),
        },
        (false, Some(hits)) => Check::new(hits.get() <= CACHE_HIT_LIMIT_RATIO, observed.unwrap_or_default(), limit),
    }
}

fn treatment(facts: &GateFacts<'_>) -> Check {
    if facts.role != VariantRole::Treatment {
        return Check::new(true, "baseline", "no setting under test");
    }
    let passed = matches!(facts.treatment, Treatment::Confirmed | Treatment::Unobservable);
    Check::new(
        passed,
        facts.treatment.to_string(),
        "CONFIRMED, or UNOBSERVABLE and marked",
    )
}

#[cfg(test)]
mod tests;
