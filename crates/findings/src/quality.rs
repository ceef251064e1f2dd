//! Whether a variant still answers as its control does: same texts, known answers, lengths.
//!
//! Requests are paired by block and prompt. Greedy decoding is not the same text twice: batches of another size round
//! otherwise, so the share of equal texts means something only beside that of the A/A copy. Nothing here is a verdict:
//! shares are treated as if requests were independent, and p values are exploratory.

mod answer;

pub use answer::answer_found;

use crate::num::{count, len_u32};
use servelab_schema::{Completion, LoadId, Plan, PlannedVariant, PromptId, Trace, TrialRecord, VariantId, VariantRole};
use servelab_stats::{Interval, Probability, Proportion, benjamini_hochberg, mcnemar_exact_p, paired_t};
use std::collections::BTreeMap;

/// A shift of the mean answer length beyond this, in per cent, is a confound: the arms did not do the same work.
pub const LENGTH_SHIFT_PERCENT: f64 = 2.0;

/// A trial that counts, with what became of its answers.
#[derive(Debug, Clone, Copy)]
pub struct QualityTrial<'a> {
    /// Its `trial.json`.
    pub record: &'a TrialRecord,
    /// Its traces.
    pub traces: &'a [Trace],
    /// For each trace whether the known answer is in the text; none where there is no text or no known answer.
    pub answers: &'a [Option<bool>],
}

/// The answers of one variant under one load.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmQuality {
    /// The load.
    pub load: LoadId,
    /// The variant.
    pub variant: VariantId,
    /// Trials that count.
    pub trials: u32,
    /// Measured requests that completed in them.
    pub completed: u32,
    /// Questions whose known answer is in the text; none where no text was kept or no answer is known.
    pub answers: Option<Proportion>,
    /// Mean length of a measured answer, tokens.
    pub mean_output_tokens: Option<f64>,
    /// Against its own control, then against the baseline where that is another arm.
    pub against: Vec<QualityChange>,
}

/// A variant's answers beside those of one control, prompt by prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityChange {
    /// The control.
    pub control: VariantId,
    /// True where the plan names it as the variant's control.
    pub own_control: bool,
    /// True where it is the baseline.
    pub against_baseline: bool,
    /// Prompts that both completed in the same block with the same text, of all that both completed.
    pub same_text: Option<Proportion>,
    /// The change in known answers.
    pub answers: Option<AnswerChange>,
    /// The change in length.
    pub length: Option<LengthShift>,
}

/// The same questions put to both arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerChange {
    /// Questions that both completed.
    pub n: u32,
    /// Of these, answered by the variant alone.
    pub only_variant: u32,
    /// Of these, answered by the control alone.
    pub only_control: u32,
    /// Share answered by the variant − share answered by the control, in percentage points.
    pub points: f64,
    /// Its 95 % interval, exact given the number of questions on which the arms disagree; none where there is none.
    pub interval_points: Option<Interval>,
    /// Two-sided p of McNemar's exact test.
    pub p: f64,
    /// The same after Benjamini and Hochberg over the variants, each against its own control; p itself elsewhere.
    pub p_adjusted: f64,
}

impl AnswerChange {
    /// True where the variant answers fewer questions and chance would rarely do that.
    #[must_use]
    pub fn is_worse(&self, alpha: f64) -> bool {
        self.points < 0.0 && self.p_adjusted <= alpha
    }
}

/// Mean answer length against the control's, over blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthShift {
    /// Blocks.
    pub blocks: u32,
    /// Prompts that both completed.
    pub n: u32,
    /// exp(mean of the log ratios) − 1, in per cent.
    pub percent: f64,
    /// The 95 % t interval over blocks, in per cent; none for one block.
    pub interval_percent: Option<Interval>,
}

impl LengthShift {
    /// True where the arms did so unequal work that speeds are not like for like.
    #[must_use]
    pub fn is_confound(&self) -> bool {
        self.percent.abs() > LENGTH_SHIFT_PERCENT
    }
}

/// One completed measured request.
type Done<'a> = (&'a Completion, Option<bool>);
/// Completed measured requests of a cell by block and prompt.
type Cell<'a> = BTreeMap<u32, BTreeMap<&'a PromptId, Done<'a>>>;

/// The answers of every variant under every load, in the plan's order. `trials` are those that count.
#[must_use]
pub fn quality(plan: &Plan, trials: &[QualityTrial<'_>]) -> Vec<ArmQuality> {
    let mut cells: BTreeMap<(LoadId, VariantId), Cell<'_>> = BTreeMap::new();
    for trial in trials {
        let key = (trial.record.load.clone(), trial.record.variant.clone());
        let cell = cells.entry(key).or_default();
        let block = cell.entry(trial.record.block).or_default();
        for (i, trace) in trial.traces.iter().enumerate().filter(|(_, t)| t.measured) {
            if let Some(done) = trace.completion() {
                block.insert(&trace.prompt_id, (done, trial.answers.get(i).copied().flatten()));
            }
        }
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
    let known: Vec<bool> = done().filter_map(|(_, found)| *found).collect();
    let completed = len_u32(done().count());
    let tokens: u64 = done().map(|(c, _)| u64::from(c.completion_tokens().get())).sum();
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
        answers: Proportion::of(hits(&known), len_u32(known.len()), Probability::P95),
        mean_output_tokens: (completed > 0).then(|| count(tokens) / f64::from(completed)),
        against: controls
            .into_iter()
            .map(|control| {
                let (same_text, answers, length) = pairs(own, of(control));
                QualityChange {
                    control: control.clone(),
                    own_control: variant.control.as_ref() == Some(control),
                    against_baseline: baseline == Some(control),
                    same_text,
                    answers,
                    length,
                }
            })
            .collect(),
    }
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
        let (mut tokens, mut control_tokens) = (0_u64, 0_u64);
        for ((a, found), (b, control_found)) in both {
            same.push(a.text_sha256() == b.text_sha256());
            answers.extend(found.zip(*control_found));
            tokens = tokens.saturating_add(u64::from(a.completion_tokens().get()));
            control_tokens = control_tokens.saturating_add(u64::from(b.completion_tokens().get()));
        }
        if tokens > 0 && control_tokens > 0 {
            // Of the same prompts, so the ratio of the sums is that of the means.
            log_ratios.push((count(tokens) / count(control_tokens)).ln());
        }
    }
    let n = len_u32(same.len());
    (
        Proportion::of(hits(&same), n, Probability::P95),
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
    let theta = Proportion::of(only_variant, differ, Probability::P95);
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
        p_adjusted: p,
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
        interval_percent: t.map(|t| Interval {
            low: percent(t.low),
            high: percent(t.high),
        }),
    })
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
        change.p_adjusted = adjusted;
    }
}

#[cfg(test)]
mod tests;
