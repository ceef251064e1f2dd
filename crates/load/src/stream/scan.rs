//! The fast reader of stream chunks: borrows, never allocates for a chunk, and knows only what is usual.
//!
//! Whatever it does not know (escapes, floats where counts belong, keys named twice, several choices, an error) it leaves to
//! serde, which alone decides what is malformed. So it may only ever *agree* with serde; a property test holds it to that.
//! It must not guess: every byte that it accepts has been checked against the JSON grammar.

use super::{
    shape::{Hole, HoleKind, KnownChunk, Shape},
    wire::{ChoiceWire, Choices, ChunkWire, DeltaWire, Text, UsageWire},
};
use std::borrow::Cow;

/// One `data:` payload.
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for the length of one call; a box would cost an allocation"
)]
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    /// A chunk of a known shape.
    Known(KnownChunk<'a>),
    /// Any other.
    Other(ChunkWire<'a>),
}

/// Reads payloads; remembers the shapes of the last ones, because the chunks of a stream differ in a text and a few numbers
/// only.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    shapes: [Shape; 6],
    /// The shape that was met last: most chunks have that of the one before.
    last: usize,
    /// The shape to be forgotten next.
    oldest: usize,
}

impl Scanner {
    /// Reads one payload.
    ///
    /// # Errors
    /// Serde's, where the payload is no chunk.
    pub(crate) fn read<'a>(&mut self, data: &'a [u8]) -> Result<Payload<'a>, serde_json::Error> {
        if let Some(chunk) = self.shapes.get(self.last).and_then(|shape| shape.read(data)) {
            return Ok(Payload::Known(chunk));
        }
        let other = |(at, shape): (usize, &Shape)| Some((at, shape.read(data)?));
        if let Some((at, chunk)) = self.shapes.iter().enumerate().find_map(other) {
            self.last = at;
            return Ok(Payload::Known(chunk));
        }
        let Some((chunk, holes)) = scan(data) else {
            return serde_json::from_slice(data).map(Payload::Other);
        };
        if let Some(shape) = self.shapes.get_mut(self.oldest)
            && shape.learn(data, &chunk, holes.get())
        {
            self.last = self.oldest;
            self.oldest = (self.oldest + 1).checked_rem(self.shapes.len()).unwrap_or(0);
        }
        Ok(Payload::Other(chunk))
    }
}

/// Where the values lie that differ from chunk to chunk.
#[derive(Debug, Default)]
struct Holes {
    found: [Option<Hole>; 8],
    used: usize,
    too_many: bool,
}

impl Holes {
    fn add(&mut self, kind: HoleKind, start: usize, end: usize) {
        match self.found.get_mut(self.used) {
            Some(place) => {
                *place = Some(Hole { kind, start, end });
                self.used += 1;
            }
            None => self.too_many = true,
        }
    }

    /// Those found, in order; none where there were too many to remember.
    fn get(&self) -> impl Iterator<Item = Hole> + Clone {
        self.found.iter().copied().flatten().filter(|_| !self.too_many)
    }
}

/// A chunk read by hand; none where anything is unusual.
fn scan(data: &[u8]) -> Option<(ChunkWire<'_>, Holes)> {
    let mut cursor = Cursor {
        data,
        at: 0,
        holes: Holes::default(),
    };
    cursor.space();
    let chunk = cursor.chunk()?;
    cursor.space();
    (cursor.at == data.len()).then_some((chunk, cursor.holes))
}

/// Number of bytes before the first that ends or complicates a JSON string: a quote, a backslash, a control character.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A byte of `x` that is 0 sets its high bit; higher bytes may follow suit, the lowest one set is exact.
    const fn zero_bytes(x: u64) -> u64 {
        x.wrapping_sub(ONES) & !x & HIGHS
    }
    let mut len = 0_usize;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let quote = zero_bytes(word ^ (ONES.wrapping_mul(0x22)));
        let backslash = zero_bytes(word ^ (ONES.wrapping_mul(0x5c)));
        // Bytes below 0x20: those whose subtraction of 0x20 borrows and that are not high themselves.
        let control = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS;
        let stops = quote | backslash | control;
        if stops != 0 {
            let byte = usize::try_from(stops.trailing_zeros() / 8).unwrap_or(0);
            return len + byte;
        }
        len += 8;
        rest = after;
    }
    let tail = rest
        .iter()
        .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))
        .unwrap_or(rest.len());
    len + tail
}

