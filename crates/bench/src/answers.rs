//! Tokens of answers that the server does not count: counted from their texts, once no request is in flight any more, by the
//! tokenizer that was given, else by the server's own `/tokenize`.
//!
//! Form of `/tokenize`: vLLM and SGLang are asked with `prompt` and answer with a `count`, llama.cpp is asked with `content`
//! and answers with `tokens`, TGI with `inputs` and a list; one body has all, and each passes over what it does not know.
//!
//! Trap: what ends an answer is a token too, which servers count and no text shows; so an answer that the model ended has one
//! token fewer here than in a `usage`.

use crate::{BenchError, looked::Looked};
use serde_json::{Value, json};
use servelab_chat::ChatTokenizer;
use servelab_load::{
    Endpoint, RequestHeaders,
    bench::fetch::{Question, ask},
    negotiate::TOKENS,
};
use servelab_schema::{Nanos, Outcome, TokenCounts, TokenSource, Trace};
use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
};

/// How long the server may take to count one answer.
const LIMIT: Nanos = Nanos::from_secs(30);

/// Answers that the server is asked to count side by side.
const LANES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// Tokens that a text may have beyond those that it was generated in: where it was cut, its last word is written otherwise.
const CUT: u32 = 2;

/// The server's own page.
struct Tokenize {
    endpoint: Endpoint,
    headers: RequestHeaders,
    path: String,
    model: String,
    /// Tokens that it adds to every text.
    added: u32,
}

/// Who counts.
enum By {
    Tokenizer(Box<ChatTokenizer>),
    Server(Box<Tokenize>),
}

/// Counts answers.
pub(crate) struct AnswerCounter(By);

impl fmt::Debug for AnswerCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnswerCounter").field(&self.source()).finish()
    }
}

impl Tokenize {
    fn counts(&self, texts: &[&str]) -> Result<Vec<Option<u32>>, BenchError> {
        let question = |text: &&str| {
            let body = json!({"model": self.model, "prompt": text, "content": text, "inputs": text,
                "add_special_tokens": false});
            Question::post(self.path.as_str(), body.to_string())
        };
        let questions: Vec<Question> = texts.iter().map(question).collect();
        let pages = ask(&self.endpoint, &self.headers, &questions, LIMIT, LANES)?;
        let count = |page: &Value| {
            let counted = page.get("count").and_then(Value::as_u64);
            let listed = || {
                let tokens = page.get("tokens").unwrap_or(page).as_array()?;
                Some(u64::try_from(tokens.len()).unwrap_or(u64::MAX))
            };
            u32::try_from(counted.or_else(listed)?).ok()
        };
        let pages = pages.iter().map(|page| page.as_ref().ok().filter(|p| p.status == 200));
        Ok(pages
            .map(|page| count(&serde_json::from_str(&page?.body).ok()?))
            .collect())
    }
}

impl AnswerCounter {
    /// By the tokenizer of this folder.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub(crate) fn load(dir: &Path) -> Result<Self, BenchError> {
        Ok(Self(By::Tokenizer(Box::new(ChatTokenizer::load(dir)?))))
    }

    /// By the server; none where it has no such page, or one that counts more than [`TOKENS`] in an answer that this limit ended.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub(crate) fn of_server(looked: &Looked<'_>) -> Result<Option<Self>, BenchError> {
        let page = Tokenize {
            endpoint: looked.endpoint.clone(),
            headers: looked.sent.headers.clone(),
            path: format!("{}/tokenize", looked.bench.url.prefix()),
            model: looked.server.model.clone(),
            added: 0,
        };
        Self::of_page(page, looked.negotiated.bounded_answer.as_deref())
    }

    fn of_page(mut page: Tokenize, bounded: Option<&str>) -> Result<Option<Self>, BenchError> {
        let counts = page.counts(&["one two three", "", bounded.unwrap_or_default()])?;
        let &[Some(words), nothing, answer] = counts.as_slice() else {
            return Ok(None);
        };
        page.added = nothing.unwrap_or(0);
        let own = |n: Option<u32>| n.unwrap_or(0).saturating_sub(page.added);
        let is_plausible = words > page.added && own(answer) <= TOKENS.get().saturating_add(CUT);
        Ok(is_plausible.then(|| Self(By::Server(Box::new(page)))))
    }

    /// Who counts.
    pub(crate) const fn source(&self) -> TokenSource {
        match self.0 {
            By::Tokenizer(_) => TokenSource::Tokenizer,
            By::Server(_) => TokenSource::ServerTokenize,
        }
    }

    fn counts(&self, texts: &[&str]) -> Result<Vec<Option<NonZeroU32>>, BenchError> {
        match &self.0 {
            By::Tokenizer(chat) => {
                let count = |text: &&str| {
                    let tokens = chat.encode_ids(text)?.len();
                    Ok(u32::try_from(tokens).ok().and_then(NonZeroU32::new))
                };
                texts.iter().map(count).collect()
            }
            By::Server(page) => {
                let counts = page.counts(texts)?.into_iter();
                Ok(counts.map(|n| NonZeroU32::new(n?.saturating_sub(page.added))).collect())
            }
        }
    }

    /// The traces with their answers' tokens counted; failures, and answers of which no text is known, as they are.
    ///
    /// # Errors
    /// Where the tokenizer fails, or the server cannot be asked.
    pub(crate) fn counted(&self, traces: Vec<Trace>, texts: &[Option<String>]) -> Result<Vec<Trace>, BenchError> {
        let known: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
        let mut counts = self.counts(&known)?.into_iter();
        let count = |(trace, text): (Trace, &Option<String>)| {
            let count = text.as_ref().and_then(|_| counts.next()?);
            let (Outcome::Completed(completion), Some(_)) = (&trace.outcome, count) else {
                return trace;
            };
            let counts = TokenCounts {
                prompt: trace.expected_prompt_tokens,
                completion: count,
                source: self.source(),
            };
            Trace {
                outcome: Outcome::Completed(completion.clone().counted(counts)),
                ..trace
            }
        };
        Ok(traces.into_iter().zip(texts).map(count).collect())
    }
}

#[cfg(test)]
mod tests;
