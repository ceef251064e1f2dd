//! Which facts are said first, and what must be said beside them.

use servelab_schema::{
    LoadId, Plan, Treatment, Validity, VariantId,
    findings::{
        ArmQuality, Brief, BriefEffect, Caveats, CellFindings, Comparison, Headline, QualityChange, Study,
        TrialFindings, VariantFindings, Verdict, WorseBy,
    },
};
use std::cmp::Ordering;

/// What headlines are chosen from.
pub(crate) struct Material<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) study: &'a Study,
    pub(crate) variants: &'a [VariantFindings],
    pub(crate) cells: &'a [CellFindings],
}

/// The headlines of a run: the best effects first, what is not compared last.
pub(crate) fn headlines(of: &Material<'_>) -> Vec<Headline> {
    let mut lines = Vec::new();
    if of.study.suspect {
        lines.push(Headline::Suspect);
    }
    for load in &of.plan.loads {
        let own = |c: &&Comparison| c.primary && c.own_control && c.load == load.id;
        let mut comparisons: Vec<&Comparison> = of.study.comparisons.iter().filter(own).collect();
        comparisons.sort_by(|a, b| best_first(a, b));
        lines.extend(comparisons.into_iter().map(|c| of.line(c)));
    }
    lines
}

fn best_first(a: &Comparison, b: &Comparison) -> Ordering {
    rank(a).cmp(&rank(b)).then(goodness(b).total_cmp(&goodness(a)))
}

const fn rank(c: &Comparison) -> u8 {
    match c.verdict {
        Verdict::Better => 0,
        Verdict::Worse { .. } => 1,
        Verdict::Equivalent => 2,
        Verdict::NoEvidence { .. } => 3,
        Verdict::NotComparable { .. } => 4,
    }
}

fn goodness(c: &Comparison) -> f64 {
    if loses_blocks(c) {
        // Its effect is that of the blocks that it did not lose.
        return f64::NEG_INFINITY;
    }
    let sign = if c.metric.higher_is_better() { 1.0 } else { -1.0 };
    c.estimate.map_or(0.0, |e| sign * e.mean_log_ratio)
}

/// True where the word rests on blocks that the engine lost.
const fn loses_blocks(c: &Comparison) -> bool {
    matches!(
        c.verdict,
        Verdict::Worse {
            by: WorseBy::LostBlocks
        }
    )
}

impl Material<'_> {
    fn variant(&self, id: &VariantId) -> Option<&VariantFindings> {
        self.variants.iter().find(|v| &v.variant == id)
    }

    fn quality(&self, load: &LoadId, variant: &VariantId) -> Option<&ArmQuality> {
        let cell = self.cells.iter().find(|c| &c.load == load && &c.variant == variant)?;
        Some(&cell.quality)
    }

    fn change(&self, load: &LoadId, variant: &VariantId, control: &VariantId) -> Option<&QualityChange> {
        self.quality(load, variant)?
            .against
            .iter()
            .find(|c| &c.control == control)
    }

    fn line(&self, c: &Comparison) -> Headline {
        let (load, variant, control) = (c.load.clone(), c.variant.clone(), c.control.control.clone());
        let found = self.variant(&c.variant);
        match found.and_then(|v| v.void) {
            Some(treatment) => Headline::Void {
                words: found.and_then(|v| said(v, treatment)),
                load,
                variant,
                control,
                treatment,
            },
            None => Headline::Compared {
                caveats: self.caveats(c),
                load,
                variant,
                control,
            },
        }
    }

    fn answers_worse(&self, c: &Comparison) -> bool {
        let change = self.change(&c.load, &c.variant, &c.control.control);
        change.is_some_and(|q| q.answers_worse)
    }

    fn caveats(&self, c: &Comparison) -> Caveats {
        let change = self.change(&c.load, &c.variant, &c.control.control);
        let found = self.variant(&c.variant);
        let changed = found.and_then(|v| v.changed_along.as_ref());
        Caveats {
            answers_worse: self.answers_worse(c),
            other_texts: change.and_then(|q| q.same_text.zip(q.same_text_of_copy)),
            length: change.filter(|q| q.length_confounds).and_then(|q| q.length),
            changed_along: changed
                .iter()
                .flat_map(|f| f.settings().map(|s| s.field.clone()))
                .collect(),
            unobservable: found.is_some_and(|v| v.unobserved),
        }
    }
}

/// What an engine said that never came up with the variant's setting.
fn said(variant: &VariantFindings, treatment: Treatment) -> Option<String> {
    let observed = variant.observed.iter().find(|o| o.treatment == treatment)?;
    observed.engine_words.first().cloned()
}

/// The run in a line.
pub(crate) fn brief(of: &Material<'_>, trials: &[TrialFindings]) -> Brief {
    let count = |kind: fn(&Validity) -> bool| crate::num::len_u32(trials.iter().filter(|t| kind(&t.validity)).count());
    let mut effects = Vec::new();
    for load in &of.plan.loads {
        let decided = |c: &&Comparison| {
            let is_word = matches!(c.verdict, Verdict::Better | Verdict::Worse { .. });
            is_word && c.primary && c.own_control && c.load == load.id
        };
        let mut found: Vec<&Comparison> = of.study.comparisons.iter().filter(decided).collect();
        found.sort_by(|a, b| best_first(a, b));
        let ends = [found.first(), found.last().filter(|_| found.len() > 1)];
        effects.extend(ends.into_iter().flatten().map(|c| BriefEffect {
            load: c.load.clone(),
            variant: c.variant.clone(),
            better: c.verdict == Verdict::Better,
            effect_percent: c.estimate.filter(|_| !loses_blocks(c)).map(|e| e.effect_percent),
            answers_worse: of.answers_worse(c),
            indicative: c.indicative,
        }));
    }
    Brief {
        takes: crate::num::len_u32(trials.len()),
        valid: count(Validity::is_valid),
        invalid: count(|v| matches!(v, Validity::Invalid { .. })),
        aborted: count(|v| matches!(v, Validity::Aborted { .. })),
        suspect: of.study.suspect,
        primary_metric: of.plan.primary_metric,
        effects,
    }
}

#[cfg(test)]
mod tests;
