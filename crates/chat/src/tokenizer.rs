//! A tokenizer directory: `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`.

use crate::{ChatError, ChatMessage, ChatTemplate, FixedDate};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};
use tokenizers::Tokenizer;

/// Renders conversations with a model's chat template and counts them with its tokenizer.
///
/// A rendered conversation is encoded without further special tokens, since the template prints them; that is what
/// `usage.prompt_tokens` and `/tokenize` with `messages` count.
#[derive(Debug)]
pub struct ChatTokenizer {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    tokenizer_sha256: String,
    template_sha256: String,
}

/// A special token, as a text or as an object that holds it.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Object { content: String },
}

/// One template, or several with a name each.
#[derive(Deserialize)]
#[serde(untagged)]
enum TemplateEntry {
    One(String),
    Many(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

fn read(path: PathBuf) -> Result<Vec<u8>, ChatError> {
    std::fs::read(&path).map_err(|source| ChatError::Read { path, source })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl ChatTokenizer {
    /// Loads a directory; a template that prints the date prints [`FixedDate::DEFAULT`].
    ///
    /// # Errors
    /// [`ChatError`] names the file that is missing or wrong.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, ChatError> {
        Self::load_on(dir, FixedDate::DEFAULT)
    }

    /// Loads a directory; `today` is the date that a template may print.
    ///
    /// # Errors
    /// [`ChatError`] names the file that is missing or wrong.
    pub fn load_on(dir: impl AsRef<Path>, today: FixedDate) -> Result<Self, ChatError> {
        let dir = dir.as_ref();
        let tokenizer_path = dir.join("tokenizer.json");
        let bytes = read(tokenizer_path.clone())?;
        let failed = |e: tokenizers::Error| ChatError::Tokenizer {
            path: tokenizer_path.clone(),
            message: e.to_string(),
        };
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(failed)?;
        // An engine neither cuts nor pads a prompt, whatever the file was last used for.
        tokenizer.with_truncation(None).map_err(failed)?;
        tokenizer.with_padding(None);

        let config_path = dir.join("tokenizer_config.json");
        let config: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&read(config_path.clone())?).map_err(|source| ChatError::Config {
                path: config_path,
                source,
            })?;
        let special_tokens = config
            .iter()
            .filter(|(key, _)| key.ends_with("_token"))
            .filter_map(|(key, value)| match SpecialToken::deserialize(value) {
                Ok(SpecialToken::Text(text) | SpecialToken::Object { content: text }) => Some((key.clone(), text)),
                // `add_bos_token: true`, `pad_token: null`
                Err(_) => None,
            })
            .collect();

        let source = Self::template_source(dir, &config)?;
        let template = ChatTemplate::new(&source, special_tokens, today)?;
        let template_sha256 = sha256(source.as_bytes());
        Ok(Self {
            tokenizer,
            template,
            tokenizer_sha256: sha256(&bytes),
            template_sha256,
        })
    }

    fn template_source(dir: &Path, config: &BTreeMap<String, serde_json::Value>) -> Result<String, ChatError> {
        let path = dir.join("chat_template.jinja");
        match std::fs::read_to_string(&path) {
            Ok(source) => return Ok(source),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(ChatError::Read { path, source }),
        }
        let entry = config.get("chat_template").map(TemplateEntry::deserialize);
        match entry {
            Some(Ok(TemplateEntry::One(source))) => Some(source),
            Some(Ok(TemplateEntry::Many(named))) => named.into_iter().find(|t| t.name == "default").map(|t| t.template),
            Some(Err(_)) | None => None,
        }
        .ok_or_else(|| ChatError::NoTemplate { path: dir.to_owned() })
    }

    /// The text that the model is given, special tokens included.
    ///
    /// # Errors
    /// [`ChatError::Refused`] where the template raises an exception, [`ChatError::Render`] where it fails.
    pub fn render(&self, messages: &[ChatMessage<'_>], add_generation_prompt: bool) -> Result<String, ChatError> {
        self.template.render(messages, add_generation_prompt)
    }

    /// Token ids of a text that already holds its special tokens.
    ///
    /// # Errors
    /// [`ChatError::Encode`] where the tokenizer fails.
    pub fn encode_ids(&self, rendered: &str) -> Result<Vec<u32>, ChatError> {
        let encoding = self
            .tokenizer
            .encode_fast(rendered, false)
            .map_err(|e| ChatError::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// For each token of a text, the byte at which it ends. No special token is added.
    ///
    /// # Errors
    /// [`ChatError::Encode`] where the tokenizer fails.
    pub fn token_ends(&self, text: &str) -> Result<Vec<usize>, ChatError> {
        let encoding = self
            .tokenizer
            .encode(text, false)
            .map_err(|e| ChatError::Encode(e.to_string()))?;
        Ok(encoding.get_offsets().iter().map(|&(_, end)| end).collect())
    }

    /// Token ids of a conversation, as the engine sees it before it generates.
    ///
    /// # Errors
    /// As [`render`](Self::render) and [`encode_ids`](Self::encode_ids).
    pub fn chat_ids(&self, messages: &[ChatMessage<'_>]) -> Result<Vec<u32>, ChatError> {
        self.encode_ids(&self.render(messages, true)?)
    }

    /// Prompt tokens of a conversation: what `usage.prompt_tokens` says.
    ///
    /// # Errors
    /// As [`chat_ids`](Self::chat_ids).
    pub fn count_chat(&self, messages: &[ChatMessage<'_>]) -> Result<usize, ChatError> {
        Ok(self.chat_ids(messages)?.len())
    }

    /// Token ids of a plain prompt (`/v1/completions`, `/tokenize` with `prompt`): special tokens are added.
    ///
    /// # Errors
    /// [`ChatError::Encode`] where the tokenizer fails.
    pub fn plain_ids(&self, prompt: &str) -> Result<Vec<u32>, ChatError> {
        let encoding = self
            .tokenizer
            .encode_fast(prompt, true)
            .map_err(|e| ChatError::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a plain prompt, special tokens included.
    ///
    /// # Errors
    /// As [`plain_ids`](Self::plain_ids).
    pub fn count_plain(&self, prompt: &str) -> Result<usize, ChatError> {
        Ok(self.plain_ids(prompt)?.len())
    }

    /// The text of token ids, without special tokens.
    ///
    /// # Errors
    /// [`ChatError::Encode`] where an id cannot be decoded.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ChatError> {
        self.tokenizer
            .decode(ids, true)
            .map_err(|e| ChatError::Encode(e.to_string()))
    }

    /// Number of tokens that the tokenizer knows, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// SHA-256 of `tokenizer.json`, 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn tokenizer_sha256(&self) -> &str {
        &self.tokenizer_sha256
    }

    /// SHA-256 of the chat template's source, 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn template_sha256(&self) -> &str {
        &self.template_sha256
    }
}
