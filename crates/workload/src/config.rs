//! A dataset's TOML, checked: what passes here can be built unless a file is missing or a text too short.

use crate::{
    Problem, WorkloadError,
    project::stays_inside,
    wire::{Kind, Wire, WireDataset, WireShare},
};
use servelab_schema::{Bucket, PromptSetId, Sha256Hex, Task, TokenBudget};
use std::{collections::BTreeSet, num::NonZeroU32, ops::Range};
use toml::Spanned;

/// The only version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) seed: u64,
    pub(crate) model: String,
    pub(crate) tokenizer: String,
    pub(crate) context_tokens: NonZeroU32,
    pub(crate) longest_common_prefix_tokens: usize,
    pub(crate) share: WireShare,
    pub(crate) buckets: Vec<BucketRange>,
    pub(crate) tasks: Vec<TaskConfig>,
    pub(crate) full: SetConfig,
    pub(crate) demo: Option<SetConfig>,
    pub(crate) filler: Option<FillerConfig>,
    pub(crate) datasets: Vec<DatasetConfig>,
}

/// The target lengths of a bucket in tokens, both inclusive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BucketRange {
    pub(crate) bucket: Bucket,
    pub(crate) shortest: u32,
    pub(crate) longest: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct TaskConfig {
    pub(crate) task: Task,
    pub(crate) template: String,
    pub(crate) primary: String,
    pub(crate) distractor: String,
    pub(crate) max_new_tokens: NonZeroU32,
}

/// A prompt set: `per_cell` prompts of each task × bucket, in `blocks` blocks.
#[derive(Debug, Clone)]
pub(crate) struct SetConfig {
    pub(crate) id: PromptSetId,
    pub(crate) per_cell: u32,
    pub(crate) blocks: u32,
    pub(crate) pin: Option<Sha256Hex>,
}

#[derive(Debug, Clone)]
pub(crate) struct FillerConfig {
    pub(crate) set: SetConfig,
    pub(crate) reserve_percent: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct DatasetConfig {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) file: String,
    pub(crate) sha256: Sha256Hex,
    pub(crate) records: usize,
}

/// Collects problems with their place.
struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, at: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..at.start.min(self.text.len())).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            message: message.into(),
        });
    }

    fn path(&mut self, key: &str, path: &Spanned<String>) -> String {
        if !stays_inside(path.get_ref()) {
            let message = format!(
                "`{key}` leads out of the project; give a path relative to the folder above datasets/, without `..`"
            );
            self.problem(path.span(), message);
        }
        path.get_ref().clone()
    }

    fn hash(&mut self, text: &Spanned<String>) -> Option<Sha256Hex> {
        let hash = Sha256Hex::new(text.get_ref().as_str());
        if hash.is_err() {
            self.problem(
                text.span(),
                "`sha256` takes 64 lower-case hexadecimal digits, as sha256sum prints them",
            );
        }
        hash.ok()
    }

    fn set_id(&mut self, id: &Spanned<String>) -> Option<PromptSetId> {
        match PromptSetId::new(id.get_ref().as_str()) {
            Ok(id) => Some(id),
            Err(error) => {
                self.problem(id.span(), format!("`id`: {error}"));
                None
            }
        }
    }

    fn not_empty(&mut self, key: &str, text: &Spanned<String>) {
        if text.get_ref().trim().is_empty() {
            self.problem(
                text.span(),
                format!("`{key}` is empty; every text names its licence, its author and where it is from"),
            );
        }
    }

    /// Reports what is declared twice; gives what is declared.
    fn once<T: Copy + Ord + std::fmt::Display>(&mut self, key: &str, given: &[(T, Range<usize>)]) -> BTreeSet<T> {
        let mut seen = BTreeSet::new();
        for (item, span) in given {
            if !seen.insert(*item) {
                self.problem(
                    span.clone(),
                    format!("`{key}` {item} is declared twice; remove one of them"),
                );
            }
        }
        seen
    }
}

