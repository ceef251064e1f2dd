//! The run loop: asks which take comes next, has it executed, notes what became of it, until none is left or going on is
//! pointless. It starts nothing itself: whoever executes a take stands behind [`Takes`], so that known answers can enter.

use crate::{
    Progress, RunError, StopFlag,
    evaluation::reduce,
    events::TARGET,
    repeated::{StartOf, repeated_failure},
    takes::{Take, Taken, block_fits, next_take, takes_in_all},
};
use servelab_evidence::{EvidenceError, RunWriter, salvage::CutOff};
use servelab_findings::{Prompts, Trial, judge};
use servelab_load::clock::monotonic;
use servelab_schema::{EnvironmentRecord, Plan, RunEnd, TrialId, Validity, VariantRole, WallInstant};

/// Executes takes.
pub(crate) trait Takes {
    /// Runs one take to its `trial.json`.
    ///
    /// # Errors
    /// What makes going on with the run pointless.
    async fn execute(&self, take: Take<'_>, run: &RunWriter) -> Result<TrialId, RunError>;

    /// The text without secrets.
    fn redact(&self, text: &str) -> String;
}

/// What became of the takes of a run.
#[derive(Debug, Default)]
struct Tally {
    /// Takes that ended, in order.
    taken: Vec<Taken>,
    /// How their engines came up.
    starts: Vec<StartOf>,
    /// Takes that were begun.
    begun: usize,
}

/// How the loop ended.
#[derive(Debug)]
pub(crate) struct Looped {
    /// The takes, reduced: what findings are made of.
    pub(crate) trials: Vec<Trial>,
    /// As what the run is to be sealed.
    pub(crate) end: RunEnd,
    /// What ended it early, where it was no wish.
    pub(crate) error: Option<RunError>,
    /// False where what there is cannot be sealed now.
    pub(crate) sealable: Result<(), EvidenceError>,
}

/// Executes the takes of a plan in order; the run began at `started`.
pub(crate) async fn take_all(
    plan: &Plan,
    environment: &EnvironmentRecord,
    run: &RunWriter,
    takes: &impl Takes,
    (started, stop): (WallInstant, &StopFlag),
    progress: &dyn Progress,
) -> Looped {
    let prompts = Prompts::of(plan);
    let mut tally = Tally::default();
    let mut trials: Vec<Trial> = Vec::new();
    let (mut error, mut sealable) = (None, Ok(()));
    let aborted = |why: String| RunEnd::Aborted { why };
    let end = loop {
        let may_begin = block_fits(plan, &tally.taken, monotonic().since(started));
        let Some(take) = next_take(plan, &tally.taken, may_begin) else {
            break RunEnd::Complete;
        };
        let total = takes_in_all(plan, &tally.taken);
        if let Some(why) = stop.why() {
            break aborted(format!("{why} after {} of {total} trials", tally.begun));
        }
        tally.begun += 1;
        let name = take.trial.take_id(take.block.block, take.take);
        progress.trial_begins(tally.begun, total, name.as_ref().map_or("", |id| id.as_str()));
        let taken = match takes.execute(take, run).await {
            Ok(id) => reduce(plan, &prompts, environment, &run.take(&id)).map_err(RunError::from),
            Err(error) => Err(error),
        };
        let trial = match taken {
            Ok(trial) => trial,
            Err(ended_by) => {
                let why = takes.redact(&ended_by.to_string());
                tracing::error!(target: TARGET, why, "going on is pointless");
                let cut = CutOff {
                    block: take.block,
                    trial: take.trial,
                    take: take.take,
                    why: &why,
                };
                let files = run.cut_short(plan, cut, &|text| takes.redact(text));
                let cut_off = files.and_then(|files| {
                    let files = files.iter();
                    files
                        .map(|f| reduce(plan, &prompts, environment, f))
                        .collect::<Result<Vec<_>, _>>()
                });
                sealable = cut_off.map(|cut_off| trials.extend(cut_off));
                error = Some(ended_by);
                break aborted(format!("error in trial {} of {total}: {why}", tally.begun));
            }
        };
        trials.push(trial);
        // What is known so far: the findings at the end know every start of both arms.
        let judged = judge(plan, environment, &trials);
        let (Some(trial), Some(judged)) = (trials.last(), judged.last()) else {
            continue;
        };
        tally.taken.push(Taken {
            block: trial.record.block,
            order: trial.record.order,
            lost: judged.validity.is_lost_to_the_instrument(),
        });
        let again = takes_in_all(plan, &tally.taken) > total;
        progress.trial_ends(&trial.record, judged, again);
        if let Validity::Aborted { why } = &judged.validity {
            break aborted(format!("{why} in trial {} of {total}", tally.begun));
        }
        tally.starts.push(start_of(plan, trial));
        if let Some(cause) = repeated_failure(plan, &tally.starts) {
            break aborted(format!(
                "the baseline {} failed to start twice in a row, after {} of {total} trials: {cause} \
                 (experiment.on-repeated-failure = \"go-on\" goes on all the same)",
                trial.record.variant, tally.begun
            ));
        }
    };
    Looped {
        trials,
        end,
        error,
        sealable,
    }
}

/// How the engine of a take came up.
fn start_of(plan: &Plan, trial: &Trial) -> StartOf {
    let never_served = trial.record.instrument.is_none();
    StartOf {
        role: plan
            .variant(&trial.record.variant)
            .map_or(VariantRole::Treatment, |v| v.role),
        failed: trial.engine.failure.clone().filter(|_| never_served),
    }
}

#[cfg(test)]
mod tests;
