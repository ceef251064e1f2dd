//! Which take comes next. Pure: a plan and the takes so far in, the next one out.
//!
//! Blocks come in order, and in a block its trials in theirs. A trial that the instrument made Invalid is taken again when
//! every trial of its block had its turn, as often as the plan says.

use servelab_schema::{Plan, PlannedBlock, PlannedTrial, WallNanos};
use std::{collections::BTreeSet, num::NonZeroU64};

/// One take of a planned trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Take<'p> {
    pub(crate) block: &'p PlannedBlock,
    pub(crate) trial: &'p PlannedTrial,
    /// From 1.
    pub(crate) take: u32,
}

/// A take that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) block: u32,
    pub(crate) order: u32,
    /// True where the instrument made it Invalid, and nothing else did.
    pub(crate) lost: bool,
}

/// What became of one planned trial so far.
#[derive(Debug, Clone, Copy)]
struct SoFar {
    takes: u32,
    lost: bool,
}

fn so_far(block: u32, trial: &PlannedTrial, taken: &[Taken]) -> SoFar {
    let of_it = taken.iter().filter(|t| (t.block, t.order) == (block, trial.order));
    let start = SoFar { takes: 0, lost: false };
    of_it.fold(start, |before, t| SoFar {
        takes: before.takes + 1,
        lost: t.lost,
    })
}

impl SoFar {
    fn is_due_again(self, plan: &Plan) -> bool {
        self.lost && self.takes <= plan.retakes
    }
}

/// The take that comes next; none where the run is complete, or the next would begin a block and none `may_begin`.
pub(crate) fn next_take<'p>(plan: &'p Plan, taken: &[Taken], may_begin: bool) -> Option<Take<'p>> {
    let begun = |block: &PlannedBlock| taken.iter().any(|t| t.block == block.block);
    plan.blocks
        .iter()
        .filter(|block| may_begin || begun(block))
        .find_map(|block| {
            let due = block.trials.iter().filter_map(|trial| {
                let so_far = so_far(block.block, trial, taken);
                (so_far.takes == 0 || so_far.is_due_again(plan)).then_some((so_far.takes, trial))
            });
            // The first of the least taken: a second round begins when the first is over.
            let (takes, trial) = due.min_by_key(|(takes, _)| *takes)?;
            let take = takes + 1;
            Some(Take { block, trial, take })
        })
}

/// Whether one more block fits into the time that a plan has for blocks, going by the blocks before it: the first always does.
pub(crate) fn block_fits(plan: &Plan, taken: &[Taken], elapsed: WallNanos) -> bool {
    let Some(within) = plan.limits.blocks_within_ns else {
        return true;
    };
    let begun: BTreeSet<u32> = taken.iter().map(|t| t.block).collect();
    let Ok(Some(begun)) = u64::try_from(begun.len()).map(NonZeroU64::new) else {
        return true;
    };
    let each = elapsed.0 / begun;
    elapsed.0.saturating_add(each) <= within.0
}

/// How many takes the run will have, as far as is known now.
pub(crate) fn takes_in_all(plan: &Plan, taken: &[Taken]) -> usize {
    let trials = plan.blocks.iter().flat_map(|b| b.trials.iter().map(move |t| (b, t)));
    let of = trials.map(|(block, trial)| {
        let so_far = so_far(block.block, trial, taken);
        let more = u32::from(so_far.is_due_again(plan));
        usize::try_from(so_far.takes.max(1).saturating_add(more)).unwrap_or(usize::MAX)
    });
    of.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{GateName, Validity, examples};

    fn plan(retakes: u32) -> Plan {
        let mut plan = examples::plan();
        plan.blocks.truncate(2);
        plan.retakes = retakes;
        plan
    }

    const fn taken(block: u32, order: u32, lost: bool) -> Taken {
        Taken { block, order, lost }
    }

    /// The whole order of a run in which these takes (block, order, take) are lost.
    fn order(retakes: u32, lost: &[(u32, u32, u32)]) -> Vec<(u32, u32, u32)> {
        let plan = plan(retakes);
        let (mut done, mut order) = (Vec::new(), Vec::new());
        while let Some(take) = next_take(&plan, &done, true) {
            let key = (take.block.block, take.trial.order, take.take);
            assert!(order.len() < takes_in_all(&plan, &done), "the total is never behind");
            order.push(key);
            done.push(taken(key.0, key.1, lost.contains(&key)));
        }
        assert_eq!(order.len(), takes_in_all(&plan, &done));
        order
    }

    #[test]
    fn a_lost_trial_is_taken_again_at_the_end_of_its_block() {
        let calm = [(1, 1, 1), (1, 2, 1), (1, 3, 1), (2, 1, 1), (2, 2, 1), (2, 3, 1)];
        assert_eq!(order(1, &[]), calm);
        assert_eq!(
            order(0, &[(1, 1, 1), (2, 3, 1)]),
            calm,
            "no retakes where none are planned"
        );
        let with = |again: &[(u32, u32, u32)]| [&calm[..3], again, &calm[3..]].concat();
        assert_eq!(order(1, &[(1, 1, 1)]), with(&[(1, 1, 2)]));
        assert_eq!(
            order(1, &[(1, 1, 1), (1, 1, 2)]),
            with(&[(1, 1, 2)]),
            "once, then it stays lost"
        );
        assert_eq!(
            order(2, &[(1, 3, 1), (1, 1, 1), (1, 1, 2)]),
            with(&[(1, 1, 2), (1, 3, 2), (1, 1, 3)]),
            "in rounds"
        );
    }

    #[test]
    fn no_block_begins_that_would_end_too_late_and_one_that_was_begun_ends() {
        let mut plan = plan(0);
        let done = [taken(1, 1, false), taken(1, 2, false)];
        let next =
            |done: &[Taken], may_begin| next_take(&plan, done, may_begin).map(|t| (t.block.block, t.trial.order));
        assert_eq!(next(&done, false), Some((1, 3)));
        let whole = [&done[..], &[taken(1, 3, false)]].concat();
        assert_eq!((next(&whole, false), next(&whole, true)), (None, Some((2, 1))));
        plan.limits.blocks_within_ns = Some(WallNanos::from_secs(100));
        let fits = |done: &[Taken], seconds| block_fits(&plan, done, WallNanos::from_secs(seconds));
        assert!(fits(&[], 1000) && fits(&whole, 50) && !fits(&whole, 51));
        let two = [&whole[..], &[taken(2, 1, false)]].concat();
        assert!(fits(&two, 66) && !fits(&two, 68));
    }

    #[test]
    fn only_the_instrument_gives_a_second_chance() {
        let check = |validity: Validity, expected: bool| {
            assert_eq!(validity.is_lost_to_the_instrument(), expected, "{validity:?}");
        };
        let gates = |gates: &[GateName]| Validity::Invalid { gates: gates.to_vec() };
        check(gates(&[GateName::EventLoopLag]), true);
        check(gates(&[GateName::ScheduleLag, GateName::ClientCpu]), true);
        check(gates(&[GateName::EventLoopLag, GateName::Failures]), false);
        check(gates(&[GateName::EventLoopLag, GateName::Treatment]), false);
        check(gates(&[GateName::EngineAlive]), false);
        check(Validity::Valid, false);
        check(Validity::Aborted { why: "x".into() }, false);
    }
}
