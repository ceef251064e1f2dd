//! Rows of `traces.jsonl`: what is kept of one attempt at one request.

use crate::{Failure, Nanos, PromptId, RequestId, Sha256Hex, TrialInstant, V, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Tokens that arrived together: nanoseconds since the previous token chunk, and how many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "(u64, u32)", into = "(u64, u32)")]
#[schemars(with = "(u64, u32)")]
pub struct Chunk {
    /// Engine time since the previous token chunk; 0 for the first one.
    pub gap: Nanos,
    /// Rise of `usage.completion_tokens`; 0 = unknown (only for [`TtftKind::Content`]).
    pub tokens: u32,
}

impl From<(u64, u32)> for Chunk {
    fn from((gap, tokens): (u64, u32)) -> Self {
        Self {
            gap: Nanos(gap),
            tokens,
        }
    }
}

impl From<Chunk> for (u64, u32) {
    fn from(chunk: Chunk) -> Self {
        (chunk.gap.0, chunk.tokens)
    }
}

/// What the first timestamp of a completion is. The two kinds are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TtftKind {
    /// First chunk at which `usage.completion_tokens` rose: the true first token.
    Token,
    /// First non-empty content, reasoning or tool delta: all that is known without continuous usage.
    Content,
    /// There is none: the answer came as one whole, as that of an embeddings request does. It has an E2E only.
    Whole,
}

/// Who counted the tokens of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSource {
    /// The server, in `usage`.
    #[default]
    Usage,
    /// servelab, from the texts, after the load, with the tokenizer that it was given.
    Tokenizer,
    /// The server's `/tokenize`, from the texts, after the load.
    ServerTokenize,
}

impl TokenSource {
    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Tokenizer => "tokenizer",
            Self::ServerTokenize => "server-tokenize",
        }
    }

    const fn is_usage(&self) -> bool {
        matches!(self, Self::Usage)
    }
}

/// Tokens of one request, as somebody counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCounts {
    /// Of the prompt; none where nobody counted them.
    pub prompt: Option<NonZeroU32>,
    /// Of the answer; none where nobody counted them, or nothing is generated.
    pub completion: Option<NonZeroU32>,
    /// Who counted.
    pub source: TokenSource,
}

impl TokenCounts {
    /// What the server's `usage` says.
    #[must_use]
    pub const fn usage(prompt: NonZeroU32, completion: NonZeroU32) -> Self {
        Self {
            prompt: Some(prompt),
            completion: Some(completion),
            source: TokenSource::Usage,
        }
    }

    /// Nobody counted.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            prompt: None,
            completion: None,
            source: TokenSource::Usage,
        }
    }
}

/// Why a completed generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FinishReason {
    /// End of sequence or a stop string.
    Stop,
    /// `max_new_tokens` reached.
    Length,
    /// Nothing was generated, as for an embeddings request.
    Whole,
}

/// Why a completion's numbers contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompletionError {
    /// No token chunk.
    #[error("a completion needs at least one token chunk")]
    NoChunk,
    /// The first chunk has no predecessor.
    #[error("the first chunk's gap must be 0, not {0} ns")]
    FirstGap(u64),
    /// Token counts of the chunks disagree with usage.
    #[error("the chunks hold {chunks} tokens, usage says {usage}")]
    Tokens {
        /// Sum over the chunks.
        chunks: u64,
        /// `usage.completion_tokens`.
        usage: u32,
    },
    /// A chunk of a token timeline without tokens, or of a content timeline with some.
    #[error("chunk {0} has a token count that its ttft_kind does not allow")]
    ChunkTokens(usize),
    /// Tokens of a chunk's timeline that nobody counted, or an answer in one piece that has several.
    #[error("ttft_kind `token` needs completion_tokens, and `whole` has exactly one chunk")]
    Kind,
    /// `ttft + gaps` differs from the stored end.
    #[error("ttft_ns plus the gaps is {sum}, but e2e_ns says {e2e}")]
    End {
        /// First token plus gaps, ns.
        sum: u64,
        /// Stored value, ns.
        e2e: u64,
    },
}

