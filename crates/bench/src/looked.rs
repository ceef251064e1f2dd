//! A server before a load: what it says it is, what it takes, and how it counts.

use crate::{
    BenchError,
    counting::{self, Door, Local},
    options::Bench,
    prompts::Texts,
    server::{self, Sent, Server},
    text::{Lexicon, Wants},
};
use servelab_load::{Endpoint, bench::body::Asking, clock::monotonic, negotiate::Negotiated};
use servelab_schema::{Capabilities, EngineKind};
use std::{num::NonZeroU32, time::Duration};

/// A server that can be measured.
#[derive(Debug)]
pub struct Looked<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) endpoint: Endpoint,
    pub(crate) sent: Sent,
    pub(crate) server: Server,
    /// What it takes, and what it lacks.
    pub(crate) negotiated: Negotiated,
    /// What requests ask for, by that.
    pub(crate) asking: Asking,
}

impl Bench {
    /// Asks the server what it is and what it takes.
    ///
    /// # Errors
    /// Options that contradict each other, files that are wrong, a key that is not there or would go out in the clear, and a
    /// server that cannot be measured, with the remedy.
    pub fn look(&self) -> Result<Looked<'_>, BenchError> {
        self.check()?;
        self.looked(&Texts::read(self)?)
    }

    pub(crate) fn looked(&self, texts: &Texts<'_>) -> Result<Looked<'_>, BenchError> {
        let endpoint = self.url.endpoint(self.api)?;
        let sent = server::sent(self)?;
        let server = server::identify(self, &sent)?;
        let mut asking = self.asking(&server.model);
        let negotiated = server::negotiated(self, &sent, &server, &asking, texts.has_system())?;
        asking.capabilities = negotiated.capabilities;
        Ok(Looked {
            bench: self,
            endpoint,
            sent,
            server,
            negotiated,
            asking,
        })
    }
}

impl Looked<'_> {
    /// The model that requests ask for, as the server wrote it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.server.model
    }

    /// Where its numbers come from.
    #[must_use]
    pub const fn engine_kind(&self) -> EngineKind {
        self.server.kind
    }

    /// What it takes and does.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.negotiated.capabilities
    }

    /// What it lacks and what that costs, a sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.negotiated.notes
    }

    pub(crate) fn door(&self) -> Door<'_> {
        let prefix = self.bench.url.prefix();
        Door::new(
            &self.endpoint,
            &self.sent.headers,
            prefix,
            &self.asking,
            &self.sent.clean,
        )
    }

    /// What prompts can be made of for this server, and who counts their tokens there: the tokenizer of the bench where it names
    /// one, else the server. With those of other servers a [`Maker`](crate::text::Maker) makes prompts whose length is known on
    /// all of them.
    ///
    /// # Errors
    /// Where prompts of up to so many tokens do not fit, or nobody can count them.
    pub fn lexicon(&self, seed: u64, longest: NonZeroU32) -> Result<Lexicon, BenchError> {
        let tokenizer = self.bench.tokenizer.as_ref();
        let tokenizer = tokenizer.map(|dir| Local::load(dir, self.bench.api)).transpose()?;
        self.counted(&self.door(), tokenizer.as_ref(), seed, longest)
    }

    pub(crate) fn counted(
        &self,
        door: &Door<'_>,
        tokenizer: Option<&Local>,
        seed: u64,
        longest: NonZeroU32,
    ) -> Result<Lexicon, BenchError> {
        let answer = self.bench.most_answer_tokens().unwrap_or(NonZeroU32::MIN);
        let context_tokens = self.server.context_tokens;
        if let Some(context) = context_tokens
            && longest.saturating_add(answer.get()) > context
        {
            return Err(BenchError::Options(format!(
                "prompts of {longest} tokens and answers of {answer} do not fit the context of {context} tokens that the \
                 server names in /v1/models; ask for less"
            )));
        }
        let wants = Wants {
            seed,
            longest,
            context_tokens,
        };
        Ok(counting::lexicon(door, tokenizer, wants)?)
    }

    /// What one request takes that is alone on the server, wall time: a user's text, and the most tokens of its answer.
    ///
    /// # Errors
    /// Where it is not answered.
    pub fn one_request(&self, text: &str, most_tokens: NonZeroU32) -> Result<Duration, BenchError> {
        let door = self.door();
        let begun = monotonic();
        door.whole_answer(text, most_tokens)?;
        Ok(Duration::from(monotonic().since(begun)))
    }
}
