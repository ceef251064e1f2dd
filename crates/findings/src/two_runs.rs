//! Two runs without common blocks: what became of a cell, and of an effect, between then and now.
//!
//! Each run gives a sample of engine starts, one value a block. On the log scale Welch's t (unequal spreads, Satterthwaite's
//! degrees of freedom) gives change, interval and p; two one-sided tests of the same statistic show equivalence. Two questions are asked
//! of every variant: *absolute*, the cell then and now, which a slower machine moves too; and *relative*, its log ratios to its
//! control then and now, which it does not. Holm over everything that is asked of the primary metric; Benjamini and Hochberg
//! over the rest, which is exploratory. docs/METHODOLOGY.md has the rule, and how often it errs.
//!
//! Parts: [`measured()`] makes a side of a run's findings, `unlike` names what two sides must have in common, [`two_runs`]
//! answers.

mod measured;
mod unlike;

pub use measured::{cells_without_value, measured};

use crate::{
    compare::FIRST_LOOK,
    family::Family,
    num::len_u32,
    verdict::{LostToEngine, POWER, Question as Rule},
};
use measured::{confidence, mean};
use servelab_schema::{
    BlockOrder, LoadId, Machine, MetricName, Plan, VariantId, VariantRole,
    findings::{
        BlockValues, Change, ChangeEstimate, ChangeLosses, ChangeOf, ChangeSide, ChangeVerdict, Claim, Interval,
        Measured, Unlike, Withheld, WorseBy,
    },
};
use servelab_stats::{Probability, WelchT, fisher_more_p, starts_to_detect, welch_t};
use std::collections::BTreeSet;

/// One of two runs.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What was planned.
    pub plan: &'a Plan,
    /// The machine; none for a simulated engine, whose times are no machine's.
    pub machine: Option<&'a Machine>,
    /// What was measured.
    pub measured: &'a Measured,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The load.
    pub load: LoadId,
    /// The variant.
    pub variant: VariantId,
    /// The metric.
    pub metric: MetricName,
    /// What is asked.
    pub of: ChangeOf,
}

/// Every question that a plan gives: each variant but the copies absolutely, each treatment relatively too, in every metric that
/// a block of either side has.
#[must_use]
pub fn questions(plan: &Plan, old: &Measured, new: &Measured) -> Vec<Question> {
    let arms = || plan.variants.iter().filter(|v| v.role != VariantRole::Aa);
    let mut all = Vec::new();
    for metric in MetricName::ALL.into_iter().filter(|m| !m.is_pooled()) {
        for load in &plan.loads {
            for v in arms() {
                let is_known = |m: &Measured| m.cell(&v.id, &load.id).is_some_and(|c| c.metrics.contains_key(&metric));
                if metric != plan.primary_metric && !is_known(old) && !is_known(new) {
                    continue;
                }
                let of = [ChangeOf::Absolute, ChangeOf::Relative];
                let asked = of
                    .into_iter()
                    .filter(|of| *of == ChangeOf::Absolute || v.role == VariantRole::Treatment);
                all.extend(asked.map(|of| Question {
                    load: load.id.clone(),
                    variant: v.id.clone(),
                    metric,
                    of,
                }));
            }
        }
    }
    all
}

/// Answers every question, the primary metric's first. `besides` further questions of the primary metric belong to the family
/// without any evidence: those that were asked and are not answered here. δ, α and the primary metric are the old plan's.
/// Pure, and the order of `asked` does not matter.
#[must_use]
pub fn two_runs(old: &Side<'_>, new: &Side<'_>, asked: &[Question], besides: u32) -> Vec<Change> {
    let asked: BTreeSet<&Question> = asked.iter().collect();
    let mut drafts: Vec<Draft> = asked.into_iter().map(|q| Draft::of(old, new, q)).collect();
    let order = |q: &Question| {
        let place = old.plan.variants.iter().position(|v| v.id == q.variant);
        (
            q.metric != old.plan.primary_metric,
            q.metric,
            q.load.clone(),
            place,
            q.of,
        )
    };
    drafts.sort_by_key(|d| order(&d.question));
    for primary in [true, false] {
        let besides = if primary { besides } else { 0 };
        adjust(&mut drafts, (old.plan.primary_metric, primary), besides);
    }
    let is_tested = |d: &&Draft| d.question.metric == old.plan.primary_metric && d.t.is_some();
    let tests = len_u32(drafts.iter().filter(is_tested).count()).saturating_add(besides);
    drafts.into_iter().map(|d| d.change(old, new, tests)).collect()
}

/// The numbers of a question, before any family is known and any word given.
struct Draft {
    question: Question,
    hindrances: Vec<Unlike>,
    sides: [ChangeSide; 2],
    t: Option<WelchT>,
    p_tost: f64,
    /// Adjusted `p` and `p_tost`.
    adjusted: [f64; 2],
    losses: Option<ChangeLosses>,
    lost: LostToEngine,
}

