//! Plans that are made of a plan, without its matrix: more blocks of it, or a few of its arms against each other.
//!
//! Both follow the rules that its own blocks follow (`order`). Which prompts a further block has is read from the blocks that
//! there are: they come again in turn, in an order of their own. A plan that has all blocks of its prompt set, and is given more,
//! is thereby the plan that the matrix gives with that many blocks.

use crate::order::{BlockPrompts, BlockRules, share};
use servelab_random::split;
use servelab_schema::{LoadId, Nanos, Plan, PlannedBlock, PromptId, Provider, VariantId, VariantRole};
use std::{collections::BTreeSet, num::NonZeroU32};

/// Why no plan can be made of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FurtherError {
    /// The plan has no such variant.
    #[error("the plan has no variant {0}; `servelab plan` lists them")]
    NoVariant(VariantId),
    /// The plan has no such load.
    #[error("the plan has no load {0}; `servelab plan` lists them")]
    NoLoad(LoadId),
    /// The plan has no block, so nothing says which prompts a further one has.
    #[error("the plan has no block; give a plan with one block or more")]
    NoBlock,
}

/// The plan with `more` blocks after its last one. Its own blocks stay as they are; predicted time and cost grow in proportion.
///
/// # Errors
/// [`FurtherError::NoBlock`].
pub fn more_blocks(plan: &Plan, more: NonZeroU32) -> Result<Plan, FurtherError> {
    let rules = rules(plan, plan.seed);
    let prompts = in_turn(plan, &rules)?;
    let last = plan.blocks.iter().map(|b| b.block).max().unwrap_or(0);
    let numbers = (last.saturating_add(1)..=last.saturating_add(more.get())).collect::<Vec<_>>();
    let mut further = plan.clone();
    let new = numbers
        .into_iter()
        .filter_map(|n| Some(rules.block(n, nth(&prompts, n)?)));
    further.blocks.extend(new);
    Ok(predicted(plan, further))
}

/// A few arms of a plan against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duel<'a> {
    /// Its name: that of the new plan, and what its seed is split by.
    pub name: &'a str,
    /// The variants; their controls, down to the baseline, and the copies of these come along.
    pub variants: &'a BTreeSet<VariantId>,
    /// The loads.
    pub loads: &'a BTreeSet<LoadId>,
    /// Number of blocks.
    pub blocks: NonZeroU32,
}

/// The plan of a duel: orders and arrivals are new, and everything else is as in `plan`.
///
/// # Errors
/// [`FurtherError`] where the plan has no such arms, or no block.
pub fn duel(plan: &Plan, asked: &Duel<'_>) -> Result<Plan, FurtherError> {
    if let Some(id) = asked.variants.iter().find(|id| plan.variant(id).is_none()) {
        return Err(FurtherError::NoVariant(id.clone()));
    }
    if let Some(id) = asked.loads.iter().find(|id| plan.load(id).is_none()) {
        return Err(FurtherError::NoLoad(id.clone()));
    }
    let prompts = in_turn(plan, &rules(plan, plan.seed))?;
    let arms = arms(plan, asked.variants);
    let mut new = Plan {
        name: asked.name.to_owned(),
        seed: split(plan.seed, &format!("duel/{}", asked.name)),
        blocks: Vec::new(),
        ..plan.clone()
    };
    new.variants.retain(|v| arms.contains(&v.id));
    new.loads.retain(|l| asked.loads.contains(&l.id));
    if let Provider::Url { others, .. } = &mut new.engine.provider {
        others.retain(|id, _| arms.contains(id));
    }
    let rules = rules(&new, new.seed);
    new.blocks = (1..=asked.blocks.get())
        .filter_map(|n| Some(rules.block(n, nth(&prompts, n)?)))
        .collect();
    Ok(predicted(plan, new))
}

/// The variants with their controls, and the copies of these.
fn arms(plan: &Plan, variants: &BTreeSet<VariantId>) -> BTreeSet<VariantId> {
    let baseline = plan.variants.iter().filter(|v| v.role == VariantRole::Baseline);
    let mut arms: BTreeSet<VariantId> = variants.iter().chain(baseline.map(|v| &v.id)).cloned().collect();
    let mut open: Vec<VariantId> = variants.iter().cloned().collect();
    while let Some(id) = open.pop() {
        let control = plan.variant(&id).and_then(|v| v.control.clone());
        if let Some(control) = control.filter(|c| arms.insert(c.clone())) {
            open.push(control);
        }
    }
    let copies: Vec<VariantId> = plan
        .variants
        .iter()
        .filter(|v| v.role == VariantRole::Aa && v.control.as_ref().is_some_and(|c| arms.contains(c)))
        .map(|v| v.id.clone())
        .collect();
    arms.extend(copies);
    arms
}

fn rules(plan: &Plan, seed: u64) -> BlockRules {
    BlockRules::new(seed, plan.order, &plan.variants, &plan.loads)
}

/// The prompts of the first blocks of a plan, before they come again.
fn in_turn(plan: &Plan, rules: &BlockRules) -> Result<Vec<BlockPrompts>, FurtherError> {
    let sets: Vec<BTreeSet<&PromptId>> = plan.blocks.iter().map(|b| b.prompts.iter().collect()).collect();
    let again = |turn: &usize| sets.iter().zip(sets.iter().skip(*turn)).all(|(a, b)| a == b);
    let turn = (1..=sets.len()).find(again).ok_or(FurtherError::NoBlock)?;
    Ok(plan
        .blocks
        .iter()
        .take(turn)
        .map(|b: &PlannedBlock| rules.prompts_of(b))
        .collect())
}

/// Those of block `n`, from 1.
fn nth(prompts: &[BlockPrompts], n: u32) -> Option<BlockPrompts> {
    let place = usize::try_from(n.checked_sub(1)?).ok()?.checked_rem(prompts.len())?;
    prompts.get(place).cloned()
}

/// `new` with the time and cost that `old` predicts for as many trials, rounded up, and the share of the prompts that it uses.
fn predicted(old: &Plan, mut new: Plan) -> Plan {
    let [of, trials] = [old, &new].map(|plan| u128::try_from(plan.trial_count()).unwrap_or(u128::MAX));
    let scaled = |value: u64| {
        let product = u128::from(value).saturating_mul(trials);
        u64::try_from(product.div_ceil(of.max(1))).unwrap_or(u64::MAX)
    };
    new.predicted_wall_ns = Nanos(scaled(old.predicted_wall_ns.0));
    new.predicted_cost_micro_usd = old.predicted_cost_micro_usd.map(scaled);
    if let Some(share) = share(&new.blocks, &new.prompts) {
        new.prompt_share_ratio = share;
    }
    new
}
