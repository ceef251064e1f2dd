//! The rules of validity of one trial, applied to what was observed.
//!
//! Errors of the client arrive already multiplied by the time scale (as `Instrument` documents) and are compared with the
//! limits as they are: the same wall-clock error weighs 20 times as much in a simulation that runs 20 times faster. What
//! was not measured never passes a gate that needs it. What the gates ask of the client itself is in `client`.

mod asked_rate;
mod client;

pub use asked_rate::AskedRate;

use servelab_schema::{
    CacheState, FigureName, GateFigure, GateName, GateOutcome, GateResult, Gates, Instrument, InstrumentCertificate,
    Load, Margin, Nanos, Plan, Ratio, Treatment, TrialCounts, VariantRole, Window,
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
    /// Rate of the schedule's measured arrivals, which the achieved rate is held against. None in a closed loop.
    pub scheduled_rate_per_s: Option<f64>,
    /// Whether an open loop's arrivals were to keep the rate that was asked for, or why not.
    pub asked_rate: AskedRate,
    /// Whether the engine lived through the trial, or how it ended.
    pub engine_alive: Result<(), String>,
    /// Whether a restart of it would have been seen.
    pub restart_would_show: bool,
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
                figures,
                observed,
                limit,
            } = checked;
            GateResult {
                gate,
                outcome,
                figures,
                observed,
                limit,
            }
        })
        .collect()
}

/// A gate's result before it has its name.
struct Check {
    outcome: GateOutcome,
    figures: Vec<GateFigure>,
    observed: String,
    limit: String,
}

impl Check {
    /// What is no number decided it.
    fn new(outcome: GateOutcome, observed: impl Into<String>, limit: impl Into<String>) -> Self {
        Self {
            outcome,
            figures: Vec::new(),
            observed: observed.into(),
            limit: limit.into(),
        }
    }

    fn passed(observed: impl Into<String>, limit: impl Into<String>) -> Self {
        Self::new(GateOutcome::Passed, observed, limit)
    }

    fn failed(observed: impl Into<String>, limit: impl Into<String>) -> Self {
        Self::new(GateOutcome::Failed, observed, limit)
    }

    fn not_applicable(observed: impl Into<String>, limit: impl Into<String>) -> Self {
        Self::new(GateOutcome::NotApplicable, observed, limit)
    }

    /// The bounds of these numbers decide; the words must be made of the same values.
    fn of(figures: impl Into<Vec<GateFigure>>, observed: impl Into<String>, limit: impl Into<String>) -> Self {
        let figures = figures.into();
        let outcome = if figures.iter().all(GateFigure::keeps_bounds) {
            GateOutcome::Passed
        } else {
            GateOutcome::Failed
        };
        Self::new(outcome, observed, limit).with(figures)
    }

    /// With numbers that do not decide.
    fn with(self, figures: impl Into<Vec<GateFigure>>) -> Self {
        Self {
            figures: figures.into(),
            ..self
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
            let figure = GateFigure::new(FigureName::Completed, f64::from(done)).at_least(f64::from(least));
            Check::of([figure], format!("{done} completed"), format!("≥ {least} completed"))
        }
        GateName::MinDuration => {
            let least = limits.min_duration_ns;
            let limit = format!("≥ {least} held");
            let Some(seen) = facts.held.map(Window::length) else {
                return Check::failed(NOT_MEASURED, limit);
            };
            let figure = GateFigure::new(FigureName::Held, seen.as_secs_f64()).at_least(least.as_secs_f64());
            Check::of([figure], format!("{seen} held"), limit)
        }
        GateName::Failures => failures(limits, facts.counts),
        GateName::EngineAlive => engine_alive(facts),
        GateName::PromptTokens => {
            let seen = facts.prompt_token_mismatches;
            let figure = GateFigure::new(FigureName::Mismatches, f64::from(seen)).at_most(0.0);
            Check::of([figure], format!("{seen} mismatches"), "0 mismatches")
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
    let Some(share) = share else {
        return Check::failed(NOT_MEASURED, limit);
    };
    let figure = GateFigure::new(FigureName::HeldRatio, share).at_least(least.get());
    Check::of([figure], format!("{} of the trial", percent(share)), limit)
}

/// A restart that nobody could have seen is not held against an engine, but it is not denied either.
fn engine_alive(facts: &GateFacts<'_>) -> Check {
    let limit = "no exit, no restart";
    match &facts.engine_alive {
        Ok(()) if facts.restart_would_show => Check::passed("alive throughout", limit),
        Ok(()) => Check::passed("alive throughout; a restart could not have been seen", limit),
        Err(why) => Check::failed(why.as_str(), limit),
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
        return Check::failed("no request", limit).with([GateFigure::new(FigureName::Measured, 0.0)]);
    }
    let share = f64::from(failed.saturating_add(missing)) / f64::from(all);
    let mut observed = format!("{failed} of {all} failed ({})", percent(share));
    if missing > 0 {
        observed = format!(
            "{failed} of {all} failed and {missing} never ended ({})",
            percent(share)
        );
    }
    if let Some(first) = counts.gave_up_after {
        observed.push_str(&format!(
            "; the load was ended because its first {first} requests all failed"
        ));
    }
    let of = |name, requests: u32| GateFigure::new(name, f64::from(requests));
    let figures = [
        of(FigureName::Measured, all),
        of(FigureName::Failed, failed),
        of(FigureName::NeverEnded, missing),
        GateFigure::new(FigureName::FailedRatio, share).at_most(most.get()),
    ];
    Check::of(figures, observed, limit)
}

fn cache(facts: &GateFacts<'_>) -> Check {
    let limit = format!("≤ {} of prompt tokens from the cache", percent(CACHE_HIT_LIMIT_RATIO));
    let allowed = "the plan allows a prefix cache";
    let observed = |hits: Ratio| format!("{} from the cache", percent(hits.get()));
    let figure = |hits: Ratio| GateFigure::new(FigureName::FromCache, hits.get());
    match (facts.prefix_caching_allowed, facts.prefix_cache_hit_ratio) {
        (true, None) => Check::not_applicable(NOT_MEASURED, allowed),
        (true, Some(hits)) => Check::not_applicable(observed(hits), allowed).with([figure(hits)]),
        (false, None) => match facts.cache {
            CacheState::Empty => Check::not_applicable("the engine does not say; it held nothing before", limit),
            CacheState::Salted => Check::not_applicable("the engine does not say; requests carried a salt", limit),
            CacheState::Accepted => Check::not_applicable("the engine does not say, which the plan accepts", limit),
            CacheState::Unknown => Check::failed(
                "the server was up before, does not say what it takes from a cache, and takes no salt",
                format!("{limit}, or engine.provider.url.accept-unknown-cache"),
            ),
        },
        (false, Some(hits)) => Check::of([figure(hits).at_most(CACHE_HIT_LIMIT_RATIO)], observed(hits), limit),
    }
}

fn treatment(facts: &GateFacts<'_>) -> Check {
    if facts.role != VariantRole::Treatment {
        return Check::passed("baseline", "no setting under test");
    }
    let limit = "CONFIRMED, or UNOBSERVABLE and marked";
    if facts.treatment.took_effect() {
        Check::passed(facts.treatment.to_string(), limit)
    } else {
        Check::failed(facts.treatment.to_string(), limit)
    }
}

#[cfg(test)]
mod tests;
