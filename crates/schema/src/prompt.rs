//! Rows of `prompts/*.jsonl` and their manifest.

use crate::{Bytes, PromptId, PromptSetId, Sha256Hex, V};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use std::{fmt, num::NonZeroU32};

/// What a prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Summarise a text.
    Summarisation,
    /// Answer a question from a text; the exact answer is known.
    Qa,
    /// Continue a dialogue.
    Dialogue,
}

impl Task {
    /// Every task, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Summarisation, Self::Qa, Self::Dialogue];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Summarisation => "summarisation",
            Self::Qa => "qa",
            Self::Dialogue => "dialogue",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Class of prompt length, in tokens counted through the model's chat template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Bucket {
    /// 1 to 512 tokens.
    S,
    /// 513 to 2048 tokens.
    M,
    /// 2049 to 8192 tokens.
    L,
}

impl Bucket {
    /// Every bucket, shortest first.
    pub const ALL: [Self; 3] = [Self::S, Self::M, Self::L];

    /// Smallest and largest number of prompt tokens, both inclusive.
    #[must_use]
    pub const fn bounds(self) -> (u32, u32) {
        match self {
            Self::S => (1, 512),
            Self::M => (513, 2048),
            Self::L => (2049, 8192),
        }
    }

    /// The bucket of a prompt length; none above 8192.
    #[must_use]
    pub const fn of(prompt_tokens: NonZeroU32) -> Option<Self> {
        match prompt_tokens.get() {
            ..=512 => Some(Self::S),
            513..=2048 => Some(Self::M),
            2049..=8192 => Some(Self::L),
            _ => None,
        }
    }

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::M => "M",
            Self::L => "L",
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a prompt cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// Prompt and answer do not fit the context together.
    #[error("{prompt_tokens} prompt tokens + {max_new_tokens} new tokens exceed the context of {context_tokens}")]
    Overflow {
        /// Tokens of the rendered prompt.
        prompt_tokens: NonZeroU32,
        /// Tokens that may be generated.
        max_new_tokens: NonZeroU32,
        /// Tokens that the model can hold.
        context_tokens: NonZeroU32,
    },
    /// No bucket has prompts this long.
    #[error("{0} prompt tokens are in no bucket (S, M and L end at 8192)")]
    NoBucket(NonZeroU32),
}

/// Prompt length and answer length that fit a context together. Overflow cannot be represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBudget {
    prompt: NonZeroU32,
    max_new: NonZeroU32,
    bucket: Bucket,
}

impl TokenBudget {
    /// A budget within `context` tokens; the bucket follows from the prompt's length.
    ///
    /// # Errors
    /// [`BudgetError`] when the sum exceeds `context`, or the prompt is longer than every bucket.
    pub fn new(prompt: NonZeroU32, max_new: NonZeroU32, context: NonZeroU32) -> Result<Self, BudgetError> {
        let fits = prompt
            .get()
            .checked_add(max_new.get())
            .is_some_and(|sum| sum <= context.get());
        if !fits {
            return Err(BudgetError::Overflow {
                prompt_tokens: prompt,
                max_new_tokens: max_new,
                context_tokens: context,
            });
        }
        let bucket = Bucket::of(prompt).ok_or(BudgetError::NoBucket(prompt))?;
        Ok(Self {
            prompt,
            max_new,
            bucket,
        })
    }

    /// Tokens of the rendered prompt.
    #[must_use]
    pub const fn prompt_tokens(self) -> NonZeroU32 {
        self.prompt
    }

    /// Tokens that may be generated.
    #[must_use]
    pub const fn max_new_tokens(self) -> NonZeroU32 {
        self.max_new
    }

