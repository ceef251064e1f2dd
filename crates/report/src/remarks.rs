//! The words for what stands beside a verdict: lost blocks, withheld words, hindrances, notes of a study.

use crate::number;
use servelab_schema::{
    Plan, TtftKind,
    findings::{Autocorrelation, Claim, Comparison, Hindrance, LossReason, LossTest, Lost, Note, Withheld},
};
use servelab_store::RunData;

/// `9 of 10 blocks`.
pub(crate) fn blocks(k: u32, planned: u32) -> String {
    format!("{k} of {}", number::count(planned, "block"))
}

/// `as good as 8.4 independent ones`.
pub(crate) fn as_independent(a: &Autocorrelation) -> String {
    format!("as good as {} independent ones", number::fixed(a.effective_blocks, 1))
}

/// `neighbouring blocks correlate by 0.41 (measured 0.32): as good as 8.4 independent ones`.
pub(crate) fn hang_together(a: &Autocorrelation) -> String {
    let measured = a.lag1_measured.map_or_else(
        || "expected".to_owned(),
        |measured| format!("measured {}", number::fixed(measured, 2)),
    );
    format!(
        "neighbouring blocks are taken to correlate by {} ({measured}): {}",
        number::fixed(a.lag1, 2),
        as_independent(a)
    )
}

/// Why a word is not given.
pub(crate) const fn withheld(why: Withheld) -> &'static str {
    match why {
        Withheld::Suspect => "the run is Suspect, so no verdict is given",
        Withheld::AaUnknown => "within ±δ, but no A/A check shows what equal arms look like here",
        Withheld::AaBeyondDelta => "within ±δ, but so far apart are two equal arms here as well",
        Withheld::Descriptive => "described, not tested",
    }
}

const fn kind(kind: Option<TtftKind>) -> &'static str {
    match kind {
        Some(TtftKind::Token) => "at the first token",
        Some(TtftKind::Content) => "at the first text",
        Some(TtftKind::Whole) => "nowhere, as answers come whole",
        None => "partly at the first token and partly at the first text",
    }
}

/// Why a comparison has no verdict.
pub(crate) fn hindrance(c: &Comparison, why: &Hindrance) -> String {
    let (variant, control) = (&c.variant, &c.control.control);
    match why {
        Hindrance::NoTrial => format!("{variant} has no trial"),
        Hindrance::NoBlock => lost(&c.lost).join("; "),
        Hindrance::FirstTokens {
            variant: own,
            control: other,
        } => format!(
            "first tokens of {variant} are stamped {}, of {control} {}",
            kind(*own),
            kind(*other)
        ),
        Hindrance::LostToEngine { would_be, blocks } => {
            let word = match would_be {
                Claim::Better => "better",
                Claim::Worse => "worse",
                Claim::Equivalent => "equivalent",
            };
            format!(
                "the blocks that count would say {word}, which {} lost to the engine could turn",
                number::count(*blocks, "block")
            )
        }
        Hindrance::NotCertifiable { requests, needs } => format!("not certifiable (n = {requests}, needs {needs})"),
        Hindrance::AmongFailures => "so many requests failed that the percentile lies among them".to_owned(),
    }
}

/// `5 of 10 starts lost to the engine, the control's 0 of 20, Holm-adjusted p = 0.012`.
pub(crate) fn losses(test: &LossTest) -> String {
    format!(
        "{} of {} blocks lost to the engine, of the control's {} of {}; adjusted p {}",
        test.lost,
        test.of,
        test.control_lost,
        test.control_of,
        number::p_value(test.p_adjusted)
    )
}

fn reason(l: &Lost) -> String {
    let arm = &l.variant;
    match &l.reason {
        LossReason::NoTrial => format!("{arm} has no trial"),
        LossReason::Gates { gates } => {
            let names: Vec<&str> = gates.iter().map(|g| g.as_str()).collect();
            format!("{arm} is invalid ({})", names.join(", "))
        }
        LossReason::Treatment { treatment } => format!("treatment of {arm} is {treatment}"),
        LossReason::Aborted { why } => format!("{arm} was aborted ({why})"),
        LossReason::NothingCompleted => format!("no request of {arm} completed"),
        LossReason::Zero => format!("{arm} has a value of 0, which has no logarithm"),
        LossReason::Absent => format!("{arm} has no such value"),
    }
}

