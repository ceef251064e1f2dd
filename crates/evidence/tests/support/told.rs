//! What closing a directory is told of its takes, without deciding anything.

use servelab_evidence::{EvidenceError, TakeFiles};
use servelab_schema::{
    RunEnd, RunId, TrialEnd, Validity, examples,
    findings::{Findings, RunIdentity, TrialFindings},
};

/// Findings that say of each take only whether it was cut off.
pub(crate) fn evaluated((run_id, end): (&RunId, &RunEnd), takes: &[TakeFiles]) -> Result<Findings, EvidenceError> {
    let example = examples::findings();
    let of = |take: &TakeFiles| {
        let record = take.record()?;
        let validity = match record.end {
            TrialEnd::Interrupted { why } => Validity::Aborted { why },
            TrialEnd::Finished => Validity::Valid,
        };
        Ok(TrialFindings {
            id: record.id,
            validity,
            ..example.trials[0].clone()
        })
    };
    Ok(Findings {
        trials: takes.iter().map(of).collect::<Result<_, _>>()?,
        run: RunIdentity {
            run_id: run_id.clone(),
            end: end.clone(),
            ..example.run
        },
        ..example
    })
}
