//! The machine and the program that run a plan.

use crate::{RunOptions, StopFlag, checkpoint, gpus::Gpus};
use servelab_evidence::sha256_file;
use servelab_provider::PlaceFacts;
use servelab_schema::{
    ArgValue, CheckpointFacts, ClockAnchor, EngineKind, EnvironmentRecord, MachineHold, ModelFacts, Plan, V, WallNanos,
};
use servelab_telemetry::{cloud_facts, host_facts};
use std::{path::Path, process::Command};

/// The commit of the checkout at `project`, with `-dirty` where files differ; none outside a checkout.
fn git(project: &Path) -> Option<String> {
    let ask = |words: &[&str]| {
        let answer = Command::new("git").arg("-C").arg(project).args(words).output().ok()?;
        answer
            .status
            .success()
            .then(|| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    };
    let commit = ask(&["rev-parse", "HEAD"])?;
    let dirty = ask(&["status", "--porcelain"])?;
    Some(if dirty.is_empty() {
        commit
    } else {
        format!("{commit}-dirty")
    })
}

/// The GPUs of this machine, or why none is read. A simulated engine uses none, so none is asked.
pub(crate) async fn gpus(plan: &Plan, place: &PlaceFacts, options: &RunOptions) -> Result<Gpus, String> {
    match plan.engine_kind {
        EngineKind::Simulated => Err("no GPU is used: the engine is simulated".to_owned()),
        _ if !place.here => Err("no GPU is read: the engine runs on another machine".to_owned()),
        _ => Gpus::open(options.nvml.clone()).await,
    }
}

/// Names of the environment variables: a value may be a secret, a name tells what was set.
fn env_names() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// The checkpoints of a plan's models, the plan's own first.
async fn checkpoints(plan: &Plan, place: &PlaceFacts, options: &RunOptions, stop: &StopFlag) -> Vec<CheckpointFacts> {
    let models = checkpoint::models(plan, &place.words);
    let unread = |note: &str| {
        let of = |id: String| CheckpointFacts {
            id,
            revision: None,
            weights: Vec::new(),
            weights_note: Some(note.to_owned()),
        };
        models.clone().into_iter().map(of).collect()
    };
    if let Some(note) = place.weights_note {
        return unread(note);
    }
    let flag = plan.variants.first().and_then(|v| v.flags.get("revision"));
    let revision = match flag.map(|field| &field.value) {
        Some(ArgValue::Text(revision)) => revision.clone(),
        _ => "main".to_owned(),
    };
    let places = checkpoint::Places::of(place.mounts.clone(), &options.project);
    let names = models.clone();
    // Gigabytes are read: on a thread of their own, that ends when the run is to end.
    let stop = stop.clone();
    let go_on = move || !stop.is_stopped();
    let read = move || {
        let read = |m: &String| checkpoint::read(m, &revision, &places, &go_on);
        names.iter().map(read).collect()
    };
    let read: Result<Vec<CheckpointFacts>, _> = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| unread(&format!("reading the weights failed: {error}")))
}

/// What `environment.json` says. To be called before the first engine is started: the GPUs are idle then.
pub(crate) async fn capture(
    plan: &Plan,
    place: &PlaceFacts,
    options: &RunOptions,
    gpus: Result<&Gpus, &String>,
    machine: Option<MachineHold>,
    utc: String,
    stop: &StopFlag,
) -> EnvironmentRecord {
    let cloud = match plan.engine_kind {
        EngineKind::Simulated => None,
        EngineKind::Measured | EngineKind::Imported => cloud_facts(&options.cloud).await,
    };
    let mut checkpoints = checkpoints(plan, place, options, stop).await.into_iter();
    let own = checkpoints.next();
    let (revision, weights, weights_note) =
        own.map_or_else(Default::default, |c| (c.revision, c.weights, c.weights_note));
    EnvironmentRecord {
        v: V,
        servelab_version: env!("CARGO_PKG_VERSION").to_owned(),
        servelab_sha256: sha256_file(&options.servelab).ok().map(|(_, sha256)| sha256),
        git: git(&options.project),
        host: host_facts(),
        gpus: gpus.map(|g| g.facts().to_vec()).unwrap_or_default(),
        gpu_note: gpus.err().cloned(),
        instrument: options.instrument.clone(),
        cloud,
        model: Some(ModelFacts {
            id: plan.profile.model.clone(),
            tokenizer_sha256: plan.prompts.tokenizer_sha256.clone(),
            chat_template_sha256: plan.prompts.chat_template_sha256.clone(),
            revision,
            weights,
            weights_note,
        }),
        variant_models: checkpoints.collect(),
        env_names: env_names(),
        machine,
        started: ClockAnchor {
            utc,
            monotonic_ns: WallNanos(0),
        },
    }
}
