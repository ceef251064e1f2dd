//! The JSON bodies of both endpoints.

use crate::{
    request::{BodyParams, PreparedRequest, request_body},
    stream::Expectation,
};
use bytes::Bytes;
use serde::Serialize;
use servelab_schema::{Message, OutputPolicy, PromptId, Stop};
use std::num::NonZeroU32;

/// Which endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

impl Api {
    /// Its path under the server's base URL.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
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
}

/// What one prompt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// A conversation; the completions endpoint is given its texts, one paragraph each.
    Messages(Vec<Message>),
    /// Plain text; the chat endpoint is given it as the user's message.
    Plain(String),
}

#[derive(Serialize)]
struct CompletionsWire<'a> {
    model: &'a str,
    prompt: &'a str,
    max_tokens: NonZeroU32,
    temperature: f64,
    seed: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_eos: bool,
    stream: bool,
    stream_options: OptionsWire,
}

#[derive(Serialize)]
struct OptionsWire {
    include_usage: bool,
    continuous_usage_stats: bool,
}

impl Asking {
    /// The body of one request.
    ///
    /// # Errors
    /// A serialisation error, which only a non-finite temperature could cause.
    pub fn body(&self, text: &Text, max_tokens: NonZeroU32) -> Result<Bytes, serde_json::Error> {
        match (self.api, text) {
            (Api::Chat, Text::Messages(messages)) => self.chat(messages, max_tokens),
            (Api::Chat, Text::Plain(text)) => {
                let user = Message {
                    role: servelab_schema::Role::User,
                    content: text.clone(),
                };
                self.chat(&[user], max_tokens)
            }
            (Api::Completions, Text::Plain(text)) => self.completion(text, max_tokens),
            (Api::Completions, Text::Messages(messages)) => {
                let paragraphs: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
                self.completion(&paragraphs.join("\n\n"), max_tokens)
            }
        }
    }

    fn chat(&self, messages: &[Message], max_tokens: NonZeroU32) -> Result<Bytes, serde_json::Error> {
        request_body(&BodyParams {
            model: &self.model,
            messages,
            max_tokens,
            output: self.output,
            continuous_usage: true,
        })
    }

    fn completion(&self, prompt: &str, max_tokens: NonZeroU32) -> Result<Bytes, serde_json::Error> {
        let wire = CompletionsWire {
            model: &self.model,
            prompt,
            max_tokens,
            temperature: self.output.temperature.get(),
            seed: self.output.seed,
            ignore_eos: self.output.stop == Stop::Fixed,
            stream: true,
            stream_options: OptionsWire {
                include_usage: true,
                continuous_usage_stats: true,
            },
        };
        serde_json::to_vec(&wire).map(Bytes::from)
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
            expect: Expectation {
                prompt_tokens,
                completion_tokens: (self.output.stop == Stop::Fixed).then_some(max_tokens),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{Ratio, Role};

    fn body(api: Api, stop: Stop, text: &Text) -> String {
        let asking = Asking {
            api,
            model: "m".to_owned(),
            output: OutputPolicy {
                stop,
                temperature: Ratio::new(0.0).unwrap(),
                seed: 7,
                keep_text: false,
            },
        };
        let body = asking.body(text, NonZeroU32::new(8).unwrap()).unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn both_endpoints_take_both_texts() {
        let plain = Text::Plain("Say \"é\".".to_owned());
        let message = |role, content: &str| Message {
            role,
            content: content.to_owned(),
        };
        let messages = Text::Messages(vec![message(Role::System, "a"), message(Role::User, "b")]);
        let options = r#""stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#;
        assert_eq!(
            body(Api::Completions, Stop::Natural, &plain),
            format!(r#"{{"model":"m","prompt":"Say \"é\".","max_tokens":8,"temperature":0.0,"seed":7,{options}"#)
        );
        assert!(body(Api::Completions, Stop::Fixed, &messages).contains(r#""prompt":"a\n\nb""#));
        assert!(body(Api::Completions, Stop::Fixed, &messages).contains(r#""ignore_eos":true"#));
        assert!(body(Api::Chat, Stop::Natural, &plain).contains(r#"[{"role":"user","content":"Say \"é\"."}]"#));
        assert!(body(Api::Chat, Stop::Fixed, &messages).contains(r#"[{"role":"system","content":"a"},{"role":"user""#));
    }
}
