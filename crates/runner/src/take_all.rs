//! The run loop: asks which take comes next, has it executed, notes what became of it, until none is left or going on is
//! pointless. It starts nothing itself: whoever executes a take stands behind [`Takes`], so that known answers can enter.

use crate::{
    Progress, RunError, Selection, StopFlag,
    evaluation::reduce,
    events::TARGET,
    repeated::{StartOf, repeated_failure},
    takes::{Ended, Take, Taken, block_fits, next_take, outstanding, takes_in_all},
};
use servelab_evidence::{EvidenceError, RunWriter, salvage::CutOff};
use servelab_findings::{Prompts, Trial, judge};
use servelab_load::clock::monotonic;
use servelab_schema::{EnvironmentRecord, Plan, RunEnd, TrialId, Validity, VariantRole, WallInstant, WallNanos};

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

/// What a run had when its session began; nothing where it is its first.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Its takes that ended, reduced.
    pub(crate) trials: Vec<Trial>,
    /// How each of its takes ended.
    pub(crate) taken: Vec<Taken>,
    /// Wall time that it took.
    pub(crate) elapsed: WallNanos,
}

/// What is executed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) environment: &'a EnvironmentRecord,
    /// What of it is wanted.
    pub(crate) selection: &'a Selection,
    /// When its session began.
    pub(crate) started: WallInstant,
}

/// How the loop ended.
#[derive(Debug)]
pub(crate) struct Looped {
    /// The takes, reduced: what findings are made of.
    pub(crate) trials: Vec<Trial>,
    /// As what the run is to be sealed.
    pub(crate) end: RunEnd,
    /// True where everything that was asked for was done, whether or not that was the whole plan.
    pub(crate) as_asked: bool,
    /// What ended it early, where it was no wish.
    pub(crate) error: Option<RunError>,
    /// False where what there is cannot be sealed now.
    pub(crate) sealable: Result<(), EvidenceError>,
}

/// Executes in order the takes of a plan that are left.
pub(crate) async fn take_all(
    work: Work<'_>,
    before: Before,
    run: &RunWriter,
    takes: &impl Takes,
    stop: &StopFlag,
    progress: &dyn Progress,
) -> Looped {
    let Work {
        plan,
        environment,
        selection,
        started,
    } = work;
    let prompts = Prompts::of(plan);
    let Before {
        mut trials,
        mut taken,
        elapsed,
    } = before;
    let (mut starts, mut begun) = (Vec::new(), taken.len());
    let (mut error, mut sealable) = (None, Ok(()));
    let aborted = |why: String| RunEnd::Aborted { why };
    let mut as_asked = false;
    let end = loop {
        let now = elapsed.0.saturating_add(monotonic().since(started).0);
        let may_begin = block_fits(plan, &taken, WallNanos(now));
        let Some(take) = next_take(plan, &taken, selection, may_begin) else {
            as_asked = true;
            break chosen_end(plan, &taken, selection);
        };
        let total = takes_in_all(plan, &taken, selection);
        if let Some(why) = stop.why() {
            break aborted(format!("{why} after {begun} of {total} trials"));
        }
        begun += 1;
        let name = take.trial.take_id(take.block.block, take.take);
        progress.trial_begins(begun, total, name.as_ref().map_or("", |id| id.as_str()));
        let reduced = match takes.execute(take, run).await {
            Ok(id) => reduce(plan, &prompts, environment, &run.take(&id)).map_err(RunError::from),
            Err(error) => Err(error),
        };
        let trial = match reduced {
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
                break aborted(format!("error in trial {begun} of {total}: {why}"));
            }
        };
        trials.push(trial);
        // What is known so far: the findings at the end know every start of both arms.
        let judged = judge(plan, environment, &trials);
        let (Some(trial), Some(judged)) = (trials.last(), judged.last()) else {
            continue;
        };
        taken.push(Taken {
            block: trial.record.block,
            order: trial.record.order,
            take: trial.record.take,
            ended: Ended::of(&judged.validity),
            earlier: false,
        });
        let again = takes_in_all(plan, &taken, selection) > total;
        progress.trial_ends(&trial.record, judged, again);
        if let Validity::Aborted { why } = &judged.validity {
            break aborted(format!("{why} in trial {begun} of {total}"));
        }
        starts.push(start_of(plan, trial));
        if let Some(cause) = repeated_failure(plan, &starts) {
            break aborted(format!(
                "the baseline {} failed to start twice in a row, after {begun} of {total} trials: {cause} \
                 (experiment.on-repeated-failure = \"go-on\" goes on all the same)",
                trial.record.variant
            ));
        }
    };
    Looped {
        trials,
        end,
        as_asked,
        error,
        sealable,
    }
}

/// How a run ends of which everything was done that was asked for: as Aborted where more is planned than was asked for.
fn chosen_end(plan: &Plan, taken: &[Taken], selection: &Selection) -> RunEnd {
    let left = outstanding(plan, taken, &Selection::default());
    let left = left
        .iter()
        .filter(|take| !selection.names(take.block, take.trial))
        .count();
    match selection.words().filter(|_| left > 0) {
        Some(words) => RunEnd::Aborted {
            why: format!("asked for {words}: {left} more takes of the plan are outstanding"),
        },
        None => RunEnd::Complete,
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
