//! Every variant against its control, every metric, with the A/A check first: a study.
//!
//! One log ratio per block; t interval and t p of their mean, widened where engines live on from block to block and blocks
//! hang together; the exact sign-flip p beside them where they do not; Holm over everything said
//! about the primary metric, Benjamini and Hochberg over the rest, which is exploratory. Blocks that the engine lost are
//! outcomes: they are tested on their own, and a claim that they could turn is not made. docs/METHODOLOGY.md has the rule.

mod aa;
mod draft;
mod tail;

pub use aa::SUSPECT_P;

use crate::family::Family;
use crate::pairing::Cells;
use crate::verdict::{Question, Tested};
use crate::{
    Trial,
    request::{Done, Request},
    validity::Judged,
};
use draft::{Draft, drafts};
use servelab_schema::findings::{
    AaOutcome, AaResult, Claim, Comparison, Hindrance, KindSeen, Note, Study, Verdict, Withheld, WorseBy,
};
use servelab_schema::{
    BlockOrder, LoadId, MetricName, Plan, RunEnd, Treatment, TtftKind, Validity, VariantId, VariantRole,
};
use servelab_stats::Probability;
use std::collections::BTreeMap;

/// Fewest blocks for a verdict that is more than indicative: the first look of the stopping rule.
pub const FIRST_LOOK: u32 = 6;

/// What a comparison needs of one take of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct CellMetrics {
    /// Block, from 1.
    pub block: u32,
    /// Variant under test.
    pub variant: VariantId,
    /// Load put on it.
    pub load: LoadId,
    /// Take, from 1.
    pub take: u32,
    /// Whether the trial counts.
    pub validity: Validity,
    /// Whether the setting took effect.
    pub treatment: Treatment,
    /// Whether its engine was sent any request.
    pub served: bool,
    /// Measured requests that completed.
    pub completed: u32,
    /// Measured requests that failed.
    pub failed: u32,
    /// Metrics in [`MetricName::unit`]; absent where there is no data. Pooled metrics are never here.
    pub metrics: BTreeMap<MetricName, f64>,
    /// End-to-end times of the completed measured requests, in seconds: what pooled metrics are made of.
    pub e2e_s: Vec<f64>,
    /// What the first timestamps are; none where they are mixed or there are none.
    pub ttft_kind: Option<TtftKind>,
}

impl CellMetrics {
    /// The cell of a finished trial with what the whole run decided of it.
    #[must_use]
    pub fn new(trial: &Trial, judged: &Judged) -> Self {
        let record = &trial.record;
        let values = trial.metrics.iter().flat_map(|m| &m.values);
        Self {
            block: record.block,
            variant: record.variant.clone(),
            load: record.load.clone(),
            take: record.take,
            validity: judged.validity.clone(),
            treatment: judged.treatment,
            served: trial.served(),
            completed: record.counts.completed,
            failed: record.counts.failures(),
            metrics: values.map(|(name, v)| (*name, v.value)).collect(),
            // Latencies from two kinds of first tokens are not one sample.
            e2e_s: match &trial.metrics {
                Some(m) if m.kind == KindSeen::Mixed => Vec::new(),
                _ => trial
                    .requests
                    .iter()
                    .filter_map(Request::done)
                    .map(Done::e2e_s)
                    .collect(),
            },
            ttft_kind: trial.metrics.as_ref().and_then(|m| m.kind.kind()),
        }
    }

    /// True where the engine served with the setting, as far as anything shows.
    pub(crate) const fn took_effect(&self) -> bool {
        self.served && self.treatment.took_effect()
    }
}

