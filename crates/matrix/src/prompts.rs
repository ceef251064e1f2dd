//! Reads prompt sets and their manifests, and refuses sets that are missing, changed, counted by another tokenizer, or
//! too long for the engine.

use crate::{
    error::{Errors, Place, Problem},
    reader::At,
    values::ProjectPath,
};
use serde::de::IgnoredAny;
use serde_json::Deserializer;
use servelab_schema::{Bucket, Prompt, PromptManifest, PromptRef, PromptSetRef, Sha256Hex, Task, TokenBudget};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    num::NonZeroU32,
    path::Path,
};

/// Faults of single prompts that are reported of one file; the rest is counted.
const FAULTS_SHOWN: usize = 5;

const REBUILD: &str = "run `servelab dataset build`";

/// A prompt set, checked.
#[derive(Debug)]
pub(crate) struct PromptSet {
    pub(crate) reference: PromptSetRef,
    /// The prompts of each block, in file order. Block 0 holds those that no block measures.
    pub(crate) blocks: BTreeMap<u32, Vec<PromptRef>>,
    /// Of each block as many prompts again, for a copy that asks a server which has seen the block's already; empty where
    /// copies serve the same.
    pub(crate) copies: BTreeMap<u32, Vec<PromptRef>>,
}

/// What a prompt set must fit.
#[derive(Debug)]
pub(crate) struct Fit<'a> {
    pub(crate) root: &'a Path,
    /// Context of prompt and answer together.
    pub(crate) context: NonZeroU32,
    pub(crate) errors: &'a Errors,
}

/// The dataset of the project that declares the set of a prompt file, after a space; empty where none does.
fn dataset_of(root: &Path, prompts: &str) -> String {
    let name = Path::new(prompts).file_stem().unwrap_or_default().to_string_lossy();
    let declared = format!("id = \"{name}\"");
    let files = fs::read_dir(root.join("datasets")).into_iter().flatten().flatten();
    let mut found = files
        .filter(|f| f.path().extension().is_some_and(|e| e == "toml"))
        .filter(|f| fs::read_to_string(f.path()).is_ok_and(|text| text.contains(&declared)))
        .map(|f| format!(" datasets/{}", f.file_name().to_string_lossy()));
    found.next().unwrap_or_default()
}

/// Reads a set; none where it cannot be used.
pub(crate) fn load(file: &At<ProjectPath>, fit: &Fit<'_>) -> Option<PromptSet> {
    let path = &file.value.0;
    let bytes = read(path, file, fit)?;
    let manifest_path = format!("{}.manifest.json", path.strip_suffix(".jsonl").unwrap_or(path));
    let manifest_bytes = read(&manifest_path, file, fit)?;
    let manifest: PromptManifest = match serde_json::from_slice(&manifest_bytes) {
        Ok(manifest) => manifest,
        Err(e) => {
            let line = u32::try_from(e.line()).unwrap_or(1).max(1);
            let problem = Problem::Value(format!("no prompt manifest ({e}); {REBUILD}"));
            fit.errors.push(&Place::line_of(&manifest_path, line), "", problem);
            return None;
        }
    };
    let found = sha256(&bytes);
    if found != manifest.sha256 {
        let problem = Problem::HashDiffers {
            what: format!("sha256 of {path}"),
            found: found.short().to_owned(),
            expected: manifest.sha256.short().to_owned(),
            record: manifest_path,
            remedy: format!("the prompts were changed after they were packed: {REBUILD}"),
        };
        fit.errors.push(&file.place, file.key.clone(), problem);
        return None;
    }
    let prompts = parse(path, &bytes, fit)?;
    if u32::try_from(prompts.len()) != Ok(manifest.prompts) || prompts.is_empty() {
        let text = format!(
            "{path} holds {} prompts, but {} are recorded in {manifest_path}; {REBUILD}",
            prompts.len(),
            manifest.prompts
        );
        fit.errors.push(&file.place, file.key.clone(), Problem::Value(text));
        return None;
    }
    let mut blocks: BTreeMap<u32, Vec<PromptRef>> = BTreeMap::new();
    for (block, prompt) in &prompts {
        blocks.entry(*block).or_default().push(prompt.clone());
    }
    let reference = PromptSetRef {
        id: manifest.id,
        path: path.clone(),
        sha256: found,
        tokenizer_sha256: Some(manifest.tokenizer_sha256),
        chat_template_sha256: Some(manifest.chat_template_sha256),
        prompts: prompts.into_iter().map(|(_, prompt)| prompt).collect(),
    };
    Some(PromptSet {
        reference,
        blocks,
        copies: BTreeMap::new(),
    })
}

