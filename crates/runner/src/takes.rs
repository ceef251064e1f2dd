//! Which take comes next, and what is left of a run. Pure: a plan, the takes so far and what was asked for in, what is outstanding out.
//!
//! Blocks come in order, and in a block its trials in theirs. A trial that the instrument made Invalid is taken again when
//! every trial of its block had its turn, as often as the plan says. A take that was cut off never took place: its trial is
//! taken anew, under the next number.

use crate::Selection;
use servelab_schema::{Plan, PlannedBlock, PlannedTrial, WallNanos};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
};

/// One take of a planned trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Take<'p> {
    pub(crate) block: &'p PlannedBlock,
    pub(crate) trial: &'p PlannedTrial,
    /// From 1.
    pub(crate) take: u32,
}

/// How a take ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself: Valid, or Invalid by the engine, the setting or the plan.
    Counts,
    /// By itself, but the instrument made it Invalid, and nothing else did.
    LostToTheInstrument,
    /// It was cut off from outside.
    CutOff,
}

/// A take that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) block: u32,
    pub(crate) order: u32,
    /// From 1.
    pub(crate) take: u32,
    pub(crate) ended: Ended,
    /// True where an earlier session of the run took it.
    pub(crate) earlier: bool,
}

/// What became of one planned trial so far.
#[derive(Debug, Clone, Copy, Default)]
struct SoFar {
    /// The highest number of a take.
    last: u32,
    /// Takes that were not cut off.
    ended: u32,
    /// Those of this session.
    ended_now: u32,
    /// True where the instrument lost each of them.
    lost: bool,
}

/// What became of every trial that was taken, by block and order.
struct History(BTreeMap<(u32, u32), SoFar>);

impl History {
    fn of(taken: &[Taken]) -> Self {
        let mut all: BTreeMap<(u32, u32), SoFar> = BTreeMap::new();
        for take in taken {
            let so_far = all.entry((take.block, take.order)).or_default();
            so_far.last = so_far.last.max(take.take);
            if take.ended != Ended::CutOff {
                let lost = take.ended == Ended::LostToTheInstrument;
                so_far.lost = lost && (so_far.ended == 0 || so_far.lost);
                so_far.ended += 1;
                so_far.ended_now += u32::from(!take.earlier);
            }
        }
        Self(all)
    }

    fn of_trial(&self, block: &PlannedBlock, trial: &PlannedTrial) -> SoFar {
        self.0.get(&(block.block, trial.order)).copied().unwrap_or_default()
    }
}

impl SoFar {
    /// True where the trial is to be taken, for the first time or again.
    fn is_due(self, plan: &Plan, selection: &Selection) -> bool {
        let retry = selection.retry_invalid && self.ended_now == 0;
        self.ended == 0 || (self.lost && (self.ended <= plan.retakes || retry))
    }
}

/// What is left of a run, in the order in which it would be executed if none of it is lost again: first, in each block, the trials that
/// were taken least often.
pub(crate) fn outstanding<'p>(plan: &'p Plan, taken: &[Taken], selection: &Selection) -> Vec<Take<'p>> {
    let history = History::of(taken);
    let mut left = Vec::new();
    for block in &plan.blocks {
        let mut due: Vec<(u32, Take<'p>)> = Vec::new();
        for trial in block.trials.iter().filter(|trial| selection.names(block, trial)) {
            let so_far = history.of_trial(block, trial);
            if so_far.is_due(plan, selection) {
                let take = so_far.last + 1;
                due.push((so_far.ended, Take { block, trial, take }));
            }
        }
        // A second round begins when the first is over.
        due.sort_by_key(|(ended, _)| *ended);
        left.extend(due.into_iter().map(|(_, take)| take));
    }
    left
}

/// The take that comes next; none where nothing is left, or the next would begin a block and none `may_begin`.
pub(crate) fn next_take<'p>(
    plan: &'p Plan,
    taken: &[Taken],
    selection: &Selection,
    may_begin: bool,
) -> Option<Take<'p>> {
    let begun = |take: &Take<'_>| taken.iter().any(|t| t.block == take.block.block);
    let mut left = outstanding(plan, taken, selection).into_iter();
    left.find(|take| may_begin || begun(take))
}

/// How many takes the run will have, as far as is known now.
pub(crate) fn takes_in_all(plan: &Plan, taken: &[Taken], selection: &Selection) -> usize {
    taken.len().saturating_add(outstanding(plan, taken, selection).len())
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

    fn taken((block, order, take): (u32, u32, u32), ended: Ended) -> Taken {
        Taken {
            block,
            order,
            take,
            ended,
            earlier: false,
        }
    }

    fn ends(lost: bool) -> Ended {
        if lost {
            Ended::LostToTheInstrument
        } else {
            Ended::Counts
        }
    }

    fn key(take: &Take<'_>) -> (u32, u32, u32) {
        (take.block.block, take.trial.order, take.take)
    }

    /// The whole order of a run in which these takes (block, order, take) are lost.
    fn order(retakes: u32, lost: &[(u32, u32, u32)]) -> Vec<(u32, u32, u32)> {
        let (plan, all) = (plan(retakes), Selection::default());
        let (mut done, mut order) = (Vec::new(), Vec::new());
        while let Some(take) = next_take(&plan, &done, &all, true) {
            let key = key(&take);
            assert!(
                order.len() < takes_in_all(&plan, &done, &all),
                "the total is never behind"
            );
            order.push(key);
            done.push(taken(key, ends(lost.contains(&key))));
        }
        assert_eq!(order.len(), takes_in_all(&plan, &done, &all));
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
        let all = Selection::default();
        let fine = |block, order| taken((block, order, 1), Ended::Counts);
        let done = [fine(1, 1), fine(1, 2)];
        let next =
            |done: &[Taken], may_begin| next_take(&plan, done, &all, may_begin).map(|t| (t.block.block, t.trial.order));
        assert_eq!(next(&done, false), Some((1, 3)));
        let whole = [&done[..], &[fine(1, 3)]].concat();
        assert_eq!((next(&whole, false), next(&whole, true)), (None, Some((2, 1))));
        plan.limits.blocks_within_ns = Some(WallNanos::from_secs(100));
        let fits = |done: &[Taken], seconds| block_fits(&plan, done, WallNanos::from_secs(seconds));
        assert!(fits(&[], 1000) && fits(&whole, 50) && !fits(&whole, 51));
        let two = [&whole[..], &[fine(2, 1)]].concat();
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