/// Compares every variant with its control and with the baseline. Pure: the same cells in any order give the same study.
/// `end` says whether the run was stopped before its last trial.
#[must_use]
pub fn study(plan: &Plan, end: &RunEnd, cells: &[CellMetrics]) -> Study {
    let levels =
        Probability::new(plan.alpha.get()).and_then(|alpha| Ok((alpha, Probability::new(alpha.complement())?)));
    let Ok((alpha, confidence)) = levels else {
        return Study::default();
    };
    let cells = Cells::new(plan, cells);
    let aa = aa::results(plan, &cells, confidence);
    let suspect = aa.iter().any(|a| a.primary && a.outcome == AaOutcome::Differs);
    let mut drafts = drafts(plan, &cells, suspect, confidence);
    let [primary, exploratory] = [true, false].map(|primary| adjust(&mut drafts, primary));
    let judge = Judge {
        plan,
        end,
        alpha,
        suspect,
        aa: &aa,
    };
    let judged = |(i, mut draft): (usize, Draft)| {
        let family = if draft.comparison.primary {
            &primary
        } else {
            &exploratory
        };
        draft.comparison.verdict = judge.verdict(i, &draft, family);
        draft.comparison.indicative = judge.is_indicative(&draft.comparison);
        draft.comparison
    };
    let comparisons: Vec<Comparison> = drafts.into_iter().enumerate().map(judged).collect();
    let notes = notes(plan, end, cells.duplicates, &aa, &comparisons);
    Study {
        comparisons,
        aa,
        suspect,
        notes,
    }
}

/// The primary metric first, then the others in the order of tables.
fn metrics(plan: &Plan) -> impl Iterator<Item = MetricName> {
    let primary = plan.primary_metric;
    std::iter::once(primary).chain(MetricName::ALL.into_iter().filter(move |m| *m != primary))
}

/// Fills in the adjusted p values of one family's comparisons: of the effect, of equivalence, and of lost blocks, each
/// adjusted on its own. Returns the family of the effects.
fn adjust(drafts: &mut [Draft], primary: bool) -> Family {
    let family = |p: fn(&Comparison) -> Option<f64>| {
        let members = drafts
            .iter()
            .enumerate()
            .filter(|(_, d)| d.comparison.primary == primary);
        Family::new(primary, members.map(|(i, d)| (i, p(&d.comparison))))
    };
    let effects = family(|c| c.estimate?.p_t);
    let equivalence = family(|c| c.estimate?.p_tost);
    let losses = family(|c| Some(c.losses?.p));
    let mut fill = |family: &Family, put: fn(&mut Comparison, f64)| {
        for (i, p) in family.adjusted() {
            if let Some(draft) = drafts.get_mut(i) {
                put(&mut draft.comparison, p);
            }
        }
    };
    fill(&effects, |c, p| {
        if let Some(e) = &mut c.estimate {
            e.p_adjusted = Some(p);
        }
    });
    fill(&equivalence, |c, p| {
        if let Some(e) = &mut c.estimate {
            e.p_tost_adjusted = Some(p);
        }
    });
    fill(&losses, |c, p| {
        if let Some(losses) = &mut c.losses {
            losses.p_adjusted = p;
        }
    });
    effects
}

/// What every verdict of a run is given under.
struct Judge<'a> {
    plan: &'a Plan,
    end: &'a RunEnd,
    alpha: Probability,
    suspect: bool,
    aa: &'a [AaResult],
}

