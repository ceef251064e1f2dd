//! What is asked: prompts from a file, of given lengths, of a recording, or built in; made before the load begins.

mod file;
mod replay;

use crate::{
    BenchError,
    counting::Local,
    figures::PromptLengths,
    looked::Looked,
    options::{Bench, PromptSource},
    text::{Lengths, Maker},
    tokens::TokenRange,
};
use servelab_load::{
    PreparedRequest,
    bench::{
        Pace,
        body::{Asking, Text},
        builtin,
        conversation::{Dialogues, Opening},
        replay::Row,
    },
};
use servelab_schema::{Message, Nanos, PromptId, Role};
use std::{collections::BTreeSet, num::NonZeroU32, path::Path, sync::Arc};

/// Answer length where neither the command line nor the file says one.
const DEFAULT_MAX_TOKENS: NonZeroU32 = NonZeroU32::MIN.saturating_add(127);

/// Distinct prompts that are made for a load whose length is a time; after them they come again.
const POOL: u32 = 4096;

/// Tokens of all prompts of such a load, where lengths are given: they stay in memory.
const POOL_TOKENS: u32 = 1 << 22;

/// Numbers of prompts that one load may use, so that no load of a sweep finds a prompt of an earlier one in a cache.
const PER_LOAD: usize = 10_000_000;

/// One prompt before it is a request.
#[derive(Debug, Clone)]
struct Ask {
    id: String,
    text: Text,
    max_tokens: NonZeroU32,
    prompt_tokens: Option<NonZeroU32>,
}

/// Where prompts come from.
#[derive(Debug)]
enum Source {
    BuiltIn,
    Made { maker: Box<Maker>, lengths: Lengths },
    File(Vec<Ask>),
    Replay(Vec<(Nanos, Ask)>),
}

/// What is asked for, once its files are read and before anything is counted.
#[derive(Debug)]
enum Given {
    BuiltIn,
    Lengths(Lengths),
    File(Vec<Ask>),
    Replay(Vec<Row>),
}

/// What there is of prompts before the server is asked anything.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    bench: &'a Bench,
    tokenizer: Option<Local>,
    given: Given,
}

/// The requests of one load.
#[derive(Debug)]
pub(super) struct Requests {
    /// In the order they are sent; first turns, where there are turns.
    pub(super) measured: Vec<PreparedRequest>,
    /// For the warm-up.
    pub(super) fillers: Vec<PreparedRequest>,
    /// Offsets of a recording.
    pub(super) pace: Option<Pace>,
    /// The later turns.
    pub(super) conversations: Option<Arc<Dialogues>>,
    /// Different prompts among `measured`.
    pub(super) distinct: usize,
}

/// Makes the requests of each load.
#[derive(Debug)]
pub(super) struct Prompts<'a> {
    bench: &'a Bench,
    asking: Asking,
    source: Source,
    lengths: Option<PromptLengths>,
}

const fn wrong(at: String, why: String) -> BenchError {
    BenchError::File { at, why }
}

fn read(path: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(path).map_err(|e| wrong(path.display().to_string(), e.to_string()))
}

fn messages_of(text: &Text) -> Vec<Message> {
    match text {
        Text::Messages(messages) => messages.clone(),
        Text::Plain(text) => vec![Message {
            role: Role::User,
            content: text.clone(),
        }],
    }
}

impl<'a> Texts<'a> {
    /// Reads what there is to read.
    ///
    /// # Errors
    /// Names the file and line that is wrong.
    pub(super) fn read(bench: &'a Bench) -> Result<Self, BenchError> {
        let tokenizer = bench.tokenizer.as_ref().map(|dir| Local::load(dir, bench.api));
        let tokenizer = tokenizer.transpose()?;
        let given = match &bench.prompts {
            PromptSource::BuiltIn => Given::BuiltIn,
            PromptSource::Lengths(lengths) => Given::Lengths(*lengths),
            PromptSource::File(path) => Given::File(file::rows(path, bench, tokenizer.as_ref())?),
            PromptSource::Replay(path) => Given::Replay(replay::rows(path)?),
        };
        Ok(Self {
            bench,
            tokenizer,
            given,
        })
    }

    /// True where a prompt has a message of the system's.
    pub(super) fn has_system(&self) -> bool {
        let speaks = |text: &Text| match text {
            Text::Messages(messages) => messages.iter().any(|m| m.role == Role::System),
            Text::Plain(_) => false,
        };
        match &self.given {
            Given::BuiltIn | Given::Lengths(_) => false,
            Given::File(asks) => asks.iter().any(|ask| speaks(&ask.text)),
            Given::Replay(rows) => replay::texts(rows).any(speaks),
        }
    }

    /// The prompts for this server, whose tokens are counted where lengths are asked for.
    ///
    /// # Errors
    /// Says why lengths cannot be had.
    pub(super) fn prompts(&self, looked: &Looked<'_>) -> Result<Prompts<'a>, BenchError> {
        let bench = self.bench;
        let maker = |lengths: Lengths| -> Result<(Maker, PromptLengths), BenchError> {
            let (door, longest) = (looked.door(), lengths.input.most());
            let lexicon = looked.counted(&door, self.tokenizer.as_ref(), bench.seed, longest)?;
            let maker = Maker::new(bench.seed, &lexicon, &[])?;
            maker.check(lengths)?;
            Ok((maker, PromptLengths::new(lengths, bench.output_tokens, &lexicon)))
        };
        let (source, lengths) = match &self.given {
            Given::BuiltIn => (Source::BuiltIn, None),
            Given::File(asks) => (Source::File(asks.clone()), None),
            Given::Lengths(lengths) => {
                let (maker, said) = maker(*lengths)?;
                let maker = Box::new(maker);
                (
                    Source::Made {
                        maker,
                        lengths: *lengths,
                    },
                    Some(said),
                )
            }
            Given::Replay(rows) => {
                let made = replay::lengths(rows).map(|input| {
                    maker(Lengths {
                        input,
                        shared_prefix: 0,
                    })
                });
                let (maker, said) = made.transpose()?.unzip();
                let asks = replay::asks(rows, bench, maker.as_ref(), self.tokenizer.as_ref())?;
                (Source::Replay(asks), said)
            }
        };
        Ok(Prompts {
            bench,
            asking: looked.asking.clone(),
            source,
            lengths,
        })
    }
}

impl Prompts<'_> {
    /// What is said of the lengths, where they were asked for.
    pub(super) const fn lengths(&self) -> Option<&PromptLengths> {
        self.lengths.as_ref()
    }