/// A generation that succeeded by every rule. A backwards or empty timeline cannot be represented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "CompletionWire", into = "CompletionWire")]
#[schemars(with = "CompletionWire")]
pub struct Completion {
    ttft_kind: TtftKind,
    ttft: Nanos,
    ttft_content: Option<Nanos>,
    chunks: Vec<Chunk>,
    e2e: Nanos,
    tokens: TokenCounts,
    finish_reason: FinishReason,
    text_sha256: Sha256Hex,
    text: Option<String>,
}

/// The stored form of [`Completion`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Completion")]
struct CompletionWire {
    /// What `ttft_ns` is.
    ttft_kind: TtftKind,
    /// First token chunk − sent, ns; for `whole` the arrival of the answer.
    ttft_ns: Nanos,
    /// First non-empty text − sent, ns; null where no text came.
    ttft_content_ns: Option<Nanos>,
    /// `[gap to the previous token chunk in ns, tokens]`, first gap 0.
    chunks: Vec<Chunk>,
    /// Last token chunk − sent, ns; always `ttft_ns` plus the gaps.
    e2e_ns: Nanos,
    /// Tokens of the prompt; absent where nobody counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<NonZeroU32>,
    /// Tokens of the answer; absent where nobody counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<NonZeroU32>,
    /// Who counted both; absent = `usage`.
    #[serde(default, skip_serializing_if = "TokenSource::is_usage")]
    token_source: TokenSource,
    /// Why the generation ended.
    finish_reason: FinishReason,
    /// SHA-256 of the text, reasoning included; for `whole` of the body.
    text_sha256: Sha256Hex,
    /// The text without reasoning, where the plan keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// The end of a timeline whose parts agree, counted like `ttft`.
fn check(
    kind: TtftKind,
    ttft: Nanos,
    chunks: &[Chunk],
    completion_tokens: Option<NonZeroU32>,
) -> Result<Nanos, CompletionError> {
    let first = chunks.first().ok_or(CompletionError::NoChunk)?;
    if first.gap != Nanos::ZERO {
        return Err(CompletionError::FirstGap(first.gap.0));
    }
    let wants_tokens = kind == TtftKind::Token;
    if (wants_tokens && completion_tokens.is_none()) || (kind == TtftKind::Whole && chunks.len() > 1) {
        return Err(CompletionError::Kind);
    }
    if let Some(i) = chunks.iter().position(|c| (c.tokens > 0) != wants_tokens) {
        return Err(CompletionError::ChunkTokens(i));
    }
    let sum: u64 = chunks.iter().map(|c| u64::from(c.tokens)).sum();
    if let Some(usage) = completion_tokens.filter(|usage| wants_tokens && sum != u64::from(usage.get())) {
        let usage = usage.get();
        return Err(CompletionError::Tokens { chunks: sum, usage });
    }
    Ok(chunks.iter().fold(ttft, |t, c| t.saturating_add(c.gap)))
}

impl Completion {
    /// A completion from its timeline, counted in engine time from `sent`.
    ///
    /// # Errors
    /// [`CompletionError`] where the facts contradict each other.
    pub fn new(
        ttft_kind: TtftKind,
        ttft: Nanos,
        ttft_content: Option<Nanos>,
        chunks: Vec<Chunk>,
        tokens: TokenCounts,
        finish_reason: FinishReason,
        text_sha256: Sha256Hex,
    ) -> Result<Self, CompletionError> {
        let e2e = check(ttft_kind, ttft, &chunks, tokens.completion)?;
        Ok(Self {
            ttft_kind,
            ttft,
            ttft_content,
            chunks,
            e2e,
            tokens,
            finish_reason,
            text_sha256,
            text: None,
        })
    }