/// The decimal number that `bytes` begins with, and its number of digits; none where it has a leading zero, or more digits
/// than any count.
pub(super) fn digits(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    let mut len = 0_usize;
    for byte in bytes.iter().take(16) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        len += 1;
    }
    let leading_zero = len > 1 && bytes.first() == Some(&b'0');
    (len > 0 && len < 16 && !leading_zero).then_some((value, len))
}

/// Nested values deeper than this are left to serde.
const MAX_DEPTH: u32 = 12;

struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
    holes: Holes,
}

/// Fills a field; none where it was filled before, which serde calls an error.
fn set<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    const fn skip(&mut self, n: usize) {
        self.at += n;
    }

    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.skip(usize::from(is));
        is
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let is = self.rest().starts_with(word);
        self.skip(if is { word.len() } else { 0 });
        is
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.skip(1);
        }
    }

    /// The bytes of a string without escapes, and where they begin.
    fn string_bytes(&mut self) -> Option<(&'a [u8], usize)> {
        self.eat(b'"')?;
        let start = self.at;
        let bytes = self.rest();
        let text = bytes.get(..plain_len(bytes))?;
        self.skip(text.len());
        self.eat(b'"')?;
        Some((text, start))
    }

    fn string(&mut self) -> Option<(&'a str, usize)> {
        let (bytes, start) = self.string_bytes()?;
        Some((std::str::from_utf8(bytes).ok()?, start))
    }

    /// A string or null. A string that may differ from chunk to chunk is noted as a hole.
    fn text(&mut self, hole: Option<HoleKind>) -> Option<Option<Text<'a>>> {
        if self.word(b"null") {
            return Some(None);
        }
        let (text, start) = self.string()?;
        if let Some(kind) = hole {
            self.holes.add(kind, start, start + text.len());
        }
        Some(Some(Text(Cow::Borrowed(text))))
    }

    /// A count.
    fn count(&mut self, hole: Option<HoleKind>) -> Option<u32> {
        let (value, len) = digits(self.rest())?;
        let start = self.at;
        self.skip(len);
        // A fraction or an exponent is no count.
        if matches!(self.peek(), Some(b'.' | b'e' | b'E' | b'0'..=b'9')) {
            return None;
        }
        if let Some(kind) = hole {
            self.holes.add(kind, start, self.at);
        }
        u32::try_from(value).ok()
    }

    fn count_or_null(&mut self, hole: HoleKind) -> Option<Option<u32>> {
        if self.word(b"null") {
            return Some(None);
        }
        self.count(Some(hole)).map(Some)
    }

    /// Each member of an object: `member` must read its value.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        self.space();
        if self.take(b'}') {
            return Some(());
        }
        loop {
            self.space();
            let (key, _) = self.string_bytes()?;
            // Serde checks a key's UTF-8; no key that we know needs it.
            if !key.is_ascii() {
                return None;
            }
            self.space();
            self.eat(b':')?;
            self.space();
            member(self, key)?;
            self.space();
            if self.take(b'}') {
                return Some(());
            }
            self.eat(b',')?;
        }
    }

    /// Passes over any value.
    fn value(&mut self, depth: u32) -> Option<()> {
        let deeper = depth.checked_add(1).filter(|d| *d < MAX_DEPTH)?;
        match self.peek()? {
            b'{' => self.object(|cursor, _| cursor.value(deeper)),
            b'[' => {
                self.skip(1);
                self.space();
                if self.take(b']') {
                    return Some(());
                }
                loop {
                    self.space();
                    self.value(deeper)?;
                    self.space();
                    if self.take(b']') {
                        return Some(());
                    }
                    self.eat(b',')?;
                }
            }
            b'"' => self.string_bytes().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number(),
            _ => (self.word(b"null") || self.word(b"true") || self.word(b"false")).then_some(()),
        }
    }

    fn digits(&mut self) -> Option<()> {
        let n = self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
        self.skip(n);
        (n > 0).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn chunk(&mut self) -> Option<ChunkWire<'a>> {
        let (mut choices, mut usage, mut error, mut object, mut message) = (None, None, None, None, None);
        self.object(|c, key| match key {
            b"id" => c.other_string(),
            b"created" => c.other_number(),
            b"choices" => {
                let value = if c.word(b"null") { None } else { Some(c.choices()?) };
                set(&mut choices, value)
            }
            b"usage" => {
                let value = if c.word(b"null") { None } else { Some(c.usage()?) };
                set(&mut usage, value)
            }
            // An error is never usual.
            b"error" => {
                c.word(b"null").then_some(())?;
                set(&mut error, ())
            }
            b"object" => set(&mut object, c.text(None)?),
            b"message" => set(&mut message, c.text(None)?),
            _ => c.value(0),
        })?;
        Some(ChunkWire {
            choices: choices.flatten(),
            usage: usage.flatten(),
            error: None,
            object: object.flatten(),
            message: message.flatten(),
        })
    }

    /// A value that is not read and is usually a string.
    fn other_string(&mut self) -> Option<()> {
        if self.peek() != Some(b'"') {
            return self.value(0);
        }
        let (text, start) = self.string_bytes()?;
        self.holes.add(HoleKind::String, start, start + text.len());
        Some(())
    }

    /// A value that is not read and is usually a number.
    fn other_number(&mut self) -> Option<()> {
        let start = self.at;
        let is_number = digits(self.rest()).is_some();
        self.value(0)?;
        let bytes = self.data.get(start..self.at)?;
        if is_number && bytes.iter().all(u8::is_ascii_digit) {
            self.holes.add(HoleKind::Number, start, self.at);
        }
        Some(())
    }

    fn choices(&mut self) -> Option<Choices<'a>> {
        self.eat(b'[')?;
        self.space();
        if self.take(b']') {
            return Some(Choices::default());
        }
        let first = self.choice()?;
        self.space();
        self.eat(b']')?;
        Some(Choices {
            first: Some(first),
            count: 1,
        })
    }

    fn choice(&mut self) -> Option<ChoiceWire<'a>> {
        let (mut index, mut delta, mut text, mut finish) = (None, None, None, None);
        self.object(|c, key| match key {
            b"index" => set(&mut index, c.count(None)?),
            b"delta" => {
                let value = if c.word(b"null") { None } else { Some(c.delta()?) };
                set(&mut delta, value)
            }
            b"text" => set(&mut text, c.text(Some(HoleKind::Text))?),
            b"finish_reason" => set(&mut finish, c.text(None)?),
            _ => c.value(0),
        })?;
        Some(ChoiceWire {
            index: index.unwrap_or_default(),
            delta: delta.flatten(),
            text: text.flatten(),
            finish_reason: finish.flatten(),
        })
    }

    fn delta(&mut self) -> Option<DeltaWire<'a>> {
        let (mut role, mut content, mut reasoning_content, mut reasoning, mut calls) = (None, None, None, None, None);
        self.object(|c, key| match key {
            b"role" => set(&mut role, c.text(None)?),
            b"content" => set(&mut content, c.text(Some(HoleKind::Text))?),
            b"reasoning_content" => set(&mut reasoning_content, c.text(Some(HoleKind::Text))?),
            b"reasoning" => set(&mut reasoning, c.text(Some(HoleKind::Text))?),
            b"tool_calls" => {
                // A call is rare enough for serde.
                let value = if c.word(b"null") {
                    None
                } else {
                    c.word(b"[]").then(|| Some(Vec::new()))?
                };
                set(&mut calls, value)
            }
            _ => c.value(0),
        })?;
        Some(DeltaWire {
            role: role.flatten(),
            content: content.flatten(),
            reasoning_content: reasoning_content.flatten(),
            reasoning: reasoning.flatten(),
            tool_calls: calls.flatten(),
        })
    }

    fn usage(&mut self) -> Option<UsageWire> {
        let (mut prompt, mut completion) = (None, None);
        self.object(|c, key| match key {
            b"prompt_tokens" => set(&mut prompt, c.count_or_null(HoleKind::PromptTokens)?),
            b"completion_tokens" => set(&mut completion, c.count_or_null(HoleKind::CompletionTokens)?),
            b"total_tokens" => c.other_number(),
            _ => c.value(0),
        })?;
        Some(UsageWire {
            prompt_tokens: prompt.flatten(),
            completion_tokens: completion.flatten(),
        })
    }
}

#[cfg(test)]
mod tests;
