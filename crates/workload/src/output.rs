//! Prompt files and their manifests, written whole or not at all.

use crate::{
    BuiltSet, WorkloadError,
    config::{Config, SetConfig},
    project::sha256,
};
use servelab_chat::ChatTokenizer;
use servelab_schema::{Bytes, Prompt, PromptManifest, Sha256Hex, SourceFile, V};
use std::path::{Path, PathBuf};

/// A prompt file and its manifest, in memory.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) lines: Vec<u8>,
    manifest: Vec<u8>,
    pub(crate) built: BuiltSet,
}

/// Name of a set's prompt file.
pub(crate) fn prompt_file(id: &str) -> String {
    format!("{id}.jsonl")
}

/// Name of a set's manifest.
pub(crate) fn manifest_file(id: &str) -> String {
    format!("{id}.manifest.json")
}

fn internal(error: impl std::fmt::Display) -> WorkloadError {
    WorkloadError::Internal(error.to_string())
}

/// Puts a set into the bytes of its two files.
pub(crate) fn make(
    set: &SetConfig,
    prompts: &[Prompt],
    config: &Config,
    chat: &ChatTokenizer,
    inputs: &[SourceFile],
    longest_common_prefix: usize,
) -> Result<Made, WorkloadError> {
    let mut lines = Vec::new();
    for prompt in prompts {
        serde_json::to_writer(&mut lines, prompt).map_err(internal)?;
        lines.push(b'\n');
    }
    let sha256 = sha256(&lines);
    let bytes = u64::try_from(lines.len()).map_err(internal)?;
    let manifest = PromptManifest {
        v: V,
        id: set.id.clone(),
        file: prompt_file(set.id.as_str()),
        sha256: sha256.clone(),
        bytes: Bytes(bytes),
        prompts: u32::try_from(prompts.len()).map_err(internal)?,
        blocks: set.blocks,
        context_tokens: config.context_tokens,
        longest_common_prefix_tokens: u32::try_from(longest_common_prefix).map_err(internal)?,
        model: config.model.clone(),
        tokenizer_sha256: Sha256Hex::new(chat.tokenizer_sha256()).map_err(internal)?,
        chat_template_sha256: Sha256Hex::new(chat.template_sha256()).map_err(internal)?,
        inputs: inputs.to_vec(),
        seed: config.seed,
    };
    let mut manifest = serde_json::to_vec_pretty(&manifest).map_err(internal)?;
    manifest.push(b'\n');
    let built = BuiltSet {
        id: set.id.to_string(),
        path: PathBuf::from(prompt_file(set.id.as_str())),
        manifest: PathBuf::from(manifest_file(set.id.as_str())),
        sha256,
        bytes,
        prompts: prompts.len(),
        blocks: set.blocks,
        prompt_tokens: prompts.iter().map(|p| u64::from(p.prompt_tokens.get())).sum(),
        pinned: set.pin.is_some(),
    };
    Ok(Made { lines, manifest, built })
}

/// Writes every file beside its place, then moves all into place, the manifests last.
pub(crate) fn write(out_dir: &Path, made: &[Made]) -> Result<Vec<BuiltSet>, WorkloadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkloadError::Write { path, source }
    };
    std::fs::create_dir_all(out_dir).map_err(failed(out_dir))?;
    let prompts = made.iter().map(|m| (&m.built.path, &m.lines));
    let manifests = made.iter().map(|m| (&m.built.manifest, &m.manifest));
    let files: Vec<_> = prompts.chain(manifests).collect();
    for (name, bytes) in &files {
        let part = out_dir.join(format!("{}.part", name.display()));
        std::fs::write(&part, bytes).map_err(failed(&part))?;
    }
    for (name, _) in &files {
        let place = out_dir.join(name);
        std::fs::rename(out_dir.join(format!("{}.part", name.display())), &place).map_err(failed(&place))?;
    }
    Ok(made
        .iter()
        .map(|m| {
            let mut built = m.built.clone();
            built.path = out_dir.join(&built.path);
            built.manifest = out_dir.join(&built.manifest);
            built
        })
        .collect())
}
