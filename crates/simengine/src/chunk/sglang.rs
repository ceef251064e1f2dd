//! The bytes of SGLang's answers, where they differ: the role without usage, `matched_stop`, and in chats an event of its own for the
//! finish reason. As in its `sse_utils.py`, `serving_chat.py` and `serving_completions.py` of 2026.

use std::fmt::Write as _;

use super::{Api, Event, Template, ids_json, quoted};

fn stop_json(stop: Option<&str>) -> String {
    stop.map_or_else(|| "null".to_owned(), quoted)
}

impl Template {
    fn sglang_usage(&self, completion_tokens: u32) -> String {
        let prompt = self.prompt_tokens;
        format!(
            "{{\"prompt_tokens\":{prompt},\"total_tokens\":{},\"completion_tokens\":{completion_tokens},\"prompt_tokens_details\":null,\"reasoning_tokens\":0}}",
            prompt + completion_tokens
        )
    }

    pub(super) fn sglang_role(&self) -> String {
        format!(
            "data: {}{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"logprobs\":null,\"finish_reason\":null,\"matched_stop\":null}}]}}\n\n",
            self.head
        )
    }

    pub(super) fn sglang_token(&self, event: &Event<'_>, out: &mut String) {
        let text = quoted(event.text);
        let head = &self.head;
        let _ = match self.api {
            Api::Chat => write!(
                out,
                "data: {head}{{\"index\":0,\"delta\":{{\"content\":{text}}},\"logprobs\":null,\"finish_reason\":null,\"matched_stop\":null}}]"
            ),
            Api::Completions => {
                let (reason, stop) = event.finish.map_or_else(
                    || ("null".to_owned(), "null".to_owned()),
                    |(r, s)| (quoted(r), stop_json(s)),
                );
                write!(
                    out,
                    "data: {head}{{\"index\":0,\"text\":{text},\"logprobs\":null,\"finish_reason\":{reason},\"matched_stop\":{stop}"
                )
            }
        };
        if self.api == Api::Completions {
            if self.token_ids {
                let _ = write!(out, ",\"token_ids\":{}", ids_json(event.ids));
            }
            out.push_str("}]");
        }
        if self.continuous_usage {
            let _ = write!(out, ",\"usage\":{}", self.sglang_usage(event.completion_tokens));
        } else if self.api == Api::Completions {
            out.push_str(",\"usage\":null");
        }
        out.push_str("}\n\n");
    }

    pub(super) fn sglang_end(&self, finish: (&str, Option<&str>)) -> String {
        let (reason, stop) = finish;
        format!(
            "data: {}{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"{reason}\",\"matched_stop\":{}}}]}}\n\n",
            self.head,
            stop_json(stop)
        )
    }

    pub(super) fn sglang_usage_event(&self, completion_tokens: u32) -> String {
        let usage = self.sglang_usage(completion_tokens);
        format!("data: {}],\"usage\":{usage}}}\n\n", self.head)
    }

    pub(super) fn sglang_whole(&self, text: &str, completion_tokens: u32, finish: (&str, Option<&str>)) -> String {
        let (id, created, model) = (&self.id, self.created, &self.model);
        let (reason, stop) = finish;
        let (text, stop, usage) = (quoted(text), stop_json(stop), self.sglang_usage(completion_tokens));
        let metadata = "\"metadata\":{\"weight_version\":\"default\"}";
        match self.api {
            Api::Chat => format!(
                "{{\"id\":{id},\"object\":\"chat.completion\",\"created\":{created},\"model\":{model},\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{text},\"reasoning_content\":null,\"tool_calls\":null}},\"logprobs\":null,\"finish_reason\":\"{reason}\",\"matched_stop\":{stop}}}],\"usage\":{usage},{metadata}}}"
            ),
            Api::Completions => format!(
                "{{\"id\":{id},\"object\":\"text_completion\",\"created\":{created},\"model\":{model},\"choices\":[{{\"index\":0,\"text\":{text},\"logprobs\":null,\"finish_reason\":\"{reason}\",\"matched_stop\":{stop}}}],\"usage\":{usage},{metadata}}}"
            ),
        }
    }
}
