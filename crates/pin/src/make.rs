//! From a sealed run to a pin.

use crate::{PinError, arrivals, inputs};
use servelab_evidence::SealedRun;
use servelab_findings::{cells_without_value, measured};
use servelab_schema::{
    CheckpointFacts, EngineKind, EnvironmentRecord, METHOD_VERSION, Machine, Pin, PinName, Plan, RunEnd, RunId, V,
    findings::Findings,
};
use std::collections::BTreeSet;

/// Pins a run under a name. `allowed` are versions of the engine beside those that the run found.
///
/// # Errors
/// [`PinError`] where the run is none that a later one could be held against.
pub fn pin(run: &SealedRun, name: PinName, allowed: &[String]) -> Result<Pin, PinError> {
    let (plan, findings, environment) = (run.plan()?, run.findings()?, run.environment()?);
    let manifest = run.manifest();
    let refused = |why: String| PinError::Refused {
        run: manifest.run_id.to_string(),
        why,
    };
    let expected = measured(&plan, &findings);
    if let Some(why) = refusal(&plan, &findings, &manifest.end, &name) {
        return Err(refused(why));
    }
    let empty = cells_without_value(&plan, &expected);
    if !empty.is_empty() {
        let cells: Vec<String> = empty.iter().map(|(v, l)| format!("{v} {l}")).collect();
        return Err(refused(format!(
            "no trial of {cells} counts; `servelab results show {run}` says why: take them again with `servelab run --resume {run} \
             --retry-invalid`, or leave them out of the matrix",
            cells = cells.join(", "),
            run = manifest.run_id
        )));
    }
    let mut pinned_plan = plan.clone();
    pinned_plan.prompts.prompts.clear();
    pinned_plan.fillers.prompts.clear();
    Ok(Pin {
        v: V,
        name,
        run_id: manifest.run_id.clone(),
        fingerprint: run.fingerprint().clone(),
        measured_utc: manifest.started.utc.clone(),
        servelab_version: manifest.servelab_version.clone(),
        engine_kind: manifest.engine_kind,
        method_version: manifest.method_version,
        plan_sha256: manifest.plan_sha256.clone(),
        inputs: inputs::of(&plan),
        arrivals: arrivals::of(&plan),
        plan: pinned_plan,
        engine_versions: engine_versions(&findings)
            .into_iter()
            .chain(allowed.iter().cloned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        checkpoints: checkpoints(&environment),
        machine: machine(manifest.engine_kind, &environment),
        expected,
    })
}

/// The machine, where the numbers are a machine's.
#[must_use]
pub fn machine(kind: EngineKind, environment: &EnvironmentRecord) -> Option<Machine> {
    (kind != EngineKind::Simulated).then(|| Machine::of(environment))
}

/// The versions that the engines of a run said.
pub(crate) fn engine_versions(findings: &Findings) -> BTreeSet<String> {
    let observed = findings.variants.iter().flat_map(|v| &v.observed);
    observed.flat_map(|o| o.engine_versions.iter().cloned()).collect()
}

/// The checkpoints of a run whose files of weights are known.
pub(crate) fn checkpoints(environment: &EnvironmentRecord) -> Vec<CheckpointFacts> {
    let of_plan = environment.model.iter().map(|model| CheckpointFacts {
        id: model.id.clone(),
        revision: model.revision.clone(),
        weights: model.weights.clone(),
        weights_note: model.weights_note.clone(),
    });
    let all = of_plan.chain(environment.variant_models.iter().cloned());
    all.filter(|c| !c.weights.is_empty()).collect()
}

/// Why the run as a whole is none to be held against, with the remedy.
fn refusal(plan: &Plan, findings: &Findings, end: &RunEnd, name: &PinName) -> Option<String> {
    if let RunEnd::Aborted { why } = end {
        return Some(format!(
            "it was stopped before its last trial ({why}); let it end with `servelab run --resume {}`",
            findings.run.run_id
        ));
    }
    if plan.method_version != METHOD_VERSION {
        return Some(format!(
            "it was measured by method version {}, this servelab measures by version {METHOD_VERSION}, and no re-run could be compared \
             with it; run the matrix again",
            plan.method_version
        ));
    }
    if plan.engine.lives_on() {
        return Some(
            "its engines were up already and lived on from block to block, so that it is no sample of starts; pin a run whose engines \
             servelab starts ([engine.provider.sim], process or docker), and compare servers by `servelab compare`"
                .to_owned(),
        );
    }
    if findings.study.suspect {
        return Some(
            "equal arms differ in it (Suspect), so it says nothing; run the matrix again on a calmer machine"
                .to_owned(),
        );
    }
    if let Err(e) = RunId::new(format!("{name}-rerun-20261122-101500-again")) {
        return Some(format!("the name is too long for its re-runs: {e}"));
    }
    None
}
