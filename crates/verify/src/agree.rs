//! What the documents of a run say of one another: manifest, plan, environment, and the findings that were decided again.

use crate::{
    pointers::differences,
    report::{Break, Breaks, Kind},
};
use serde::Serialize;
use serde_json::Value;
use servelab_evidence::names;
use servelab_schema::{
    EngineKind, EnvironmentRecord, Plan, RunManifest, SealedFile, TrialSummary, canonical_json, findings::Findings,
};
use std::collections::BTreeSet;

/// Places that are named of two documents which differ.
const MOST_PLACES: usize = 5;

fn value<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// What a manifest repeats of others.
pub(crate) fn manifest(
    m: &RunManifest,
    (plan_file, plan): (&SealedFile, &Plan),
    e: &EnvironmentRecord,
    breaks: &mut Breaks,
) {
    let pairs = [
        ("/name", value(&plan.name), value(&m.name)),
        ("/engine_kind", value(&plan.engine_kind), value(&m.engine_kind)),
        (
            "/time_scale",
            value(&plan.engine.time_scale().get()),
            value(&m.time_scale),
        ),
        ("/method_version", value(&plan.method_version), value(&m.method_version)),
        ("/plan_sha256", value(&plan_file.sha256), value(&m.plan_sha256)),
        ("/prompts_sha256", value(&plan.prompts.sha256), value(&m.prompts_sha256)),
        (
            "/servelab_version",
            value(&e.servelab_version),
            value(&m.servelab_version),
        ),
        ("/started", value(&e.started), value(&m.started)),
    ];
    for (pointer, expected, found) in pairs {
        if expected != found {
            let what = "it is not what plan.json and environment.json say";
            let found = Break::inconsistent(Kind::Contradiction, names::MANIFEST, what)
                .at(pointer)
                .but(expected.to_string(), found.to_string());
            breaks.add(found);
        }
    }
    if plan.engine_kind != EngineKind::Imported && plan.engine_kind != plan.engine.kind() {
        let what = "engine_kind is not that of its provider";
        let found = Break::inconsistent(Kind::Contradiction, &plan_file.path, what).at("/engine_kind");
        breaks.add(found.but(plan.engine.kind().to_string(), plan.engine_kind.to_string()));
    }
}

/// The takes that a manifest names are those whose folders it lists.
pub(crate) fn takes(m: &RunManifest, folders: &BTreeSet<&str>, breaks: &mut Breaks) {
    let named: BTreeSet<&str> = m.trials.iter().map(|t| t.id.as_str()).collect();
    let mut differs = |what: String| {
        breaks.add(Break::inconsistent(Kind::Contradiction, names::MANIFEST, what).at("/trials"));
    };
    if named.len() != m.trials.len() {
        differs("it names a take twice".to_owned());
    }
    for id in named.difference(folders) {
        differs(format!("it names take {id}, of which it lists no file"));
    }
    for id in folders.difference(&named) {
        differs(format!(
            "it lists files of {}/{id}, which is none of its takes",
            names::TRIALS
        ));
    }
}

/// The stored findings against those that were decided again, byte for byte.
pub(crate) fn findings(stored: &[u8], ours: &Findings, breaks: &mut Breaks) {
    let Ok(text) = canonical_json(ours) else { return };
    if text.as_bytes() == stored {
        return;
    }
    let what = "it does not follow from the traces";
    for found in document_differences(stored, &text) {
        breaks.add(Break {
            what: what.to_owned(),
            ..Break::inconsistent(Kind::Recomputed, names::FINDINGS, what)
                .at(found.0)
                .but(found.1, found.2)
        });
    }
}

/// Pointer, what follows, what is stored.
fn document_differences(stored: &[u8], ours: &str) -> Vec<(String, String, String)> {
    let stored: Value = serde_json::from_slice(stored).unwrap_or_default();
    let ours: Value = serde_json::from_str(ours).unwrap_or_default();
    let found = differences(&stored, &ours, MOST_PLACES);
    if found.is_empty() {
        return vec![(
            String::new(),
            "the spelling of servelab".to_owned(),
            "another spelling".to_owned(),
        )];
    }
    found.into_iter().map(|d| (d.pointer, d.ours, d.stored)).collect()
}

/// The takes and validities of a manifest against the findings that were decided again.
pub(crate) fn validities(m: &RunManifest, ours: &Findings, breaks: &mut Breaks) {
    let trials: Vec<TrialSummary> = ours
        .trials
        .iter()
        .map(|t| TrialSummary {
            id: t.id.clone(),
            validity: t.validity.clone(),
        })
        .collect();
    for found in differences(&value(&m.trials), &value(&trials), MOST_PLACES) {
        let what = "it does not follow from the traces";
        breaks.add(
            Break::inconsistent(Kind::Recomputed, names::MANIFEST, what)
                .at(format!("/trials{}", found.pointer))
                .but(found.ours, found.stored),
        );
    }
}