/// Reads a dataset's TOML. `file` is its name in messages.
pub(crate) fn parse(file: &str, text: &str) -> Result<Config, WorkloadError> {
    let mut check = Checker {
        file,
        text,
        problems: Vec::new(),
    };
    let wire: Wire = match toml::from_str(text) {
        Ok(wire) => wire,
        Err(error) => {
            let message = error.message().trim_end().replace('\n', "; ");
            check.problem(
                error.span().unwrap_or(0..0),
                format!("{message}; datasets/l4.toml shows every key"),
            );
            return Err(WorkloadError::Config(check.problems));
        }
    };
    let config = checked(&wire, &mut check);
    match config {
        Some(config) if check.problems.is_empty() => Ok(config),
        _ => Err(WorkloadError::Config(check.problems)),
    }
}

fn checked(wire: &Wire, check: &mut Checker<'_>) -> Option<Config> {
    if *wire.version.get_ref() != VERSION {
        check.problem(
            wire.version.span(),
            format!(
                "`version` is {}, but this servelab reads version {VERSION}",
                wire.version.get_ref()
            ),
        );
    }
    let share = *wire.primary_share_percent.get_ref();
    if !(1 <= share.min && share.min <= share.max && share.max <= 80) {
        check.problem(
            wire.primary_share_percent.span(),
            "`primary_share_percent` takes 1 ≤ min ≤ max ≤ 80: the DISTRACTOR section must have room too",
        );
    }
    let datasets = datasets(&wire.dataset, check);
    let tasks = tasks(wire, &datasets, check);
    let buckets = buckets(wire, &tasks, check);

    let full = wire.full.sha256.as_ref().and_then(|pin| check.hash(pin));
    let full_id = check.set_id(&wire.full.id);
    let (per_cell, blocks) = (wire.full.per_cell.get(), wire.full.blocks.get_ref().get());
    if !per_cell.is_multiple_of(blocks) {
        let message =
            format!("`blocks` = {blocks} does not divide `per_cell` = {per_cell}; blocks must be of one size");
        check.problem(wire.full.blocks.span(), message);
    }
    let per_block = per_cell.checked_div(blocks).unwrap_or(0);
    let demo = wire.demo.as_ref().and_then(|demo| {
        let blocks = demo.blocks.get_ref().get();
        if !per_block.is_multiple_of(blocks) {
            let message =
                format!("`blocks` = {blocks} does not divide the {per_block} prompts of a cell in one block of [full]");
            check.problem(demo.blocks.span(), message);
        }
        let pin = demo.sha256.as_ref().and_then(|pin| check.hash(pin));
        Some(SetConfig {
            id: check.set_id(&demo.id)?,
            per_cell: per_block,
            blocks,
            pin,
        })
    });
    let filler = wire.filler.as_ref().and_then(|filler| {
        let reserve_percent = *filler.reserve_percent.get_ref();
        if !(1..=50).contains(&reserve_percent) {
            check.problem(filler.reserve_percent.span(), "`reserve_percent` takes 1 to 50");
        }
        let pin = filler.sha256.as_ref().and_then(|pin| check.hash(pin));
        let set = SetConfig {
            id: check.set_id(&filler.id)?,
            per_cell: filler.per_cell.get(),
            blocks: 0,
            pin,
        };
        Some(FillerConfig { set, reserve_percent })
    });
    let mut ids = BTreeSet::from([wire.full.id.get_ref()]);
    for id in [wire.demo.as_ref().map(|d| &d.id), wire.filler.as_ref().map(|f| &f.id)]
        .into_iter()
        .flatten()
    {
        if !ids.insert(id.get_ref()) {
            check.problem(
                id.span(),
                format!("`id` {} is taken by another set; they would be one file", id.get_ref()),
            );
        }
    }
    Some(Config {
        seed: wire.seed,
        model: wire.model.clone(),
        tokenizer: check.path("tokenizer", &wire.tokenizer),
        context_tokens: wire.context_tokens,
        longest_common_prefix_tokens: wire.longest_common_prefix_tokens,
        share,
        buckets,
        tasks,
        full: SetConfig {
            id: full_id?,
            per_cell,
            blocks,
            pin: full,
        },
        demo,
        filler,
        datasets,
    })
}

