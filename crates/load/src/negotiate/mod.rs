//! Finds what a server takes and does, before a load, with as few small requests as possible.
//!
//! Parts: `ask` sends one small request and hands on what came; `seen` reads it; `decide` settles from what was seen what is
//! asked next and what the server is ([`Capabilities`]); `names` knows which member of the body a refusal speaks of; `notes`
//! says what is lacking and what that costs. All but `ask` are pure and tested on recorded answers of real engines.
//!
//! The first request asks for everything that the load wants, in eight tokens. A server that takes it all is asked once more, for
//! one token, on the same connection: whether it keeps connections shows nowhere else. One that refuses is asked again without
//! the member that its words name, else without one member after the other in the order in which they are usually refused.
//!
//! Traps: a refusal may quote the whole request, which names every member (`names` cuts that off). What is accepted may still
//! have no effect: a stream that runs on is cut. Nothing here is measured, and nothing of it is in a load's figures.

mod ask;
mod decide;
mod error;
mod names;
mod notes;
mod seen;

pub use error::NegotiateError;

use crate::{
    attempt::Deadlines,
    bench::body::{Api, Asking, Text},
    clock::TrialClock,
    control::Control,
    request::{Endpoint, RequestHeaders},
    spec::LoadError,
};
use ask::Asker;
use decide::{Negotiation, Next};
use servelab_schema::{Capabilities, Nanos, Stop, TimeScale};
use std::num::NonZeroU32;

/// Tokens that a small request asks for.
pub const TOKENS: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);

/// What a small request says: something whose answer is longer than eight tokens.
pub const QUESTION: &str = "Count from one to thirty in words.";

/// What is to be found out about a server.
#[derive(Debug, Clone, Copy)]
pub struct Inquiry<'a> {
    /// Where requests go.
    pub endpoint: &'a Endpoint,
    /// Extra headers.
    pub headers: &'a RequestHeaders,
    /// What the load will ask for. Its capabilities are where the search begins: what they leave out is not asked.
    pub asking: &'a Asking,
    /// Prompts of the load have a system message.
    pub system_role: bool,
    /// How long one answer may take.
    pub limit: Nanos,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// What the server takes and does.
    pub capabilities: Capabilities,
    /// What it lacks and what that costs, a sentence each.
    pub notes: Vec<String>,
    /// Requests that this took.
    pub requests: u32,
    /// An answer that the limit of [`TOKENS`] ended; none where the model ended it.
    pub bounded_answer: Option<String>,
}

/// Where the search begins: everything that the load wants.
fn wanted(inquiry: &Inquiry<'_>) -> Capabilities {
    use servelab_schema::{Member, StreamEnd, StreamOptions, TokenLimit, UsageReport};
    let asking = inquiry.asking;
    let full = asking.capabilities;
    let member = |wanted: bool, given: Member| if wanted { given } else { Member::Unasked };
    let base = Capabilities {
        ignore_eos: member(asking.output.stop == Stop::Fixed, full.ignore_eos),
        system_role: member(inquiry.system_role, full.system_role),
        ..full
    };
    match asking.api {
        Api::Chat => base,
        Api::Completions => Capabilities {
            system_role: Member::Unasked,
            ..base
        },
        Api::Responses => Capabilities {
            usage: UsageReport::Final,
            stream_options: StreamOptions::None,
            seed: Member::Unasked,
            token_limit: TokenLimit::MaxOutputTokens,
            stream_end: StreamEnd::Body,
            ..base
        },
        Api::Embeddings => Capabilities {
            usage: UsageReport::Final,
            stream_options: StreamOptions::None,
            seed: Member::Unasked,
            ignore_eos: Member::Unasked,
            temperature: Member::Unasked,
            token_limit: TokenLimit::None,
            system_role: Member::Unasked,
            stream_end: StreamEnd::Body,
            ..base
        },
    }
}

/// Finds what the server takes and does. Blocks until it has answered.
///
/// # Errors
/// [`NegotiateError`] says why no load can be put on it; each kind has a remedy of its own.
pub fn negotiate(inquiry: &Inquiry<'_>) -> Result<Negotiated, NegotiateError> {
    let clock = TrialClock::start(TimeScale::REAL);
    let deadlines = Deadlines {
        connect: inquiry.limit,
        ttft: inquiry.limit,
        idle: inquiry.limit,
        total: inquiry.limit,
    };
    let net = crate::driver::net(inquiry.endpoint, clock, deadlines, Control::default()).map_err(LoadError::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::from)?;
    runtime.block_on(search(inquiry, Asker::new(net, inquiry)))
}

async fn search(inquiry: &Inquiry<'_>, mut asker: Asker) -> Result<Negotiated, NegotiateError> {
    let mut negotiation = Negotiation::new(inquiry.asking.api, &inquiry.asking.model, wanted(inquiry));
    loop {
        match negotiation.next() {
            Next::Ask {
                capabilities,
                most_texts,
            } => {
                let body = body(inquiry, capabilities, TOKENS)?;
                let answer = asker.ask(&body, most_texts).await?;
                negotiation.answered(&answer)?;
            }
            Next::AskAgain { capabilities } => {
                let body = body(inquiry, capabilities, NonZeroU32::MIN)?;
                let kept = asker.is_kept(&body).await;
                negotiation.kept(kept);
            }
            Next::Settled { capabilities } => {
                return Ok(Negotiated {
                    capabilities,
                    notes: notes::notes(inquiry.asking.api, &capabilities),
                    requests: asker.sent(),
                    bounded_answer: negotiation.bounded_answer(),
                });
            }
        }
    }
}

/// The body of a small request.
fn body(inquiry: &Inquiry<'_>, capabilities: Capabilities, tokens: NonZeroU32) -> Result<bytes::Bytes, NegotiateError> {
    use servelab_schema::{Member, Message, Role};
    let asking = Asking {
        capabilities,
        ..inquiry.asking.clone()
    };
    let message = |role, content: &str| Message {
        role,
        content: content.to_owned(),
    };
    let text = if capabilities.system_role == Member::Unasked {
        Text::Plain(QUESTION.to_owned())
    } else {
        Text::Messages(vec![
            message(Role::System, "Answer briefly."),
            message(Role::User, QUESTION),
        ])
    };
    asking
        .body(&text, tokens)
        .map_err(|e| NegotiateError::Body(e.to_string()))
}

#[cfg(test)]
mod tests;
