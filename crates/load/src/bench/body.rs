//! The JSON bodies of every endpoint: the one place where they are made, by what the server takes.

pub use super::extra::ExtraBody;
use crate::{
    request::PreparedRequest,
    stream::{AnswerForm, Expectation},
};
use bytes::Bytes;
use serde::Serialize;
use servelab_schema::{Capabilities, Message, OutputPolicy, Prompt, PromptId, Role, Stop, StreamOptions, TokenLimit};
use std::{borrow::Cow, num::NonZeroU32};

/// Which endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/responses`.
    Responses,
    /// `/v1/embeddings`, which streams nothing.
    Embeddings,
}

impl Api {
    /// Every endpoint.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Completions, Self::Responses, Self::Embeddings];

    /// Its path under the server's base URL.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
        }
    }

    /// What its answers are made of.
    #[must_use]
    pub const fn form(self) -> AnswerForm {
        match self {
            Self::Chat | Self::Completions => AnswerForm::Chunks,
            Self::Responses => AnswerForm::Responses,
            Self::Embeddings => AnswerForm::Whole,
        }
    }

    /// True where it takes messages with roles.
    #[must_use]
    pub const fn takes_messages(self) -> bool {
        matches!(self, Self::Chat | Self::Responses)
    }
}

/// What every request of a load asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// The endpoint.
    pub api: Api,
    /// The served model's name.
    pub model: String,
    /// When to stop, temperature and seed.
    pub output: OutputPolicy,
    /// What the server takes.
    pub capabilities: Capabilities,
    /// What the user adds.
    pub extra: ExtraBody,
}

/// What one prompt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// A conversation; an endpoint without messages is given its texts, one paragraph each.
    Messages(Vec<Message>),
    /// Plain text; an endpoint of messages is given it as the user's.
    Plain(String),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Messages(Cow<'a, [Message]>),
    Plain(Cow<'a, str>),
}

#[derive(Default, Serialize)]
struct BodyWire<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Input<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Input<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Input<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_eos: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<OptionsWire>,
}

#[derive(Serialize)]
struct OptionsWire {
    include_usage: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continuous_usage_stats: bool,
}

/// The system's texts begin the first message of the user.
fn merged(messages: &[Message]) -> Vec<Message> {
    let (system, mut others): (Vec<_>, Vec<_>) = messages.iter().cloned().partition(|m| m.role == Role::System);
    let mut text: Vec<String> = system.into_iter().map(|m| m.content).collect();
    match others.iter_mut().find(|m| m.role == Role::User) {
        Some(user) => {
            text.push(std::mem::take(&mut user.content));
            user.content = text.join("\n\n");
        }
        None if !text.is_empty() => {
            let content = text.join("\n\n");
            others.insert(
                0,
                Message {
                    role: Role::User,
                    content,
                },
            );
        }
        None => {}
    }
    others
}

fn has_system(messages: &[Message]) -> bool {
    messages.iter().any(|m| m.role == Role::System)
}

impl Asking {
    /// Of `/v1/chat/completions` of an engine that takes everything.
    #[must_use]
    pub fn chat(model: &str, output: OutputPolicy) -> Self {
        Self {
            api: Api::Chat,
            model: model.to_owned(),
            output,
            capabilities: Capabilities::FULL,
            extra: ExtraBody::default(),
        }
    }

    /// True where the text is sent otherwise than it was packed, so that a count made beforehand does not hold.
    fn changes(&self, text: &Text) -> bool {
        let merges = match text {
            Text::Messages(messages) => !self.capabilities.system_role.is_sent() && has_system(messages),
            Text::Plain(_) => false,
        };
        merges || self.extra.changes_prompts()
    }

