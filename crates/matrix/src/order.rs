//! Seeds, orders and blocks: who serves which prompts when. Everything follows from one seed, split by name.

use crate::{
    error::{Errors, Problem},
    prompts::{PromptSet, cells},
    reader::At,
};
use servelab_random::{shuffle, split, unshuffled};
use servelab_schema::{
    BlockOrder, LoadId, NamedLoad, PlannedBlock, PlannedTrial, PlannedVariant, PromptId, PromptRef, PromptSetRef,
    Ratio, VariantId, VariantRole,
};
use std::{collections::BTreeSet, num::NonZeroU32};

/// What the blocks are made of.
#[derive(Debug)]
pub(crate) struct BlockInputs<'a> {
    pub(crate) blocks: NonZeroU32,
    pub(crate) requests_per_block: Option<&'a At<NonZeroU32>>,
    pub(crate) set: &'a PromptSet,
    pub(crate) rules: &'a BlockRules,
}

/// What every block of a plan follows.
#[derive(Debug)]
pub(crate) struct BlockRules {
    seed: u64,
    order: BlockOrder,
    cells: Vec<(VariantId, LoadId)>,
    /// The baseline's copies.
    copies: BTreeSet<VariantId>,
}

/// The prompts of a block before they are put in order.
#[derive(Debug, Clone)]
pub(crate) struct BlockPrompts {
    /// Those of every arm.
    own: Vec<PromptId>,
    /// Those of a copy in their place, one for each of `own`; none where it serves the same.
    copies: Option<Vec<PromptId>>,
}

impl BlockRules {
    pub(crate) fn new(seed: u64, order: BlockOrder, variants: &[PlannedVariant], loads: &[NamedLoad]) -> Self {
        let copies = variants.iter().filter(|v| v.role == VariantRole::Aa);
        Self {
            seed,
            order,
            cells: variants
                .iter()
                .flat_map(|v| loads.iter().map(|l| (v.id.clone(), l.id.clone())))
                .collect(),
            copies: copies.map(|v| v.id.clone()).collect(),
        }
    }

    fn prompts_seed(&self, block: u32) -> u64 {
        split(self.seed, &format!("prompts/block/{block}"))
    }

    /// Block number `block` of these prompts.
    pub(crate) fn block(&self, block: u32, prompts: BlockPrompts) -> PlannedBlock {
        let in_order = |mut ids: Vec<PromptId>| {
            // One seed for both: the copy's prompts come in the order of those that they stand for.
            shuffle(&mut ids, self.prompts_seed(block));
            ids
        };
        let of_copies = prompts.copies.map(in_order);
        let mut order = self.cells.clone();
        match self.order {
            BlockOrder::Random => shuffle(&mut order, split(self.seed, &format!("trials/block/{block}"))),
            BlockOrder::Sequential => {}
        }
        let trials = (1..)
            .zip(order)
            .map(|(order, (variant, load))| PlannedTrial {
                order,
                prompts: of_copies.clone().filter(|_| self.copies.contains(&variant)),
                variant,
                load,
            })
            .collect();
        PlannedBlock {
            block,
            seed: split(self.seed, &format!("load/block/{block}")),
            prompts: in_order(prompts.own),
            trials,
        }
    }

    /// The prompts that [`Self::block`] was given for that block.
    pub(crate) fn prompts_of(&self, block: &PlannedBlock) -> BlockPrompts {
        let before = |ids: &[PromptId]| unshuffled(ids, self.prompts_seed(block.block));
        let of_copies = block.trials.iter().find_map(|t| t.prompts.as_deref());
        BlockPrompts {
            own: before(&block.prompts),
            copies: of_copies.map(before),
        }
    }
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
    let chosen = |prompts: &[PromptRef]| match inputs.requests_per_block {
        None => prompts.iter().map(|p| p.id.clone()).collect(),
        Some(at) => balanced(prompts, at.value),
    };
    let blocks: Vec<PlannedBlock> = (1..=inputs.blocks.get())
        .zip(sets.iter().cycle())
        .map(|(block, prompts)| {
            let prompts = BlockPrompts {
                own: chosen(prompts),
                copies: inputs.set.copies.get(&block).map(|prompts| chosen(prompts)),
            };
            inputs.rules.block(block, prompts)
        })
        .collect();
    let share = share(&blocks, &inputs.set.reference)?;
    Some((blocks, share))
}

/// The share of the set's prompts that the blocks use; none where the set is empty.
pub(crate) fn share(blocks: &[PlannedBlock], set: &PromptSetRef) -> Option<Ratio> {
    let own = blocks.iter().flat_map(|b| &b.prompts);
    let of_copies = blocks.iter().flat_map(|b| &b.trials).filter_map(|t| t.prompts.as_ref());
    let used: BTreeSet<&PromptId> = own.chain(of_copies.flatten()).collect();
    ratio(used.len(), set.prompts.len())
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
