//! The run loop: asks which take comes next, has it executed, notes what became of it, until none is left or going on is
//! pointless. It starts nothing itself: whoever executes a take stands behind [`Takes`], so that known answers can enter.

use crate::{
    Progress, RunError, StopFlag,
    events::TARGET,
    takes::{Take, Taken, lost_for_good, lost_to_the_instrument, next_take, takes_in_all},
};
use servelab_evidence::{RunWriter, salvage::CutOff};
use servelab_schema::{Plan, RunEnd, TrialRecord, Validity};
use std::collections::BTreeMap;

/// Executes takes.
pub(crate) trait Takes {
    /// Runs one take to its `trial.json`.
    ///
    /// # Errors
    /// What makes going on with the run pointless.
    async fn execute(&self, take: Take<'_>, run: &RunWriter) -> Result<TrialRecord, RunError>;

    /// The text without secrets.
    fn redact(&self, text: &str) -> String;
}

/// What became of the takes of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Takes that ended, in order.
    pub(crate) taken: Vec<Taken>,
    /// Takes that were begun.
    pub(crate) begun: usize,
    /// Of those, takes of a trial that had been taken before.
    pub(crate) retakes: usize,
    pub(crate) valid: usize,
    pub(crate) invalid: usize,
    /// Trials that stay lost to the instrument.
    pub(crate) lost: usize,
    /// Valid takes of each cell.
    cells: BTreeMap<String, usize>,
}

impl Tally {
    fn note(&mut self, record: &TrialRecord) {
        let cell = self.cells.entry(format!("{} {}", record.variant, record.load));
        let valid = cell.or_default();
        match record.validity {
            Validity::Valid => {
                *valid = valid.saturating_add(1);
                self.valid = self.valid.saturating_add(1);
            }
            Validity::Invalid { .. } => self.invalid = self.invalid.saturating_add(1),
            Validity::Aborted { .. } => {}
        }
        self.taken.push(Taken {
            block: record.block,
            order: record.order,
            lost: lost_to_the_instrument(record),
        });
    }

    /// Cells (variant and load) of which no trial is Valid.
    pub(crate) fn cells_without_valid_trial(&self) -> Vec<String> {
        let empty = self.cells.iter().filter(|(_, valid)| **valid == 0);
        empty.map(|(cell, _)| cell.clone()).collect()
    }
}

/// How the loop ended.
#[derive(Debug)]
pub(crate) struct Looped {
    pub(crate) tally: Tally,
    /// As what the run is to be sealed.
    pub(crate) end: RunEnd,
    /// What ended it early, where it was no wish.
    pub(crate) error: Option<RunError>,
    /// False where what there is cannot be sealed now.
    pub(crate) sealable: Result<(), servelab_evidence::EvidenceError>,
}

/// Executes the takes of a plan in order.
pub(crate) async fn take_all(
    plan: &Plan,
    run: &mut RunWriter,
    takes: &impl Takes,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Looped {
    let mut tally = Tally::default();
    let (mut error, mut sealable) = (None, Ok(()));
    let aborted = |why: String| RunEnd::Aborted { why };
    let end = loop {
        let Some(take) = next_take(plan, &tally.taken) else {
            break RunEnd::Complete;
        };
        let total = takes_in_all(plan, &tally.taken);
        if let Some(why) = stop.why() {
            break aborted(format!("{why} after {} of {total} trials", tally.begun));
        }
        tally.begun = tally.begun.saturating_add(1);
        tally.retakes = tally.retakes.saturating_add(usize::from(take.take > 1));
        let name = take.trial.take_id(take.block.block, take.take);
        progress.trial_begins(tally.begun, total, name.as_ref().map_or("", |id| id.as_str()));
        match takes.execute(take, run).await {
            Ok(record) => {
                run.note_trial(&record);
                tally.note(&record);
                let again = takes_in_all(plan, &tally.taken) > total;
                progress.trial_ends(&record, again);
                if let Validity::Aborted { why } = &record.validity {
                    break aborted(format!("{why} in trial {} of {total}", tally.begun));
                }
            }
            Err(ended_by) => {
                let why = takes.redact(&ended_by.to_string());
                tracing::error!(target: TARGET, why, "going on is pointless");
                let cut = CutOff {
                    block: take.block,
                    trial: take.trial,
                    take: take.take,
                    why: &why,
                };
                sealable = run.cut_short(plan, cut, &|text| takes.redact(text));
                error = Some(ended_by);
                break aborted(format!("error in trial {} of {total}: {why}", tally.begun));
            }
        }
    };
    tally.lost = lost_for_good(plan, &tally.taken);
    Looped {
        tally,
        end,
        error,
        sealable,
    }
}

#[cfg(test)]
mod tests;
