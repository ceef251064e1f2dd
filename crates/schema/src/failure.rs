//! How a request fails: one of a closed set of reasons, with the words of whoever refused.

use crate::Nanos;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The closed set of reasons for which a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The connection could not be opened.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// An HTTP status other than 200 that has no reason of its own; the code is in `http_status`.
    HttpStatus,
    /// Prompt and answer do not fit the engine's context.
    ContextOverflow,
    /// HTTP 429.
    RateLimited,
    /// No token within the TTFT deadline.
    TtftTimeout,
    /// Not finished within the total deadline.
    TotalTimeout,
    /// Silent between chunks for longer than the idle deadline.
    Stalled,
    /// The connection was reset.
    Reset,
    /// The body ended without `[DONE]` or without its end of body.
    Truncated,
    /// What came was not the protocol.
    Malformed,
    /// An error event inside the stream.
    ErrorEvent,
    /// `finish_reason` abort: the engine gave up on the request.
    AbortedByEngine,
    /// No completion token.
    Empty,
    /// No final usage.
    NoUsage,
    /// `usage.prompt_tokens` is not the packed count.
    PromptTokenMismatch,
    /// Fewer tokens than asked for under `ignore_eos`.
    ShortOutput,
    /// The engine ran out of memory.
    EngineOom,
    /// The engine process ended.
    EngineExited,
    /// servelab itself stopped the request.
    Cancelled,
}

impl Reason {
    /// Every reason, in the order of tables.
    pub const ALL: [Self; 20] = [
        Self::Connect,
        Self::Tls,
        Self::HttpStatus,
        Self::ContextOverflow,
        Self::RateLimited,
        Self::TtftTimeout,
        Self::TotalTimeout,
        Self::Stalled,
        Self::Reset,
        Self::Truncated,
        Self::Malformed,
        Self::ErrorEvent,
        Self::AbortedByEngine,
        Self::Empty,
        Self::NoUsage,
        Self::PromptTokenMismatch,
        Self::ShortOutput,
        Self::EngineOom,
        Self::EngineExited,
        Self::Cancelled,
    ];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::HttpStatus => "http-status",
            Self::ContextOverflow => "context-overflow",
            Self::RateLimited => "rate-limited",
            Self::TtftTimeout => "ttft-timeout",
            Self::TotalTimeout => "total-timeout",
            Self::Stalled => "stalled",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::ErrorEvent => "error-event",
            Self::AbortedByEngine => "aborted-by-engine",
            Self::Empty => "empty",
            Self::NoUsage => "no-usage",
            Self::PromptTokenMismatch => "prompt-token-mismatch",
            Self::ShortOutput => "short-output",
            Self::EngineOom => "engine-oom",
            Self::EngineExited => "engine-exited",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A request that failed. It has no latency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// HTTP status, where an answer's head arrived.
    pub http_status: Option<u16>,
    /// The engine's or the operating system's own words, at most [`Failure::MAX_DETAIL`] bytes.
    pub detail: String,
    /// From `sent` (or `scheduled`, if nothing was sent) to the failure, ns.
    pub after_ns: Nanos,
}

impl Failure {
    /// Longest detail that is kept, in bytes.
    pub const MAX_DETAIL: usize = 500;

    /// A failure whose detail is cut to [`Self::MAX_DETAIL`] at a character boundary.
    #[must_use]
    pub fn new(reason: Reason, http_status: Option<u16>, detail: &str, after: Nanos) -> Self {
        let mut end = detail.len().min(Self::MAX_DETAIL);
        while !detail.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        let detail = detail.get(..end).unwrap_or_default().to_owned();
        Self {
            reason,
            http_status,
            detail,
            after_ns: after,
        }
    }
}
