//! What is signed: an in-toto Statement v1 whose subject is the manifest, and whose predicate says what was run, on what, by which method.
//! Everything in it follows from the run's own documents, so that whoever has the run can hold it against them.

use serde::Serialize;
use serde_json::Value;
use servelab_evidence::names;
use servelab_schema::{
    CheckpointFacts, ClockAnchor, EngineKind, EnvironmentRecord, GpuFacts, HostFacts, Plan, RunEnd, RunId, RunManifest,
    Sha256Hex, SourceFile, WeightFile, canonical_json,
};
use std::collections::BTreeMap;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// The form of the predicate; a change of its meaning gets another number.
const PREDICATE: &str = "urn:servelab:run:v1";

#[derive(Serialize)]
struct Statement<'r> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'r>,
}

#[derive(Serialize)]
struct Subject {
    name: String,
    digest: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Predicate<'r> {
    run_id: &'r RunId,
    method_version: u32,
    engine_kind: EngineKind,
    plan: NamedHash<'r>,
    inputs: Inputs<'r>,
    environment: Environment<'r>,
    started: &'r ClockAnchor,
    finished: &'r ClockAnchor,
    end: &'r RunEnd,
}

#[derive(Serialize)]
struct NamedHash<'r> {
    name: &'r str,
    sha256: &'r Sha256Hex,
}

#[derive(Serialize)]
struct Inputs<'r> {
    /// The measured prompts, then the fillers.
    prompts: [NamedHash<'r>; 2],
    tokenizer_sha256: Option<&'r Sha256Hex>,
    chat_template_sha256: Option<&'r Sha256Hex>,
    matrix: &'r [SourceFile],
    model: &'r str,
    revision: Option<&'r str>,
    weights: &'r [WeightFile],
    variant_models: &'r [CheckpointFacts],
}

#[derive(Serialize)]
struct Environment<'r> {
    host: &'r HostFacts,
    gpus: &'r [GpuFacts],
    engine: String,
    servelab_version: &'r str,
    servelab_sha256: Option<&'r Sha256Hex>,
    git: Option<&'r str>,
}

/// The bytes of the statement of a run.
pub(super) fn of(fingerprint: &Sha256Hex, m: &RunManifest, plan: &Plan, e: &EnvironmentRecord) -> Vec<u8> {
    let prompts =
        |set: &'_ servelab_schema::PromptSetRef| -> (String, Sha256Hex) { (set.path.clone(), set.sha256.clone()) };
    let (measured, fillers) = (prompts(&plan.prompts), prompts(&plan.fillers));
    let statement = Statement {
        kind: STATEMENT,
        subject: [Subject {
            name: format!("{}/{}", m.run_id, names::MANIFEST),
            digest: BTreeMap::from([("sha256", fingerprint.to_string())]),
        }],
        predicate_type: PREDICATE,
        predicate: Predicate {
            run_id: &m.run_id,
            method_version: m.method_version,
            engine_kind: m.engine_kind,
            plan: NamedHash {
                name: &plan.name,
                sha256: &m.plan_sha256,
            },
            inputs: Inputs {
                prompts: [&measured, &fillers].map(|(name, sha256)| NamedHash { name, sha256 }),
                tokenizer_sha256: plan.prompts.tokenizer_sha256.as_ref(),
                chat_template_sha256: plan.prompts.chat_template_sha256.as_ref(),
                matrix: &plan.sources,
                model: &plan.profile.model,
                revision: e.model.as_ref().and_then(|m| m.revision.as_deref()),
                weights: e.model.as_ref().map(|m| m.weights.as_slice()).unwrap_or_default(),
                variant_models: &e.variant_models,
            },
            environment: Environment {
                host: &e.host,
                gpus: &e.gpus,
                engine: format!("{} {}", plan.engine.dialect, plan.engine.version),
                servelab_version: &e.servelab_version,
                servelab_sha256: e.servelab_sha256.as_ref(),
                git: e.git.as_deref(),
            },
            started: &m.started,
            finished: &m.finished,
            end: &m.end,
        },
    };
    canonical_json(&statement)
        .unwrap_or_default()
        .trim_end()
        .as_bytes()
        .to_vec()
}

/// The SHA-256 that a statement is about, or why it is none of ours.
pub(super) fn subject(statement: &Value) -> Result<&str, &'static str> {
    let text = |pointer: &str| statement.pointer(pointer).and_then(Value::as_str);
    if text("/_type") != Some(STATEMENT) {
        return Err("what was signed is no in-toto statement of version 1");
    }
    if text("/predicateType") != Some(PREDICATE) {
        return Err("what was signed is a statement of another kind, or of a later servelab");
    }
    text("/subject/0/digest/sha256").ok_or("what was signed names no manifest")
}
