//! A stored run and everything `findings` says about it: the numbers, before any of them becomes a text.

use crate::{
    arms::{Arm, arms},
    number,
};
use servelab_findings::{
    ArmQuality, CellMetrics, Comparison, Confounded, GroupMetrics, PooledArm, PooledOptions, Proportion, QualityChange,
    QualityTrial, Study, TrialData, TrialMetrics, confounded, groups, pooled, quality, study, trial_metrics,
};
use servelab_schema::{LoadId, MetricName, PlannedVariant, Stop, Treatment, VariantId, VariantRole};
use servelab_store::{RunData, TrialRow};
use std::collections::BTreeMap;

/// One take and its metrics.
#[derive(Debug)]
pub(crate) struct Take<'a> {
    pub(crate) row: &'a TrialRow,
    /// None where no load was held.
    pub(crate) metrics: Option<TrialMetrics>,
    pub(crate) groups: Vec<GroupMetrics>,
    /// False where another take of the same cell is the one that stands for it.
    pub(crate) stands: bool,
}

impl Take<'_> {
    /// True where its numbers are compared and pooled.
    pub(crate) fn counts(&self, plan_variant: Option<&PlannedVariant>) -> bool {
        let treated = plan_variant.is_none_or(|v| v.role == VariantRole::Treatment);
        self.stands && self.row.record.validity.is_valid() && (!treated || took_effect(self.row.record.treatment))
    }
}

/// True for treatments whose trials are compared.
pub(crate) const fn took_effect(treatment: Treatment) -> bool {
    matches!(treatment, Treatment::Confirmed | Treatment::Unobservable)
}

/// A mean of one value a block, with the lowest and the highest block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OverBlocks {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Blocks.
    pub(crate) n: u32,
}

impl OverBlocks {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut sum, mut low, mut high, mut n) = (0.0, f64::INFINITY, f64::NEG_INFINITY, 0_u32);
        for value in values {
            sum += value;
            low = f64::min(low, value);
            high = f64::max(high, value);
            n = n.saturating_add(1);
        }
        (n > 0).then(|| Self {
            mean: sum / f64::from(n),
            low,
            high,
            n,
        })
    }
}

/// A run with its results.
#[derive(Debug)]
pub(crate) struct Results<'a> {
    pub(crate) run: &'a RunData,
    pub(crate) takes: Vec<Take<'a>>,
    pub(crate) study: Study,
    pub(crate) pooled: Vec<PooledArm>,
    /// By load and variant, in the plan's order.
    pub(crate) quality: Vec<ArmQuality>,
    /// By load and variant, in the plan's order.
    pub(crate) arms: Vec<Arm<'a>>,
}

impl<'a> Results<'a> {
    pub(crate) fn of(run: &'a RunData) -> Self {
        let plan = &run.plan;
        let standing = standing(run);
        let takes: Vec<Take<'a>> = run
            .trials
            .iter()
            .enumerate()
            .map(|(i, row)| {
                let held = row.record.held;
                Take {
                    row,
                    metrics: held.map(|held| trial_metrics(held, &plan.slo, &row.traces)),
                    groups: held.map(|held| groups(plan, held, &row.traces)).unwrap_or_default(),
                    stands: standing.contains(&i),
                }
            })
            .collect();
        let none = TrialMetrics::default();
        let cells: Vec<CellMetrics> = takes
            .iter()
            .map(|t| CellMetrics::new(&t.row.record, t.metrics.as_ref().unwrap_or(&none), &t.row.traces))
            .collect();
        let standing: Vec<TrialData<'_>> = takes
            .iter()
            .filter(|t| t.stands)
            .map(|t| TrialData {
                plan,
                record: &t.row.record,
                traces: &t.row.traces,
            })
            .collect();
        let study = study(plan, &run.manifest.end, &cells);
        let pooled = pooled(plan, &standing, &PooledOptions::default());
        let mut results = Self {
            run,
            takes,
            study,
            pooled,
            quality: Vec::new(),
            arms: Vec::new(),
        };
        results.quality = results.judge_quality();
        results.arms = arms(&results);
        results
    }

    fn judge_quality(&self) -> Vec<ArmQuality> {
        let plan = &self.run.plan;
        let counted = self
            .takes
            .iter()
            .filter(|t| t.counts(plan.variant(&t.row.record.variant)));
        let trials: Vec<QualityTrial<'_>> = counted
            .map(|t| QualityTrial {
                record: &t.row.record,
                traces: &t.row.traces,
                answers: &t.row.answers,
            })
            .collect();
        quality(plan, &trials)
    }

    /// What became of a variant's answers against one control.
    pub(crate) fn quality_change(
        &self,
        load: &LoadId,
        variant: &VariantId,
        control: &VariantId,
    ) -> Option<&QualityChange> {
        let arm = self.quality.iter().find(|q| &q.load == load && &q.variant == variant)?;
        arm.against.iter().find(|change| &change.control == control)
    }

    /// The share of same texts of a variant and of its control's copy, where the variant's is clearly the lower one: their
    /// intervals do not meet.
    pub(crate) fn other_texts(&self, load: &LoadId, change: &QualityChange) -> Option<(Proportion, Proportion)> {
        let own = change.same_text?;
        let plan = &self.run.plan;
        let copies = plan.variants.iter().filter(|v| v.role == VariantRole::Aa);
        let mut copies = copies.filter_map(|v| self.quality_change(load, &v.id, &change.control)?.same_text);
        let copy = copies.next()?;
        (own.interval.high < copy.interval.low).then_some((own, copy))
    }

