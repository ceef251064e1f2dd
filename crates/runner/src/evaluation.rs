//! From the files of takes to findings: the same steps at the end of each take, at the seal, and whenever a directory is
//! looked at again.

use servelab_evidence::{EvidenceError, TakeFiles};
use servelab_findings::{self as findings, Prompts, Trial, evaluate};
use servelab_schema::{EnvironmentRecord, Plan, RunEnd, RunId, findings::Findings};
use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Reads one take and leaves what its figures are made of.
///
/// # Errors
/// [`EvidenceError`] naming the file, and the line where it is one of many, that does not read.
pub(crate) fn reduce(
    plan: &Plan,
    prompts: &Prompts<'_>,
    environment: &EnvironmentRecord,
    take: &TakeFiles,
) -> Result<Trial, EvidenceError> {
    let traces = take.traces()?.map(|row| {
        let trace = row?;
        let answer_found = prompts.answer_found(&trace);
        Ok((trace, answer_found))
    });
    let records = (take.record()?, take.engine()?);
    findings::reduce(prompts, (plan, environment), records, take.telemetry()?, traces)
}

/// Everything that a run says, from the files of its takes.
///
/// # Errors
/// As [`reduce`].
pub fn evaluate_takes(
    plan: &Plan,
    environment: &EnvironmentRecord,
    identity: (&RunId, &RunEnd),
    takes: &[TakeFiles],
) -> Result<Findings, EvidenceError> {
    let prompts = Prompts::of(plan);
    let trials = on_all_cores(takes, |take| reduce(plan, &prompts, environment, take))?;
    Ok(evaluate(plan, environment, identity, trials))
}

/// Each take's result, in the order of the takes; the first error of that order where there is one. Reading traces costs
/// most of an evaluation, and takes have nothing to do with each other.
fn on_all_cores<R: Send, E: Send>(
    takes: &[TakeFiles],
    of: impl Fn(&TakeFiles) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            match takes.get(place).map(&of) {
                Some(Ok(result)) => done.push((place, Ok(result))),
                Some(Err(error)) => {
                    // Nobody takes up more; what comes before in the order has been taken up already.
                    next.store(takes.len(), Ordering::Relaxed);
                    done.push((place, Err(error)));
                }
                None => return done,
            }
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(takes.len())).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(results) => done.extend(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