/// Blocks of a measured set are numbered from 1 without gaps; false, with an error, where they are not.
pub(crate) fn has_blocks(set: &PromptSet, file: &At<ProjectPath>, errors: &Errors) -> bool {
    let numbers: Vec<u32> = set.blocks.keys().copied().collect();
    let good = (1..)
        .zip(&numbers)
        .all(|(expected, found): (u32, &u32)| expected == *found);
    if !good {
        let text = format!(
            "the blocks of {} are {numbers:?}, not 1, 2, 3 …; give a set of measured prompts, such as \"prompts/l4-1800.jsonl\"",
            file.value.0
        );
        errors.push(&file.place, file.key.clone(), Problem::Value(text));
    }
    good
}

/// Reports prompts that are both measured and used as fillers: a prefix cache would see them twice.
pub(crate) fn disjoint(measured: &PromptSet, fillers: &PromptSet, file: &At<ProjectPath>, errors: &Errors) {
    let ids: BTreeSet<_> = measured.reference.prompts.iter().map(|p| &p.id).collect();
    let shared = fillers.reference.prompts.iter().filter(|p| ids.contains(&p.id)).count();
    if shared > 0 {
        let text = format!(
            "{shared} of the fillers are also measured prompts; give a set of its own, such as \"prompts/l4-filler-90.jsonl\""
        );
        errors.push(&file.place, file.key.clone(), Problem::Value(text));
    }
}

/// Reports a set whose tokenizer or chat template is not the engine's.
pub(crate) fn same_tokenizer(set: &PromptSet, file: &At<ProjectPath>, tokenizer: &At<ProjectPath>, fit: &Fit<'_>) {
    let recorded = [
        ("tokenizer.json", &set.reference.tokenizer_sha256),
        ("chat_template.jinja", &set.reference.chat_template_sha256),
    ];
    for (name, expected) in recorded {
        let Some(expected) = expected else { continue };
        let path = format!("{}/{name}", tokenizer.value.0);
        let bytes = match fs::read(fit.root.join(&path)) {
            Ok(bytes) => bytes,
            Err(e) => {
                let why = format!("{path}: {e}");
                let remedy = "give the folder of the model's tokenizer, such as \"datasets/tokenizers/mistral-7b-instruct-v0.3\"";
                fit.errors.push(
                    &tokenizer.place,
                    tokenizer.key.clone(),
                    Problem::Unreadable {
                        why,
                        remedy: remedy.into(),
                    },
                );
                continue;
            }
        };
        let found = sha256(&bytes);
        if found != *expected {
            let problem = Problem::HashDiffers {
                what: format!("sha256 of {path}"),
                found: found.short().to_owned(),
                expected: expected.short().to_owned(),
                record: format!("the manifest of {}", file.value.0),
                remedy: format!("the prompts were counted by another tokenizer: {REBUILD}, or give their tokenizer"),
            };
            fit.errors.push(&file.place, file.key.clone(), problem);
        }
    }
}

