//! Checks a prompt file from scratch: nothing that the file says of itself is believed.

use crate::{
    WorkloadError,
    build::{self, BuildStep},
    config::{self, Config},
    output::manifest_file,
    project::{Hashed, Project, sha256},
    records::{self, Dataset},
    verify_prompt::{Sources, check_prompt},
    verify_set,
};
use rayon::prelude::*;
use servelab_chat::ChatTokenizer;
use servelab_schema::{Prompt, PromptManifest, Sha256Hex};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What a prompt file must satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The manifest is about this file: name, size, hash, number of prompts, tokenizer, chat template.
    Manifest,
    /// The inputs of the build are still the same.
    Input,
    /// Every line is a prompt of the format.
    Row,
    /// The rendered conversation and its token count are as recorded.
    Tokens,
    /// Prompt and answer fit the context; the bucket is that of the count.
    Budget,
    /// Names, conversations and source texts are there once.
    Duplicate,
    /// No two prompts begin with the same tokens.
    Prefix,
    /// Blocks are balanced in task, bucket and length.
    Balance,
    /// Lengths are log-uniform in each bucket.
    Lengths,
    /// PRIMARY and DISTRACTOR hold what the named records say, and nothing else.
    Source,
    /// The answer is in the PRIMARY section and nothing in the DISTRACTOR section answers the question.
    Answer,
    /// A build from the inputs gives the same bytes.
    Rebuild,
}

impl Rule {
    /// The name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Input => "input",
            Self::Row => "row",
            Self::Tokens => "tokens",
            Self::Budget => "budget",
            Self::Duplicate => "duplicate",
            Self::Prefix => "prefix",
            Self::Balance => "balance",
            Self::Lengths => "lengths",
            Self::Source => "source",
            Self::Answer => "answer",
            Self::Rebuild => "rebuild",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The prompt, or the line, or the file.
    pub place: String,
    /// The rule.
    pub rule: Rule,
    /// What was found, and what was to be found.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(place: impl Into<String>, rule: Rule, detail: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            rule,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.rule, self.detail)
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub struct VerifyReport {
    /// The prompt file.
    pub file: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Hex,
    /// Prompts read.
    pub prompts: usize,
    /// Their tokens, recounted.
    pub prompt_tokens: u64,
    /// Longest common token prefix of any two prompts of the file, from token 0.
    pub longest_common_prefix_tokens: usize,
    /// Whether the set was built again from its inputs and compared.
    pub rebuilt: bool,
    /// Every rule that does not hold; empty where all is well.
    pub violations: Vec<Violation>,
}

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Build the set again from its inputs and compare the bytes.
    pub rebuild: bool,
    /// Threads; 0 for one per core.
    pub threads: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            rebuild: true,
            threads: 0,
        }
    }
}

/// Verifies a prompt file with the manifest beside it. Inputs are looked for in `project_root`, the folder that holds
/// `datasets/`.
///
/// # Errors
/// [`WorkloadError`] only where nothing can be said: the file, its manifest or the tokenizer cannot be read. Whatever is
/// wrong with the prompts is a [`Violation`] in the report.
pub fn verify(
    file: &Path,
    project_root: &Path,
    options: VerifyOptions,
    progress: &(dyn Fn(BuildStep) + Sync),
) -> Result<VerifyReport, WorkloadError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|e| WorkloadError::Internal(e.to_string()))?;
    pool.install(|| verify_here(file, project_root, options, progress))
}

fn verify_here(
    file: &Path,
    root: &Path,
    options: VerifyOptions,
    progress: &(dyn Fn(BuildStep) + Sync),
) -> Result<VerifyReport, WorkloadError> {
    progress(BuildStep::Reading);
    let project = Project::new(root);
    let hashed = project.read_path(file.to_owned())?;
    let manifest = read_manifest(&project, file)?;
    let mut violations = check_manifest(file, &hashed, &manifest);
    violations.extend(check_inputs(&project, &manifest));

    let tokenizer = manifest
        .inputs
        .iter()
        .find_map(|i| i.path.strip_suffix("/tokenizer.json"));
    let tokenizer = tokenizer.ok_or_else(|| WorkloadError::Manifest {
        path: file.with_file_name(manifest_file(manifest.id.as_str())),
        message: "`inputs` names no tokenizer.json".to_owned(),
    })?;
    let chat = ChatTokenizer::load(project.path(tokenizer)?)?;
    violations.extend(check_tokenizer(&chat, &manifest));

    let config = manifest
        .inputs
        .iter()
        .find(|i| i.path.ends_with(".toml"))
        .map(|i| i.path.as_str());
    let loaded = load_sources(&project, config, &mut violations);
    let (config_checked, datasets) = match &loaded {
        Some((config, datasets)) => (Some(config), datasets.as_deref()),
        None => (None, None),
    };

    let text = String::from_utf8_lossy(&hashed.bytes);
    let mut prompts = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match serde_json::from_str::<Prompt>(line) {
            Ok(prompt) => prompts.push(prompt),
            Err(error) => violations.push(Violation::new(
                format!("line {}", number + 1),
                Rule::Row,
                error.to_string(),
            )),
        }
    }
    if u32::try_from(prompts.len()).ok() != Some(manifest.prompts) {
        let detail = format!("{} prompts, the manifest says {}", prompts.len(), manifest.prompts);
        violations.push(Violation::new(&manifest.file, Rule::Manifest, detail));
    }

    let sources = datasets.map(Sources::new);
    let done = std::sync::atomic::AtomicUsize::new(0);
    let of = prompts.len();
    let checked: Vec<_> = prompts
        .par_iter()
        .map(|prompt| {
            let checked = check_prompt(prompt, manifest.context_tokens, &chat, sources.as_ref());
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress(BuildStep::Packing { done, of });
            checked
        })
        .collect();
    let mut heads = Vec::new();
    let mut prompt_tokens = 0;
    for found in checked {
        violations.extend(found.violations);
        prompt_tokens += found.tokens;
        heads.push(found.ids);
    }
    let limit = config_checked.map_or(15, |c| c.longest_common_prefix_tokens);
    let longest_common_prefix_tokens = verify_set::prefixes(&prompts, &heads, limit, &mut violations);
    verify_set::duplicates(&prompts, &mut violations);
    verify_set::balance(&prompts, manifest.blocks, &mut violations);
    if let Some(config) = config_checked {
        verify_set::lengths(&prompts, config, &mut violations);
    }

    let mut rebuilt = false;
    if let (true, Some(config)) = (options.rebuild, config) {
        rebuilt = true;
        violations.extend(rebuild(&project, config, &manifest, &hashed.sha256));
    }
    violations.sort();
    violations.dedup();
    Ok(VerifyReport {
        file: file.to_owned(),
        sha256: hashed.sha256,
        prompts: prompts.len(),
        prompt_tokens,
        longest_common_prefix_tokens,
        rebuilt,
        violations,
    })
}

