//! A server's stream: a file of named events in which `{{…}}` stands for what differs from answer to answer.
//!
//! A section begins with `=== NAME` and holds whole events. In order: `role` once, `think` for the first half of the tokens
//! where there is one, `token` for the others, `finish`, `usage`, `done`; `first` in place of the first of them, `last` in place
//! of the last `token` and `finish` where the last token and the reason come together. A section that is not there is not sent. `NAME with FIELD` is taken in
//! place of `NAME` where `stream_options.FIELD` is true in the request; the last such section of the file wins.

use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// The sections of one file.
#[derive(Debug, Clone)]
pub(crate) struct Stream(BTreeMap<String, Vec<Section>>);

#[derive(Debug, Clone)]
struct Section {
    with: Option<String>,
    text: String,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answering<'a> {
    /// The request.
    pub(crate) body: &'a Value,
    /// The served model.
    pub(crate) model: &'a str,
    /// Tokens of the prompt.
    pub(crate) prompt: u32,
    /// Tokens of the answer.
    pub(crate) tokens: u32,
    /// True where the bound ended it.
    pub(crate) is_bounded: bool,
}

impl Stream {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut sections: BTreeMap<String, Vec<Section>> = BTreeMap::new();
        for part in format!("\n{text}").split("\n=== ").skip(1) {
            let (head, text) = part.split_once('\n').unwrap();
            let (name, with) = match head.split_once(" with ") {
                Some((name, with)) => (name, Some(with.to_owned())),
                None => (head, None),
            };
            let text = format!("{}\n\n", text.trim_matches('\n'));
            let section = Section { with, text };
            sections.entry(name.trim().to_owned()).or_default().push(section);
        }
        Self(sections)
    }

    fn section(&self, name: &str, body: &Value) -> Option<&str> {
        let option = |field: &str| body.pointer(&format!("/stream_options/{field}")) == Some(&Value::Bool(true));
        let fits = |s: &&Section| s.with.as_deref().is_none_or(option);
        let sections = self.0.get(name)?;
        sections.iter().rev().find(fits).map(|s| s.text.as_str())
    }

    /// Every event of an answer, in order.
    pub(crate) fn events(&self, answering: Answering<'_>) -> Vec<String> {
        let Answering { body, tokens, .. } = answering;
        let mut events = Vec::new();
        let mut say = |name: &str, n: u32| {
            let text = self.section(name, body)?;
            events.push(filled(text, answering, n));
            Some(())
        };
        say("role", 0);
        let has = |name| self.section(name, body).is_some();
        let (has_first, has_last) = (has("first"), has("last"));
        let thoughts = if has("think") { tokens / 2 } else { 0 };
        for n in 1..=tokens {
            let name = match n {
                1 if has_first => "first",
                n if n <= thoughts => "think",
                n if n == tokens && has_last => "last",
                _ => "token",
            };
            say(name, n);
        }
        for name in ["finish", "usage", "done"] {
            say(name, tokens);
        }
        events
    }
}

/// The words of a model that has not much to say.
pub(crate) fn word(n: u32) -> String {
    format!(" word{n}")
}

fn filled(text: &str, answering: Answering<'_>, n: u32) -> String {
    let Answering {
        prompt,
        model,
        is_bounded,
        ..
    } = answering;
    let (text, finish) = finish_of(text, is_bounded);
    text.replace("{{text}}", &word(n))
        .replace("{{model}}", model)
        .replace("{{finish}}", finish)
        .replace("{{prompt}}", &prompt.to_string())
        .replace("{{total}}", &(prompt + n).to_string())
        .replace("{{n}}", &n.to_string())
        .replace("{{before}}", &n.saturating_sub(1).to_string())
}

/// Why the answer ended: `length`, or where the model ended it the word behind `{{finish:` and else `stop`; and the text with a
/// plain `{{finish}}`.
fn finish_of(text: &str, is_bounded: bool) -> (String, &str) {
    let own = text
        .split_once("{{finish:")
        .and_then(|(_, rest)| Some(rest.split_once("}}")?.0));
    let plain = own.map_or_else(
        || text.to_owned(),
        |own| text.replace(&format!("{{{{finish:{own}}}}}"), "{{finish}}"),
    );
    (plain, if is_bounded { "length" } else { own.unwrap_or("stop") })
}

/// How many tokens the scripted tokenizer makes of a text: one a word.
pub(crate) fn count(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap()
}

/// How many tokens the prompt of a request has: its words, and three for each message that a chat template wraps.
pub(crate) fn prompt_tokens(body: &Value) -> u32 {
    let text = |value: &Value| count(value.as_str().unwrap_or_default());
    match body.get("messages").and_then(Value::as_array) {
        Some(messages) => messages.iter().map(|m| text(&m["content"]) + 3).sum(),
        None => ["prompt", "input", "inputs", "content", "text"]
            .iter()
            .find_map(|name| body.get(name))
            .map_or(0, text),
    }
}