impl Draft {
    fn of(old: &Side<'_>, new: &Side<'_>, question: &Question) -> Self {
        let [then, now] = [old, new].map(|side| Sample::of(side, question));
        let mut hindrances = unlike::unlike(old, new, question);
        let (of_old, of_new) = (len_u32(then.logs.len()), len_u32(now.logs.len()));
        if of_old < 2 || of_new < 2 {
            hindrances.push(Unlike::TooFewBlocks {
                old: of_old,
                new: of_new,
            });
        }
        let t = welch_t(&then.logs, &now.logs, confidence(old.plan)).filter(|_| hindrances.is_empty());
        let delta = old.plan.delta.get();
        let p_tost = t.map_or(1.0, |t| t.tost_p((1.0 - delta).ln(), delta.ln_1p()));
        Self {
            question: question.clone(),
            hindrances,
            t,
            p_tost,
            adjusted: [1.0; 2],
            losses: losses(question, &then, &now),
            lost: LostToEngine {
                variant: now.lost,
                control: then.lost,
            },
            sides: [then.side, now.side],
        }
    }

    fn change(self, old: &Side<'_>, new: &Side<'_>, tests: u32) -> Change {
        let verdict = self.verdict(old, new, tests);
        let Question {
            load,
            variant,
            metric,
            of,
        } = self.question;
        let [then, now] = self.sides;
        let control = old.plan.variant(&variant).and_then(|v| v.control.clone());
        let [p_adjusted, p_tost_adjusted] = self.adjusted;
        let percent = |log: f64| log.exp_m1() * 100.0;
        let by_losses = matches!(
            verdict,
            ChangeVerdict::Worse {
                by: WorseBy::LostBlocks
            }
        );
        let of_old_new = self
            .losses
            .filter(|_| by_losses)
            .map_or((then.n, now.n), |l| (l.old_of, l.new_of));
        let sequential = |side: &Side<'_>| side.plan.order == BlockOrder::Sequential;
        Change {
            control: control.filter(|_| of == ChangeOf::Relative),
            primary: metric == old.plan.primary_metric,
            old: then,
            new: now,
            estimate: self.t.map(|t| ChangeEstimate {
                log_difference: t.difference,
                standard_error: t.standard_error,
                df: t.df,
                change_percent: percent(t.difference),
                interval_percent: Interval {
                    low: percent(t.low),
                    high: percent(t.high),
                },
                p: t.p,
                p_adjusted,
                p_tost: self.p_tost,
                p_tost_adjusted,
            }),
            losses: self.losses,
            verdict,
            indicative: of_old_new.0.min(of_old_new.1) < FIRST_LOOK
                || sequential(old)
                || sequential(new)
                || !(old.measured.complete && new.measured.complete),
            variant,
            load,
            of,
            metric,
        }
    }

    fn verdict(&self, old: &Side<'_>, new: &Side<'_>, tests: u32) -> ChangeVerdict {
        let Ok(alpha) = Probability::new(old.plan.alpha.get()) else {
            return ChangeVerdict::NotComparable {
                why: self.hindrances.clone(),
            };
        };
        let open = |starts_to_show, withheld| ChangeVerdict::NoEvidence {
            starts_to_show,
            withheld,
        };
        // Without a block there is nothing but the losses; whatever else differs makes these incomparable too.
        let only_blocks = |u: &Unlike| matches!(u, Unlike::TooFewBlocks { .. });
        let comparable = self.hindrances.iter().all(only_blocks);
        let suspect = old.measured.suspect || new.measured.suspect;
        let loses_more = self.losses.is_some_and(|l| l.p_adjusted <= alpha.get());
        if comparable && loses_more && !suspect {
            return ChangeVerdict::Worse {
                by: WorseBy::LostBlocks,
            };
        }
        if !self.hindrances.is_empty() {
            return ChangeVerdict::NotComparable {
                why: self.hindrances.clone(),
            };
        }
        if suspect {
            return open(None, Some(Withheld::Suspect));
        }
        let Some(t) = self.t else { return open(None, None) };
        let rule = Rule {
            metric: self.question.metric,
            delta: old.plan.delta.get(),
            alpha,
        };
        let [p, p_tost] = self.adjusted;
        let Some(claim) = rule.said(t.difference, p, p_tost) else {
            let primary = self.question.metric == old.plan.primary_metric;
            return open(self.starts_to_show(&rule, &t, (primary, tests)), None);
        };
        if Rule::bearing(claim, self.lost) > 0 {
            return ChangeVerdict::NotComparable {
                why: vec![Unlike::LostToEngine {
                    old: self.lost.control,
                    new: self.lost.variant,
                }],
            };
        }
        match claim {
            Claim::Better => ChangeVerdict::Better,
            Claim::Worse => ChangeVerdict::Worse { by: WorseBy::Effect },
            Claim::Equivalent => ChangeVerdict::Equivalent,
        }
    }

