//! Counting by the server's own `/tokenize`, as the servers that have one call it.
//!
//! vLLM takes the members of a request (`messages` and `add_generation_prompt`, or `prompt`) and answers `count`; SGLang the
//! same with `prompt`. llama.cpp takes `content` and answers `tokens`, and renders messages at `/apply-template` first. TGI takes
//! `inputs` and answers a list, and messages at `/chat_tokenize`, whose list is `tokenize_response`.

use super::{
    CountError, CountedBy, Counter,
    choose::SHORT,
    door::{Answer, Door, tokens},
};
use serde_json::{Map, Value, json};
use servelab_load::bench::body::Api;
use std::num::NonZeroU32;

const TOKENIZE: &str = "/tokenize";
const APPLY_TEMPLATE: &str = "/apply-template";
const CHAT_TOKENIZE: &str = "/chat_tokenize";

/// What has more tokens than [`SHORT`]: a page that says one number of everything counts nothing.
const LONGER: &str = "One two three four five six seven eight.";

/// Members of a request that `/tokenize` wants as well: what decides the text that the model is given.
const DECIDING: [&str; 5] = ["model", "messages", "prompt", "chat_template", "chat_template_kwargs"];

/// Whose way of asking the server understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Vllm,
    LlamaCpp,
    Tgi,
}

/// The server's page that counts.
#[derive(Debug)]
pub(super) struct Tokenize<'a> {
    door: &'a Door<'a>,
    form: Form,
}

impl<'a> Tokenize<'a> {
    /// Finds out which form the server understands; none where it has no such page.
    ///
    /// # Errors
    /// Where nothing can be asked at all.
    pub(super) fn find(door: &'a Door<'a>) -> Result<Option<Self>, CountError> {
        // These pages know nothing of what the other endpoints make of their `input`.
        if !matches!(door.asking().api, Api::Chat | Api::Completions) {
            return Ok(None);
        }
        for form in [Form::Vllm, Form::LlamaCpp, Form::Tgi] {
            let found = Self { door, form };
            let counts = match found.given(&[SHORT.to_owned(), LONGER.to_owned()]) {
                Ok(counts) => counts,
                // Some servers say nothing to a path that they do not know.
                Err(CountError::NoAnswer { .. }) => continue,
                Err(e) => return Err(e),
            };
            if let [Some(short), Some(longer)] = counts.as_slice() {
                return Ok((longer > short).then_some(found));
            }
        }
        Ok(None)
    }

    fn deciding(&self, text: &str) -> Result<Map<String, Value>, CountError> {
        let members = self.door.members(text, NonZeroU32::MIN)?;
        Ok(members
            .into_iter()
            .filter(|(key, _)| DECIDING.contains(&key.as_str()))
            .collect())
    }

    /// What the page says of each text; none where it says no number.
    fn given(&self, texts: &[String]) -> Result<Vec<Option<NonZeroU32>>, CountError> {
        match self.form {
            Form::Vllm => self.vllm(texts),
            Form::LlamaCpp => self.llama_cpp(texts),
            Form::Tgi => self.tgi(texts),
        }
    }

    fn vllm(&self, texts: &[String]) -> Result<Vec<Option<NonZeroU32>>, CountError> {
        let body = |text: &String| {
            let mut members = self.deciding(text)?;
            if members.contains_key("messages") {
                members.insert("add_generation_prompt".to_owned(), json!(true));
            }
            Ok(Value::Object(members))
        };
        let bodies = texts.iter().map(body).collect::<Result<_, CountError>>()?;
        let answers = self.door.ask(TOKENIZE, bodies)?;
        Ok(answers.iter().map(|a| tokens(good(a)?.get("count"))).collect())
    }

    fn llama_cpp(&self, texts: &[String]) -> Result<Vec<Option<NonZeroU32>>, CountError> {
        let prompts: Vec<Option<String>> = match self.door.asking().api {
            Api::Chat => {
                let bodies = texts.iter().map(|t| self.deciding(t).map(Value::Object));
                let answers = self.door.ask(APPLY_TEMPLATE, bodies.collect::<Result<_, _>>()?)?;
                let prompt = |a: &Answer| Some(good(a)?.get("prompt")?.as_str()?.to_owned());
                answers.iter().map(prompt).collect()
            }
            _ => texts.iter().cloned().map(Some).collect(),
        };
        let Some(prompts) = prompts.into_iter().collect::<Option<Vec<String>>>() else {
            return Ok(vec![None; texts.len()]);
        };
        let body = |prompt| json!({"content": prompt, "add_special": true, "parse_special": true});
        let answers = self.door.ask(TOKENIZE, prompts.iter().map(body).collect())?;
        Ok(answers.iter().map(|a| listed(good(a)?.get("tokens"))).collect())
    }

    fn tgi(&self, texts: &[String]) -> Result<Vec<Option<NonZeroU32>>, CountError> {
        match self.door.asking().api {
            Api::Chat => {
                let bodies = texts.iter().map(|t| self.deciding(t).map(Value::Object));
                let answers = self.door.ask(CHAT_TOKENIZE, bodies.collect::<Result<_, _>>()?)?;
                Ok(answers
                    .iter()
                    .map(|a| listed(good(a)?.get("tokenize_response")))
                    .collect())
            }
            _ => {
                let bodies = texts.iter().map(|text| json!({"inputs": text}));
                let answers = self.door.ask(TOKENIZE, bodies.collect())?;
                Ok(answers.iter().map(|a| listed(good(a))).collect())
            }
        }
    }
}

/// How many tokens a list has.
fn listed(tokens: Option<&Value>) -> Option<NonZeroU32> {
    let tokens = tokens?.as_array()?.len();
    u32::try_from(tokens).ok().and_then(NonZeroU32::new)
}

/// The body of a good answer.
fn good(answer: &Answer) -> Option<&Value> {
    (answer.status == 200).then_some(&answer.body)
}

impl Counter for Tokenize<'_> {
    fn count(&self, texts: &[String]) -> Result<Vec<NonZeroU32>, CountError> {
        let url = || self.door.url(TOKENIZE);
        let counts = self.given(texts)?.into_iter();
        counts
            .map(|n| n.ok_or_else(|| CountError::NoCount { url: url() }))
            .collect()
    }

    fn by(&self) -> CountedBy {
        CountedBy::ServerTokenize
    }

    fn requests(&self) -> u32 {
        self.door.sent()
    }
}