    fn messages<'a>(&self, text: &'a Text) -> Cow<'a, [Message]> {
        match text {
            Text::Messages(messages) if !self.capabilities.system_role.is_sent() && has_system(messages) => {
                Cow::Owned(merged(messages))
            }
            Text::Messages(messages) => Cow::Borrowed(messages),
            Text::Plain(text) => Cow::Owned(vec![Message {
                role: Role::User,
                content: text.clone(),
            }]),
        }
    }

    /// The body of one request. `max_tokens` bounds an answer that is generated.
    ///
    /// # Errors
    /// A serialisation error, which only a non-finite temperature could cause.
    pub fn body(&self, text: &Text, max_tokens: NonZeroU32) -> Result<Bytes, serde_json::Error> {
        let takes = &self.capabilities;
        let messages = || Some(Input::Messages(self.messages(text)));
        let plain = || {
            Some(Input::Plain(match text {
                Text::Plain(text) => Cow::Borrowed(text.as_str()),
                Text::Messages(messages) => {
                    let paragraphs: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
                    Cow::Owned(paragraphs.join("\n\n"))
                }
            }))
        };
        let mut wire = BodyWire {
            model: &self.model,
            ..BodyWire::default()
        };
        match self.api {
            Api::Chat => wire.messages = messages(),
            Api::Completions => wire.prompt = plain(),
            Api::Responses => wire.input = messages(),
            Api::Embeddings => wire.input = plain(),
        }
        if self.api != Api::Embeddings {
            let limit = |field| (takes.token_limit == field).then_some(max_tokens);
            wire.max_tokens = limit(TokenLimit::MaxTokens);
            wire.max_completion_tokens = limit(TokenLimit::MaxCompletionTokens);
            wire.max_output_tokens = limit(TokenLimit::MaxOutputTokens);
            wire.temperature = takes.temperature.is_sent().then_some(self.output.temperature.get());
            wire.seed = takes.seed.is_sent().then_some(self.output.seed);
            wire.ignore_eos = self.output.stop == Stop::Fixed && takes.ignore_eos.is_sent();
            wire.stream = true;
            wire.stream_options = match takes.stream_options {
                StreamOptions::None => None,
                asked => Some(OptionsWire {
                    include_usage: true,
                    continuous_usage_stats: asked == StreamOptions::Continuous,
                }),
            };
        }
        if self.extra.is_empty() {
            return serde_json::to_vec(&wire).map(Bytes::from);
        }
        let mut body = serde_json::to_value(&wire)?;
        self.extra.merge_into(&mut body);
        serde_json::to_vec(&body).map(Bytes::from)
    }

    /// What must hold of an answer, of whose prompt the engine must count `prompt_tokens`, where that is known.
    fn expect(&self, prompt_tokens: Option<NonZeroU32>, max_tokens: NonZeroU32) -> Expectation {
        let takes = &self.capabilities;
        let fixed = self.output.stop == Stop::Fixed
            && takes.ignore_eos.has_effect()
            && takes.token_limit != TokenLimit::None
            && self.api != Api::Embeddings;
        Expectation {
            prompt_tokens,
            completion_tokens: fixed.then_some(max_tokens),
            form: self.api.form(),
            usage: takes.usage,
            end: takes.stream_end,
        }
    }

    /// One request, ready to be sent. `prompt_tokens` is what the engine must count, where that is known.
    ///
    /// # Errors
    /// As [`body`](Self::body).
    pub fn request(
        &self,
        id: PromptId,
        text: &Text,
        max_tokens: NonZeroU32,
        prompt_tokens: Option<NonZeroU32>,
    ) -> Result<PreparedRequest, serde_json::Error> {
        Ok(PreparedRequest {
            prompt_id: id,
            body: self.body(text, max_tokens)?,
            expect: self.expect(prompt_tokens.filter(|_| !self.changes(text)), max_tokens),
        })
    }

    /// The request for a packed prompt.
    ///
    /// # Errors
    /// As [`body`](Self::body).
    pub fn packed(&self, prompt: &Prompt) -> Result<PreparedRequest, serde_json::Error> {
        let text = Text::Messages(prompt.messages.clone());
        self.request(
            prompt.id.clone(),
            &text,
            prompt.max_new_tokens,
            Some(prompt.prompt_tokens),
        )
    }
}

#[cfg(test)]
mod tests;
