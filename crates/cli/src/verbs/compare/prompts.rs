//! The prompts of a comparison: what they say, how long they are on each server, and the files that a plan pins.

use super::{servers::Server, spread};
use crate::{exit::Failure, project::Project};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use servelab_bench::{
    Bench, BenchError,
    counting::{CountedBy, cache},
    fresh::{Fresh, FreshText},
    text::{Lengths, Lexicon, Maker, TextError},
    tokens::TokenRange,
    values,
};
use servelab_evidence::sha256_file;
use servelab_load::clock::utc_now;
use servelab_matrix::FreshPrompts;
use servelab_schema::{PlainPrompt, PromptRef, PromptSetId, PromptSetRef};
use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

/// A number that no prompt of a plan has: of the one that is timed.
const TIMED: u64 = u64::MAX - 2;

/// What is said of prompts and answers.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// Prompts of exactly so many tokens, or of MIN..MAX, as the first server counts them. By default built-in tasks of some
    /// 40 tokens.
    #[arg(long, value_name = "N")]
    input_tokens: Option<TokenRange>,
    /// Tokens of each answer, or MIN..MAX.
    #[arg(long, value_name = "N", default_value = "128")]
    pub(super) output_tokens: TokenRange,
    /// The first N tokens of all prompts are the same.
    #[arg(long, value_parser = values::count, value_name = "N", requires = "input_tokens")]
    shared_prefix: Option<NonZeroU32>,
    /// Count with this tokenizer, once for all servers or once for each: a folder, or a model in the local Hugging Face cache.
    /// By default the servers count.
    #[arg(long, value_name = "DIR|ID", requires = "input_tokens")]
    tokenizer: Vec<String>,
}

/// What one server counts of every prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    /// Of the shortest; null where nobody counts.
    least: Option<NonZeroU32>,
    /// Of the longest.
    most: Option<NonZeroU32>,
    by: CountedBy,
    /// Requests that it was sent for it.
    counting_requests: u32,
}

impl Counted {
    /// How many, for people.
    pub(super) fn tokens(&self) -> String {
        match self
            .least
            .zip(self.most)
            .map(|(least, most)| TokenRange::new(least, most))
        {
            Some(Some(range)) => format!("{range} tokens"),
            _ => "words and marks".to_owned(),
        }
    }

    /// Who counts, for people.
    pub(super) fn by(&self) -> String {
        self.by.to_string()
    }
}

/// What the prompts are made of.
#[derive(Debug)]
pub(super) enum Prompts {
    BuiltIn,
    Made {
        maker: Box<Maker>,
        lengths: Lengths,
        /// In the order of the servers.
        counted: Vec<Counted>,
    },
}

impl PromptArgs {
    /// The benches with the tokenizers that are given.
    pub(super) fn with_tokenizers(&self, project: &Project, benches: Vec<Bench>) -> Result<Vec<Bench>, Failure> {
        let tokenizers = spread(&self.tokenizer, benches.len(), "--tokenizer")?;
        let with = |(bench, given): (Bench, Option<String>)| -> Result<Bench, Failure> {
            let folder = given.map(|given| cache::locate(&given, &project.path(&PathBuf::from(&given))));
            Ok(Bench {
                tokenizer: folder.transpose().map_err(BenchError::from)?,
                ..bench
            })
        };
        benches.into_iter().zip(tokenizers).map(with).collect()
    }

