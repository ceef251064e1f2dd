//! Seeds, orders and blocks: who serves which prompts when. Everything follows from one seed, split by name.

use crate::{
    error::{Errors, Problem},
    prompts::{PromptSet, cells},
    reader::At,
};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};
use servelab_schema::{BlockOrder, LoadId, PlannedBlock, PlannedTrial, PromptId, PromptRef, Ratio, VariantId};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, num::NonZeroU32};

/// The seed of a purpose: the first 53 bits of SHA-256 of seed and name, so that every JSON reader keeps it exactly.
pub(crate) fn split(seed: u64, name: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let first = digest
        .iter()
        .take(8)
        .fold(0u64, |acc, byte| (acc << 8) | u64::from(*byte));
    first >> 11
}

/// Fisher–Yates by a generator of our own choice: the order must never change with a library's version.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        let bound = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
        let pick = below(&mut rng, bound);
        items.swap(last, usize::try_from(pick).unwrap_or(last));
    }
}

/// A number below `bound`, each equally likely: draws that would favour small numbers are thrown away.
fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    let unfair = u64::MAX - u64::MAX % bound;
    loop {
        let draw = rng.next_u64();
        if draw < unfair {
            return draw % bound;
        }
    }
}

/// What the blocks are made of.
#[derive(Debug)]
pub(crate) struct BlockInputs<'a> {
    pub(crate) seed: u64,
    pub(crate) blocks: NonZeroU32,
    pub(crate) requests_per_block: Option<&'a At<NonZeroU32>>,
    pub(crate) order: BlockOrder,
    pub(crate) set: &'a PromptSet,
    pub(crate) cells: Vec<(VariantId, LoadId)>,
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
        let mut ids: Vec<PromptId> = match inputs.requests_per_block {
            None => prompts.iter().map(|p| p.id.clone()).collect(),
            Some(at) => balanced(prompts, at.value),
        };
        used.extend(ids.iter().cloned());
        shuffle(&mut ids, split(inputs.seed, &format!("prompts/block/{block}")));
        let mut order = inputs.cells.clone();
        match inputs.order {
            BlockOrder::Random => shuffle(&mut order, split(inputs.seed, &format!("trials/block/{block}"))),
            BlockOrder::Sequential => {}
        }
        let trials = (1..)
            .zip(order)
            .map(|(order, (variant, load))| PlannedTrial { order, variant, load })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_order_and_another_gives_another() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u32>>());
    }

    #[test]
    fn the_order_is_pinned() {
        // A change here changes every plan: it needs a new METHOD_VERSION.
        let mut items: Vec<u32> = (0..8).collect();
        shuffle(&mut items, split(1, "prompts/block/1"));
        assert_eq!(items, PINNED);
    }

    const PINNED: [u32; 8] = [3, 5, 7, 1, 4, 6, 2, 0];

    #[test]
    fn names_split_a_seed() {
        assert_ne!(split(1, "a"), split(1, "b"));
        assert_ne!(split(1, "a"), split(2, "a"));
        assert!(split(1, "a") < 1 << 53);
    }

    #[test]
    fn every_place_is_equally_likely() {
        let mut counts = [[0u32; 4]; 4];
        for seed in 0..4000 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut items, split(seed, "test"));
            for (place, item) in items.into_iter().enumerate() {
                counts[item][place] += 1;
            }
        }
        // 1000 expected, SD 27.
        assert!(counts.iter().flatten().all(|n| (850..1150).contains(n)), "{counts:?}");
    }
}