    /// Number `n` of the made prompts.
    fn made(&self, n: usize) -> Result<Ask, BenchError> {
        let number = u64::try_from(n).unwrap_or(u64::MAX);
        let max_tokens = self.bench.answer_tokens(number).unwrap_or(DEFAULT_MAX_TOKENS);
        Ok(match &self.source {
            Source::Made { maker, lengths } => {
                let made = maker.made(number, *lengths)?;
                Ask {
                    id: format!("made-{n}"),
                    text: Text::Plain(made.text),
                    max_tokens,
                    prompt_tokens: made.prompt_tokens.first().copied().flatten(),
                }
            }
            _ => Ask {
                id: format!("built-in-{n}"),
                text: Text::Plain(builtin::prompt(self.bench.seed, n)),
                max_tokens,
                prompt_tokens: None,
            },
        })
    }

    fn request(&self, ask: &Ask) -> Result<PreparedRequest, BenchError> {
        let bad = |why: String| wrong(format!("prompt {}", ask.id), why);
        let id = PromptId::new(ask.id.as_str()).map_err(|e| bad(e.to_string()))?;
        let request = self.asking.request(id, &ask.text, ask.max_tokens, ask.prompt_tokens);
        request.map_err(|e| bad(e.to_string()))
    }

    /// The asks of load number `load`, from 0, which has `n` requests unless the source says how many.
    fn asks(&self, load: usize, n: u32) -> Result<(Vec<Ask>, Option<Pace>), BenchError> {
        let lasts = self.bench.duration.is_some();
        let given = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let made = |n: u32| {
            let first = load.saturating_mul(PER_LOAD);
            (0..given(n))
                .map(|i| self.made(first.saturating_add(i)))
                .collect::<Result<Vec<_>, _>>()
        };
        match &self.source {
            Source::BuiltIn => Ok((made(if lasts { POOL } else { n })?, None)),
            Source::Made { lengths, .. } => Ok((made(if lasts { pool(lengths.input) } else { n })?, None)),
            Source::File(asks) if lasts || (self.bench.requests.is_none() && self.bench.find_max.is_none()) => {
                Ok((asks.clone(), None))
            }
            Source::File(asks) => Ok((asks.iter().cycle().take(given(n)).cloned().collect(), None)),
            Source::Replay(rows) => {
                let (offsets, asks) = rows.iter().cloned().unzip();
                Ok((asks, Some(Pace::Offsets(offsets))))
            }
        }
    }

    /// The requests of load number `load`, from 0: `n` that are measured, unless the source says how many, and `fillers`.
    ///
    /// # Errors
    /// Where a prompt of the asked length cannot be made.
    pub(super) fn requests(&self, load: usize, n: u32, fillers: u32) -> Result<Requests, BenchError> {
        let (asks, pace) = self.asks(load, n)?;
        let fillers = usize::try_from(fillers).unwrap_or(usize::MAX);
        // Never one that is measured later: an engine would answer that from its cache.
        let first = load.saturating_mul(PER_LOAD).saturating_add(PER_LOAD / 2);
        let fillers = (0..fillers)
            .map(|i| self.request(&self.made(first.saturating_add(i))?))
            .collect::<Result<Vec<_>, _>>()?;
        let distinct = asks.iter().map(same_as).collect::<BTreeSet<_>>().len();
        let (measured, conversations) = match self.bench.turns {
            Some(turns) => {
                let opening = |ask: &Ask| Opening {
                    id: ask.id.clone(),
                    messages: messages_of(&ask.text),
                    max_tokens: ask.max_tokens,
                };
                let dialogues = Dialogues::new(self.asking.clone(), turns, asks.iter().map(opening).collect());
                let mut openers = dialogues.openers();
                if openers.len() != asks.len() {
                    let why = "a prompt's id is too long to be given the number of a turn; shorten it".to_owned();
                    return Err(wrong("--turns".to_owned(), why));
                }
                for (opener, ask) in openers.iter_mut().zip(&asks) {
                    opener.expect.prompt_tokens = ask.prompt_tokens;
                }
                (openers, Some(Arc::new(dialogues)))
            }
            None => (
                asks.iter().map(|ask| self.request(ask)).collect::<Result<_, _>>()?,
                None,
            ),
        };
        Ok(Requests {
            measured,
            fillers,
            pace,
            conversations,
            distinct,
        })
    }
}

/// Prompts of this length that are made for a load whose length is a time.
fn pool(input: TokenRange) -> u32 {
    POOL_TOKENS.checked_div(input.most().get()).unwrap_or(1).clamp(64, POOL)
}

/// What two equal prompts have in common: the text, or the name where a file gives messages.
fn same_as(ask: &Ask) -> &str {
    match &ask.text {
        Text::Plain(text) => text,
        Text::Messages(_) => &ask.id,
    }
}
