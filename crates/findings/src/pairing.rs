//! Pairs an arm with its control block by block, and says what became of every block that has no pair.
//!
//! Of several takes of a trial the first one counts that the instrument did not lose: a block that the engine lost is never
//! replaced by a later, luckier take.

mod loss;

use crate::compare::CellMetrics;
use crate::num::len_u32;
use loss::{Loss, Shown};
use servelab_schema::findings::{BlockEffect, ControlArm, Hindrance, LossCause, LossReason, Lost, OutlierLabel};
use servelab_schema::{LoadId, MetricName, Plan, VariantId, VariantRole};
use servelab_stats::{Outlier, tukey_labels};
use std::collections::{BTreeMap, BTreeSet};

/// All cells of a study, one per load, variant and block.
pub(crate) struct Cells<'a> {
    plan: &'a Plan,
    by_key: BTreeMap<(&'a LoadId, &'a VariantId, u32), &'a CellMetrics>,
    /// What the starts of an arm under a load show of its setting.
    shown: BTreeMap<(&'a LoadId, &'a VariantId), Shown>,
    /// Blocks of the plan, and any other that has a cell.
    blocks: BTreeSet<u32>,
    /// Takes beside those that count.
    pub(crate) duplicates: u32,
}

/// A block in which the variant and at least one arm of its control count.
pub(crate) struct Pair<'a> {
    pub(crate) block: u32,
    pub(crate) variant: &'a CellMetrics,
    pub(crate) controls: Vec<&'a CellMetrics>,
}

/// What pairing gave.
pub(crate) struct Pairs<'a> {
    /// Ascending by block.
    pub(crate) pairs: Vec<Pair<'a>>,
    /// By arm and block.
    pub(crate) lost: Vec<Lost>,
    /// Blocks that the variant lost to the engine.
    pub(crate) variant_lost: u32,
    /// Blocks in which no arm of the control has a value and at least one was lost to the engine.
    pub(crate) control_lost: u32,
}

/// Blocks of one or more arms that say something of the engine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Lost to the engine.
    pub(crate) lost: u32,
    /// Those, and the ones with a value.
    pub(crate) of: u32,
}

impl<'a> Cells<'a> {
    pub(crate) fn new(plan: &'a Plan, cells: &'a [CellMetrics]) -> Self {
        let mut shown: BTreeMap<_, Shown> = BTreeMap::new();
        for cell in cells {
            shown.entry((&cell.load, &cell.variant)).or_default().add(cell);
        }
        let planned = plan.blocks.iter().map(|b| b.block);
        let mut all = Self {
            plan,
            by_key: BTreeMap::new(),
            shown,
            blocks: planned.chain(cells.iter().map(|c| c.block)).collect(),
            duplicates: 0,
        };
        for cell in cells {
            let key = (&cell.load, &cell.variant, cell.block);
            match all.by_key.get(&key).copied() {
                None => {
                    all.by_key.insert(key, cell);
                }
                Some(other) => {
                    all.duplicates += 1;
                    if all.precedence(cell) < all.precedence(other) {
                        all.by_key.insert(key, cell);
                    }
                }
            }
        }
        all
    }

    /// The smaller one stands for its trial: the first take that the instrument did not lose, else the last.
    fn precedence(&self, cell: &CellMetrics) -> (bool, u32) {
        let chance = self.trial_loss(cell).is_some_and(|(cause, _)| is_chance(cause));
        let take = if chance {
            u32::MAX.saturating_sub(cell.take)
        } else {
            cell.take
        };
        (chance, take)
    }

    /// Which of the cells stand for their trial, in the order given.
    pub(crate) fn standing(&self, cells: &[CellMetrics]) -> Vec<bool> {
        let stands = |c: &CellMetrics| {
            let standing = self.by_key.get(&(&c.load, &c.variant, c.block));
            standing.is_some_and(|s| s.take == c.take)
        };
        cells.iter().map(stands).collect()
    }

    /// Blocks that there were to be.
    pub(crate) fn planned(&self) -> u32 {
        len_u32(self.blocks.len())
    }

    /// True where the load has cells and the metric is the primary one, or some cell has it.
    pub(crate) fn knows(&self, load: &LoadId, metric: MetricName) -> bool {
        let has = |cell: &CellMetrics| {
            metric == self.plan.primary_metric
                || cell.metrics.contains_key(&metric)
                || (metric.is_pooled() && !cell.e2e_s.is_empty())
        };
        self.by_key.iter().any(|((l, _, _), cell)| *l == load && has(cell))
    }

    /// True where any cell of the load and variant exists.
    pub(crate) fn has_trials(&self, load: &LoadId, variant: &VariantId) -> bool {
        self.by_key.keys().any(|(l, v, _)| *l == load && *v == variant)
    }

    fn trial_loss(&self, cell: &CellMetrics) -> Option<Loss> {
        let planned = self.plan.variant(&cell.variant);
        let voidable = planned.is_none_or(|v| v.role == VariantRole::Treatment);
        let shown = self.shown.get(&(&cell.load, &cell.variant)).copied();
        loss::of_trial(cell, voidable, shown.unwrap_or_default())
    }

