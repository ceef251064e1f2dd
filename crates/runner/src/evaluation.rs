//! From the files of takes to findings: the same steps at the end of each take, at the seal, and whenever a directory is
//! looked at again.

use servelab_evidence::{EvidenceError, TakeFiles};
use servelab_findings::{Prompts, Reducer, Trial, evaluate};
use servelab_schema::{EnvironmentRecord, Plan, RunEnd, RunId, findings::Findings};

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
    let telemetry = take.telemetry()?.collect::<Result<Vec<_>, _>>()?;
    let (record, engine) = (take.record()?, take.engine()?);
    let mut reducer = Reducer::new(prompts, plan.slo, &environment.gpus, record, engine, telemetry);
    for trace in take.traces()? {
        let trace = trace?;
        reducer.add(&trace, prompts.answer_found(&trace));
    }
    Ok(reducer.finish())
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
    let reduced = takes.iter().map(|take| reduce(plan, &prompts, environment, take));
    let trials = reduced.collect::<Result<Vec<_>, _>>()?;
    Ok(evaluate(plan, environment, identity, trials))
}
