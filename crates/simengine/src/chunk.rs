//! The bytes of the engine's answers: each event of a stream as one HTTP chunk, and whole bodies. Rendered by hand from a few
//! prepared pieces, because a stream at time scale 20 needs tens of thousands of them a second.

mod sglang;

use std::fmt::Write as _;

use crate::dialect::Dialect;

/// Which API a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

/// What is the same in every event of one answer.
#[derive(Debug, Clone)]
pub struct Template {
    dialect: Dialect,
    api: Api,
    /// `{"id":…,"object":…,"created":…,"model":…,"choices":[`
    head: String,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    /// Prompt tokens as reported.
    pub prompt_tokens: u32,
    continuous_usage: bool,
    include_usage: bool,
    token_ids: bool,
}

/// How a template is made.
#[derive(Debug, Clone)]
pub struct TemplateSpec {
    /// Whose form.
    pub dialect: Dialect,
    /// Which API.
    pub api: Api,
    /// The answer's id.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's served name.
    pub model: String,
    /// `system_fingerprint`.
    pub fingerprint: String,
    /// Prompt tokens to report.
    pub prompt_tokens: u32,
    /// Usage in every event?
    pub continuous_usage: bool,
    /// A usage event at the end?
    pub include_usage: bool,
    /// Token ids in every event?
    pub token_ids: bool,
}

/// One token event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The text.
    pub text: &'a str,
    /// The ids of its tokens, used where the client asked for them.
    pub ids: &'a [u32],
    /// Tokens generated so far, these included.
    pub completion_tokens: u32,
    /// Where the answer ends: the reason, and the stop string that ended it.
    pub finish: Option<(&'a str, Option<&'a str>)>,
}

/// Appends `text` as the inside of a JSON string.
pub fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    escape(text, &mut out);
    out.push('"');
    out
}

fn ids_json(ids: &[u32]) -> String {
    let list: Vec<String> = ids.iter().map(u32::to_string).collect();
    format!("[{}]", list.join(","))
}

/// Appends `payload` as one HTTP/1.1 chunk.
pub fn push_http_chunk(payload: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:x}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The last HTTP chunk.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The event that ends every clean stream.
pub const DONE: &str = "data: [DONE]\n\n";

impl Template {
    /// Prepares the pieces.
    #[must_use]
    pub fn new(spec: TemplateSpec) -> Self {
        let object = match spec.api {
            Api::Chat => "chat.completion.chunk",
            Api::Completions => "text_completion",
        };
        let model = quoted(&spec.model);
        let head = format!(
            "{{\"id\":{},\"object\":\"{object}\",\"created\":{},\"model\":{model},\"choices\":[",
            quoted(&spec.id),
            spec.created
        );
        Self {
            dialect: spec.dialect,
            api: spec.api,
            head,
            id: quoted(&spec.id),
            created: spec.created,
            model,
            fingerprint: quoted(&spec.fingerprint),
            prompt_tokens: spec.prompt_tokens,
            continuous_usage: spec.continuous_usage,
            include_usage: spec.include_usage,
            token_ids: spec.token_ids,
        }
    }

    fn push_usage(&self, completion_tokens: u32, details: bool, out: &mut String) {
        let prompt = self.prompt_tokens;
        let _ = write!(
            out,
            ",\"usage\":{{\"prompt_tokens\":{prompt},\"total_tokens\":{},\"completion_tokens\":{completion_tokens}",
            prompt + completion_tokens
        );
        out.push_str(if details {
            ",\"completion_tokens_details\":null}"
        } else {
            "}"
        });
    }

    /// The first event of a chat stream: the role, no token.
    #[must_use]
    pub fn role(&self, prompt_ids: &[u32]) -> String {
        if self.dialect == Dialect::Sglang {
            return self.sglang_role();
        }
        let mut out = format!(
            "data: {}{}",
            self.head,
            "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]"
        );
        if self.continuous_usage {
            self.push_usage(0, true, &mut out);
        }
        out.push_str(",\"prompt_token_ids\":");
        out.push_str(&if self.token_ids {
            ids_json(prompt_ids)
        } else {
            "null".to_owned()
        });
        out.push_str(",\"prompt_text\":null}\n\n");
        out
    }

    /// Appends a token event to `out`.
    pub fn token(&self, event: &Event<'_>, out: &mut String) {
        if self.dialect == Dialect::Sglang {
            self.sglang_token(event, out);
            return;
        }
        out.push_str("data: ");
        out.push_str(&self.head);
        out.push_str(match self.api {
            Api::Chat => "{\"index\":0,\"delta\":{\"content\":\"",
            Api::Completions => "{\"index\":0,\"text\":\"",
        });
        escape(event.text, out);
        out.push_str(match self.api {
            Api::Chat => "\"},\"logprobs\":null,\"finish_reason\":",
            Api::Completions => "\",\"logprobs\":null,\"finish_reason\":",
        });
        match event.finish {
            None => out.push_str(match self.api {
                Api::Chat => "null",
                Api::Completions => "null,\"stop_reason\":null",
            }),
            Some((reason, stop)) => {
                let _ = write!(out, "\"{reason}\",\"stop_reason\":");
                out.push_str(&stop.map_or_else(|| "null".to_owned(), quoted));
            }
        }
        if self.api == Api::Completions {
            out.push_str(",\"prompt_token_ids\":null");
        }
        out.push_str(",\"token_ids\":");
        if self.token_ids {
            out.push_str(&ids_json(event.ids));
        } else {
            out.push_str("null");
        }
        out.push_str("}]");
        if self.continuous_usage {
            self.push_usage(event.completion_tokens, self.api == Api::Chat, out);
        }
        if event.finish.is_some() && !self.include_usage {
            out.push_str(",\"system_fingerprint\":");
            out.push_str(&self.fingerprint);
        }
        out.push_str("}\n\n");
    }

