//! The JSON of one stream chunk, read without copying and without keeping what is not measured.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use std::{borrow::Cow, fmt};

/// A string that borrows from the input where it holds no escape. (Serde borrows a `Cow` only when it is named directly,
/// not inside an `Option`; hence the newtype.)
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One `data:` payload of `/v1/chat/completions` or `/v1/completions`.
#[derive(Debug, Deserialize)]
pub(crate) struct ChunkWire<'a> {
    #[serde(borrow, default)]
    pub(crate) choices: Option<Choices<'a>>,
    #[serde(default)]
    pub(crate) usage: Option<UsageWire>,
    /// The nested form of an error.
    #[serde(default)]
    pub(crate) error: Option<ErrorWire>,
    /// `"error"` in the flat form of an error.
    #[serde(borrow, default)]
    pub(crate) object: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) message: Option<Text<'a>>,
}

impl ChunkWire<'_> {
    /// The error's own words, where this chunk is an error in either form.
    pub(crate) fn error_text(&self) -> Option<&str> {
        match &self.error {
            Some(ErrorWire::Text(text)) => Some(text),
            Some(ErrorWire::Object { message }) => Some(message.as_deref().unwrap_or("error without a message")),
            Some(ErrorWire::Other(_)) => Some("error of an unknown form"),
            None if self.object.as_ref().is_some_and(|o| o.as_str() == "error") => {
                Some(self.message.as_ref().map_or("error without a message", Text::as_str))
            }
            None => None,
        }
    }
}

/// An `error` member: its message, or a bare text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ErrorWire {
    Text(String),
    Object {
        #[serde(default)]
        message: Option<String>,
    },
    Other(IgnoredAny),
}

/// `usage`, cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct UsageWire {
    #[serde(default)]
    pub(crate) prompt_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) completion_tokens: Option<u32>,
}

/// The first choice and how many there were: a measured request has one (`n = 1`).
#[derive(Debug, Default)]
pub(crate) struct Choices<'a> {
    pub(crate) first: Option<ChoiceWire<'a>>,
    pub(crate) count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let first: Option<ChoiceWire<'de>> = seq.next_element()?;
                let mut count = usize::from(first.is_some());
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Choices { first, count })
            }
        }
        deserializer.deserialize_seq(Fold)
    }
}

/// One choice of a chunk; `text` is the completions endpoint's, `delta` the chat endpoint's.
#[derive(Debug, Deserialize)]
pub(crate) struct ChoiceWire<'a> {
    #[serde(default)]
    pub(crate) index: u32,
    #[serde(borrow, default)]
    pub(crate) delta: Option<DeltaWire<'a>>,
    #[serde(borrow, default)]
    pub(crate) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) finish_reason: Option<Text<'a>>,
}

impl ChoiceWire<'_> {
    /// Why the answer ended; none while it goes on, which TGI's `/v1/completions` writes as an empty reason.
    pub(crate) fn finish(&self) -> Option<&str> {
        self.finish_reason
            .as_ref()
            .map(Text::as_str)
            .filter(|reason| !reason.is_empty())
    }

    /// Every text of the chunk in a fixed order: reasoning, content, completion text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.reasoning().chain(self.content())
    }

    /// What is thought before anything is said.
    pub(crate) fn reasoning(&self) -> impl Iterator<Item = &str> {
        let delta = self.delta.as_ref();
        [
            delta.and_then(|d| d.reasoning_content.as_ref()),
            delta.and_then(|d| d.reasoning.as_ref()),
        ]
        .into_iter()
        .flatten()
        .map(Text::as_str)
    }

    /// What is said, without reasoning: the part of an answer that a conversation carries on.
    pub(crate) fn content(&self) -> impl Iterator<Item = &str> {
        let content = self.delta.as_ref().and_then(|d| d.content.as_ref());
        [content, self.text.as_ref()].into_iter().flatten().map(Text::as_str)
    }

    /// True where the chunk brings a tool call.
    pub(crate) fn has_tool_call(&self) -> bool {
        self.delta
            .as_ref()
            .and_then(|d| d.tool_calls.as_ref())
            .is_some_and(|calls| !calls.is_empty())
    }

    /// True for the chunk that only says who speaks.
    pub(crate) fn is_role_only(&self) -> bool {
        self.delta.as_ref().is_some_and(|d| d.role.is_some())
            && self.finish().is_none()
            && !self.has_tool_call()
            && self.texts().all(str::is_empty)
    }
}

/// What a chunk adds to the message.
#[derive(Debug, Deserialize)]
pub(crate) struct DeltaWire<'a> {
    #[serde(borrow, default)]
    pub(crate) role: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) reasoning: Option<Text<'a>>,
    /// Only their number matters; a list of nothing takes no memory.
    #[serde(default)]
    pub(crate) tool_calls: Option<Vec<IgnoredAny>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        let json = r#"{"choices":[{"index":0,"delta":{"content":"abc"},"finish_reason":null}],"usage":null}"#;
        let chunk: ChunkWire<'_> = serde_json::from_str(json).unwrap();
        let choices = chunk.choices.unwrap();
        let content = choices.first.unwrap().delta.unwrap().content.unwrap();
        assert!(matches!(content.0, Cow::Borrowed("abc")));
        assert!(chunk.usage.is_none());
    }

    #[test]
    fn error_forms() {
        for (json, expected) in [
            (r#"{"error":{"message":"m","code":500}}"#, Some("m")),
            (r#"{"error":"m"}"#, Some("m")),
            (r#"{"error":{}}"#, Some("error without a message")),
            (r#"{"error":[1]}"#, Some("error of an unknown form")),
            (r#"{"object":"error","message":"m"}"#, Some("m")),
            (r#"{"error":null,"object":"chat.completion.chunk"}"#, None),
        ] {
            let chunk: ChunkWire<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(chunk.error_text(), expected, "{json}");
        }
    }
}
