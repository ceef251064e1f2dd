//! What is asked next, and what the server is. Pure.

use super::{
    TOKENS,
    error::NegotiateError,
    names::{Suspect, is_unknown_model, named},
    seen::{Seen, StreamSeen},
};
use crate::{bench::body::Api, stream::AnswerForm};
use servelab_schema::{Capabilities, ConnectionUse, Member, StreamEnd, StreamOptions, TokenLimit, UsageReport};

/// Chunks with text after which an answer of [`TOKENS`] tokens has run on: a chunk has at least one token, and some of the
/// server's own may come on top.
const MOST_TEXTS: u32 = 24;

/// The same where no limit has an effect and the model has to end the answer.
const MOST_UNLIMITED: u32 = 2000;

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Ask for eight tokens.
    Ask {
        capabilities: Capabilities,
        most_texts: u32,
    },
    /// Ask for one token on the connection of the answer before.
    AskAgain { capabilities: Capabilities },
    /// Nothing: this is the server.
    Settled { capabilities: Capabilities },
}

/// How far the search is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Something is left out until it is taken.
    Taking,
    /// Everything was taken but what was left out by guess: is it enough to leave out the last of it?
    Restoring {
        fallback: Capabilities,
    },
    /// An answer shows what the server is; whether it keeps connections is open.
    Answered,
    Settled,
}

/// The search.
#[derive(Debug)]
pub(super) struct Negotiation {
    api: Api,
    model: String,
    now: Capabilities,
    phase: Phase,
    /// What was asked for before each guess.
    guessed: Vec<Capabilities>,
    last_guess: Option<Suspect>,
    /// `fallback` has been tried, so nothing is restored again.
    restored: bool,
    bounded_answer: Option<String>,
}

impl Negotiation {
    pub(super) fn new(api: Api, model: &str, wanted: Capabilities) -> Self {
        Self {
            api,
            model: model.to_owned(),
            now: wanted,
            phase: Phase::Taking,
            guessed: Vec::new(),
            last_guess: None,
            restored: false,
            bounded_answer: None,
        }
    }

    /// The answer that the limit of [`TOKENS`] ended; none where another end came.
    pub(super) fn bounded_answer(self) -> Option<String> {
        self.bounded_answer
    }

    pub(super) fn next(&self) -> Next {
        let capabilities = self.now;
        match self.phase {
            Phase::Taking | Phase::Restoring { .. } => Next::Ask {
                capabilities,
                most_texts: if capabilities.token_limit == TokenLimit::None {
                    MOST_UNLIMITED
                } else {
                    MOST_TEXTS
                },
            },
            Phase::Answered => Next::AskAgain { capabilities },
            Phase::Settled => Next::Settled { capabilities },
        }
    }

    /// Whether the server answered a second request on the same connection.
    pub(super) const fn kept(&mut self, kept: bool) {
        self.now.connections = if kept {
            ConnectionUse::Kept
        } else {
            ConnectionUse::Closed
        };
        self.phase = Phase::Settled;
    }

    /// What came of the request that [`next`](Self::next) asked for.
    ///
    /// # Errors
    /// [`NegotiateError`] where no request would do.
    pub(super) fn answered(&mut self, seen: &Seen) -> Result<(), NegotiateError> {
        if seen.status == 200 {
            match (&seen.stream, self.api.form()) {
                (Some(stream), AnswerForm::Chunks | AnswerForm::Responses) => match &stream.error {
                    Some(words) => self.refused(seen, words.as_bytes(), words),
                    None => self.streamed(seen, stream),
                },
                (None, AnswerForm::Whole) => self.whole(seen),
                _ => Err(self.no_answer(seen)),
            }
        } else {
            self.refused(seen, &seen.body, &seen.words())
        }
    }

