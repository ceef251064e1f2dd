//! What is asked: prompts from a file, of an exact length, of a recording, or built in; made before the load begins.

use crate::{
    BenchError,
    exact::Exact,
    options::{Bench, PromptSource},
};
use serde::Deserialize;
use servelab_load::{
    PreparedRequest,
    bench::{
        Pace,
        body::{Asking, Text},
        builtin,
        conversation::{Dialogues, Opening},
        replay::{self, Asked},
    },
};
use servelab_schema::{Capabilities, Message, Nanos, Prompt, PromptId, Role};
use std::{num::NonZeroU32, path::Path, sync::Arc};

/// Answer length where neither the command line nor the file says one.
const DEFAULT_MAX_TOKENS: NonZeroU32 = NonZeroU32::MIN.saturating_add(127);

/// Distinct prompts that are made for a load whose length is a time; after them they come again.
const POOL: u32 = 4096;
const EXACT_POOL: u32 = 512;

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

/// A row of a prompt file that is not packed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainRow {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Vec<Message>>,
    #[serde(default)]
    max_tokens: Option<NonZeroU32>,
    #[serde(default)]
    prompt_tokens: Option<NonZeroU32>,
}

/// Where prompts come from.
#[derive(Debug)]
enum Source {
    BuiltIn,
    Exact { exact: Box<Exact>, tokens: NonZeroU32 },
    File(Vec<Ask>),
    Replay(Vec<(Nanos, Ask)>),
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
}

const fn wrong(at: String, why: String) -> BenchError {
    BenchError::File { at, why }
}

fn read(path: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(path).map_err(|e| wrong(path.display().to_string(), e.to_string()))
}

fn plain(row: PlainRow, n: usize, max_tokens: NonZeroU32) -> Result<Ask, String> {
    let text = match (row.prompt, row.messages) {
        (Some(prompt), None) => Text::Plain(prompt),
        (None, Some(messages)) if !messages.is_empty() => Text::Messages(messages),
        _ => return Err("give either \"prompt\" or \"messages\"".to_owned()),
    };
    Ok(Ask {
        id: row.id.unwrap_or_else(|| format!("row-{n}")),
        text,
        max_tokens: row.max_tokens.unwrap_or(max_tokens),
        prompt_tokens: row.prompt_tokens,
    })
}

