//! What every kind of stream keeps of its answer: when its chunks arrived, and what it said where that is wanted.

use servelab_schema::{Chunk, Nanos, TrialInstant};
use std::num::NonZeroU32;

/// Arrivals of chunks: the first one and the gaps after it, in engine time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) first: Option<TrialInstant>,
    last: TrialInstant,
    pub(super) chunks: Vec<Chunk>,
}

/// Chunks that room is made for at once; an answer with more makes more when they come.
const ROOM: usize = 64;

impl Timeline {
    /// With room for the tokens that are expected.
    pub(super) fn of(tokens: Option<NonZeroU32>) -> Self {
        let room = tokens.and_then(|n| usize::try_from(n.get()).ok()).unwrap_or(0);
        Self {
            chunks: Vec::with_capacity(room.min(ROOM)),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, at: TrialInstant, tokens: u32) {
        let gap = if self.first.is_none() {
            Nanos::ZERO
        } else {
            at.since(self.last)
        };
        self.first.get_or_insert(at);
        self.last = at;
        self.chunks.push(Chunk { gap, tokens });
    }
}

/// What is kept of an answer's text besides its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepText {
    /// Nothing.
    #[default]
    Nothing,
    /// What it said, without its reasoning.
    Content,
    /// Everything that was generated, reasoning first: what has to be counted where the server counts nothing.
    Everything,
}

/// The text of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Without reasoning: the part that a conversation carries on.
    pub content: String,
    /// The reasoning before it; empty unless everything is kept.
    pub reasoning: String,
    /// It holds more than text, such as a tool call: its tokens cannot be counted from here.
    pub more: bool,
}

impl Said {
    /// The text that a trace keeps; none where nothing is kept, or where everything is to be kept and there is more than text.
    #[must_use]
    pub fn into_text(mut self, keep: KeepText) -> Option<String> {
        match keep {
            KeepText::Nothing => None,
            KeepText::Content => Some(self.content),
            KeepText::Everything if self.more => None,
            KeepText::Everything => {
                self.reasoning.push_str(&self.content);
                Some(self.reasoning)
            }
        }
    }
}

/// Takes in what an answer says, where that is kept.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    keep: KeepText,
    said: Said,
}

impl Keeper {
    pub(super) const fn keep(&mut self, keep: KeepText) {
        self.keep = keep;
    }

    /// One piece of text.
    pub(super) fn add(&mut self, text: &str, is_content: bool) {
        match (self.keep, is_content) {
            (KeepText::Nothing, _) | (KeepText::Content, false) => {}
            (KeepText::Content | KeepText::Everything, true) => self.said.content.push_str(text),
            (KeepText::Everything, false) => self.said.reasoning.push_str(text),
        }
    }

    /// Something that is no text.
    pub(super) const fn add_more(&mut self) {
        self.said.more = true;
    }

    /// What was kept; none where nothing was to be.
    pub(super) fn take(&mut self) -> Option<Said> {
        (self.keep != KeepText::Nothing).then(|| std::mem::take(&mut self.said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_asked_for() {
        let check = |keep, with_more: bool, expected: Option<&str>| {
            let mut keeper = Keeper::default();
            keeper.keep(keep);
            keeper.add("think ", false);
            keeper.add("say", true);
            if with_more {
                keeper.add_more();
            }
            let text = keeper.take().and_then(|said| said.into_text(keep));
            assert_eq!(text.as_deref(), expected, "{keep:?} {with_more}");
        };
        check(KeepText::Nothing, false, None);
        check(KeepText::Content, true, Some("say"));
        check(KeepText::Everything, false, Some("think say"));
        check(KeepText::Everything, true, None);
    }
}