/// What was lost, alike losses together: `C3 is invalid (schedule-lag): blocks 1, 2`.
pub(crate) fn lost(lost: &[Lost]) -> Vec<String> {
    let mut alike: Vec<(String, Vec<String>)> = Vec::new();
    for l in lost {
        let (text, block) = (reason(l), l.block.to_string());
        match alike.iter_mut().find(|(known, _)| *known == text) {
            Some((_, blocks)) => blocks.push(block),
            None => alike.push((text, vec![block])),
        }
    }
    let named = |(text, blocks): (String, Vec<String>)| {
        let noun = if blocks.len() == 1 { "block" } else { "blocks" };
        format!("{text}: {noun} {}", blocks.join(", "))
    };
    alike.into_iter().map(named).collect()
}

/// A note as a sentence.
pub(crate) fn note(plan: &Plan, note: &Note) -> String {
    let metric = plan.primary_metric;
    match note {
        Note::Suspect { load, copy, control, p } => {
            let p = number::p_value(*p);
            format!("Suspect: {copy} is a copy of {control}, yet they differ in {metric} under {load} (p {p}).")
        }
        Note::AaUnknown { load, copy, control } => {
            format!("{copy} could not be checked against {control} under {load}: fewer than two blocks.")
        }
        Note::AaBeyondDelta { load, copy, control } => format!(
            "The interval of {copy} against {control} in {metric} under {load} reaches beyond ±{}: no Equivalent is given there.",
            number::share(plan.delta.get())
        ),
        Note::NoAa => {
            "There is no A/A arm: nothing shows what no difference looks like in this run, and nothing is called Equivalent."
                .to_owned()
        }
        Note::SequentialOrder => {
            "Trials ran in sequential order: drift is not averaged out, every verdict is indicative.".to_owned()
        }
        Note::EnginesLiveOn => {
            "No engine was restarted between blocks: verdicts are about these servers as they ran, and a restart may differ."
                .to_owned()
        }
        Note::EndedEarly { .. } => "The run was stopped before its end: every verdict is indicative.".to_owned(),
        Note::FewBlocks { first_look } => format!("Verdicts on fewer than {first_look} blocks are indicative."),
        Note::StaleConnections { requests, of } => format!(
            "{requests} of {} were sent a second time, because the server had closed the kept connection without a byte of an \
             answer; each is timed from its second send.",
            number::count(*of, "request")
        ),
        Note::WentOn { sessions, blocks } => {
            let apart = match &blocks[..] {
                [] => "No block lies on both sides of a gap.".to_owned(),
                [one] => format!("Block {one} has takes of several sessions: what differs in time differs there by the gap too."),
                many => {
                    let many: Vec<String> = many.iter().map(ToString::to_string).collect();
                    let many = many.join(", ");
                    format!("Blocks {many} have takes of several sessions: what differs in time differs there by the gap too.")
                }
            };
            format!("The run was resumed: it has {sessions} sessions. {apart}")
        }
        Note::TakenAgain { takes } => format!(
            "{} of trials that were taken again; the first one that the instrument did not lose counts.",
            number::count(*takes, "other take")
        ),
    }
}

/// What the answers add to a comparison, in a few words; empty where they give no cause for any.
pub(crate) fn answers(run: &RunData, c: &Comparison) -> String {
    let change = run.findings.quality_change(&c.load, &c.variant, &c.control.control);
    let worse = change.filter(|q| q.answers_worse).and_then(|q| q.answers);
    let worse = worse.map(|a| format!("answers worse: {} percentage points", number::fixed(a.points, 1)));
    let length = change.filter(|q| q.length_confounds).and_then(|q| q.length);
    let length = length.map(|l| format!("confounded: answers {} in length", number::effect(l.percent)));
    worse.into_iter().chain(length).collect::<Vec<_>>().join("; ")
}