    /// An answer that came as one whole: an E2E, and the tokens that its `usage` counts.
    #[must_use]
    pub fn whole(e2e: Nanos, prompt_tokens: Option<NonZeroU32>, body_sha256: Sha256Hex) -> Self {
        let chunk = Chunk {
            gap: Nanos::ZERO,
            tokens: 0,
        };
        Self {
            ttft_kind: TtftKind::Whole,
            ttft: e2e,
            ttft_content: None,
            chunks: vec![chunk],
            e2e,
            tokens: TokenCounts {
                prompt: prompt_tokens,
                ..TokenCounts::unknown()
            },
            finish_reason: FinishReason::Whole,
            text_sha256: body_sha256,
            text: None,
        }
    }

    /// The same with tokens that were counted after the load, where the server's `usage` counted none.
    #[must_use]
    pub fn counted(self, tokens: TokenCounts) -> Self {
        let unknown = self.tokens.prompt.is_none() && self.tokens.completion.is_none();
        let tokens = if unknown { tokens } else { self.tokens };
        Self { tokens, ..self }
    }

    /// The same with the text that was generated, where it is kept.
    #[must_use]
    pub fn with_text(self, text: Option<String>) -> Self {
        Self { text, ..self }
    }

    /// What [`ttft`](Self::ttft) is.
    #[must_use]
    pub const fn ttft_kind(&self) -> TtftKind {
        self.ttft_kind
    }

    /// First token chunk − sent; none for an answer that came as one whole.
    #[must_use]
    pub const fn ttft(&self) -> Option<Nanos> {
        match self.ttft_kind {
            TtftKind::Token | TtftKind::Content => Some(self.ttft),
            TtftKind::Whole => None,
        }
    }

    /// Arrival of the first chunk − sent, of whatever kind.
    #[must_use]
    pub const fn first_chunk(&self) -> Nanos {
        self.ttft
    }

    /// First non-empty text − sent; none where no text came.
    #[must_use]
    pub const fn ttft_content(&self) -> Option<Nanos> {
        self.ttft_content
    }

    /// The token chunks; never empty.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Last token chunk − sent.
    #[must_use]
    pub const fn e2e(&self) -> Nanos {
        self.e2e
    }

    /// Tokens of the prompt; none where nobody counted them.
    #[must_use]
    pub const fn prompt_tokens(&self) -> Option<NonZeroU32> {
        self.tokens.prompt
    }

    /// Tokens of the answer; none where nobody counted them.
    #[must_use]
    pub const fn completion_tokens(&self) -> Option<NonZeroU32> {
        self.tokens.completion
    }

    /// Who counted them; none where nobody did.
    #[must_use]
    pub fn token_source(&self) -> Option<TokenSource> {
        let TokenCounts {
            prompt,
            completion,
            source,
        } = self.tokens;
        prompt.or(completion).map(|_| source)
    }

    /// Why the generation ended.
    #[must_use]
    pub const fn finish_reason(&self) -> FinishReason {
        self.finish_reason
    }

    /// SHA-256 of the text.
    #[must_use]
    pub const fn text_sha256(&self) -> &Sha256Hex {
        &self.text_sha256
    }

    /// The text without reasoning, where it was kept.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// N − m₁: the tokens after the first chunk, which holds m₁ (1 for content timelines); none where nobody counted N, or
    /// no token came after it.
    #[must_use]
    pub fn tokens_after_first(&self) -> Option<NonZeroU32> {
        let first = self.chunks.first().map_or(1, |chunk| chunk.tokens.max(1));
        NonZeroU32::new(self.tokens.completion?.get().saturating_sub(first))
    }