    /// It refused: what its words name is left out, else the next suspect.
    fn refused(&mut self, seen: &Seen, body: &[u8], words: &str) -> Result<(), NegotiateError> {
        if let Phase::Restoring { fallback } = self.phase {
            // All of it has to be left out after all.
            (self.now, self.phase) = (fallback, Phase::Taking);
            return Ok(());
        }
        if let Some(error) = self.hopeless(seen, body, words) {
            return Err(error);
        }
        let mut found = false;
        for suspect in named(body, words) {
            found |= suspect.leave_out(&mut self.now);
        }
        if found {
            return Ok(());
        }
        // llama.cpp answers 500 to what its chat template refuses, such as a system message: only by name is it a refusal.
        if matches!(seen.status, 200 | 500..=599) {
            return Err(self.failed(seen, words));
        }
        let before = self.now;
        // A limit of tokens is refused by name: leaving it out by guess would cost every answer its length.
        let by_guess = |s: &Suspect| *s != Suspect::TokenLimit || before.token_limit == TokenLimit::MaxTokens;
        let mut without = before;
        let next = Suspect::ALL
            .into_iter()
            .filter(by_guess)
            .find(|s| s.leave_out(&mut without));
        let Some(next) = next else {
            return Err(NegotiateError::Refused {
                status: seen.status,
                said: words.to_owned(),
            });
        };
        self.now = without;
        self.guessed.push(before);
        self.last_guess = Some(next);
        Ok(())
    }

    /// What no other request would change.
    fn hopeless(&self, seen: &Seen, body: &[u8], words: &str) -> Option<NegotiateError> {
        let (status, said) = (seen.status, words.to_owned());
        let model = self.model.clone();
        if seen.content_type == "text/html" && !matches!(status, 401 | 403 | 407) {
            return Some(web_page(seen));
        }
        match status {
            401 | 403 => Some(NegotiateError::Unauthorized { status, said }),
            300..=399 => Some(NegotiateError::Redirect { status }),
            429 => Some(NegotiateError::RateLimited { said }),
            400..=499 if is_unknown_model(body, words, &self.model) => {
                Some(NegotiateError::UnknownModel { model, said })
            }
            404 | 405 => Some(NegotiateError::NoEndpoint { status, said }),
            407 => Some(NegotiateError::Proxy { said }),
            502..=504 => Some(NegotiateError::ServerFailed { status, said }),
            _ => None,
        }
    }

    fn failed(&self, seen: &Seen, words: &str) -> NegotiateError {
        NegotiateError::ServerFailed {
            status: seen.status,
            said: words.to_owned(),
        }
    }

    /// 200 and neither a stream nor the document that was asked for.
    fn no_answer(&self, seen: &Seen) -> NegotiateError {
        if seen.content_type == "text/html" {
            return web_page(seen);
        }
        match crate::stream::error_text::error_message(&seen.body) {
            Some(words) => self.failed(seen, &words),
            None if seen.is_encoded => NegotiateError::NotStreamed {
                content_type: format!("{}, compressed, which was not asked for", seen.content_type),
            },
            None => NegotiateError::NotStreamed {
                content_type: seen.content_type.clone(),
            },
        }
    }

    fn whole(&mut self, seen: &Seen) -> Result<(), NegotiateError> {
        if seen.content_type != "application/json" || !seen.clean {
            return Err(self.no_answer(seen));
        }
        // A body that is longer than what is kept here has its counts at its end, which is not looked for.
        self.connection(seen);
        Ok(())
    }