    /// Blocks of the new run that would show a change of the size measured, in a family of `tests` where it is the primary metric's.
    fn starts_to_show(&self, rule: &Rule, t: &WelchT, (primary, tests): (bool, u32)) -> Option<u32> {
        if !rule.matters(t.difference) {
            return None;
        }
        // Benjamini and Hochberg's level of one test depends on the others' results: none can be planned for.
        let family = if primary { tests } else { 1 };
        let strictest = Probability::new(rule.alpha.get() / f64::from(family.max(1))).ok()?;
        let power = Probability::new(POWER).ok()?;
        // One spread for both sides, such that the standard error is the one measured.
        let sd = t.standard_error / (1.0 / f64::from(t.old_n) + 1.0 / f64::from(t.new_n)).sqrt();
        starts_to_detect(sd, t.difference, t.old_n, (strictest, power)).filter(|&needed| needed > t.new_n)
    }
}

/// What a side gives to a question.
struct Sample {
    logs: Vec<f64>,
    lost: u32,
    side: ChangeSide,
}

impl Sample {
    fn of(side: &Side<'_>, question: &Question) -> Self {
        let Question {
            load,
            variant,
            metric,
            of,
        } = question;
        let cell = side.measured.cell(variant, load);
        let lost = cell.map_or(0, |c| c.lost_to_engine);
        match of {
            ChangeOf::Absolute => {
                let values = cell.and_then(|c| c.metrics.get(metric));
                let logs: Vec<f64> = values
                    .iter()
                    .flat_map(|v: &&BlockValues| &v.values)
                    .map(|x| x.ln())
                    .collect();
                let side = ChangeSide {
                    n: len_u32(logs.len()),
                    value: mean(&logs).map(f64::exp),
                    interval: values.and_then(|v| v.interval),
                };
                Self { logs, lost, side }
            }
            ChangeOf::Relative => {
                let effect = side.measured.effect(variant, load, *metric);
                let logs = effect.map(|e| e.log_ratios.clone()).unwrap_or_default();
                let side = ChangeSide {
                    n: len_u32(logs.len()),
                    value: effect.map(|e| e.effect_percent),
                    interval: effect.and_then(|e| e.interval_percent),
                };
                Self { logs, lost, side }
            }
        }
    }
}

/// Losses of the cell then and now; none where a side has neither value nor loss, and for an effect, whose cells say it already.
fn losses(question: &Question, then: &Sample, now: &Sample) -> Option<ChangeLosses> {
    let of = |s: &Sample| s.side.n.saturating_add(s.lost);
    if question.of == ChangeOf::Relative || of(then) == 0 || of(now) == 0 {
        return None;
    }
    let p = fisher_more_p(now.lost, of(now), then.lost, of(then))?;
    Some(ChangeLosses {
        old_lost: then.lost,
        old_of: of(then),
        new_lost: now.lost,
        new_of: of(now),
        p,
        p_adjusted: p,
    })
}

/// Adjusts one family's p values: of the change, of equivalence, and of lost blocks, each on its own.
fn adjust(drafts: &mut [Draft], (primary_metric, primary): (MetricName, bool), besides: u32) {
    let family = |p: fn(&Draft) -> Option<f64>| {
        let members = drafts
            .iter()
            .enumerate()
            .filter(|(_, d)| (d.question.metric == primary_metric) == primary);
        // Without evidence p is 1: it makes the family larger and is never shown.
        let besides = std::iter::repeat_n((usize::MAX, Some(1.0)), usize::try_from(besides).unwrap_or(usize::MAX));
        let p = members.map(|(i, d)| (i, p(d))).chain(besides);
        Family::new(primary, p).adjusted().collect::<Vec<_>>()
    };
    let changes = family(|d| Some(d.t?.p));
    let equivalence = family(|d| d.t.map(|_| d.p_tost));
    let losses = family(|d| Some(d.losses?.p));
    for (i, p) in changes {
        if let Some(d) = drafts.get_mut(i) {
            d.adjusted[0] = p;
        }
    }
    for (i, p) in equivalence {
        if let Some(d) = drafts.get_mut(i) {
            d.adjusted[1] = p;
        }
    }
    for (i, p) in losses {
        if let Some(losses) = drafts.get_mut(i).and_then(|d| d.losses.as_mut()) {
            losses.p_adjusted = p;
        }
    }
}

#[cfg(test)]
mod tests;
