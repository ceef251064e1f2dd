//! Prompts for servers that are compared: made from a seed, none of them twice, so that no server finds one in a cache.
//!
//! In every block there is a set for all servers and another one, of the same tasks in the same order, for the copy of the first
//! server: it has seen the block's own. Fillers are a set apart.

use servelab_load::bench::builtin;
use servelab_schema::{IdError, Message, PlainPrompt, PromptId, PromptRef, Role, V};
use std::{collections::BTreeMap, num::NonZeroU32};

/// What is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshAsked {
    /// Seed of every text.
    pub seed: u64,
    /// Blocks.
    pub blocks: u32,
    /// Measured prompts of each trial.
    pub per_trial: u32,
    /// Trials of each block: fillers are made for all of them.
    pub trials_per_block: u32,
    /// Fillers of each trial.
    pub fillers_per_trial: u32,
    /// Tokens of each answer.
    pub output_tokens: NonZeroU32,
}

/// Prompts that were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Those that are measured, as rows of a file.
    pub measured: Vec<PlainPrompt>,
    /// Those that hold the load, as rows of a file.
    pub fillers: Vec<PlainPrompt>,
    /// Of the measured ones, those of each block from 1.
    pub blocks: BTreeMap<u32, Vec<PromptRef>>,
    /// Of the measured ones, those of each block that the copy is asked.
    pub copies: BTreeMap<u32, Vec<PromptRef>>,
}

/// What a plan says of a prompt that was made.
#[must_use]
pub fn reference(prompt: &PlainPrompt) -> PromptRef {
    PromptRef {
        id: prompt.id.clone(),
        task: None,
        bucket: None,
        prompt_tokens: prompt.prompt_tokens,
        max_new_tokens: prompt.max_new_tokens,
        answer: None,
    }
}

/// Makes them.
///
/// # Errors
/// [`IdError`] where there are so many that a name is too long.
pub fn fresh(asked: &FreshAsked) -> Result<Fresh, IdError> {
    // One number for every text: the words that it begins with follow from it.
    let mut next = 0_usize;
    let mut make = |id: String, task: usize| -> Result<PlainPrompt, IdError> {
        let text = builtin::prompt_of(asked.seed, next, task);
        next = next.saturating_add(1);
        Ok(PlainPrompt {
            v: V,
            id: PromptId::new(id)?,
            prompt_tokens: None,
            max_new_tokens: asked.output_tokens,
            messages: vec![Message {
                role: Role::User,
                content: text,
            }],
        })
    };
    let mut made = Fresh {
        measured: Vec::new(),
        fillers: Vec::new(),
        blocks: BTreeMap::new(),
        copies: BTreeMap::new(),
    };
    for block in 1..=asked.blocks {
        for (kind, sets) in [("p", &mut made.blocks), ("q", &mut made.copies)] {
            let mut rows = Vec::new();
            for (task, n) in (0..).zip(1..=asked.per_trial) {
                rows.push(make(format!("b{block:02}-{kind}{n:04}"), task)?);
            }
            sets.insert(block, rows.iter().map(reference).collect());
            made.measured.append(&mut rows);
        }
    }
    let fillers = asked
        .blocks
        .saturating_mul(asked.trials_per_block)
        .saturating_mul(asked.fillers_per_trial);
    for (task, n) in (0..).zip(1..=fillers) {
        made.fillers.push(make(format!("f{n:06}"), task)?);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_prompt_comes_twice_and_a_copy_is_asked_the_same_tasks() {
        let asked = FreshAsked {
            seed: 5,
            blocks: 3,
            per_trial: 14,
            trials_per_block: 3,
            fillers_per_trial: 10,
            output_tokens: NonZeroU32::MIN,
        };
        let made = fresh(&asked).unwrap();
        assert_eq!((made.measured.len(), made.fillers.len()), (3 * 2 * 14, 90));
        let all = || made.measured.iter().chain(&made.fillers);
        let heads: BTreeSet<&str> = all()
            .map(|p| p.messages[0].content.split_once(".\n").unwrap().0)
            .collect();
        assert_eq!(heads.len(), all().count(), "no two begin alike");
        let ids: BTreeSet<&str> = all().map(|p| p.id.as_str()).collect();
        assert_eq!(ids.len(), all().count());
        let task = |p: &PromptRef| {
            let row = made.measured.iter().find(|row| row.id == p.id).unwrap();
            row.messages[0].content.split_once("\n\n").unwrap().1.to_owned()
        };
        for block in 1..=3 {
            let [own, copy] = [&made.blocks, &made.copies].map(|s| s[&block].iter().map(task).collect::<Vec<_>>());
            assert_eq!(own, copy);
        }
        assert_eq!(fresh(&asked).unwrap(), made);
        assert_ne!(fresh(&FreshAsked { seed: 6, ..asked }).unwrap(), made);
    }
}
