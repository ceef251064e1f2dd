//! What a re-run says, in two stages.
//!
//! 1. Every question of the primary metric is held against the pin. One whose change points to worse at a screening level is a
//!    *suspect*. That is cheap and often wrong by intention.
//! 2. The suspects' variants are run again: [`AGAIN_BLOCKS`] blocks, interleaved with their controls. Their answers rest on these
//!    blocks alone, since the first ones were chosen for being bad. The family keeps its size: a question that was no suspect has
//!    a p of 1 there, so that what was asked in all is what Holm corrects for.
//!
//! All of it is pure.

use servelab_findings::{Question, Side, questions, two_runs};
use servelab_matrix::{Duel, FurtherError, duel};
use servelab_schema::{
    LoadId, MetricName, Plan, VariantId,
    findings::{Change, ChangeVerdict, Common, Unlike},
};
use std::{collections::BTreeSet, num::NonZeroU32};

/// Two-sided p at or below which a change for the worse makes a suspect.
pub const SCREEN_P: f64 = 0.2;

/// Blocks in which suspects are looked at again: the fewest on which an exit code may rest.
pub const AGAIN_BLOCKS: NonZeroU32 = NonZeroU32::new(6).unwrap();

/// What a question came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Worse than pinned.
    Worse,
    /// The blocks do not decide, or give no more than a hint.
    NoEvidence,
    /// There is nothing to compare; the change says why.
    NotComparable,
    /// Not on this machine: it is not the one that was pinned.
    OtherMachine,
    /// Within ±δ of what was pinned.
    Same,
    /// Better than pinned.
    Better,
}

impl Answer {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::NoEvidence => "no evidence",
            Self::NotComparable => "not comparable",
            Self::OtherMachine => "another machine",
            Self::Same => "same",
            Self::Better => "better",
        }
    }

    fn of(change: &Change) -> Self {
        let is_machine = |u: &Unlike| {
            let Unlike::Differs { what, .. } = u else { return false };
            matches!(what, Common::Host | Common::Gpus)
        };
        match &change.verdict {
            ChangeVerdict::NotComparable { why } if why.iter().all(is_machine) => Self::OtherMachine,
            ChangeVerdict::NotComparable { .. } => Self::NotComparable,
            // No exit code rests on a hint.
            _ if change.indicative => Self::NoEvidence,
            ChangeVerdict::NoEvidence { .. } => Self::NoEvidence,
            ChangeVerdict::Better => Self::Better,
            ChangeVerdict::Worse { .. } => Self::Worse,
            ChangeVerdict::Equivalent => Self::Same,
        }
    }
}

/// What the whole re-run came to: the worst of its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overall {
    /// Some question is answered worse.
    Worse,
    /// None is, and some is not decided; or nothing could be compared.
    NoEvidence,
    /// All are the same or better, and some is better.
    Better,
    /// All are the same.
    Same,
}

impl Overall {
    /// The word for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::NoEvidence => "no evidence",
            Self::Better => "better",
            Self::Same => "same",
        }
    }
}

/// A question of the primary metric with its answer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Settled {
    /// What it came to.
    pub answer: Answer,
    /// True where the first stage made it a suspect.
    pub suspect: bool,
    /// What the re-run said.
    pub first: Change,
    /// What the fresh blocks said, on which the answer then rests; null where none were run for it.
    pub again: Option<Change>,
}

impl Settled {
    /// The change that the answer rests on.
    #[must_use]
    pub fn decisive(&self) -> &Change {
        self.again.as_ref().unwrap_or(&self.first)
    }
}

/// The first stage: every question, in every metric.
#[must_use]
pub fn first(pinned: &Side<'_>, now: &Side<'_>) -> Vec<Change> {
    two_runs(pinned, now, &questions(pinned.plan, pinned.measured, now.measured), 0)
}

/// The questions of the primary metric whose change points to worse.
#[must_use]
pub fn suspects(plan: &Plan, changes: &[Change]) -> Vec<Question> {
    let delta = plan.delta.get() * 100.0;
    let is_suspect = |c: &&Change| {
        let slower = c.estimate.is_some_and(|e| {
            let worse = if c.metric.higher_is_better() {
                -e.change_percent
            } else {
                e.change_percent
            };
            e.p <= SCREEN_P && worse >= delta
        });
        let loses = c.losses.is_some_and(|l| l.p <= SCREEN_P);
        c.primary && (slower || loses)
    };
    changes.iter().filter(is_suspect).map(question).collect()
}

fn question(c: &Change) -> Question {
    Question {
        load: c.load.clone(),
        variant: c.variant.clone(),
        metric: c.metric,
        of: c.of,
    }
}

/// The plan of the second stage.
///
/// # Errors
/// [`FurtherError`] where the suspects are none of the plan's.
pub fn again(plan: &Plan, suspects: &[Question], name: &str) -> Result<Plan, FurtherError> {
    let variants: BTreeSet<VariantId> = suspects.iter().map(|q| q.variant.clone()).collect();
    let loads: BTreeSet<LoadId> = suspects.iter().map(|q| q.load.clone()).collect();
    let asked = Duel {
        name,
        variants: &variants,
        loads: &loads,
        blocks: AGAIN_BLOCKS,
    };
    duel(plan, &asked)
}

/// Every question of the primary metric with its answer. `second` is the run of the suspects, where there was one.
#[must_use]
pub fn settle(pinned: &Side<'_>, changes: &[Change], suspects: &[Question], second: Option<&Side<'_>>) -> Vec<Settled> {
    let primary = || changes.iter().filter(|c| c.primary);
    let besides = primary().count().saturating_sub(suspects.len());
    let fresh = second.map(|second| {
        let besides = u32::try_from(besides).unwrap_or(u32::MAX);
        two_runs(pinned, second, suspects, besides)
    });
    let of = |c: &Change| {
        let fresh = fresh.as_deref().unwrap_or_default();
        fresh.iter().find(|f| question(f) == question(c)).cloned()
    };
    primary()
        .map(|first| {
            let again = of(first);
            Settled {
                answer: Answer::of(again.as_ref().unwrap_or(first)),
                suspect: suspects.contains(&question(first)),
                first: first.clone(),
                again,
            }
        })
        .collect()
}

/// What the answers come to together. Questions that another machine leaves open decide nothing, unless nothing else is asked.
#[must_use]
pub fn overall(settled: &[Settled]) -> Overall {
    let answers: BTreeSet<Answer> = settled.iter().map(|s| s.answer).collect();
    let has = |answer| answers.contains(&answer);
    if has(Answer::Worse) {
        Overall::Worse
    } else if has(Answer::NoEvidence) || has(Answer::NotComparable) || !(has(Answer::Same) || has(Answer::Better)) {
        Overall::NoEvidence
    } else if has(Answer::Better) {
        Overall::Better
    } else {
        Overall::Same
    }
}

/// The metric that decides.
pub(crate) const fn metric(plan: &Plan) -> MetricName {
    plan.primary_metric
}
