//! The machine and the program that run a plan.

use servelab_evidence::sha256_file;
use servelab_schema::{ClockAnchor, EngineKind, EnvironmentRecord, Nanos, V};
use servelab_telemetry::host_facts;
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

/// What `environment.json` says.
pub(crate) fn capture(project: &Path, servelab: &Path, kind: EngineKind, utc: String) -> EnvironmentRecord {
    EnvironmentRecord {
        v: V,
        servelab_version: env!("CARGO_PKG_VERSION").to_owned(),
        servelab_sha256: sha256_file(servelab).ok().map(|(_, sha256)| sha256),
        git: git(project),
        host: host_facts(),
        gpus: Vec::new(),
        gpu_note: Some(match kind {
            EngineKind::Simulated => "no GPU is used: the engine is simulated".to_owned(),
            EngineKind::Measured | EngineKind::Imported => "GPU telemetry is not read by this version".to_owned(),
        }),
        started: ClockAnchor {
            utc,
            monotonic_ns: Nanos::ZERO,
        },
    }
}