fn read_manifest(project: &Project, file: &Path) -> Result<PromptManifest, WorkloadError> {
    let stem = file
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let path = file.with_file_name(manifest_file(&stem));
    let hashed = project.read_path(path.clone())?;
    serde_json::from_slice(&hashed.bytes).map_err(|e| WorkloadError::Manifest {
        path,
        message: e.to_string(),
    })
}

fn check_manifest(file: &Path, hashed: &Hashed, manifest: &PromptManifest) -> Vec<Violation> {
    let mut out = Vec::new();
    let mut wrong = |detail: String| out.push(Violation::new(&manifest.file, Rule::Manifest, detail));
    let name = file
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    if name != manifest.file {
        wrong(format!("the manifest is of {}, the file is {name}", manifest.file));
    }
    if hashed.sha256 != manifest.sha256 {
        wrong(format!(
            "sha256 is {}, the manifest says {}",
            hashed.sha256, manifest.sha256
        ));
    }
    if u64::try_from(hashed.bytes.len()).ok() != Some(manifest.bytes.0) {
        wrong(format!(
            "{} bytes, the manifest says {}",
            hashed.bytes.len(),
            manifest.bytes.0
        ));
    }
    out
}

fn check_inputs(project: &Project, manifest: &PromptManifest) -> Vec<Violation> {
    let mut out = Vec::new();
    for input in &manifest.inputs {
        let detail = match project.read(&input.path) {
            Ok(found) if found.sha256 == input.sha256 => continue,
            Ok(found) => format!("sha256 is {}, at the build it was {}", found.sha256, input.sha256),
            Err(error) => error.to_string(),
        };
        out.push(Violation::new(&input.path, Rule::Input, detail));
    }
    out
}

fn check_tokenizer(chat: &ChatTokenizer, manifest: &PromptManifest) -> Vec<Violation> {
    let of = |what: &str, found: &str, said: &Sha256Hex| {
        let detail = format!("{what} has sha256 {found}, the manifest says {said}");
        (found != said.as_str()).then(|| Violation::new(&manifest.file, Rule::Manifest, detail))
    };
    let tokenizer = of("the tokenizer", chat.tokenizer_sha256(), &manifest.tokenizer_sha256);
    tokenizer
        .into_iter()
        .chain(of(
            "the chat template",
            chat.template_sha256(),
            &manifest.chat_template_sha256,
        ))
        .collect()
}

/// The configuration and the texts, where they can be had; what is wrong with them is a violation.
fn load_sources(
    project: &Project,
    config: Option<&str>,
    violations: &mut Vec<Violation>,
) -> Option<(Config, Option<Vec<Dataset>>)> {
    let Some(name) = config else {
        violations.push(Violation::new(
            "manifest",
            Rule::Input,
            "`inputs` names no dataset TOML: the texts cannot be checked",
        ));
        return None;
    };
    let mut note = |error: WorkloadError| violations.push(Violation::new(name, Rule::Input, error.to_string()));
    let parsed = project
        .read(name)
        .and_then(|h| config::parse(name, &String::from_utf8_lossy(&h.bytes)));
    let config = match parsed {
        Ok(config) => config,
        Err(error) => {
            note(error);
            return None;
        }
    };
    match records::load(&config, name, project) {
        Ok((datasets, _)) => Some((config, Some(datasets))),
        Err(error) => {
            note(error);
            Some((config, None))
        }
    }
}

fn rebuild(project: &Project, config: &str, manifest: &PromptManifest, found: &Sha256Hex) -> Option<Violation> {
    let made = project
        .path(config)
        .and_then(|path| build::make(project, &path, &|_| ()));
    let detail = match made {
        Ok((made, _)) => match made.iter().find(|m| m.built.id == manifest.id.as_str()) {
            Some(made) if sha256(&made.lines) == *found => return None,
            Some(made) => format!(
                "building again gives sha256 {}, the file has {found}",
                made.built.sha256
            ),
            None => format!("{config} declares no set {}", manifest.id),
        },
        Err(error) => format!("cannot be built again: {error}"),
    };
    Some(Violation::new(&manifest.file, Rule::Rebuild, detail))
}