    /// An answer came: what of the request had its effect.
    fn streamed(&mut self, seen: &Seen, stream: &StreamSeen) -> Result<(), NegotiateError> {
        if self.guessed.len() > 1 && !self.restored {
            return self.restore();
        }
        let counted = stream.usage.and_then(|(_, completion)| completion);
        // A limit that was not overrun in chunks of text and ended the answer had its effect, whatever the counts say.
        let is_bounded = stream.finish.as_deref() == Some("length") && stream.texts <= TOKENS.get();
        let overran = seen.ran_on || (counted > Some(TOKENS.get()) && !is_bounded);
        if self.now.token_limit != TokenLimit::None && overran {
            // Accepted and without effect: the other name may have one.
            Suspect::TokenLimit.leave_out(&mut self.now);
            self.phase = Phase::Taking;
            return Ok(());
        }
        if seen.ran_on {
            return Err(NegotiateError::Protocol {
                why: format!("an answer that does not end, after {} chunks of text", stream.texts),
            });
        }
        if !seen.clean {
            return Err(NegotiateError::Protocol {
                why: "an answer that broke off".to_owned(),
            });
        }
        if stream.finish.is_none() {
            return Err(if stream.done {
                NegotiateError::Protocol {
                    why: "an answer without a finish_reason".to_owned(),
                }
            } else {
                NegotiateError::NoEnd
            });
        }
        let limit_ended_it = self.now.token_limit != TokenLimit::None && stream.finish.as_deref() == Some("length");
        self.bounded_answer = limit_ended_it.then(|| stream.answer.clone());
        self.now.stream_end = if stream.done { StreamEnd::Done } else { StreamEnd::Body };
        if self.api.form() == AnswerForm::Responses {
            // They end with an event of their own; `[DONE]` is none of theirs.
            self.now.stream_end = StreamEnd::Body;
        }
        self.now.usage = usage_of(self.now.usage, stream);
        // An answer that its limit ended has as many tokens as the limit. LiteLLM's `/v1/completions` says 3 of 5.
        let has_limit = self.now.token_limit != TokenLimit::None;
        if self.now.usage.counts() && is_bounded && has_limit && counted != Some(TOKENS.get()) {
            self.now.usage = UsageReport::Wrong;
        }
        let short = counted.map_or(stream.finish.as_deref() == Some("stop"), |n| n < TOKENS.get());
        if self.now.ignore_eos == Member::Taken && self.now.token_limit != TokenLimit::None && short {
            self.now.ignore_eos = Member::Ignored;
        }
        self.connection(seen);
        Ok(())
    }

    /// Everything that was left out by guess but the last of it is asked for again.
    fn restore(&mut self) -> Result<(), NegotiateError> {
        let fallback = self.now;
        let first = self.guessed.first().copied().unwrap_or(fallback);
        self.now = first;
        if let Some(last) = self.last_guess {
            last.leave_out(&mut self.now);
        }
        self.restored = true;
        self.phase = Phase::Restoring { fallback };
        Ok(())
    }

    /// What the head says of the connection; where it promises to keep it, that is tried.
    const fn connection(&mut self, seen: &Seen) {
        if seen.may_reuse {
            self.phase = Phase::Answered;
        } else {
            self.kept(false);
        }
    }
}

/// Which counts came, of those that were asked for.
fn usage_of(asked: UsageReport, stream: &StreamSeen) -> UsageReport {
    let (prompt, completion) = stream.usage.unwrap_or((None, None));
    let complete = prompt.is_some() && completion.is_some();
    match (complete, stream.counted, stream.uncounted) {
        (false, ..) => UsageReport::None,
        (true, 1.., 0) if stream.usage_alone => UsageReport::Continuous,
        // The whole answer came in one chunk, which shows nothing.
        (true, 0, 0) if stream.usage_alone => asked,
        (true, ..) => UsageReport::Final,
    }
}

/// The title of a web page, or its first words.
fn web_page(seen: &Seen) -> NegotiateError {
    let text = String::from_utf8_lossy(&seen.body);
    let lower = text.to_ascii_lowercase();
    let between = |open: &str, close: &str| {
        let from = lower.find(open)? + open.len();
        let to = lower.get(from..)?.find(close)? + from;
        text.get(from..to).map(str::trim).filter(|t| !t.is_empty())
    };
    let title = between("<title>", "</title>").or_else(|| between("<h1>", "</h1>"));
    let title = title.map_or_else(|| "without a title".to_owned(), |t| t.chars().take(120).collect());
    NegotiateError::WebPage {
        status: seen.status,
        title,
    }
}

/// True where `stream_options` ask for counts in every chunk.
pub(super) fn asks_for_continuous(capabilities: &Capabilities) -> bool {
    capabilities.stream_options == StreamOptions::Continuous
}
