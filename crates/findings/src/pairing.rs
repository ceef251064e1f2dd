//! Pairs an arm with its control block by block: one log ratio per block in which both count.

use crate::compare::CellMetrics;
use servelab_schema::{LoadId, MetricName, Plan, Treatment, Validity, VariantId, VariantRole};
use servelab_stats::{Outlier, tukey_labels};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The arm, or the arms together, that a variant is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlArm {
    /// The control that the plan names.
    pub control: VariantId,
    /// Copies of it that passed the A/A check: the mean of the logs of all is what the variant is compared with.
    pub with_aa: Vec<VariantId>,
}

impl ControlArm {
    fn arms(&self) -> impl Iterator<Item = &VariantId> {
        std::iter::once(&self.control).chain(&self.with_aa)
    }
}

impl fmt::Display for ControlArm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.control)?;
        self.with_aa.iter().try_for_each(|aa| write!(f, " + {aa}"))
    }
}

/// One block's effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockEffect {
    /// Number of the block.
    pub block: u32,
    /// ln(variant / control).
    pub log_ratio: f64,
    /// Tukey's label among the comparison's blocks; a label drops nothing.
    pub outlier: Option<Outlier>,
}

/// All cells of a study, one per load, variant and block.
pub(crate) struct Cells<'a> {
    plan: &'a Plan,
    by_key: BTreeMap<(&'a LoadId, &'a VariantId, u32), &'a CellMetrics>,
    blocks: BTreeSet<u32>,
    /// Cells that came twice.
    pub(crate) duplicates: u32,
}

/// What pairing gave.
pub(crate) struct Pairs {
    pub(crate) effects: Vec<BlockEffect>,
    /// Why blocks are missing, in words with the blocks' numbers.
    pub(crate) dropped: Vec<String>,
    /// Set where the arms measured different things.
    pub(crate) kinds_differ: Option<String>,
}

impl<'a> Cells<'a> {
    /// Of two cells with the same key (a trial that was taken again) the valid one counts, else the later one.
    pub(crate) fn new(plan: &'a Plan, cells: &'a [CellMetrics]) -> Self {
        let mut by_key: BTreeMap<_, &CellMetrics> = BTreeMap::new();
        let mut duplicates = 0_u32;
        for cell in cells {
            let key = (&cell.load, &cell.variant, cell.block);
            let earlier = by_key.get(&key).copied();
            duplicates = duplicates.saturating_add(u32::from(earlier.is_some()));
            if cell.validity.is_valid() || earlier.is_none_or(|e| !e.validity.is_valid()) {
                by_key.insert(key, cell);
            }
        }
        let blocks = cells.iter().map(|c| c.block).collect();
        Self {
            plan,
            by_key,
            blocks,
            duplicates,
        }
    }

    /// True where any cell of the load has this metric.
    pub(crate) fn knows(&self, load: &LoadId, metric: MetricName) -> bool {
        self.by_key
            .iter()
            .any(|((l, _, _), cell)| *l == load && cell.metrics.contains_key(&metric))
    }

    /// True where any cell of the load and variant exists.
    pub(crate) fn has_trials(&self, load: &LoadId, variant: &VariantId) -> bool {
        self.by_key.keys().any(|(l, v, _)| *l == load && *v == variant)
    }

    /// The log of one cell's metric, with the cell, or why it does not count.
    fn log(
        &self,
        load: &LoadId,
        variant: &VariantId,
        block: u32,
        metric: MetricName,
    ) -> Result<(f64, &'a CellMetrics), String> {
        let cell = self
            .by_key
            .get(&(load, variant, block))
            .copied()
            .ok_or_else(|| format!("{variant} has no trial"))?;
        let is_treatment = self
            .plan
            .variant(variant)
            .is_none_or(|v| v.role == VariantRole::Treatment);
        if is_treatment && !matches!(cell.treatment, Treatment::Confirmed | Treatment::Unobservable) {
            return Err(format!("treatment of {variant} is {}", cell.treatment));
        }
        match &cell.validity {
            Validity::Valid => {}
            Validity::Invalid { gates } => {
                let names: Vec<&str> = gates.iter().map(|g| g.as_str()).collect();
                return Err(format!("{variant} is invalid ({})", names.join(", ")));
            }
            Validity::Aborted { why } => return Err(format!("{variant} was aborted ({why})")),
        }
        match cell.metrics.get(&metric) {
            None => Err(format!("{variant} has no {metric}")),
            Some(value) if value.is_finite() && *value > 0.0 => Ok((value.ln(), cell)),
            Some(value) => Err(format!("{metric} of {variant} is {value}, which has no logarithm")),
        }
    }

    /// Log ratios of `variant` to `control`, one per block in which the variant and at least one arm of the control count.
    pub(crate) fn pair(&self, load: &LoadId, variant: &VariantId, control: &ControlArm, metric: MetricName) -> Pairs {
        let mut ratios: Vec<(u32, f64)> = Vec::new();
        let mut reasons: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut kinds_differ = None;
        for &block in &self.blocks {
            let mut why = |reason: String| reasons.entry(reason).or_default().push(block);
            let own = self.log(load, variant, block, metric);
            let arms: Vec<_> = control.arms().map(|arm| self.log(load, arm, block, metric)).collect();
            let mut logs = Vec::new();
            for arm in arms {
                match (&own, arm) {
                    (Ok((_, own)), Ok((log, other))) => {
                        if depends_on_kind(metric) && own.ttft_kind != other.ttft_kind {
                            kinds_differ = Some(format!(
                                "first tokens are stamped differently in {variant} and {} (ttft_kind)",
                                other.variant
                            ));
                        }
                        logs.push(log);
                    }
                    (_, Ok(_)) => {}
                    (_, Err(reason)) => why(reason),
                }
            }
            match own {
                Err(reason) => why(reason),
                Ok((own, _)) => ratios.extend(mean(&logs).map(|control| (block, own - control))),
            }
        }
        let labels = tukey_labels(&ratios.iter().map(|(_, r)| *r).collect::<Vec<_>>());
        let effects = ratios
            .into_iter()
            .zip(labels)
            .map(|((block, log_ratio), outlier)| BlockEffect {
                block,
                log_ratio,
                outlier,
            })
            .collect();
        let dropped = reasons
            .into_iter()
            .map(|(reason, blocks)| format!("{reason}: {}", name_blocks(&blocks)))
            .collect();
        Pairs {
            effects,
            dropped,
            kinds_differ,
        }
    }
}

fn mean(logs: &[f64]) -> Option<f64> {
    let n = u32::try_from(logs.len()).ok().filter(|&n| n > 0)?;
    Some(logs.iter().sum::<f64>() / f64::from(n))
}

/// True where the kind of the first timestamp enters the metric.
const fn depends_on_kind(metric: MetricName) -> bool {
    !matches!(metric, MetricName::OutputThroughput | MetricName::RequestThroughput)
}

fn name_blocks(blocks: &[u32]) -> String {
    let numbers: Vec<String> = blocks.iter().map(u32::to_string).collect();
    format!(
        "{} {}",
        if blocks.len() == 1 { "block" } else { "blocks" },
        numbers.join(", ")
    )
}
