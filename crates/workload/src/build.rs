//! The whole build: read, choose, pack, deal, check, write.

use crate::{
    WorkloadError,
    config::{self, Config, SetConfig},
    deal::into_blocks,
    draft::{self, Draft},
    fit::{Fitted, fit},
    lengths::ks_distance,
    output::{self, Made},
    prefix::longest_common,
    project::Project,
    records,
    template::PromptTemplate,
};
use rayon::prelude::*;
use servelab_chat::ChatTokenizer;
use servelab_random::HashStream;
use servelab_schema::{Bucket, Message, Prompt, PromptId, Role, Sha256Hex, SourceFile, Task, V};
use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

/// A step of the build, for a progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStep {
    /// Reading and tokenizing the datasets.
    Reading,
    /// Deciding which text each prompt gets.
    Choosing,
    /// Packing, or in [`verify()`](crate::verify()) recounting; so many of so many prompts are done.
    Packing {
        /// Prompts done.
        done: usize,
        /// Prompts in all.
        of: usize,
    },
    /// Writing the prompt files.
    Writing,
}

/// One prompt set that was written.
#[derive(Debug, Clone)]
pub struct BuiltSet {
    /// Its name.
    pub id: String,
    /// The prompt file.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: PathBuf,
    /// SHA-256 of the prompt file.
    pub sha256: Sha256Hex,
    /// Size of the prompt file in bytes.
    pub bytes: u64,
    /// Number of prompts.
    pub prompts: usize,
    /// Blocks; 0 for fillers.
    pub blocks: u32,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Whether the dataset's TOML pins this hash.
    pub pinned: bool,
}

/// Lengths of the measured prompts of one task and bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct CellLengths {
    /// What is asked for.
    pub task: Task,
    /// Length class.
    pub bucket: Bucket,
    /// Prompts.
    pub prompts: usize,
    /// Prompts that have exactly their target length.
    pub exact: usize,
    /// Largest difference to a target, in tokens.
    pub largest_miss_tokens: u32,
    /// Kolmogorov–Smirnov distance to the log-uniform distribution, 0 to 1.
    pub ks_distance: f64,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct BuildReport {
    /// The files, the full set first.
    pub sets: Vec<BuiltSet>,
    /// Lengths of the full set.
    pub cells: Vec<CellLengths>,
    /// Longest common token prefix of any two prompts of the build, from token 0, up to 64.
    pub longest_common_prefix_tokens: usize,
}

/// Builds the prompt sets that `config` declares and writes them, with a manifest each, into `out_dir`. The files that it
/// names, and itself, are in the project at `root`.
///
/// `threads` is the number of threads, 0 for one per core; the bytes do not depend on it. Nothing is written unless
/// everything is right.
///
/// # Errors
/// [`WorkloadError`] names the file, key or prompt, and the remedy.
pub fn build(
    config: &Path,
    root: &Path,
    out_dir: &Path,
    threads: usize,
    progress: &(dyn Fn(BuildStep) + Sync),
) -> Result<BuildReport, WorkloadError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| WorkloadError::Internal(e.to_string()))?;
    let project = Project::new(root);
    let (made, report) = pool.install(|| make(&project, config, progress))?;
    progress(BuildStep::Writing);
    let sets = output::write(out_dir, &made)?;
    Ok(BuildReport { sets, ..report })
}

/// A prompt that has its text and length, before it has its block and name.
struct Packed {
    draft: Draft,
    fitted: Fitted,
}