fn datasets(wire: &[WireDataset], check: &mut Checker<'_>) -> Vec<DatasetConfig> {
    let mut ids = BTreeSet::new();
    let mut out = Vec::new();
    for dataset in wire {
        if !ids.insert(dataset.id.get_ref()) {
            check.problem(
                dataset.id.span(),
                format!(
                    "dataset `{}` is declared twice; remove one of them",
                    dataset.id.get_ref()
                ),
            );
        }
        check.not_empty("licence", &dataset.licence);
        check.not_empty("author", &dataset.author);
        check.not_empty("origin", &dataset.origin);
        let file = check.path("file", &dataset.file);
        if let Some(sha256) = check.hash(&dataset.sha256) {
            let id = dataset.id.get_ref().clone();
            out.push(DatasetConfig {
                id,
                kind: dataset.kind,
                file,
                sha256,
                records: dataset.records,
            });
        }
    }
    out
}

fn tasks(wire: &Wire, datasets: &[DatasetConfig], check: &mut Checker<'_>) -> Vec<TaskConfig> {
    let given: Vec<_> = wire.task.iter().map(|t| (t.get_ref().task, t.span())).collect();
    let seen = check.once("task", &given);
    for task in Task::ALL.iter().filter(|task| !seen.contains(task)) {
        check.problem(0..0, format!("no [[task]] table declares {task}; add one"));
    }
    let declared: Vec<&String> = wire.dataset.iter().map(|d| d.id.get_ref()).collect();
    let mut out = Vec::new();
    for task in wire.task.iter().map(Spanned::get_ref) {
        for (key, name) in [("primary", &task.primary), ("distractor", &task.distractor)] {
            if !declared.contains(&name.get_ref()) {
                let known: Vec<_> = declared.iter().map(|d| d.as_str()).collect();
                let message = format!(
                    "`{key}` names dataset `{}`, which is not declared; declared are {}",
                    name.get_ref(),
                    known.join(", ")
                );
                check.problem(name.span(), message);
            }
        }
        let needed = match task.task {
            Task::Summarisation => Kind::Prose,
            Task::Qa => Kind::Facts,
            Task::Dialogue => Kind::Dialogue,
        };
        if datasets
            .iter()
            .any(|d| d.id == *task.primary.get_ref() && d.kind != needed)
        {
            let message =
                format!("`primary` of task {} must be a dataset of kind {needed:?}", task.task).to_lowercase();
            check.problem(task.primary.span(), message);
        }
        out.push(TaskConfig {
            task: task.task,
            template: check.path("template", &task.template),
            primary: task.primary.get_ref().clone(),
            distractor: task.distractor.get_ref().clone(),
            max_new_tokens: *task.max_new_tokens.get_ref(),
        });
    }
    out.sort_by_key(|t| t.task);
    out
}

fn buckets(wire: &Wire, tasks: &[TaskConfig], check: &mut Checker<'_>) -> Vec<BucketRange> {
    let given: Vec<_> = wire.bucket.iter().map(|b| (b.get_ref().bucket, b.span())).collect();
    // A small context has no room for L, so not every bucket need be there.
    if check.once("bucket", &given).is_empty() {
        check.problem(0..0, "no [[bucket]] table; declare S, M or L");
    }
    let mut out = Vec::new();
    for spanned in &wire.bucket {
        let wire_bucket = spanned.get_ref();
        let (bucket, longest) = (wire_bucket.bucket, *wire_bucket.longest_tokens.get_ref());
        let (low, high) = bucket.bounds();
        let shortest = wire_bucket.shortest_tokens.get();
        if !(low <= shortest && shortest <= longest.get() && longest.get() <= high) {
            let message = format!("bucket {bucket} takes {low} ≤ shortest_tokens ≤ longest_tokens ≤ {high}");
            check.problem(spanned.span(), message);
        }
        for task in tasks {
            if let Err(error) = TokenBudget::new(longest, task.max_new_tokens, wire.context_tokens) {
                let message = format!(
                    "`longest_tokens` of bucket {bucket} with `max_new_tokens` of task {}: {error}; lower one of them",
                    task.task
                );
                check.problem(wire_bucket.longest_tokens.span(), message);
            }
        }
        out.push(BucketRange {
            bucket,
            shortest,
            longest: longest.get(),
        });
    }
    out.sort_by_key(|b| b.bucket);
    out
}