    /// The cell of an arm in a block, or why it has no value of the metric.
    fn cell(&self, load: &LoadId, arm: &VariantId, block: u32, metric: MetricName) -> Result<&'a CellMetrics, Loss> {
        let cell = self.by_key.get(&(load, arm, block)).copied();
        let cell = cell.ok_or((LossCause::NotRun, LossReason::NoTrial))?;
        let lost = self.trial_loss(cell).or_else(|| loss::of_metric(cell, metric));
        lost.map_or(Ok(cell), Err)
    }

    /// Pairs `variant` with `control` in every block.
    pub(crate) fn pair(
        &self,
        load: &LoadId,
        variant: &VariantId,
        control: &ControlArm,
        metric: MetricName,
    ) -> Pairs<'a> {
        let mut out = Pairs {
            pairs: Vec::new(),
            lost: Vec::new(),
            variant_lost: 0,
            control_lost: 0,
        };
        let mut lost: BTreeMap<(usize, u32), Lost> = BTreeMap::new();
        for &block in &self.blocks {
            let arms = std::iter::once(variant).chain(control.arms()).enumerate();
            let mut engine = (false, false);
            let (mut own, mut controls) = (None, Vec::new());
            for (i, arm) in arms {
                match self.cell(load, arm, block, metric) {
                    Ok(cell) if i == 0 => own = Some(cell),
                    Ok(cell) => controls.push(cell),
                    Err((cause, reason)) => {
                        let by_engine = cause == LossCause::Engine;
                        engine.0 |= by_engine && i == 0;
                        engine.1 |= by_engine && i > 0;
                        let variant = arm.clone();
                        lost.insert(
                            (i, block),
                            Lost {
                                block,
                                variant,
                                cause,
                                reason,
                            },
                        );
                    }
                }
            }
            out.variant_lost = out.variant_lost.saturating_add(u32::from(engine.0));
            let control_lost = engine.1 && controls.is_empty();
            out.control_lost = out.control_lost.saturating_add(u32::from(control_lost));
            if let Some(variant) = own.filter(|_| !controls.is_empty()) {
                out.pairs.push(Pair {
                    block,
                    variant,
                    controls,
                });
            }
        }
        out.lost = lost.into_values().collect();
        out
    }

    /// What became of the blocks of these arms together.
    pub(crate) fn tally<'v>(
        &self,
        load: &LoadId,
        arms: impl Iterator<Item = &'v VariantId>,
        metric: MetricName,
    ) -> Tally {
        let mut tally = Tally::default();
        for arm in arms {
            for &block in &self.blocks {
                let (lost, says) = match self.cell(load, arm, block, metric) {
                    Ok(_) => (false, true),
                    Err((LossCause::Engine, _)) => (true, true),
                    Err(_) => (false, false),
                };
                tally.lost = tally.lost.saturating_add(u32::from(lost));
                tally.of = tally.of.saturating_add(u32::from(says));
            }
        }
        tally
    }
}

impl Pairs<'_> {
    /// Set where first tokens are stamped differently and the metric feels it.
    pub(crate) fn first_tokens_differ(&self, metric: MetricName) -> Option<Hindrance> {
        if !metric.depends_on_first_tokens() {
            return None;
        }
        self.pairs.iter().find_map(|pair| {
            let own = pair.variant.ttft_kind;
            let other = pair.controls.iter().find(|c| c.ttft_kind != own)?;
            Some(Hindrance::FirstTokens {
                variant: own,
                control: other.ttft_kind,
            })
        })
    }

    /// One log ratio a block, labelled; nothing for a pooled metric.
    pub(crate) fn effects(&self, metric: MetricName) -> Vec<BlockEffect> {
        let ratio = |pair: &Pair<'_>| {
            let log = |cell: &CellMetrics| cell.metrics.get(&metric).map(|value| value.ln());
            let controls: Vec<f64> = pair.controls.iter().filter_map(|c| log(c)).collect();
            Some((pair.block, log(pair.variant)? - mean(&controls)?))
        };
        let ratios: Vec<(u32, f64)> = self.pairs.iter().filter_map(ratio).collect();
        let labels = tukey_labels(&ratios.iter().map(|(_, r)| *r).collect::<Vec<_>>());
        let labelled = ratios.into_iter().zip(labels);
        labelled
            .map(|((block, log_ratio), outlier)| BlockEffect {
                block,
                log_ratio,
                outlier: outlier.map(|label| match label {
                    Outlier::Mild => OutlierLabel::Mild,
                    Outlier::Extreme => OutlierLabel::Extreme,
                }),
            })
            .collect()
    }
}

/// True for losses that say nothing of the engine or the setting: another take may stand for them.
const fn is_chance(cause: LossCause) -> bool {
    matches!(cause, LossCause::Instrument | LossCause::Aborted | LossCause::NotRun)
}

fn mean(logs: &[f64]) -> Option<f64> {
    let n = u32::try_from(logs.len()).ok().filter(|&n| n > 0)?;
    Some(logs.iter().sum::<f64>() / f64::from(n))
}
