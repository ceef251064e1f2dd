//! How a server is asked to count.

use super::CountError;
use crate::clean::Clean;
use serde_json::{Map, Value};
use servelab_load::{
    Endpoint, RequestHeaders,
    bench::{
        body::{Asking, Text},
        fetch::{Question, ask},
    },
};
use servelab_schema::Nanos;
use std::{
    cell::Cell,
    num::{NonZeroU32, NonZeroUsize},
};

/// How long one question may take: some engines read a few thousand tokens for it.
const LIMIT: Nanos = Nanos::from_secs(120);

/// Questions at a time.
const LANES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// Longest refusal that is quoted, in characters.
const QUOTED: usize = 300;

/// The server before a load: what is asked there goes as the load's requests do.
#[derive(Debug)]
pub(crate) struct Door<'a> {
    endpoint: &'a Endpoint,
    headers: &'a RequestHeaders,
    /// The path before an endpoint's own.
    prefix: &'a str,
    asking: &'a Asking,
    clean: &'a Clean,
    sent: Cell<u32>,
}

/// An answer in JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    /// Its text for people.
    pub(super) words: String,
}

impl<'a> Door<'a> {
    pub(crate) const fn new(
        endpoint: &'a Endpoint,
        headers: &'a RequestHeaders,
        prefix: &'a str,
        asking: &'a Asking,
        clean: &'a Clean,
    ) -> Self {
        Self {
            endpoint,
            headers,
            prefix,
            asking,
            clean,
            sent: Cell::new(0),
        }
    }

    pub(crate) const fn asking(&self) -> &Asking {
        self.asking
    }

    /// Requests that the server was sent so far.
    pub(super) const fn sent(&self) -> u32 {
        self.sent.get()
    }

    /// What `path` is called when something is said about it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The members of a load's request that says `text` and asks for so many tokens.
    pub(super) fn members(&self, text: &str, tokens: NonZeroU32) -> Result<Map<String, Value>, CountError> {
        let text = Text::Plain(text.to_owned());
        let body = self.asking.body(&text, tokens).map_err(|e| self.unasked(&e))?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Ok(Map::new()),
            Err(e) => Err(self.unasked(&e)),
        }
    }

    /// A load's request, but with its answer in one piece.
    pub(super) fn whole(&self, text: &str, tokens: NonZeroU32) -> Result<Map<String, Value>, CountError> {
        let mut members = self.members(text, tokens)?;
        members.remove("stream_options");
        if let Some(stream) = members.get_mut("stream") {
            *stream = Value::Bool(false);
        }
        Ok(members)
    }

    /// The answers of 200 to such requests.
    pub(super) fn whole_answers(&self, bodies: Vec<Value>) -> Result<Vec<Answer>, CountError> {
        let path = self.asking.api.path();
        let refused = |answer: &Answer| CountError::Refused {
            url: self.url(path),
            status: answer.status,
            words: answer.words.chars().take(QUOTED).collect(),
        };
        let answers = self.ask(path, bodies)?.into_iter();
        answers
            .map(|answer| {
                if answer.status == 200 {
                    Ok(answer)
                } else {
                    Err(refused(&answer))
                }
            })
            .collect()
    }

    /// Waits for the answer to one such request.
    ///
    /// # Errors
    /// Where it is not answered with 200.
    pub(crate) fn whole_answer(&self, text: &str, tokens: NonZeroU32) -> Result<(), CountError> {
        let body = Value::Object(self.whole(text, tokens)?);
        self.whole_answers(vec![body]).map(drop)
    }

    fn unasked(&self, e: &serde_json::Error) -> CountError {
        CountError::NoAnswer {
            url: self.url(self.asking.api.path()),
            why: e.to_string(),
        }
    }

    /// What `path` answers to each of `bodies`.
    pub(super) fn ask(&self, path: &str, bodies: Vec<Value>) -> Result<Vec<Answer>, CountError> {
        let url = self.url(path);
        let questions: Vec<Question> = bodies
            .into_iter()
            .map(|body| Question::post(url.as_str(), body.to_string()))
            .collect();
        let sent = u32::try_from(questions.len()).unwrap_or(u32::MAX);
        self.sent.set(self.sent.get().saturating_add(sent));
        tracing::debug!(url, requests = sent, "requests beside the load");
        let pages = ask(self.endpoint, self.headers, &questions, LIMIT, LANES)?;
        pages
            .into_iter()
            .map(|page| {
                let page = page.map_err(|e| CountError::NoAnswer {
                    url: url.clone(),
                    why: self.clean.text(&e.to_string()),
                })?;
                Ok(Answer {
                    status: page.status,
                    body: serde_json::from_str(&page.body).unwrap_or(Value::Null),
                    words: self.clean.text(page.body.trim()),
                })
            })
            .collect()
    }
}

/// A number of tokens in an answer.
pub(super) fn tokens(value: Option<&Value>) -> Option<NonZeroU32> {
    let n = value?.as_u64()?;
    u32::try_from(n).ok().and_then(NonZeroU32::new)
}
