//! What can be said of a prompt file only as a whole.

use crate::{
    config::Config,
    lengths::ks_distance,
    prefix::longest_common,
    verify::{Rule, Violation},
    verify_prompt::part,
};
use servelab_schema::{Bucket, Prompt, Task};
use std::collections::BTreeMap;

/// Tokens of a block may differ from the mean of all by this share of it.
const BLOCK_TOLERANCE: f64 = 0.03;

/// Longest common prefix of any two prompts; a violation above `limit` tokens.
pub(crate) fn prefixes(prompts: &[Prompt], ids: &[Vec<u32>], limit: usize, violations: &mut Vec<Violation>) -> usize {
    let Some(shared) = longest_common(ids) else { return 0 };
    if shared.tokens > limit {
        let name = |i: usize| prompts.get(i).map_or("?", |p| p.id.as_str());
        let detail = format!(
            "begins with the same {} tokens as {}; at most {limit} are allowed",
            shared.tokens,
            name(shared.second)
        );
        violations.push(Violation::new(name(shared.first), Rule::Prefix, detail));
    }
    shared.tokens
}

/// Names, conversations and source texts that are there twice.
pub(crate) fn duplicates(prompts: &[Prompt], violations: &mut Vec<Violation>) {
    let mut names = BTreeMap::new();
    let mut texts = BTreeMap::new();
    let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for prompt in prompts {
        let id = prompt.id.as_str();
        if names.insert(id, ()).is_some() {
            violations.push(Violation::new(id, Rule::Duplicate, "the name is there twice"));
        }
        if let Some(other) = texts.insert(&prompt.rendered_sha256, id) {
            violations.push(Violation::new(
                id,
                Rule::Duplicate,
                format!("is the same conversation as {other}"),
            ));
        }
        for source in std::iter::once(&prompt.source.primary).chain(&prompt.source.distractors) {
            if let Some(part) = part(&source.record) {
                parts
                    .entry((source.dataset.as_str(), part.id))
                    .or_default()
                    .push((part.first, part.last, id));
            }
        }
    }
    for ((dataset, record), mut used) in parts {
        used.sort_unstable();
        for pair in used.windows(2) {
            if let [(_, last, first_id), (next, _, id)] = pair
                && next <= last
            {
                let detail = format!("unit {next} of {dataset} {record} is in {first_id} too");
                violations.push(Violation::new(*id, Rule::Duplicate, detail));
            }
        }
    }
}

fn cell(task: Task, bucket: Bucket) -> String {
    format!("{task} {bucket}")
}

/// Every block has as many prompts of each task × bucket, and about as many tokens.
pub(crate) fn balance(prompts: &[Prompt], blocks: u32, violations: &mut Vec<Violation>) {
    for prompt in prompts {
        let ok = if blocks == 0 {
            prompt.block == 0
        } else {
            (1..=blocks).contains(&prompt.block)
        };
        if !ok {
            violations.push(Violation::new(
                prompt.id.as_str(),
                Rule::Balance,
                format!("block {} of {blocks}", prompt.block),
            ));
        }
    }
    if blocks == 0 {
        return;
    }
    for task in Task::ALL {
        for bucket in Bucket::ALL {
            let of_cell = prompts.iter().filter(|p| p.task == task && p.bucket == bucket);
            let all = of_cell.clone().count();
            for block in 1..=blocks {
                let count = of_cell.clone().filter(|p| p.block == block).count();
                if Some(count) != all.checked_div(usize::try_from(blocks).unwrap_or(0))
                    || count * usize::try_from(blocks).unwrap_or(0) != all
                {
                    let detail = format!("{count} of the {all} prompts, in {blocks} blocks");
                    violations.push(Violation::new(
                        format!("block {block}, {}", cell(task, bucket)),
                        Rule::Balance,
                        detail,
                    ));
                }
            }
        }
    }
    let tokens = |of: &dyn Fn(&&Prompt) -> bool| {
        prompts
            .iter()
            .filter(of)
            .map(|p| f64::from(p.prompt_tokens.get()))
            .sum::<f64>()
    };
    let mean = tokens(&|_| true) / f64::from(blocks);
    for block in 1..=blocks {
        let found = tokens(&|p| p.block == block);
        if (found - mean).abs() > BLOCK_TOLERANCE * mean {
            let detail = format!("{found:.0} prompt tokens, the mean block has {mean:.0}");
            violations.push(Violation::new(format!("block {block}"), Rule::Balance, detail));
        }
    }
}

/// Lengths of each task × bucket against the log-uniform distribution; a few prompts are allowed more than many.
pub(crate) fn lengths(prompts: &[Prompt], config: &Config, violations: &mut Vec<Violation>) {
    for range in &config.buckets {
        for task in Task::ALL {
            let of_cell = prompts.iter().filter(|p| p.task == task && p.bucket == range.bucket);
            let lengths: Vec<u32> = of_cell.map(|p| p.prompt_tokens.get()).collect();
            let Some(n) = u32::try_from(lengths.len()).ok().filter(|n| *n > 0) else {
                continue;
            };
            let distance = ks_distance(&lengths, range.shortest, range.longest);
            let limit = 0.05 + 1.0 / f64::from(n);
            if distance > limit {
                let detail = format!(
                    "Kolmogorov-Smirnov distance {distance:.3} to log-uniform over {}..={} tokens, at most {limit:.3} for {n} prompts",
                    range.shortest, range.longest
                );
                violations.push(Violation::new(cell(task, range.bucket), Rule::Lengths, detail));
            }
        }
    }
}
