//! Prompts to token ids and back, behind a small trait so that tests need no model files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use servelab_chat::{ChatError, ChatMessage, ChatTokenizer};

use crate::error::SimError;
use crate::word_cache::WordCache;

/// One message of a chat request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: String,
    /// Its text.
    pub content: String,
}

/// Why a prompt has no ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizeError {
    /// The chat template raises an exception on these messages: the client's fault.
    Refused(String),
    /// Anything else.
    Failed(String),
}

/// What the server needs of a tokenizer.
pub trait PromptTokenizer: Send + Sync {
    /// Ids of a conversation through the chat template.
    ///
    /// # Errors
    /// [`TokenizeError`] where the template refuses or fails.
    fn chat_ids(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>, TokenizeError>;

    /// Ids of a text, with the special tokens (`<s>`) that the tokenizer adds, or without.
    ///
    /// # Errors
    /// [`TokenizeError`] where the tokenizer fails.
    fn text_ids(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizeError>;

    /// The text of ids, special tokens written out.
    ///
    /// # Errors
    /// [`TokenizeError`] where an id is unknown.
    fn decode(&self, ids: &[u32]) -> Result<String, TokenizeError>;
}

/// The model's own tokenizer and chat template.
#[derive(Debug)]
pub struct ModelTokenizer {
    chat: ChatTokenizer,
    special: BTreeMap<u32, String>,
    words: Option<WordCache>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

impl ModelTokenizer {
    /// Loads the tokenizer of a directory.
    ///
    /// # Errors
    /// [`SimError::Tokenizer`] naming the directory.
    pub fn load(dir: &Path) -> Result<Self, SimError> {
        let failed = |detail: String| SimError::Tokenizer {
            path: dir.to_owned(),
            detail,
        };
        let chat = ChatTokenizer::load(dir).map_err(|e| failed(e.to_string()))?;
        let json = std::fs::read(dir.join("tokenizer.json")).map_err(|e| failed(e.to_string()))?;
        let file: TokenizerFile = serde_json::from_slice(&json).map_err(|e| failed(e.to_string()))?;
        let special = file
            .added_tokens
            .into_iter()
            .filter(|t| t.special)
            .map(|t| (t.id, t.content))
            .collect();
        Ok(Self {
            chat,
            special,
            words: WordCache::for_tokenizer(&json),
        })
    }
}

impl ModelTokenizer {
    /// Ids of a text that holds its special tokens, by words where that is exact.
    ///
    /// # Errors
    /// [`TokenizeError`] where the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        match &self.words {
            Some(words) => words.encode(text, |piece| Ok(self.chat.encode_ids(piece)?)),
            None => self.encode_at_once(text),
        }
    }

    /// The same without the words' cache; slower, and the reference for it.
    ///
    /// # Errors
    /// [`TokenizeError`] where the tokenizer fails.
    pub fn encode_at_once(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        Ok(self.chat.encode_ids(text)?)
    }
}

impl From<ChatError> for TokenizeError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Refused(text) => Self::Refused(text),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl PromptTokenizer for ModelTokenizer {
    fn chat_ids(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>, TokenizeError> {
        let borrowed: Vec<ChatMessage<'_>> = messages.iter().map(|m| ChatMessage::new(&m.role, &m.content)).collect();
        let text = self.chat.render(&borrowed, add_generation_prompt)?;
        self.encode(&text)
    }

    fn text_ids(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizeError> {
        Ok(if add_special_tokens {
            self.chat.plain_ids(text)?
        } else {
            self.chat.encode_ids(text)?
        })
    }

    fn decode(&self, ids: &[u32]) -> Result<String, TokenizeError> {
        let mut out = String::new();
        let mut rest = ids;
        while let Some(first) = rest.first() {
            if let Some(text) = self.special.get(first) {
                out.push_str(text);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let end = rest
                .iter()
                .position(|id| self.special.contains_key(id))
                .unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            // A decoder drops the space before the first word; after a special token it stays.
            if out.is_empty() {
                out.push_str(&self.chat.decode(run)?);
            } else {
                let anchor = self.chat.encode_ids("a")?;
                let plain = self.chat.decode(&anchor)?;
                let with = self.chat.decode(&[anchor.as_slice(), run].concat())?;
                out.push_str(with.strip_prefix(&plain).unwrap_or(&with));
            }
            rest = after;
        }
        Ok(out)
    }
}
