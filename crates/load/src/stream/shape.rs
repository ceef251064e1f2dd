//! The shape of a chunk: its bytes with holes where chunks of one stream, or of one engine, differ.
//!
//! A shape is learnt from a chunk that has been read whole. Another chunk that has the same bytes around its holes, a plain
//! string in each string hole and a plain number in each number hole is the same JSON with other values; so it needs no
//! reading, only comparing. That is several times cheaper, and a stream knows four: role, token, last token, final usage.

use super::{
    scan::{digits, plain_len},
    wire::{ChunkWire, UsageWire},
};
use servelab_schema::FinishReason;

/// What a hole holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoleKind {
    /// A string that nobody reads, such as the answer's id.
    String,
    /// A number that nobody reads.
    Number,
    /// The text of the chunk.
    Text,
    /// `usage.prompt_tokens`.
    PromptTokens,
    /// `usage.completion_tokens`.
    CompletionTokens,
}

/// A hole in the chunk that the shape was learnt from; strings without their quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) kind: HoleKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What a chunk of a known shape says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownChunk<'a> {
    /// Its only choice, which has the index 0; none in the chunk of the final usage.
    pub(crate) choice: Option<KnownChoice<'a>>,
    /// The counts so far.
    pub(crate) usage: Option<UsageWire>,
}

/// A choice with one text at most and no tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownChoice<'a> {
    /// The text; may be empty.
    pub(crate) text: Option<&'a str>,
    /// The text is part of the answer, not of the reasoning before it.
    pub(crate) is_content: bool,
    /// The chunk names the role.
    pub(crate) has_role: bool,
    /// Why the answer ended, where it did.
    pub(crate) finish: Option<FinishReason>,
}

impl KnownChoice<'_> {
    /// True for the chunk that only says who speaks.
    pub(crate) fn is_role_only(&self) -> bool {
        self.has_role && self.finish.is_none() && self.text.is_none_or(str::is_empty)
    }
}

/// Longest chunk whose shape is kept, in bytes.
const MAX_BYTES: usize = 4096;

/// A shape; matches nothing until it has learnt one.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The bytes around the holes, one after another.
    literals: Vec<u8>,
    /// Length of the literal before each hole, and what the hole holds. What is left is the literal after the last.
    holes: Vec<(usize, HoleKind)>,
    /// Everything but the holes; a shape that has learnt nothing says nothing.
    says: Option<KnownChunk<'static>>,
}

/// What a chunk says besides its holes; none where it says more than a [`KnownChunk`] can.
fn known(chunk: &ChunkWire<'_>, text_holes: usize) -> Option<KnownChunk<'static>> {
    let choices = chunk.choices.as_ref()?;
    let choice = match &choices.first {
        None => None,
        Some(choice) => {
            let finish = match choice.finish() {
                None => None,
                Some("stop") => Some(FinishReason::Stop),
                Some("length") => Some(FinishReason::Length),
                Some(_) => return None,
            };
            let texts = choice.texts().count();
            if choices.count != 1 || choice.index != 0 || choice.has_tool_call() || texts > 1 || texts != text_holes {
                return None;
            }
            Some(KnownChoice {
                text: (texts == 1).then_some(""),
                is_content: choice.content().next().is_some(),
                has_role: choice.delta.as_ref().is_some_and(|d| d.role.is_some()),
                finish,
            })
        }
    };
    chunk.error_text().is_none().then_some(KnownChunk {
        choice,
        usage: chunk.usage.map(|_| UsageWire::default()),
    })
}

impl Shape {
    /// Learns the shape of `chunk`, which `data` is; false where it says more than a [`KnownChunk`] can.
    pub(super) fn learn(
        &mut self,
        data: &[u8],
        chunk: &ChunkWire<'_>,
        holes: impl Iterator<Item = Hole> + Clone,
    ) -> bool {
        let text_holes = holes.clone().filter(|h| h.kind == HoleKind::Text).count();
        let Some(says) = known(chunk, text_holes).filter(|_| data.len() <= MAX_BYTES) else {
            return false;
        };
        self.literals.clear();
        self.holes.clear();
        let mut from = 0_usize;
        for hole in holes {
            let literal = data.get(from..hole.start).unwrap_or_default();
            self.literals.extend_from_slice(literal);
            self.holes.push((literal.len(), hole.kind));
            from = hole.end;
        }
        self.literals.extend_from_slice(data.get(from..).unwrap_or_default());
        self.says = Some(says);
        true
    }

    /// Reads a chunk of this shape; none where it has another.
    pub(super) fn read<'a>(&self, data: &'a [u8]) -> Option<KnownChunk<'a>> {
        let mut says: KnownChunk<'a> = self.says?;
        let mut literals = &self.literals[..];
        let mut rest = data;
        let (mut text, mut prompt_tokens, mut completion_tokens) = (None, None, None);
        for (len, kind) in &self.holes {
            let (literal, after) = literals.split_at_checked(*len)?;
            literals = after;
            rest = rest.strip_prefix(literal)?;
            let (len, number) = match kind {
                HoleKind::String | HoleKind::Text => (plain_len(rest), 0),
                HoleKind::Number | HoleKind::PromptTokens | HoleKind::CompletionTokens => {
                    let (number, len) = digits(rest)?;
                    (len, number)
                }
            };
            let (hole, after) = rest.split_at_checked(len)?;
            rest = after;
            match kind {
                HoleKind::String | HoleKind::Number => {}
                HoleKind::Text => text = Some(std::str::from_utf8(hole).ok()?),
                HoleKind::PromptTokens => prompt_tokens = Some(u32::try_from(number).ok()?),
                HoleKind::CompletionTokens => completion_tokens = Some(u32::try_from(number).ok()?),
            }
        }
        if rest != literals {
            return None;
        }
        if let Some(choice) = &mut says.choice {
            choice.text = text;
        }
        if let Some(usage) = &mut says.usage {
            *usage = UsageWire {
                prompt_tokens,
                completion_tokens,
            };
        }
        Some(says)
    }
}
