//! The files that a pin rests on: which there are, and whether they are still what they were.

use crate::{Drift, DriftError};
use servelab_evidence::sha256_file;
use servelab_schema::{Pin, PinnedInput, PinnedInputKind, Plan, PromptRef, PromptSetRef, Provider};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// The inputs of a plan, each once.
pub(crate) fn of(plan: &Plan) -> Vec<PinnedInput> {
    let input = |kind, path: &str, sha256: &_| PinnedInput {
        kind,
        path: path.to_owned(),
        sha256: Clone::clone(sha256),
    };
    let mut all = vec![
        input(PinnedInputKind::Prompts, &plan.prompts.path, &plan.prompts.sha256),
        input(PinnedInputKind::Fillers, &plan.fillers.path, &plan.fillers.sha256),
    ];
    if let Provider::Sim { tokenizer, .. } = &plan.engine.provider {
        let files = [
            (
                PinnedInputKind::Tokenizer,
                "tokenizer.json",
                &plan.prompts.tokenizer_sha256,
            ),
            (
                PinnedInputKind::ChatTemplate,
                "chat_template.jinja",
                &plan.prompts.chat_template_sha256,
            ),
        ];
        for (kind, name, sha256) in files {
            all.extend(
                sha256
                    .iter()
                    .map(|sha256| input(kind, &format!("{tokenizer}/{name}"), sha256)),
            );
        }
    }
    let sources = plan.sources.iter().filter(|s| s.path != "default");
    all.extend(sources.map(|s| input(PinnedInputKind::Matrix, &s.path, &s.sha256)));
    all
}

/// A path of a pin inside the project, links followed.
fn inside(project: &Path, relative: &str) -> Result<PathBuf, DriftError> {
    let outside = || DriftError::Outside(relative.chars().take(200).collect());
    let mut parts = Path::new(relative).components().peekable();
    if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(outside());
    }
    let path = project.join(relative);
    match (path.canonicalize(), project.canonicalize()) {
        (Ok(real), Ok(root)) if !real.starts_with(&root) => Err(outside()),
        // What is not there leads nowhere: it has drifted.
        _ => Ok(path),
    }
}

/// Hashes every input.
pub(crate) fn check(pin: &Pin, project: &Path) -> Result<(), DriftError> {
    let mut drifts = Vec::new();
    for PinnedInput { kind, path, sha256 } in &pin.inputs {
        let found = sha256_file(&inside(project, path)?).ok().map(|(_, found)| found);
        if found.as_ref() != Some(sha256) {
            drifts.push(Drift::of(*kind, path, sha256, found));
        }
    }
    // What the plan will read must be among them, whatever the pin lists.
    for expected in of(&pin.plan) {
        if !pin.inputs.contains(&expected) {
            drifts.push(Drift::of(expected.kind, &expected.path, &expected.sha256, None));
        }
    }
    if drifts.is_empty() {
        Ok(())
    } else {
        Err(DriftError::Inputs(drifts))
    }
}

/// The prompts of a set, as its file gives them.
pub(crate) fn prompts(set: &PromptSetRef, project: &Path) -> Result<Vec<PromptRef>, DriftError> {
    let fail = |message: String| DriftError::Prompts {
        path: set.path.clone(),
        message,
    };
    let text = fs::read_to_string(inside(project, &set.path)?).map_err(|e| fail(e.to_string()))?;
    let row = |(i, line): (usize, &str)| {
        let wrong = |e| fail(format!("line {}: {e}; `servelab dataset build` makes it again", i + 1));
        set.reference(line).map_err(wrong)
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(row)
        .collect()
}