/// Makes the files in memory.
pub(crate) fn make(
    project: &Project,
    config_path: &Path,
    progress: &(dyn Fn(BuildStep) + Sync),
) -> Result<(Vec<Made>, BuildReport), WorkloadError> {
    progress(BuildStep::Reading);
    let name = project.relative(config_path)?;
    let hashed = project.read_path(config_path.to_owned())?;
    let text = String::from_utf8_lossy(&hashed.bytes);
    let config = config::parse(&name, &text)?;
    let mut inputs = vec![SourceFile {
        path: name.clone(),
        sha256: hashed.sha256,
    }];

    let chat = ChatTokenizer::load(project.path(&config.tokenizer)?)?;
    inputs.extend(tokenizer_files(project, &config)?);
    let mut templates = Vec::new();
    for task in &config.tasks {
        let source = project.read(&task.template)?;
        templates.push(PromptTemplate::new(&task.template, &source.bytes)?);
        inputs.push(SourceFile {
            path: task.template.clone(),
            sha256: source.sha256,
        });
    }
    let (mut datasets, files) = records::load(&config, &name, project)?;
    records::count(&mut datasets, &chat)?;
    inputs.extend(files);
    inputs.sort();
    inputs.dedup();

    progress(BuildStep::Choosing);
    let drafts = draft::choose(&config, &datasets, &templates, &chat)?;
    let packed = pack(drafts, &config, &templates, &chat, progress)?;
    let (sets, cells) = sets(&packed, &config)?;
    let longest_common_prefix_tokens = check_prefixes(&packed, &config)?;

    let mut made = Vec::new();
    for (set, prompts) in sets {
        made.push(output::make(
            &set,
            &prompts,
            &config,
            &chat,
            &inputs,
            longest_common_prefix_tokens,
        )?);
    }
    for (set, made) in [
        Some(&config.full),
        config.demo.as_ref(),
        config.filler.as_ref().map(|f| &f.set),
    ]
    .into_iter()
    .flatten()
    .zip(&made)
    {
        if let Some(pin) = set.pin.as_ref().filter(|pin| **pin != made.built.sha256) {
            return Err(WorkloadError::Pin {
                set: set.id.to_string(),
                config: name,
                pinned: pin.to_string(),
                found: made.built.sha256.to_string(),
            });
        }
    }
    Ok((
        made,
        BuildReport {
            sets: Vec::new(),
            cells,
            longest_common_prefix_tokens,
        },
    ))
}

fn tokenizer_files(project: &Project, config: &Config) -> Result<Vec<SourceFile>, WorkloadError> {
    let mut files = Vec::new();
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        let path = format!("{}/{file}", config.tokenizer.trim_end_matches('/'));
        // a template may stand in tokenizer_config.json instead
        if file == "chat_template.jinja" && !project.path(&path)?.exists() {
            continue;
        }
        let sha256 = project.read(&path)?.sha256;
        files.push(SourceFile { path, sha256 });
    }
    Ok(files)
}

fn pack(
    drafts: Vec<Draft>,
    config: &Config,
    templates: &[PromptTemplate],
    chat: &ChatTokenizer,
    progress: &(dyn Fn(BuildStep) + Sync),
) -> Result<Vec<Packed>, WorkloadError> {
    let of = drafts.len();
    let done = std::sync::atomic::AtomicUsize::new(0);
    drafts
        .into_par_iter()
        .map(|draft| {
            let internal = || WorkloadError::Internal("a prompt of an unknown task".to_owned());
            let task = config.tasks.get(draft.task).ok_or_else(internal)?;
            let range = *config.buckets.get(draft.bucket).ok_or_else(internal)?;
            let template = templates.get(draft.task).ok_or_else(internal)?;
            let fitted = fit(&draft, task, range, template, chat)?;
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress(BuildStep::Packing { done, of });
            Ok(Packed { draft, fitted })
        })
        .collect()
}

fn check_prefixes(packed: &[Packed], config: &Config) -> Result<usize, WorkloadError> {
    let heads: Vec<Vec<u32>> = packed.iter().map(|p| p.fitted.head.clone()).collect();
    let Some(shared) = longest_common(&heads) else {
        return Ok(0);
    };
    if shared.tokens > config.longest_common_prefix_tokens {
        let name = |i: usize| {
            packed
                .get(i)
                .map_or_else(String::new, |p| format!("case {}", p.draft.case))
        };
        return Err(WorkloadError::CommonPrefix {
            first: name(shared.first),
            second: name(shared.second),
            tokens: shared.tokens,
            limit: config.longest_common_prefix_tokens,
        });
    }
    Ok(shared.tokens)
}

type NamedSet = (SetConfig, Vec<Prompt>);

/// Deals, orders and names the prompts of each set.
fn sets(packed: &[Packed], config: &Config) -> Result<(Vec<NamedSet>, Vec<CellLengths>), WorkloadError> {
    let (fillers, measured): (Vec<_>, Vec<_>) = packed.iter().partition(|p| p.draft.filler);
    let full = deal(&measured, &config.full, config, "")?;
    let cells = cells(&measured, config);
    let mut sets = vec![(config.full.clone(), full)];
    if let Some(demo) = &config.demo {
        let of_block_one = sets.iter().flat_map(|(_, prompts)| prompts).filter(|p| p.block == 1);
        let prompts = deal_again(of_block_one.cloned().collect(), demo, config.seed);
        sets.push((demo.clone(), prompts));
    }
    if let Some(filler) = &config.filler {
        sets.push((filler.set.clone(), deal(&fillers, &filler.set, config, "filler-")?));
    }
    Ok((sets, cells))
}

