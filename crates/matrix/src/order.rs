//! Seeds, orders and blocks: who serves which prompts when. Everything follows from one seed, split by name.

use crate::{
    error::{Errors, Problem},
    prompts::{PromptSet, cells},
    reader::At,
};
use servelab_random::{shuffle, split};
use servelab_schema::{BlockOrder, LoadId, PlannedBlock, PlannedTrial, PromptId, PromptRef, Ratio, VariantId};
use std::{collections::BTreeSet, num::NonZeroU32};

/// What the blocks are made of.
#[derive(Debug)]
pub(crate) struct BlockInputs<'a> {
    pub(crate) seed: u64,
    pub(crate) blocks: NonZeroU32,
    pub(crate) requests_per_block: Option<&'a At<NonZeroU32>>,
    pub(crate) order: BlockOrder,
    pub(crate) set: &'a PromptSet,
    pub(crate) cells: Vec<(VariantId, LoadId)>,
    /// The baseline's copies.
    pub(crate) copies: BTreeSet<VariantId>,
}

/// The blocks, and the share of the set's prompts that they use. None where a block has too few prompts.
pub(crate) fn plan_blocks(inputs: &BlockInputs<'_>, errors: &Errors) -> Option<(Vec<PlannedBlock>, Ratio)> {
    let sets: Vec<&Vec<PromptRef>> = inputs.set.blocks.values().collect();
    if let Some(at) = inputs.requests_per_block {
        let smallest = sets.iter().map(|s| s.len()).min().unwrap_or(0);
        if usize::try_from(at.value.get()).is_ok_and(|asked| asked > smallest) {
            let text = format!(
                "a block of {} has {smallest} prompts; give at most that",
                inputs.set.reference.path
            );
            errors.push(&at.place, at.key.clone(), Problem::Value(text));
            return None;
        }
    }
    let mut used: BTreeSet<PromptId> = BTreeSet::new();
    let mut blocks = Vec::new();
    for (block, prompts) in (1..=inputs.blocks.get()).zip(sets.iter().cycle()) {
        let in_order = |prompts: &[PromptRef]| {
            let mut ids: Vec<PromptId> = match inputs.requests_per_block {
                None => prompts.iter().map(|p| p.id.clone()).collect(),
                Some(at) => balanced(prompts, at.value),
            };
            shuffle(&mut ids, split(inputs.seed, &format!("prompts/block/{block}")));
            ids
        };
        let ids = in_order(prompts);
        // One seed for both: the copy's prompts come in the order of those that they stand for.
        let of_copies = inputs.set.copies.get(&block).map(|prompts| in_order(prompts));
        used.extend(ids.iter().chain(of_copies.iter().flatten()).cloned());
        let mut order = inputs.cells.clone();
        match inputs.order {
            BlockOrder::Random => shuffle(&mut order, split(inputs.seed, &format!("trials/block/{block}"))),
            BlockOrder::Sequential => {}
        }
        let trials = (1..)
            .zip(order)
            .map(|(order, (variant, load))| PlannedTrial {
                order,
                prompts: of_copies.clone().filter(|_| inputs.copies.contains(&variant)),
                variant,
                load,
            })
            .collect();
        blocks.push(PlannedBlock {
            block,
            seed: split(inputs.seed, &format!("load/block/{block}")),
            prompts: ids,
            trials,
        });
    }
    let share = ratio(used.len(), inputs.set.reference.prompts.len());
    Some((blocks, share?))
}

#[expect(clippy::as_conversions, reason = "counts of prompts are far below 2^53")]
fn ratio(part: usize, whole: usize) -> Option<Ratio> {
    Ratio::new(part as f64 / whole as f64).ok()
}

/// The first `count` prompts, taken in turn from every task × bucket, so that a few are still of all kinds.
fn balanced(prompts: &[PromptRef], count: NonZeroU32) -> Vec<PromptId> {
    let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
    let cells: Vec<Vec<&PromptRef>> = cells(prompts).into_values().collect();
    let longest = cells.iter().map(Vec::len).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|turn| cells.iter().filter_map(move |cell| cell.get(turn)));
    turns.take(count).map(|p| p.id.clone()).collect()
}
