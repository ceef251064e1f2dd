//! Which facts are said first, and what must be said beside them.

use servelab_schema::{
    LoadId, Plan, Stop, Treatment, Validity, VariantId,
    findings::{
        ArmQuality, Brief, BriefEffect, Caveats, CellFindings, Comparison, Headline, QualityChange, Study,
        TrialFindings, VariantFindings, Verdict, WorseBy,
    },
};

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
        comparisons.sort_by(|a, b| rank(a).cmp(&rank(b)).then(goodness(b).total_cmp(&goodness(a))));
        lines.extend(comparisons.into_iter().map(|c| of.line(c)));
    }
    lines
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
    let sign = if c.metric.higher_is_better() { 1.0 } else { -1.0 };
    c.estimate.map_or(0.0, |e| sign * e.mean_log_ratio)
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

    fn caveats(&self, c: &Comparison) -> Caveats {
        let change = self.change(&c.load, &c.variant, &c.control.control);
        let found = self.variant(&c.variant);
        let length = change.and_then(|q| q.length);
        let changed = found.and_then(|v| v.changed_along.as_ref());
        Caveats {
            answers_worse: self.answers_worse(c),
            other_texts: change.and_then(|q| q.same_text.zip(q.same_text_of_copy)),
            length: length.filter(|l| self.plan.output.stop == Stop::Natural && l.is_confound()),
            changed_along: changed
                .iter()
                .flat_map(|f| f.settings().map(|s| s.field.clone()))
                .collect(),
            unobservable: found.is_some_and(|v| v.unobserved),
        }
    }

    /// True where the variant answers fewer questions than its control.
    fn answers_worse(&self, c: &Comparison) -> bool {
        let change = self.change(&c.load, &c.variant, &c.control.control);
        let alpha = self.plan.alpha.get();
        change.and_then(|q| q.answers).is_some_and(|a| a.is_worse(alpha))
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
        found.sort_by(|a, b| goodness(b).total_cmp(&goodness(a)));
        let ends = [found.first(), found.last().filter(|_| found.len() > 1)];
        effects.extend(ends.into_iter().flatten().map(|c| BriefEffect {
            load: c.load.clone(),
            variant: c.variant.clone(),
            better: c.verdict == Verdict::Better,
            effect_percent: match c.verdict {
                Verdict::Worse {
                    by: WorseBy::LostBlocks,
                } => None,
                _ => c.estimate.map(|e| e.effect_percent),
            },
            answers_worse: of.answers_worse(c),
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