impl Judge<'_> {
    fn verdict(&self, index: usize, draft: &Draft, family: &Family) -> Verdict {
        let c = &draft.comparison;
        let open = |withheld| Verdict::NoEvidence {
            blocks_to_show: None,
            withheld,
        };
        let loses_more = c.losses.is_some_and(|l| l.p_adjusted <= self.alpha.get());
        match &draft.hindrance {
            Some(Hindrance::NoBlock) if loses_more && !self.suspect => {
                return Verdict::Worse {
                    by: WorseBy::LostBlocks,
                };
            }
            Some(why) => return Verdict::NotComparable { why: why.clone() },
            None if self.suspect => return open(Some(Withheld::Suspect)),
            None if c.metric.is_pooled() => return open(Some(Withheld::Descriptive)),
            None if loses_more => {
                return Verdict::Worse {
                    by: WorseBy::LostBlocks,
                };
            }
            None => {}
        }
        let question = Question {
            metric: c.metric,
            delta: self.plan.delta.get(),
            alpha: self.alpha,
        };
        let tested = draft.t.zip(c.estimate).and_then(|(t, e)| {
            Some(Tested {
                t,
                p: e.p_adjusted?,
                p_tost: e.p_tost_adjusted?,
            })
        });
        let Some(tested) = tested else { return open(None) };
        // Benjamini and Hochberg's level of one test depends on the others' results: none can be planned for.
        let tests = if c.primary { family.size() } else { 1 };
        let Some(claim) = question.claim(&tested) else {
            return Verdict::NoEvidence {
                blocks_to_show: question.blocks_to_show(&tested.t, tests),
                withheld: None,
            };
        };
        if claim == Claim::Equivalent
            && let Some(withheld) = aa::no_equivalent(self.aa, &c.load, c.metric)
        {
            return open(Some(withheld));
        }
        let logs: Vec<f64> = c.blocks.iter().map(|b| b.log_ratio).collect();
        let blocks = Question::bearing(claim, draft.lost_to_engine);
        let adjust = |p| family.adjusted_with(index, p);
        let lag1 = c.estimate.and_then(|e| e.autocorrelation).map(|a| a.lag1);
        if !question.stands(claim, &logs, (blocks, lag1), adjust) {
            let would_be = claim;
            return Verdict::NotComparable {
                why: Hindrance::LostToEngine { would_be, blocks },
            };
        }
        match claim {
            Claim::Better => Verdict::Better,
            Claim::Worse => Verdict::Worse { by: WorseBy::Effect },
            Claim::Equivalent => Verdict::Equivalent,
        }
    }

    /// Where the word rests on lost blocks, these are outcomes that count towards the first look.
    fn is_indicative(&self, c: &Comparison) -> bool {
        let by_losses = matches!(
            c.verdict,
            Verdict::Worse {
                by: WorseBy::LostBlocks
            }
        );
        let outcomes = c.losses.filter(|_| by_losses).map_or(c.k, |l| l.of);
        outcomes < FIRST_LOOK || self.plan.order == BlockOrder::Sequential || *self.end != RunEnd::Complete
    }
}

fn notes(plan: &Plan, end: &RunEnd, duplicates: u32, aa: &[AaResult], comparisons: &[Comparison]) -> Vec<Note> {
    let mut notes = Vec::new();
    for a in aa.iter().filter(|a| a.primary) {
        let (load, copy, control) = (a.load.clone(), a.variant.clone(), a.control.clone());
        match a.estimate.and_then(|e| e.p_t) {
            None => notes.push(Note::AaUnknown { load, copy, control }),
            Some(p) if a.outcome == AaOutcome::Differs => notes.push(Note::Suspect { load, copy, control, p }),
            Some(_) if a.within_delta == Some(false) => notes.push(Note::AaBeyondDelta { load, copy, control }),
            Some(_) => {}
        }
    }
    if !plan.variants.iter().any(|v| v.role == VariantRole::Aa) {
        notes.push(Note::NoAa);
    }
    if plan.engine.lives_on() {
        notes.push(Note::EnginesLiveOn);
    }
    if plan.order == BlockOrder::Sequential {
        notes.push(Note::SequentialOrder);
    }
    if let RunEnd::Aborted { why } = end {
        notes.push(Note::EndedEarly { why: why.clone() });
    }
    if comparisons.iter().any(|c| c.k < FIRST_LOOK && c.estimate.is_some()) {
        notes.push(Note::FewBlocks { first_look: FIRST_LOOK });
    }
    if duplicates > 0 {
        notes.push(Note::TakenAgain { takes: duplicates });
    }
    notes
}

#[cfg(test)]
mod tests;
