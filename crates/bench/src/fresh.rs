//! Prompts for servers that are compared: made from a seed, none of them twice, so that no server finds one in a cache.
//!
//! In every block there is a set for all servers and another one, of the same tasks and lengths in the same order, for the copy
//! of the first server: it has seen the block's own. Fillers are a set apart.

use crate::{
    text::{Lengths, Maker, TextError},
    tokens::TokenRange,
};
use servelab_load::bench::builtin;
use servelab_schema::{IdError, Message, PlainPrompt, PromptId, PromptRef, Role, V};
use std::{collections::BTreeMap, num::NonZeroU32};

/// What prompts say.
#[derive(Debug, Clone, Copy)]
pub enum FreshText<'a> {
    /// The built-in tasks, some 40 tokens that nobody counts.
    BuiltIn,
    /// Text of known length, as the first server counts it.
    Made(&'a Maker, Lengths),
}

impl FreshText<'_> {
    /// Number `n` of the texts under a seed, the `task`th of its set: what it says, and its tokens where they are known.
    ///
    /// # Errors
    /// [`TextError`] where its length cannot be made.
    pub fn text(self, seed: u64, n: u64, task: usize) -> Result<(String, Option<NonZeroU32>), TextError> {
        match self {
            Self::BuiltIn => {
                let n = usize::try_from(n).unwrap_or(usize::MAX);
                Ok((builtin::prompt_of(seed, n, task), None))
            }
            Self::Made(maker, lengths) => {
                // Drawn by the task: every block is as long as every other, and the copy's prompts as the block's own.
                let tokens = lengths.input.draw(seed, "input-tokens", number(task));
                let input = TokenRange::exactly(tokens);
                let made = maker.made(n, Lengths { input, ..lengths })?;
                Ok((made.text, made.prompt_tokens.first().copied().flatten()))
            }
        }
    }
}

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct FreshAsked<'a> {
    /// Seed of every text.
    pub seed: u64,
    /// What they say.
    pub text: FreshText<'a>,
    /// Blocks.
    pub blocks: u32,
    /// Measured prompts of each trial.
    pub per_trial: u32,
    /// Trials of each block: fillers are made for all of them.
    pub trials_per_block: u32,
    /// Fillers of each trial.
    pub fillers_per_trial: u32,
    /// Tokens of each answer.
    pub output_tokens: TokenRange,
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

/// Why prompts cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FreshError {
    /// There are so many that a name is too long.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Their lengths cannot be made.
    #[error(transparent)]
    Text(#[from] TextError),
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Makes them.
///
/// # Errors
/// [`FreshError`].
pub fn fresh(asked: &FreshAsked<'_>) -> Result<Fresh, FreshError> {
    // One number for every text: the words that it begins with follow from it.
    let mut next = 0_u64;
    let mut make = |id: String, task: usize| -> Result<PlainPrompt, FreshError> {
        let (content, prompt_tokens) = asked.text.text(asked.seed, next, task)?;
        next = next.saturating_add(1);
        Ok(PlainPrompt {
            v: V,
            id: PromptId::new(id)?,
            prompt_tokens,
            max_new_tokens: asked.output_tokens.draw(asked.seed, "output-tokens", number(task)),
            messages: vec![Message {
                role: Role::User,
                content,
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
            sets.insert(block, rows.iter().cloned().map(PromptRef::from).collect());
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
    use crate::text::Lexicon;
    use std::collections::BTreeSet;

    const ASKED: FreshAsked<'_> = FreshAsked {
        seed: 5,
        text: FreshText::BuiltIn,
        blocks: 3,
        per_trial: 14,
        trials_per_block: 3,
        fillers_per_trial: 10,
        output_tokens: TokenRange::exactly(NonZeroU32::MIN),
    };

    fn all(made: &Fresh) -> impl Iterator<Item = &PlainPrompt> {
        made.measured.iter().chain(&made.fillers)
    }

    /// The row of the set of a block.
    fn rows<'m>(made: &'m Fresh, of: &[PromptRef]) -> Vec<&'m PlainPrompt> {
        let find = |p: &PromptRef| made.measured.iter().find(|row| row.id == p.id).unwrap();
        of.iter().map(find).collect()
    }

    #[test]
    fn no_prompt_comes_twice_and_a_copy_is_asked_the_same_tasks() {
        let made = fresh(&ASKED).unwrap();
        assert_eq!((made.measured.len(), made.fillers.len()), (3 * 2 * 14, 90));
        let heads: BTreeSet<&str> = all(&made)
            .map(|p| p.messages[0].content.split_once(".\n").unwrap().0)
            .collect();
        assert_eq!(heads.len(), all(&made).count(), "no two begin alike");
        let ids: BTreeSet<&str> = all(&made).map(|p| p.id.as_str()).collect();
        assert_eq!(ids.len(), all(&made).count());
        let task = |row: &PlainPrompt| row.messages[0].content.split_once("\n\n").unwrap().1.to_owned();
        for block in 1..=3 {
            let [own, copy] =
                [&made.blocks, &made.copies].map(|s| rows(&made, &s[&block]).into_iter().map(task).collect::<Vec<_>>());
            assert_eq!(own, copy);
        }
        assert_eq!(fresh(&ASKED).unwrap(), made);
        assert_ne!(fresh(&FreshAsked { seed: 6, ..ASKED }).unwrap(), made);
    }

    #[test]
    fn lengths_are_the_same_in_every_block_and_for_the_copy() {
        let maker = Maker::new(5, &Lexicon::uncounted(), &[]).unwrap();
        let lengths = Lengths {
            input: "20..60".parse().unwrap(),
            shared_prefix: 8,
        };
        let asked = FreshAsked {
            text: FreshText::Made(&maker, lengths),
            output_tokens: "2..9".parse().unwrap(),
            ..ASKED
        };
        let made = fresh(&asked).unwrap();
        let texts: BTreeSet<&str> = all(&made).map(|p| p.messages[0].content.as_str()).collect();
        assert_eq!(texts.len(), all(&made).count());
        let prefix = |text: &str| text.split(' ').take(6).collect::<Vec<_>>().join(" ");
        let prefixes: BTreeSet<String> = texts.iter().map(|t| prefix(t)).collect();
        assert_eq!(prefixes.len(), 1, "{prefixes:?}");
        // Pieces of the text: nobody counts here.
        let shape = |row: &PlainPrompt| {
            let text = &row.messages[0].content;
            let marks = text.matches([',', '.', ';', ':', '?', '!']).count();
            (text.split(' ').count() + marks, row.max_new_tokens)
        };
        let of = |set: &[PromptRef]| rows(&made, set).into_iter().map(shape).collect::<Vec<_>>();
        let first = of(&made.blocks[&1]);
        assert!(first.iter().collect::<BTreeSet<_>>().len() > 5, "{first:?}");
        for set in made.blocks.values().chain(made.copies.values()) {
            assert_eq!(of(set), first);
        }
        assert!(
            made.measured.iter().all(|row| row.prompt_tokens.is_none()),
            "nobody counted"
        );
        let long = FreshAsked {
            text: FreshText::Made(
                &maker,
                Lengths {
                    shared_prefix: 60,
                    ..lengths
                },
            ),
            ..ASKED
        };
        assert!(matches!(
            fresh(&long),
            Err(FreshError::Text(TextError::PrefixTooLong { .. }))
        ));
    }
}
