//! From a pin to the plan that is run again, and what a re-run must have in common with it.

use crate::{Drift, DriftError, arrivals, inputs, make};
use servelab_schema::{
    EnvironmentRecord, METHOD_VERSION, Pin, Plan, Sha256Hex, WeightFile, canonical_json, findings::Findings,
};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The plan of the pin, byte for byte the one that was run, after every input was hashed.
///
/// # Errors
/// [`DriftError`] naming everything that is no longer what it was.
pub fn plan(pin: &Pin, project: &Path) -> Result<Plan, DriftError> {
    if pin.method_version != METHOD_VERSION || pin.plan.method_version != METHOD_VERSION {
        return Err(DriftError::Method {
            pinned: pin.method_version,
            ours: METHOD_VERSION,
            version: pin.servelab_version.clone(),
        });
    }
    inputs::check(pin, project)?;
    let mut plan = pin.plan.clone();
    plan.prompts.prompts = inputs::prompts(&plan.prompts, project)?;
    plan.fillers.prompts = inputs::prompts(&plan.fillers, project)?;
    let found = plan_sha256(&plan);
    if found != pin.plan_sha256 {
        return Err(DriftError::Plan {
            expected: pin.plan_sha256.clone(),
            found,
        });
    }
    let ours = arrivals::of(&plan);
    if ours != pin.arrivals {
        let other = ours
            .iter()
            .find(|a| !pin.arrivals.contains(a))
            .or_else(|| pin.arrivals.first());
        return Err(DriftError::Arrivals {
            load: other.map_or_else(String::new, |a| a.load.to_string()),
            block: other.map_or(0, |a| a.block),
            version: pin.servelab_version.clone(),
        });
    }
    Ok(plan)
}

/// SHA-256 of the bytes of `plan.json`.
#[must_use]
pub fn plan_sha256(plan: &Plan) -> Sha256Hex {
    // A plan that was read is a plan that can be written.
    let text = canonical_json(plan).unwrap_or_default();
    Sha256Hex::from_bytes(Sha256::digest(text).into())
}

/// Holds what the engines of a re-run were against the pin: their versions, and their weights where both are known.
///
/// # Errors
/// [`DriftError`] naming the version, or the files.
pub fn same_engines(
    pin: &Pin,
    findings: &Findings,
    environment: &EnvironmentRecord,
    allowed: &[String],
) -> Result<(), DriftError> {
    let is_allowed = |version: &String| pin.engine_versions.contains(version) || allowed.contains(version);
    if let Some(found) = make::engine_versions(findings).into_iter().find(|v| !is_allowed(v)) {
        let all: Vec<&str> = pin.engine_versions.iter().chain(allowed).map(String::as_str).collect();
        return Err(DriftError::EngineVersion {
            found,
            allowed: if all.is_empty() {
                "none".to_owned()
            } else {
                all.join(", ")
            },
        });
    }
    let ours = make::checkpoints(environment);
    let mut drifts = Vec::new();
    for pinned in &pin.checkpoints {
        let Some(found) = ours.iter().find(|c| c.id == pinned.id) else {
            continue;
        };
        for WeightFile { name, sha256, .. } in &pinned.weights {
            let now = found.weights.iter().find(|w| &w.name == name).map(|w| w.sha256.clone());
            if now.as_ref() != Some(sha256) {
                drifts.push(Drift {
                    what: format!("weights of {}", pinned.id),
                    path: name.clone(),
                    expected: sha256.clone(),
                    found: now,
                });
            }
        }
    }
    if drifts.is_empty() {
        Ok(())
    } else {
        Err(DriftError::Inputs(drifts))
    }
}
