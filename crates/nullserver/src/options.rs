//! What the null server is asked to do.

use crate::answer::Shape;
use std::time::Duration;

/// How an answer is cut into writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// The whole answer in one write.
    Coalesced,
    /// The head with the role chunk, then every token chunk, then usage and the end: each in a write of its own.
    Each,
}

/// How the null server listens, answers and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one, which the first line of the output names.
    pub port: u16,
    /// Token chunks of an answer, one token each.
    pub chunks: u32,
    /// As many chunks as the request's `max_tokens` instead, at most 100,000.
    pub chunks_from_request: bool,
    /// What `usage.prompt_tokens` says.
    pub prompt_tokens: u32,
    /// From the request to its first token.
    pub ttft: Duration,
    /// Between two tokens.
    pub itl: Duration,
    /// How an answer is cut into writes.
    pub writes: Writes,
    /// Keep the stamps of every write; without them only how many requests a client manages is measured.
    pub stamps: bool,
    /// End when standard input ends, so that no server outlives whoever started it.
    pub until_stdin_ends: bool,
}

impl Options {
    /// An answer of `chunks` chunks.
    pub(crate) const fn shape(&self, chunks: u32) -> Shape {
        Shape {
            chunks,
            prompt_tokens: self.prompt_tokens,
            writes: self.writes,
            ttft: self.ttft,
            itl: self.itl,
        }
    }
}
