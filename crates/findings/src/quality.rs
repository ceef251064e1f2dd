//! Whether a variant still answers as its control does: same texts, known answers, lengths.
//!
//! Requests are paired by block and prompt. Greedy decoding is not the same text twice: batches of another size round
//! otherwise, so the share of equal texts means something only beside that of the A/A copy. Nothing here is a verdict:
//! shares are treated as if requests were independent, and p values are exploratory.

mod answer;

pub use answer::answer_found;

use crate::{
    convert::{interval, proportion},
    num::{count, len_u32},
    request::{Done, Request, UNKNOWN_PROMPT},
};
use servelab_schema::{
    LoadId, Plan, PlannedVariant, Stop, VariantId, VariantRole,
    findings::{AnswerChange, ArmQuality, Interval, LengthShift, Proportion, QualityChange},
};
use servelab_stats::{self as stats, Probability, benjamini_hochberg, mcnemar_exact_p, paired_t};
use std::collections::BTreeMap;

/// A shift of the mean answer length beyond this, in per cent, is a confound: the arms did not do the same work.
pub(crate) const LENGTH_SHIFT_PERCENT: f64 = 2.0;

/// A trial that counts, with what became of its answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QualityTrial<'a> {
    pub(crate) block: u32,
    pub(crate) variant: &'a VariantId,
    pub(crate) load: &'a LoadId,
    pub(crate) requests: &'a [Request],
}

/// Completed measured requests of a cell by block and prompt.
type Cell<'a> = BTreeMap<u32, BTreeMap<u32, &'a Done>>;

/// The answers of every variant under every load, in the plan's order. `trials` are those that count.
#[must_use]
pub(crate) fn quality(plan: &Plan, trials: &[QualityTrial<'_>]) -> Vec<ArmQuality> {
    let mut cells: BTreeMap<(LoadId, VariantId), Cell<'_>> = BTreeMap::new();
    for trial in trials {
        let cell = cells.entry((trial.load.clone(), trial.variant.clone())).or_default();
        let block = cell.entry(trial.block).or_default();
        let listed = trial.requests.iter().filter(|r| r.prompt != UNKNOWN_PROMPT);
        block.extend(listed.filter_map(|r| Some((r.prompt, r.done()?))));
    }
    let none = Cell::new();
    let mut arms = Vec::new();
    for load in &plan.loads {
        for variant in &plan.variants {
            let of = |id: &VariantId| cells.get(&(load.id.clone(), id.clone())).unwrap_or(&none);
            arms.push(arm(plan, &load.id, variant, of));
        }
    }
    adjust(plan, &mut arms);
    settle(plan, &mut arms);
    beside_copies(plan, &mut arms);
    arms
}

fn arm<'c, 'a: 'c>(
    plan: &Plan,
    load: &LoadId,
    variant: &PlannedVariant,
    of: impl Fn(&VariantId) -> &'c Cell<'a>,
) -> ArmQuality {
    let own = of(&variant.id);
    let done = || own.values().flat_map(BTreeMap::values);
    let known: Vec<bool> = done().filter_map(|d| d.answer_found).collect();
    let completed = len_u32(done().count());
    let tokens: Option<u64> = done().map(|d| tokens_of(d)).sum();
    let baseline = plan.variants.iter().find(|v| v.role == VariantRole::Baseline);
    let baseline = baseline
        .map(|b| &b.id)
        .filter(|_| variant.role == VariantRole::Treatment);
    let mut controls: Vec<&VariantId> = variant.control.iter().chain(baseline).collect();
    controls.dedup();
    ArmQuality {
        load: load.clone(),
        variant: variant.id.clone(),
        trials: len_u32(own.len()),
        completed,
        answers: share(hits(&known), len_u32(known.len())),
        mean_output_tokens: tokens
            .filter(|_| completed > 0)
            .map(|n| count(n) / f64::from(completed)),
        against: controls
            .into_iter()
            .map(|control| {
                let (same_text, answers, length) = pairs(own, of(control));
                QualityChange {
                    control: control.clone(),
                    own_control: variant.control.as_ref() == Some(control),
                    against_baseline: baseline == Some(control),
                    same_text,
                    same_text_of_copy: None,
                    answers,
                    answers_worse: false,
                    length,
                    length_confounds: false,
                }
            })
            .collect(),
    }
}

/// Tokens of an answer; none where nobody counted them, and then there is no length to compare.
fn tokens_of(done: &Done) -> Option<u64> {
    done.tokens.map(|n| u64::from(n.get()))
}

fn share(hits: u32, n: u32) -> Option<Proportion> {
    stats::Proportion::of(hits, n, Probability::P95).map(proportion)
}

fn hits(of: &[bool]) -> u32 {
    len_u32(of.iter().filter(|hit| **hit).count())
}

type Change = (Option<Proportion>, Option<AnswerChange>, Option<LengthShift>);