/// One row of a prompt file: packed by `servelab dataset build`, or plain.
fn file_row(line: &str, n: usize, bench: &Bench) -> Result<Ask, String> {
    let default = bench.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let is_packed = line.contains("\"rendered_sha256\"");
    let mut ask = if is_packed {
        let prompt: Prompt = serde_json::from_str(line).map_err(|e| e.to_string())?;
        Ask {
            id: prompt.id.to_string(),
            text: Text::Messages(prompt.messages),
            max_tokens: prompt.max_new_tokens,
            prompt_tokens: Some(prompt.prompt_tokens),
        }
    } else {
        plain(serde_json::from_str(line).map_err(|e| e.to_string())?, n, default)?
    };
    ask.max_tokens = bench.max_tokens.unwrap_or(ask.max_tokens);
    // Packed counts are of the chat template; the other endpoint renders none.
    if !bench.api.takes_messages() && is_packed {
        ask.prompt_tokens = None;
    }
    PromptId::new(ask.id.as_str()).map_err(|e| e.to_string())?;
    Ok(ask)
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

impl<'a> Prompts<'a> {
    /// Reads what there is to read.
    ///
    /// # Errors
    /// Names the file and line that is wrong.
    pub(super) fn open(bench: &'a Bench, asking: Asking) -> Result<Self, BenchError> {
        let api = asking.api;
        let exact = || bench.tokenizer.as_ref().map(|dir| Exact::load(dir, api)).transpose();
        let source = match &bench.prompts {
            PromptSource::File(path) => Source::File(filed(path, bench, exact()?.as_ref())?),
            PromptSource::Replay(path) => Source::Replay(replayed(path, bench, exact()?.as_ref())?),
            PromptSource::Exact(tokens) => Source::Exact {
                exact: Box::new(exact()?.ok_or_else(|| {
                    BenchError::Options(
                        "prompts of an exact length are counted by a tokenizer: give --tokenizer".to_owned(),
                    )
                })?),
                tokens: *tokens,
            },
            PromptSource::BuiltIn => Source::BuiltIn,
        };
        Ok(Self { bench, asking, source })
    }

    /// True where a prompt has a message of the system's.
    pub(super) fn has_system(&self) -> bool {
        let speaks = |ask: &Ask| match &ask.text {
            Text::Messages(messages) => messages.iter().any(|m| m.role == Role::System),
            Text::Plain(_) => false,
        };
        match &self.source {
            Source::BuiltIn | Source::Exact { .. } => false,
            Source::File(asks) => asks.iter().any(speaks),
            Source::Replay(rows) => rows.iter().any(|(_, ask)| speaks(ask)),
        }
    }

    /// The same for a server that takes this.
    pub(super) fn taken(mut self, capabilities: Capabilities) -> Self {
        self.asking.capabilities = capabilities;
        self
    }

    /// What every request asks for.
    pub(super) const fn asking(&self) -> &Asking {
        &self.asking
    }

    /// Number `n` of the made prompts.
    fn made(&self, n: usize) -> Result<Ask, BenchError> {
        let (seed, max_tokens) = (self.bench.seed, self.bench.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS));
        Ok(match &self.source {
            Source::Exact { exact, tokens } => Ask {
                id: format!("exact-{n}"),
                text: Text::Plain(exact.prompt(seed, n, *tokens)?),
                max_tokens,
                prompt_tokens: Some(*tokens),
            },
            _ => Ask {
                id: format!("built-in-{n}"),
                text: Text::Plain(builtin::prompt(seed, n)),
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
            Source::Exact { .. } => Ok((made(if lasts { EXACT_POOL } else { n })?, None)),
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
        let mut ids: Vec<&str> = asks.iter().map(|a| a.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let distinct = ids.len();
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

/// The rows of a prompt file, counted again where there is a tokenizer.
fn filed(path: &Path, bench: &Bench, counter: Option<&Exact>) -> Result<Vec<Ask>, BenchError> {
    let text = read(path)?;
    let mut asks = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |why: String| wrong(format!("{}:{}", path.display(), n + 1), why);
        let mut ask = file_row(line, n, bench).map_err(bad)?;
        if let Some(counter) = counter {
            ask.prompt_tokens = counter.count(&ask.text).map_err(|e| bad(e.to_string()))?;
        }
        asks.push(ask);
    }
    if asks.is_empty() {
        return Err(wrong(path.display().to_string(), "no prompt".to_owned()));
    }
    Ok(asks)
}

/// The rows of a recording, with texts of the recorded lengths where only those are known.
fn replayed(path: &Path, bench: &Bench, exact: Option<&Exact>) -> Result<Vec<(Nanos, Ask)>, BenchError> {
    let bad = |why: String| wrong(path.display().to_string(), why);
    let rows = replay::parse(&read(path)?).map_err(|e| bad(e.to_string()))?;
    let mut asks = Vec::with_capacity(rows.len());
    for (n, row) in rows.into_iter().enumerate() {
        let (text, prompt_tokens) = match row.asked {
            Asked::Text(text) => {
                let counted = exact.map(|e| e.count(&text)).transpose();
                let counted = counted.map_err(|e| bad(e.to_string()))?;
                (text, counted.flatten())
            }
            Asked::Length { input_tokens, blocks } => {
                let exact = exact.ok_or_else(|| {
                    BenchError::Options(format!(
                        "{} gives lengths only: give --tokenizer, which prompts of those lengths are made with",
                        path.display()
                    ))
                })?;
                let text = exact.replayed(bench.seed, n, input_tokens, &blocks)?;
                (Text::Plain(text), Some(input_tokens))
            }
        };
        let ask = Ask {
            id: format!("replay-{n}"),
            text,
            max_tokens: bench.max_tokens.or(row.output_tokens).unwrap_or(DEFAULT_MAX_TOKENS),
            prompt_tokens,
        };
        asks.push((row.at, ask));
    }
    Ok(asks)
}