    /// The event of its own that ends the choice, in a dialect that has one.
    #[must_use]
    pub fn end(&self, finish: (&str, Option<&str>)) -> Option<String> {
        (self.dialect == Dialect::Sglang && self.api == Api::Chat).then(|| self.sglang_end(finish))
    }

    /// The event that tells of an engine failure in a stream.
    #[must_use]
    pub fn error(&self, message: &str) -> String {
        match self.dialect {
            Dialect::Vllm => error_event(message),
            Dialect::Sglang => format!(
                "data: {{\"error\":{}}}\n\n",
                flat_error(message, "InternalServerError", 500)
            ),
        }
    }

    /// The body of an answer that is an error.
    #[must_use]
    pub fn error_body(&self, message: &str, kind: &str, code: u16) -> String {
        match self.dialect {
            Dialect::Vllm => error_body(message, kind, None, code),
            Dialect::Sglang => flat_error(message, kind, code),
        }
    }

    /// Whose form it has.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Do the headers of a stream come before its first token?
    #[must_use]
    pub fn early_head(&self) -> bool {
        self.dialect == Dialect::Vllm
    }

    /// Is it an answer of the chat API?
    #[must_use]
    pub fn is_chat(&self) -> bool {
        self.api == Api::Chat
    }

    /// Does the client want the usage event?
    #[must_use]
    pub fn wants_usage(&self) -> bool {
        self.include_usage
    }

    /// The usage event: no choices.
    #[must_use]
    pub fn usage(&self, completion_tokens: u32) -> String {
        if self.dialect == Dialect::Sglang {
            return self.sglang_usage_event(completion_tokens);
        }
        let mut out = format!("data: {}]", self.head);
        self.push_usage(completion_tokens, false, &mut out);
        let _ = write!(out, ",\"system_fingerprint\":{}}}\n\n", self.fingerprint);
        out
    }

    /// The body of an answer that is not streamed.
    #[must_use]
    pub fn whole(
        &self,
        text: &str,
        completion_tokens: u32,
        finish: (&str, Option<&str>),
        ids: &[u32],
        prompt_ids: &[u32],
    ) -> String {
        if self.dialect == Dialect::Sglang {
            return self.sglang_whole(text, completion_tokens, finish);
        }
        let (id, created, model) = (&self.id, self.created, &self.model);
        let (reason, stop) = finish;
        let stop = stop.map_or_else(|| "null".to_owned(), quoted);
        let text = quoted(text);
        let total = self.prompt_tokens + completion_tokens;
        let (token_ids, prompt_token_ids) = if self.token_ids {
            (ids_json(ids), ids_json(prompt_ids))
        } else {
            ("null".to_owned(), "null".to_owned())
        };
        let usage = format!(
            "\"service_tier\":null,\"system_fingerprint\":{},\"usage\":{{\"prompt_tokens\":{},\"total_tokens\":{total},\"completion_tokens\":{completion_tokens},\"prompt_tokens_details\":null,\"completion_tokens_details\":null}}",
            self.fingerprint, self.prompt_tokens
        );
        match self.api {
            Api::Chat => format!(
                "{{\"id\":{id},\"object\":\"chat.completion\",\"created\":{created},\"model\":{model},\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{text},\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"reasoning\":null}},\"logprobs\":null,\"finish_reason\":\"{reason}\",\"stop_reason\":{stop},\"token_ids\":{token_ids},\"routed_experts\":null}}],{usage},\"prompt_logprobs\":null,\"prompt_token_ids\":{prompt_token_ids},\"prompt_text\":null,\"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null}}"
            ),
            Api::Completions => format!(
                "{{\"id\":{id},\"object\":\"text_completion\",\"created\":{created},\"model\":{model},\"choices\":[{{\"index\":0,\"text\":{text},\"logprobs\":null,\"finish_reason\":\"{reason}\",\"stop_reason\":{stop},\"token_ids\":{token_ids},\"prompt_logprobs\":null,\"prompt_token_ids\":{prompt_token_ids},\"routed_experts\":null}}],{usage},\"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null}}"
            ),
        }
    }
}

/// vLLM's error body, whose text is JSON itself.
#[must_use]
pub fn error_body(message: &str, kind: &str, param: Option<&str>, code: u16) -> String {
    format!(
        "{{\"error\":{{\"message\":{},\"type\":{},\"param\":{},\"code\":{code}}}}}",
        quoted(message),
        quoted(kind),
        param.map_or_else(|| "null".to_owned(), quoted)
    )
}

/// SGLang's error body: a flat object.
#[must_use]
pub fn flat_error(message: &str, kind: &str, code: u16) -> String {
    format!(
        "{{\"object\":\"error\",\"message\":{},\"type\":{},\"param\":null,\"code\":{code}}}",
        quoted(message),
        quoted(kind)
    )
}

/// The event that vLLM sends into a stream whose engine has died; its JSON has spaces, unlike the rest.
#[must_use]
pub fn error_event(message: &str) -> String {
    format!(
        "data: {{\"error\": {{\"message\": {}, \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}}}\n\n",
        quoted(message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_json() {
        for text in [
            "plain",
            "quo\"te\\",
            "line\nfeed\ttab\r",
            "null\u{0}\u{1f}",
            "ünïcode 🌊",
            "</script>",
        ] {
            assert_eq!(serde_json::from_str::<String>(&quoted(text)).unwrap(), text);
        }
    }

    #[test]
    fn an_http_chunk_counts_bytes() {
        let mut out = Vec::new();
        push_http_chunk("é🌊", &mut out);
        assert_eq!(out, "6\r\né🌊\r\n".as_bytes());
    }
}
