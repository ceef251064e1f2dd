//! What a server lacks and what that costs, in sentences.

use super::decide::asks_for_continuous;
use crate::bench::body::Api;
use servelab_schema::{Capabilities, ConnectionUse, Member, StreamEnd, StreamOptions, TokenLimit, UsageReport};

/// The notes of a server, the costliest first.
pub(super) fn notes(api: Api, c: &Capabilities) -> Vec<String> {
    let mut notes: Vec<&str> = Vec::new();
    if api != Api::Embeddings {
        match c.usage {
            UsageReport::Continuous => {}
            UsageReport::Final if api == Api::Responses => {
                notes.push("tokens are counted at the end of each answer only: TTFT is of the first text");
            }
            UsageReport::Final if asks_for_continuous(c) => notes.push(
                "the server accepts continuous_usage_stats and ignores it, so tokens are counted at the end of each answer \
                 only: TTFT is of the first text",
            ),
            UsageReport::Final => notes.push(
                "the server refuses continuous_usage_stats, so tokens are counted at the end of each answer only: TTFT is of \
                 the first text",
            ),
            UsageReport::Wrong => notes.push(
                "the server's counts are not of what it sends (an answer of 8 tokens was counted as another number), so they are \
                 not taken: TTFT is of the first text",
            ),
            UsageReport::None if c.stream_options == StreamOptions::None => {
                notes.push("the server refuses stream_options and counts no tokens: TTFT is of the first text");
            }
            UsageReport::None => {
                notes.push("the server ignores stream_options and counts no tokens: TTFT is of the first text");
            }
        }
        match (c.token_limit, api) {
            (TokenLimit::None, _) => {
                notes.push("no limit of tokens has an effect: answers are as long as the model makes them");
            }
            (TokenLimit::MaxCompletionTokens, _) => {
                notes.push("the server takes max_completion_tokens in place of max_tokens");
            }
            (TokenLimit::MaxTokens | TokenLimit::MaxOutputTokens, _) => {}
        }
        match c.ignore_eos {
            Member::Refused => notes.push("the server refuses ignore_eos: answers end where the model ends them"),
            Member::Ignored => notes.push("the server ignores ignore_eos: answers end where the model ends them"),
            Member::Taken | Member::Unasked => {}
        }
        if c.temperature == Member::Refused {
            notes.push(
                "the server refuses temperature 0: answers are sampled, and their lengths differ from run to run",
            );
        }
        if c.seed == Member::Refused {
            notes.push("the server refuses seed: where answers are sampled they differ from run to run");
        }
        if c.system_role == Member::Refused {
            notes.push("the server refuses system messages: their text begins the user's, and counts made beforehand do not hold");
        }
        if c.stream_end == StreamEnd::Body && api != Api::Responses {
            notes.push(
                "its streams end without [DONE]: an answer is complete with its finish_reason, its counts and the clean end \
                 of its body",
            );
        }
    }
    if c.connections == ConnectionUse::Closed {
        notes.push("it closes the connection after each answer: every request has a new one, opened before it is due");
    }
    notes.into_iter().map(str::to_owned).collect()
}