    /// The prompt's bucket.
    #[must_use]
    pub const fn bucket(self) -> Bucket {
        self.bucket
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person asking.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[serde(deserialize_with = "text_alone")]
    pub content: String,
}

/// A text. Content in parts is refused by name: images and sounds are not measured.
fn text_alone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Alone;
    impl<'de> Visitor<'de> for Alone {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the text of a message")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_string<E: de::Error>(self, text: String) -> Result<String, E> {
            Ok(text)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<String, A::Error> {
            let mut kinds: Vec<String> = Vec::new();
            while let Some(part) = parts.next_element::<serde_json::Value>()? {
                let kind = part.get("type").and_then(serde_json::Value::as_str);
                kinds.push(kind.unwrap_or("a part without a type").chars().take(40).collect());
            }
            Err(de::Error::custom(format!(
                "multimodal content ({}) is not measured: give `content` as one text",
                kinds.join(", ")
            )))
        }
    }
    deserializer.deserialize_any(Alone)
}

/// Where a prompt's text comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptSource {
    /// The record of the PRIMARY section.
    pub primary: SourceRecord,
    /// The records of the DISTRACTOR section, in the order they appear.
    pub distractors: Vec<SourceRecord>,
}

/// One record of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// Dataset id, as declared in the dataset's TOML.
    pub dataset: String,
    /// Record id inside it.
    pub record: String,
}

/// One packed request: a row of `prompts/*.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Format version.
    pub v: V<1>,
    /// Name, unique in the file.
    pub id: PromptId,
    /// What is asked for.
    pub task: Task,
    /// Length class; always that of `prompt_tokens`.
    pub bucket: Bucket,
    /// The block that measures it, from 1; 0 for filler prompts, which no block measures.
    pub block: u32,
    /// Tokens of the prompt rendered by the model's chat template.
    pub prompt_tokens: NonZeroU32,
    /// Tokens that may be generated.
    pub max_new_tokens: NonZeroU32,
    /// The exact answer, where one is known.
    pub answer: Option<String>,
    /// SHA-256 of the rendered prompt's UTF-8 text.
    pub rendered_sha256: Sha256Hex,
    /// Where the text comes from.
    pub source: PromptSource,
    /// The conversation as it is sent.
    pub messages: Vec<Message>,
}

/// A row of a prompt file that was made for servers rather than packed from a dataset, such as those of `servelab compare`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlainPrompt {
    /// Format version.
    pub v: V<1>,
    /// Name, unique in the file.
    pub id: PromptId,
    /// Tokens that every server must count in it; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<NonZeroU32>,
    /// Tokens that may be generated.
    pub max_new_tokens: NonZeroU32,
    /// The conversation as it is sent.
    pub messages: Vec<Message>,
}

impl From<Prompt> for PlainPrompt {
    fn from(packed: Prompt) -> Self {
        Self {
            v: V,
            id: packed.id,
            prompt_tokens: Some(packed.prompt_tokens),
            max_new_tokens: packed.max_new_tokens,
            messages: packed.messages,
        }
    }
}

/// `prompts/NAME.manifest.json`: what a prompt file holds and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptManifest {
    /// Format version.
    pub v: V<1>,
    /// Name of the set.
    pub id: PromptSetId,
    /// The prompt file, relative to the manifest.
    pub file: String,
    /// SHA-256 of the prompt file.
    pub sha256: Sha256Hex,
    /// Size of the prompt file.
    pub bytes: Bytes,
    /// Number of prompts.
    pub prompts: u32,
    /// Number of blocks; 0 for filler prompts.
    pub blocks: u32,
    /// Context that every prompt and its answer fit together, in tokens.
    pub context_tokens: NonZeroU32,
    /// Longest common token prefix of any two prompts of the build, from token 0; a prefix cache sees no more.
    pub longest_common_prefix_tokens: u32,
    /// Model whose tokenizer and chat template counted the prompts.
    pub model: String,
    /// SHA-256 of `tokenizer.json`.
    pub tokenizer_sha256: Sha256Hex,
    /// SHA-256 of the chat template.
    pub chat_template_sha256: Sha256Hex,
    /// SHA-256 of every input: dataset files, prompt templates, the dataset's TOML. Sorted by path.
    pub inputs: Vec<crate::SourceFile>,
    /// Seed of every random choice.
    pub seed: u64,
}