    /// What the answers add to a comparison, in a few words; empty where they give no cause for any.
    pub(crate) fn answers_note(&self, c: &Comparison) -> String {
        let plan = &self.run.plan;
        let change = self.quality_change(&c.load, &c.variant, &c.control.control);
        let worse = change.and_then(|q| q.answers).filter(|a| a.is_worse(plan.alpha.get()));
        let worse = worse.map(|a| format!("answers worse: {} percentage points", number::fixed(a.points, 1)));
        let length = change.and_then(|q| q.length);
        let length = length.filter(|l| plan.output.stop == Stop::Natural && l.is_confound());
        let length = length.map(|l| format!("confounded: answers {} in length", number::effect(l.percent)));
        worse.into_iter().chain(length).collect::<Vec<_>>().join("; ")
    }

    /// Fields of the configuration that changed along with a variant's setting; none for the baseline.
    pub(crate) fn confounded(&self, variant: &PlannedVariant) -> Option<Confounded> {
        let of = |id: &VariantId| -> Vec<_> {
            let trials = self.run.trials.iter().filter(|t| &t.record.variant == id);
            trials.map(|t| &t.engine).collect()
        };
        let control = variant.control.as_ref()?;
        Some(confounded(variant, &of(&variant.id), &of(control)))
    }

    /// Takes of one cell that count, in the order of blocks executed.
    pub(crate) fn counted<'s>(
        &'s self,
        load: &'s LoadId,
        variant: &'s VariantId,
    ) -> impl Iterator<Item = &'s Take<'a>> + 's {
        let planned = self.run.plan.variant(variant);
        self.takes
            .iter()
            .filter(move |t| &t.row.record.load == load && &t.row.record.variant == variant && t.counts(planned))
    }

    /// One metric of one cell over its blocks.
    pub(crate) fn over_blocks(&self, load: &LoadId, variant: &VariantId, metric: MetricName) -> Option<OverBlocks> {
        OverBlocks::of(
            self.counted(load, variant)
                .filter_map(|t| Some(t.metrics.as_ref()?.values.get(&metric)?.value)),
        )
    }

    /// The pooled requests of one cell.
    pub(crate) fn pooled(&self, load: &LoadId, variant: &VariantId) -> Option<&PooledArm> {
        self.pooled.iter().find(|p| &p.load == load && &p.variant == variant)
    }

    /// Comparisons on the primary metric under one load.
    pub(crate) fn primary<'s>(&'s self, load: &'s LoadId) -> impl Iterator<Item = &'s Comparison> + 's {
        self.study
            .comparisons
            .iter()
            .filter(move |c| c.primary && &c.load == load)
    }

    /// The treatment of a variant's trials, where it is the same in all of them.
    pub(crate) fn treatment(&self, variant: &VariantId) -> Option<Treatment> {
        let mut seen = self
            .takes
            .iter()
            .filter(|t| &t.row.record.variant == variant)
            .map(|t| t.row.record.treatment);
        let first = seen.next()?;
        seen.all(|t| t == first).then_some(first)
    }

    /// The treatment that makes every trial of a variant void; none where some trial took effect or none ran.
    pub(crate) fn void(&self, variant: &VariantId) -> Option<Treatment> {
        let mut seen = self
            .takes
            .iter()
            .filter(|t| &t.row.record.variant == variant)
            .map(|t| t.row.record.treatment);
        let first = seen.next()?;
        (!took_effect(first) && seen.all(|t| !took_effect(t))).then_some(first)
    }

    /// True where some trial of a variant is compared although nothing shows that its setting took effect.
    pub(crate) fn unobserved(&self, variant: &VariantId) -> bool {
        let mut takes = self.takes.iter().filter(|t| &t.row.record.variant == variant);
        takes.any(|t| t.row.record.treatment == Treatment::Unobservable)
    }

    /// Distinct measured prompts that were sent in trials that stand.
    pub(crate) fn prompts_served(&self) -> usize {
        let sent = self
            .takes
            .iter()
            .filter(|t| t.stands)
            .flat_map(|t| &t.row.traces)
            .filter(|t| t.measured);
        sent.map(|t| &t.prompt_id)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    }
}

/// Which take stands for its cell: the last valid one, else the last.
fn standing(run: &RunData) -> Vec<usize> {
    let mut best: BTreeMap<_, (usize, bool)> = BTreeMap::new();
    for (i, row) in run.trials.iter().enumerate() {
        let r = &row.record;
        let key = (&r.load, &r.variant, r.block);
        let valid = r.validity.is_valid();
        if valid || best.get(&key).is_none_or(|(_, earlier)| !earlier) {
            best.insert(key, (i, valid));
        }
    }
    best.into_values().map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!(OverBlocks::of(std::iter::empty()), None);
        let two = OverBlocks::of([1.0, 3.0].into_iter()).unwrap();
        assert_eq!((two.mean, two.low, two.high, two.n), (2.0, 1.0, 3.0, 2));
    }
}