fn read(path: &str, file: &At<ProjectPath>, fit: &Fit<'_>) -> Option<Vec<u8>> {
    match fs::read(fit.root.join(path)) {
        Ok(bytes) => Some(bytes),
        Err(e) => {
            let problem = if e.kind() == io::ErrorKind::NotFound {
                Problem::NoPrompts {
                    path: path.to_owned(),
                    dataset: dataset_of(fit.root, path),
                }
            } else {
                Problem::Unreadable {
                    why: format!("{path}: {e}"),
                    remedy: "make the file readable".into(),
                }
            };
            fit.errors.push(&file.place, file.key.clone(), problem);
            None
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256Hex {
    Sha256Hex::from_bytes(Sha256::digest(bytes).into())
}

/// Every prompt with its block; none where a row is wrong.
fn parse(path: &str, bytes: &[u8], fit: &Fit<'_>) -> Option<Vec<(u32, PromptRef)>> {
    let mut faults: Vec<(u32, String, String)> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut prompts = Vec::new();
    for (line, row) in (1u32..).zip(bytes.split(|b| *b == b'\n')) {
        if row.is_empty() {
            continue;
        }
        let prompt: Prompt = match serde_json::from_slice(row) {
            Ok(prompt) => prompt,
            Err(e) => {
                let what = if is_json(row) { "no prompt" } else { "no JSON" };
                faults.push((line, String::new(), format!("{what} ({e}); {REBUILD}")));
                continue;
            }
        };
        if !ids.insert(prompt.id.clone()) {
            faults.push((
                line,
                prompt.id.to_string(),
                format!("this prompt id occurs twice; {REBUILD}"),
            ));
        }
        match TokenBudget::new(prompt.prompt_tokens, prompt.max_new_tokens, fit.context) {
            Ok(budget) if budget.bucket() == prompt.bucket => {}
            Ok(budget) => {
                let text = format!(
                    "bucket {} with a length of bucket {}; {REBUILD}",
                    prompt.bucket,
                    budget.bucket()
                );
                faults.push((line, prompt.id.to_string(), text));
            }
            Err(e) => {
                let text =
                    format!("{e}; raise profile.context-tokens and max-model-len, or {REBUILD} for this context");
                faults.push((line, prompt.id.to_string(), text));
            }
        }
        prompts.push((prompt.block, PromptRef::from(prompt)));
    }
    for (line, id, text) in faults.iter().take(FAULTS_SHOWN) {
        fit.errors
            .push(&Place::line_of(path, *line), id.clone(), Problem::Value(text.clone()));
    }
    if let Some(more) = faults.len().checked_sub(FAULTS_SHOWN).filter(|n| *n > 0)
        && let Some((line, ..)) = faults.get(FAULTS_SHOWN)
    {
        let text = format!("and {more} more prompts are wrong; {REBUILD}");
        fit.errors.push(&Place::line_of(path, *line), "", Problem::Value(text));
    }
    faults.is_empty().then_some(prompts)
}

fn is_json(row: &[u8]) -> bool {
    Deserializer::from_slice(row)
        .into_iter::<IgnoredAny>()
        .all(|item| item.is_ok())
}

/// Sum of the prompt tokens that are known, and of new tokens.
pub(crate) fn token_sums<'p>(prompts: impl Iterator<Item = &'p PromptRef>) -> (u64, u64) {
    prompts.fold((0, 0), |(prompt, new), p| {
        (
            prompt + u64::from(p.prompt_tokens.map_or(0, NonZeroU32::get)),
            new + u64::from(p.max_new_tokens.get()),
        )
    })
}

/// Every task × bucket cell of the prompts, each in the given order.
pub(crate) fn cells(prompts: &[PromptRef]) -> BTreeMap<(Option<Task>, Option<Bucket>), Vec<&PromptRef>> {
    let mut cells: BTreeMap<_, Vec<&PromptRef>> = BTreeMap::new();
    for prompt in prompts {
        cells.entry((prompt.task, prompt.bucket)).or_default().push(prompt);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_names_the_dataset_that_declares_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("datasets")).unwrap();
        fs::write(root.path().join("datasets/small.toml"), "[full]\nid = \"small-24\"\n").unwrap();
        assert_eq!(
            dataset_of(root.path(), "prompts/small-24.jsonl"),
            " datasets/small.toml"
        );
        assert_eq!(dataset_of(root.path(), "prompts/other.jsonl"), "");
        assert_eq!(dataset_of(&root.path().join("nowhere"), "prompts/small-24.jsonl"), "");
    }
}
