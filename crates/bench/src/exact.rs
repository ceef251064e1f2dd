//! Prompts of an exact number of tokens, counted as the engine counts them.

use crate::BenchError;
use servelab_chat::{ChatError, ChatMessage, ChatTokenizer};
use servelab_load::bench::{
    body::{Api, Text},
    builtin,
};
use servelab_schema::Role;
use std::{fmt, num::NonZeroU32, path::Path};

/// Tokens that one block name of a recording stands for.
const BLOCK_TOKENS: usize = 512;

/// How often a length that a cut misses is tried with another text.
const TRIES: usize = 12;

/// Counts and cuts with one model's tokenizer.
pub(super) struct Exact {
    chat: ChatTokenizer,
    api: Api,
    /// Tokens of an empty prompt: template and special tokens.
    overhead: usize,
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exact")
            .field("overhead", &self.overhead)
            .finish_non_exhaustive()
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

impl Exact {
    pub(super) fn load(dir: &Path, api: Api) -> Result<Self, ChatError> {
        let chat = ChatTokenizer::load(dir)?;
        let mut exact = Self { chat, api, overhead: 0 };
        // A template may trim; one letter is a token everywhere.
        exact.overhead = exact.count_text("a")?.saturating_sub(1);
        Ok(exact)
    }

    fn count_text(&self, text: &str) -> Result<usize, ChatError> {
        Ok(match self.api {
            Api::Chat | Api::Responses => self.chat.count_chat(&[ChatMessage::user(text)])?,
            Api::Completions | Api::Embeddings => self.chat.count_plain(text)?,
        })
    }

    /// Prompt tokens that the engine must count; none where the endpoint's rendering is not known.
    pub(super) fn count(&self, text: &Text) -> Result<Option<NonZeroU32>, ChatError> {
        let n = match (self.api, text) {
            (_, Text::Plain(text)) => self.count_text(text)?,
            (Api::Chat | Api::Responses, Text::Messages(messages)) => {
                let messages: Vec<_> = messages
                    .iter()
                    .map(|m| ChatMessage::new(role(m.role), &m.content))
                    .collect();
                self.chat.count_chat(&messages)?
            }
            (Api::Completions | Api::Embeddings, Text::Messages(_)) => return Ok(None),
        };
        Ok(u32::try_from(n).ok().and_then(NonZeroU32::new))
    }

    /// Prompt number `n` of `seed`, of exactly `tokens` tokens. Begins like no other.
    pub(super) fn prompt(&self, seed: u64, n: usize, tokens: NonZeroU32) -> Result<String, BenchError> {
        let wanted = usize::try_from(tokens.get()).unwrap_or(usize::MAX);
        self.fit(wanted, |attempt| {
            let salted = seed.wrapping_add(u64::try_from(attempt).unwrap_or(0).wrapping_mul(0x9e37_79b9));
            let head = builtin::opening(salted, n);
            let body = words(salted, &format!("exact-{n}"), wanted);
            format!("{head} {body}")
        })
    }

    /// Recorded prompt number `n`: equal blocks give equal text, from the beginning on.
    pub(super) fn replayed(
        &self,
        seed: u64,
        n: usize,
        tokens: NonZeroU32,
        blocks: &[u64],
    ) -> Result<String, BenchError> {
        if blocks.is_empty() {
            return self.prompt(seed, n, tokens);
        }
        let wanted = usize::try_from(tokens.get()).unwrap_or(usize::MAX);
        let shared: Vec<String> = blocks
            .iter()
            .map(|id| self.block(seed, *id))
            .collect::<Result<_, ChatError>>()?;
        self.fit(wanted, |attempt| {
            format!(
                "{} {}",
                shared.concat(),
                words(seed, &format!("tail-{n}-{attempt}"), wanted)
            )
        })
    }

    /// The text of one block: about its number of tokens.
    fn block(&self, seed: u64, id: u64) -> Result<String, ChatError> {
        let mut text = words(seed, &format!("block-{id}"), BLOCK_TOKENS);
        let ends = self.chat.token_ends(&text)?;
        if let Some(end) = BLOCK_TOKENS.checked_sub(1).and_then(|last| ends.get(last)) {
            text.truncate(*end);
        }
        Ok(text)
    }

    /// Cuts a text so that it has exactly `wanted` tokens in the request.
    fn fit(&self, wanted: usize, text: impl Fn(usize) -> String) -> Result<String, BenchError> {
        let least = self.overhead + 1;
        if wanted < least {
            return Err(BenchError::Options(format!(
                "{wanted} prompt tokens cannot be made: the chat template alone with one token of text has {least}"
            )));
        }
        for attempt in 0..TRIES {
            let text = text(attempt);
            let ends = self.chat.token_ends(&text)?;
            let mut keep = wanted.saturating_sub(self.overhead);
            for _ in 0..8 {
                let Some(cut) = keep
                    .checked_sub(1)
                    .and_then(|last| ends.get(last))
                    .and_then(|end| text.get(..*end))
                else {
                    break;
                };
                let has = self.count_text(cut)?;
                if has == wanted {
                    return Ok(cut.to_owned());
                }
                keep = keep.saturating_add(wanted).saturating_sub(has);
            }
        }
        Err(BenchError::Options(format!(
            "no text of exactly {wanted} tokens was found with this tokenizer; try a number beside it"
        )))
    }
}

/// Enough words for `tokens` tokens, determined by seed and name: a word is at least one token.
fn words(seed: u64, name: &str, tokens: usize) -> String {
    builtin::words(seed, name, tokens.saturating_add(8))
}