/// Every task × bucket, in the order of tables.
fn grid() -> impl Iterator<Item = (Task, Bucket)> {
    Task::ALL
        .into_iter()
        .flat_map(|task| Bucket::ALL.into_iter().map(move |bucket| (task, bucket)))
}

fn deal(packed: &[&Packed], set: &SetConfig, config: &Config, prefix: &str) -> Result<Vec<Prompt>, WorkloadError> {
    let mut prompts = Vec::new();
    for packed in packed {
        prompts.push(prompt(packed, config)?);
    }
    let mut prompts = deal_again(prompts, set, config.seed);
    let mut numbers = std::collections::BTreeMap::new();
    let digits = set.per_cell.to_string().len().max(4);
    for prompt in &mut prompts {
        let number = numbers.entry((prompt.task, prompt.bucket)).or_insert(0_u32);
        *number += 1;
        let id = format!("{prefix}{}-{}-{number:0digits$}", prompt.task, prompt.bucket);
        prompt.id = PromptId::new(id).map_err(|e| WorkloadError::Internal(e.to_string()))?;
    }
    Ok(prompts)
}

/// Deals the prompts of each cell into blocks and orders them: block by block, shuffled inside each.
fn deal_again(mut prompts: Vec<Prompt>, set: &SetConfig, seed: u64) -> Vec<Prompt> {
    for (task, bucket) in grid() {
        let mut of_cell: Vec<&mut Prompt> = prompts
            .iter_mut()
            .filter(|p| p.task == task && p.bucket == bucket)
            .collect();
        let lengths: Vec<u32> = of_cell.iter().map(|p| p.prompt_tokens.get()).collect();
        let mut stream = HashStream::new(seed, &format!("deal/{}/{task}/{bucket}", set.id));
        for (prompt, block) in of_cell.iter_mut().zip(into_blocks(&lengths, set.blocks, &mut stream)) {
            prompt.block = block;
        }
    }
    HashStream::new(seed, &format!("order/{}", set.id)).shuffle(&mut prompts);
    prompts.sort_by_key(|p| p.block);
    prompts
}

fn prompt(packed: &Packed, config: &Config) -> Result<Prompt, WorkloadError> {
    let Packed { draft, fitted } = packed;
    let internal = |what: &str| WorkloadError::Internal(what.to_owned());
    let task = config
        .tasks
        .get(draft.task)
        .ok_or_else(|| internal("a prompt of an unknown task"))?;
    let bucket = config
        .buckets
        .get(draft.bucket)
        .ok_or_else(|| internal("a prompt of an unknown bucket"))?
        .bucket;
    let prompt_tokens = NonZeroU32::new(fitted.prompt_tokens).ok_or_else(|| internal("an empty prompt"))?;
    Ok(Prompt {
        v: V,
        id: PromptId::new(format!("case-{}", draft.case)).map_err(|e| internal(&e.to_string()))?,
        task: task.task,
        bucket,
        block: 0,
        prompt_tokens,
        max_new_tokens: task.max_new_tokens,
        answer: draft.question.as_ref().map(|q| q.answer.clone()),
        rendered_sha256: fitted.rendered_sha256.clone(),
        source: fitted.source.clone(),
        messages: vec![Message {
            role: Role::User,
            content: fitted.content.clone(),
        }],
    })
}

fn cells(measured: &[&Packed], config: &Config) -> Vec<CellLengths> {
    let mut out = Vec::new();
    for (task_index, task) in config.tasks.iter().enumerate() {
        for (bucket_index, range) in config.buckets.iter().enumerate() {
            let of_cell = measured
                .iter()
                .filter(|p| p.draft.task == task_index && p.draft.bucket == bucket_index);
            let (lengths, misses): (Vec<u32>, Vec<u32>) = of_cell
                .map(|p| (p.fitted.prompt_tokens, p.fitted.prompt_tokens.abs_diff(p.draft.target)))
                .unzip();
            out.push(CellLengths {
                task: task.task,
                bucket: range.bucket,
                prompts: lengths.len(),
                exact: misses.iter().filter(|miss| **miss == 0).count(),
                largest_miss_tokens: misses.iter().copied().max().unwrap_or(0),
                ks_distance: ks_distance(&lengths, range.shortest, range.longest),
            });
        }
    }
    out
}
