//! What a failed gate means and what helps, for whoever has to do something about it.

use servelab_schema::{FigureName, GateName, GateOutcome, GateResult};

/// Why a gate fails, and the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What it means.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// The advice for a gate that failed; none for one that did not. `all` is every gate of the same trial or load.
#[must_use]
pub fn advice(result: &GateResult, all: &[GateResult]) -> Option<Advice> {
    (result.outcome == GateOutcome::Failed).then(|| of(result.gate, is_short(result), was_loaded(all)))
}

/// A gate that failed in one sentence each: what was seen and allowed, what that means, what helps. None for one that did not.
/// `all` is every gate of the same trial or load.
#[must_use]
pub fn failed_gate(result: &GateResult, all: &[GateResult]) -> Option<String> {
    let Advice { cause, remedy } = advice(result, all)?;
    Some(format!(
        "{}: {} (allowed: {}). {cause} {remedy}",
        result.gate, result.observed, result.limit
    ))
}

/// True where one single lag decided, because there were too few for a percentile.
fn is_short(result: &GateResult) -> bool {
    result.figures.iter().any(|f| f.name == FigureName::Max)
}

/// True where there was a load: nothing applies to that of an engine which ended before it was ready.
fn was_loaded(all: &[GateResult]) -> bool {
    let without = |g: &GateResult| g.gate == GateName::MinRequests && g.outcome == GateOutcome::NotApplicable;
    !all.iter().any(without)
}

const fn of(gate: GateName, is_short: bool, was_loaded: bool) -> Advice {
    let (cause, remedy) = match gate {
        GateName::EventLoopLag if is_short => (
            "The load took less than half a second, so that its one latest moment decides.",
            "Send more requests or for a longer time, or close what else runs here.",
        ),
        GateName::ScheduleLag => (
            "The client sent requests late: its own machine was busy.",
            "Close what else runs here, lower the load, or measure from another machine.",
        ),
        GateName::EventLoopLag => (
            "The client read answers late: its own machine was busy.",
            "Close what else runs here, lower the load, or measure from another machine.",
        ),
        GateName::Starvation => (
            "The client was kept off its core by other programs, the hypervisor or a CPU quota.",
            "Close what else runs here, give the client a core of its own, or raise the quota.",
        ),
        GateName::ClientCpu => (
            "The client itself was near what one core can do.",
            "Lower the load, or measure from a faster machine.",
        ),
        GateName::AchievedRate => (
            "The requests did not leave at the rate that was asked for.",
            "Ask for a lower rate, or close what else runs here.",
        ),
        GateName::Certificate => (
            "The load was heavier than what the client was calibrated for here.",
            "Lower the load, or calibrate on an idle machine.",
        ),
        GateName::CertifiedError => (
            "The client's own error is too large a part of what is measured.",
            "Use an idle or faster machine, longer answers, a larger delta, or a lower time scale.",
        ),
        GateName::Clock => (
            "The wall clock was set, or the machine slept.",
            "Measure again when the time service has settled.",
        ),
        GateName::HeldWindow => (
            "The full load stood for too small a part of the time.",
            "Give the trial more requests, or fewer of them in flight.",
        ),
        GateName::MinRequests => (
            "Too few requests completed to say anything.",
            "Give each block more requests, or lower gates.min-requests.",
        ),
        GateName::MinDuration => (
            "The load was over too soon to say anything.",
            "Give each block more requests, or lower gates.min-duration.",
        ),
        GateName::Failures => (
            "Too many requests failed, and those that did not are no fair sample.",
            "See what the server said of the failed ones; lower the load if it is overloaded.",
        ),
        GateName::EngineAlive if !was_loaded => (
            "The engine ended, or was given up, before it was ready: nothing was asked of it.",
            "See its log (server.log of the trial): a flag it refuses, a model it lacks, or too little memory or time to start.",
        ),
        GateName::EngineAlive => (
            "The engine did not live through the load.",
            "See its log (server.log of the trial).",
        ),
        GateName::PromptTokens => (
            "The server counted other prompt tokens than were packed.",
            "Use the tokenizer and chat template of the model that is served.",
        ),
        GateName::CacheContamination => (
            "Answers came from a warm prefix cache.",
            "Restart the server, use fresh prompts, or allow the cache in the plan.",
        ),
        GateName::Treatment => (
            "The setting under test did not take effect.",
            "See the treatment: what the engine showed of the setting.",
        ),
    };
    Advice { cause, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::GateFigure;

    fn result(gate: GateName, outcome: GateOutcome, figure: FigureName) -> GateResult {
        GateResult {
            gate,
            outcome,
            figures: vec![GateFigure::new(figure, 0.003)],
            observed: "largest 3.00ms".to_owned(),
            limit: "largest ≤ 2.00ms".to_owned(),
        }
    }

    #[test]
    fn a_short_load_is_told_to_be_longer() {
        let said = |figure| failed_gate(&result(GateName::EventLoopLag, GateOutcome::Failed, figure), &[]).unwrap();
        let short = said(FigureName::Max);
        assert!(
            short.starts_with("event-loop-lag: largest 3.00ms (allowed: largest ≤ 2.00ms). "),
            "{short}"
        );
        assert!(short.contains("more requests"), "{short}");
        assert!(!said(FigureName::P99).contains("more requests"));
    }

    #[test]
    fn every_gate_that_fails_has_a_cause_and_a_remedy() {
        for gate in GateName::ALL {
            let advice = advice(&result(gate, GateOutcome::Failed, FigureName::P99), &[]).unwrap();
            assert!(
                advice.cause.ends_with('.') && advice.remedy.ends_with('.'),
                "{advice:?}"
            );
        }
        for outcome in [GateOutcome::Passed, GateOutcome::NotApplicable] {
            assert_eq!(advice(&result(GateName::Clock, outcome, FigureName::P99), &[]), None);
        }
    }

    #[test]
    fn an_engine_that_was_never_ready_did_not_die_of_the_load() {
        let alive = result(GateName::EngineAlive, GateOutcome::Failed, FigureName::P99);
        let said = |requests| {
            let all = [
                alive.clone(),
                result(GateName::MinRequests, requests, FigureName::Completed),
            ];
            failed_gate(&alive, &all).unwrap()
        };
        let never = said(GateOutcome::NotApplicable);
        assert!(
            never.contains("before it was ready") && !never.contains("the load"),
            "{never}"
        );
        assert!(said(GateOutcome::Failed).contains("did not live through the load"));
    }
}