    /// Learns on every server how long prompts are there, where lengths are asked for.
    pub(super) fn prepare(&self, servers: &[Server<'_>], seed: u64) -> Result<Prompts, Failure> {
        let Some(input) = self.input_tokens else {
            return Ok(Prompts::BuiltIn);
        };
        let lengths = Lengths {
            input,
            shared_prefix: self.shared_prefix.map_or(0, NonZeroU32::get),
        };
        let mut lexicons = Vec::new();
        for server in servers {
            lexicons.push(server.looked.lexicon(seed, input.most())?);
        }
        made(seed, lengths, &lexicons).map_err(Failure::usage)
    }

    /// The words of the command line that ask for the same.
    pub(super) fn again(&self) -> Vec<(&'static str, String)> {
        let mut words = Vec::new();
        words.extend(self.input_tokens.map(|n| ("--input-tokens", n.to_string())));
        words.push(("--output-tokens", self.output_tokens.to_string()));
        words.extend(self.shared_prefix.map(|n| ("--shared-prefix", n.to_string())));
        words.extend(self.tokenizer.iter().map(|given| ("--tokenizer", given.clone())));
        words
    }
}

fn made(seed: u64, lengths: Lengths, lexicons: &[Lexicon]) -> Result<Prompts, TextError> {
    let Some((first, others)) = lexicons.split_first() else {
        return Ok(Prompts::BuiltIn);
    };
    let maker = Maker::new(seed, first, others)?;
    maker.check(lengths)?;
    let [least, most] = [lengths.input.least(), lengths.input.most()].map(|n| maker.expected(n));
    let counted = lexicons.iter().zip(least).zip(most);
    let counted = counted.map(|((lexicon, least), most)| Counted {
        least,
        most,
        by: lexicon.counted_by(),
        counting_requests: lexicon.requests(),
    });
    Ok(Prompts::Made {
        counted: counted.collect(),
        maker: Box::new(maker),
        lengths,
    })
}

impl Prompts {
    /// What they say.
    pub(super) fn text(&self) -> FreshText<'_> {
        match self {
            Self::BuiltIn => FreshText::BuiltIn,
            Self::Made { maker, lengths, .. } => FreshText::Made(maker, *lengths),
        }
    }

    /// A prompt of middling length that the comparison does not have.
    pub(super) fn timed(&self, seed: u64) -> Result<String, Failure> {
        let middle = match *self {
            Self::BuiltIn => self.text(),
            Self::Made { ref maker, lengths, .. } => {
                let (least, most) = (lengths.input.least(), lengths.input.most());
                let middle = least.saturating_add((most.get() - least.get()) / 2);
                let input = TokenRange::exactly(middle);
                FreshText::Made(maker, Lengths { input, ..lengths })
            }
        };
        let (text, _) = middle.text(seed, TIMED, 0).map_err(Failure::usage)?;
        Ok(text)
    }

    /// What server number `n`, from 0, counts; none where lengths were not asked for.
    pub(super) fn counted(&self, n: usize) -> Option<&Counted> {
        match self {
            Self::BuiltIn => None,
            Self::Made { counted, .. } => counted.get(n),
        }
    }

    /// Tokens that server number `n`, from 0, counts in every prompt beyond the first one.
    pub(super) fn more_tokens(&self, n: usize) -> i32 {
        let least = |n| self.counted(n).and_then(|counted| counted.least).map(NonZeroU32::get);
        let more = least(n).zip(least(0)).and_then(|(own, first)| {
            let more = i64::from(own) - i64::from(first);
            i32::try_from(more).ok()
        });
        more.unwrap_or(0)
    }
}

/// Writes them beside the packed ones of the project, under the time.
pub(super) fn written(root: &Path, made: Fresh) -> anyhow::Result<FreshPrompts> {
    let stamp: String = utc_now().chars().filter(char::is_ascii_digit).take(17).collect();
    fs::create_dir_all(root.join("prompts")).context("prompts/")?;
    let Fresh {
        measured,
        fillers,
        blocks,
        copies,
    } = made;
    Ok(FreshPrompts {
        measured: file(root, &format!("compare-{stamp}"), &measured)?,
        fillers: file(root, &format!("compare-{stamp}-fillers"), &fillers)?,
        blocks,
        copies,
    })
}

fn file(root: &Path, name: &str, rows: &[PlainPrompt]) -> anyhow::Result<PromptSetRef> {
    let path = format!("prompts/{name}.jsonl");
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    let at = root.join(&path);
    fs::write(&at, text).with_context(|| path.clone())?;
    let (_, sha256) = sha256_file(&at)?;
    Ok(PromptSetRef {
        id: PromptSetId::new(name)?,
        path,
        sha256,
        tokenizer_sha256: None,
        chat_template_sha256: None,
        prompts: rows.iter().cloned().map(PromptRef::from).collect(),
    })
}