    /// Time per output token after the first chunk, in seconds: (last − first token chunk) / (N − m₁). None where no token
    /// came after the first chunk, or nobody counted them.
    #[must_use]
    pub fn tpot_s(&self) -> Option<f64> {
        let span = self.e2e.saturating_sub(self.ttft);
        Some(span.as_secs_f64() / f64::from(self.tokens_after_first()?.get()))
    }
}

impl TryFrom<CompletionWire> for Completion {
    type Error = CompletionError;
    fn try_from(w: CompletionWire) -> Result<Self, Self::Error> {
        let completion = Self::new(
            w.ttft_kind,
            w.ttft_ns,
            w.ttft_content_ns,
            w.chunks,
            TokenCounts {
                prompt: w.prompt_tokens,
                completion: w.completion_tokens,
                source: w.token_source,
            },
            w.finish_reason,
            w.text_sha256,
        )?;
        if completion.e2e == w.e2e_ns {
            Ok(completion.with_text(w.text))
        } else {
            Err(CompletionError::End {
                sum: completion.e2e.0,
                e2e: w.e2e_ns.0,
            })
        }
    }
}

impl From<Completion> for CompletionWire {
    fn from(c: Completion) -> Self {
        Self {
            ttft_kind: c.ttft_kind,
            ttft_ns: c.ttft,
            ttft_content_ns: c.ttft_content,
            chunks: c.chunks,
            e2e_ns: c.e2e,
            prompt_tokens: c.tokens.prompt,
            completion_tokens: c.tokens.completion,
            token_source: c.tokens.source,
            finish_reason: c.finish_reason,
            text_sha256: c.text_sha256,
            text: c.text,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Succeeded by every rule.
    Completed(Completion),
    /// Did not.
    Failed(Failure),
}

/// What is kept of one attempt at one request. Every time is engine time in ns since the trial's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Format version.
    pub v: V<1>,
    /// Name of the attempt; sent as `x-request-id`.
    pub request_id: RequestId,
    /// The prompt that was sent.
    pub prompt_id: PromptId,
    /// Block, from 1.
    pub block: u32,
    /// Variant under test.
    pub variant: VariantId,
    /// Number of the request in the trial, from 0, in the order sent.
    pub seq: u32,
    /// Attempt at this request, from 1.
    pub attempt: u32,
    /// False for warm-up and filler requests, which no metric but throughput of the held window counts.
    pub measured: bool,
    /// When it should have been sent: the open loop's schedule, or when the closed loop's slot became free.
    pub scheduled_ns: TrialInstant,
    /// Just before its first byte was written; null when no byte was.
    pub sent_ns: Option<TrialInstant>,
    /// Time to open the connection; 0 on one that was open already.
    pub connect_ns: Nanos,
    /// When the response head arrived; null when none did.
    pub headers_ns: Option<TrialInstant>,
    /// End of the body, or of the attempt.
    pub finished_ns: TrialInstant,
    /// The packed count, where there is one.
    pub expected_prompt_tokens: Option<NonZeroU32>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Trace {
    /// The completion, where the attempt succeeded.
    #[must_use]
    pub const fn completion(&self) -> Option<&Completion> {
        match &self.outcome {
            Outcome::Completed(c) => Some(c),
            Outcome::Failed(_) => None,
        }
    }

    /// The span from when it should have been sent to what came `after` it was; none where no byte was sent.
    #[must_use]
    pub fn from_scheduled(&self, after: Nanos) -> Option<Nanos> {
        Some(self.sent_ns?.after(after).since(self.scheduled_ns))
    }

    /// Arrival of each token chunk in ns since the trial's start, with its tokens; empty for a failure.
    pub fn token_arrivals(&self) -> impl Iterator<Item = (TrialInstant, u32)> + '_ {
        let start = self.sent_ns.unwrap_or(self.scheduled_ns);
        let completion = self.completion();
        let mut at = completion.map_or(start, |c| start.after(c.first_chunk()));
        completion
            .map(Completion::chunks)
            .unwrap_or_default()
            .iter()
            .map(move |c| {
                at = at.after(c.gap);
                (at, c.tokens)
            })
    }
}