/// Everything about the prompts that both arms completed in the same block.
fn pairs(own: &Cell<'_>, control: &Cell<'_>) -> Change {
    let mut same = Vec::new();
    let mut answers = Vec::new();
    let mut log_ratios = Vec::new();
    for (block, mine) in own {
        let Some(theirs) = control.get(block) else { continue };
        let both = mine.iter().filter_map(|(id, a)| Some((a, theirs.get(id)?)));
        let mut tokens = Some((0_u64, 0_u64));
        for (a, b) in both {
            same.push(a.text == b.text);
            answers.extend(a.answer_found.zip(b.answer_found));
            let both = tokens_of(a).zip(tokens_of(b));
            tokens = tokens.zip(both).map(|((own, control), (a, b))| (own + a, control + b));
        }
        if let Some((tokens, control_tokens)) = tokens.filter(|(own, control)| *own > 0 && *control > 0) {
            // Of the same prompts, so the ratio of the sums is that of the means.
            log_ratios.push((count(tokens) / count(control_tokens)).ln());
        }
    }
    let n = len_u32(same.len());
    (
        share(hits(&same), n),
        answer_change(&answers),
        length_shift(&log_ratios, n),
    )
}

fn answer_change(answers: &[(bool, bool)]) -> Option<AnswerChange> {
    let n = len_u32(answers.len());
    let of = |which: (bool, bool)| len_u32(answers.iter().filter(|pair| **pair == which).count());
    let (only_variant, only_control) = (of((true, false)), of((false, true)));
    let differ = only_variant.saturating_add(only_control);
    // Given how many differ, the variant's share θ of them is binomial; the difference is (2θ − 1) · differ / n.
    let points = |theta: f64| (2.0 * theta - 1.0) * f64::from(differ) / f64::from(n) * 100.0;
    let theta = share(only_variant, differ);
    let p = mcnemar_exact_p(only_variant, only_control);
    (n > 0).then(|| AnswerChange {
        n,
        only_variant,
        only_control,
        points: theta.map_or(0.0, |t| points(t.ratio)),
        interval_points: theta.map(|t| Interval {
            low: points(t.interval.low),
            high: points(t.interval.high),
        }),
        p,
        p_adjusted: None,
    })
}

fn length_shift(log_ratios: &[f64], n: u32) -> Option<LengthShift> {
    let percent = |log: f64| log.exp_m1() * 100.0;
    let first = log_ratios.first()?;
    let t = paired_t(log_ratios, Probability::P95);
    Some(LengthShift {
        blocks: len_u32(log_ratios.len()),
        n,
        percent: percent(t.map_or(*first, |t| t.mean)),
        interval_percent: t.map(|t| {
            interval(stats::Interval {
                low: percent(t.low),
                high: percent(t.high),
            })
        }),
    })
}

/// Two equal arms need not write the same texts: what a variant's share means is seen beside that of a copy of its control.
fn beside_copies(plan: &Plan, arms: &mut [ArmQuality]) {
    let is_copy = |id: &VariantId| plan.variant(id).is_some_and(|v| v.role == VariantRole::Aa);
    let of_copies = arms.iter().filter(|a| is_copy(&a.variant)).flat_map(|a| {
        let shares = a.against.iter().filter_map(|c| Some((c.control.clone(), c.same_text?)));
        shares.map(|(control, share)| (a.load.clone(), control, share))
    });
    let copies: Vec<(LoadId, VariantId, Proportion)> = of_copies.collect();
    for arm in arms.iter_mut().filter(|a| !is_copy(&a.variant)) {
        for change in &mut arm.against {
            let mut of_cell = copies
                .iter()
                .filter(|(load, control, _)| load == &arm.load && control == &change.control);
            let copy = of_cell.next().map(|(_, _, share)| *share);
            let lower = |copy: &Proportion| {
                change
                    .same_text
                    .is_some_and(|own| own.interval.high < copy.interval.low)
            };
            change.same_text_of_copy = copy.filter(lower);
        }
    }
}

/// One family: every treatment against its own control.
fn adjust(plan: &Plan, arms: &mut [ArmQuality]) {
    let is_treatment = |id: &VariantId| plan.variant(id).is_some_and(|v| v.role == VariantRole::Treatment);
    let mut family: Vec<&mut AnswerChange> = arms
        .iter_mut()
        .filter(|a| is_treatment(&a.variant))
        .flat_map(|a| &mut a.against)
        .filter(|change| change.own_control)
        .filter_map(|change| change.answers.as_mut())
        .collect();
    let p: Vec<f64> = family.iter().map(|change| change.p).collect();
    for (change, adjusted) in family.iter_mut().zip(benjamini_hochberg(&p)) {
        change.p_adjusted = Some(adjusted);
    }
}

/// What each change amounts to. One that no family adjusts is never called worse.
fn settle(plan: &Plan, arms: &mut [ArmQuality]) {
    let alpha = plan.alpha.get();
    for change in arms.iter_mut().flat_map(|a| &mut a.against) {
        let lost = change.answers.filter(|a| a.points < 0.0);
        change.answers_worse = lost.and_then(|a| a.p_adjusted).is_some_and(|p| p <= alpha);
        let shift = change.length.filter(|_| plan.output.stop == Stop::Natural);
        change.length_confounds = shift.is_some_and(|l| l.percent.abs() > LENGTH_SHIFT_PERCENT);
    }
}

#[cfg(test)]
mod tests;
