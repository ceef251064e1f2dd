//! What can go wrong between a tokenizer directory and a list of token ids.

use std::path::PathBuf;

/// Why a conversation cannot be rendered or counted.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A file of the tokenizer directory cannot be read.
    #[error(
        "cannot read {path}: {source}; a tokenizer directory holds tokenizer.json, tokenizer_config.json and chat_template.jinja"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `tokenizer_config.json` is not the JSON that is expected.
    #[error("{path}: {source}; take the file as it comes with the model")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        source: serde_json::Error,
    },
    /// `tokenizer.json` cannot be loaded.
    #[error("{path} is no tokenizer: {message}; take the file as it comes with the model")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer library said.
        message: String,
    },
    /// Neither `chat_template.jinja` nor a template in `tokenizer_config.json`.
    #[error(
        "{path} has no chat_template.jinja and its tokenizer_config.json has no chat_template; add the model's own template"
    )]
    NoTemplate {
        /// The directory.
        path: PathBuf,
    },
    /// The template cannot be parsed.
    #[error("chat template: {0}")]
    Syntax(minijinja::Error),
    /// The template refuses the conversation (`raise_exception`), as the engine would.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template failed on the conversation.
    #[error("chat template failed: {0}")]
    Render(minijinja::Error),
    /// The text cannot be tokenized, or the ids cannot be turned into text.
    #[error("tokenizer: {0}")]
    Encode(String),
}
