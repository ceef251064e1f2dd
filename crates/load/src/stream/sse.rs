//! Server-sent events: bytes in, events out. Any chunking of the same bytes gives the same events.
//!
//! Follows the event-stream grammar of the HTML standard (LF, CR and CRLF line ends, comments, multi-line data, a leading
//! byte-order mark), with two additions of ours: lines and events are bounded, and a line that cannot be a field at all (an
//! HTML page, bare JSON) is an error instead of being ignored. It knows nothing of JSON, tokens or time.

use std::ops::ControlFlow;

/// Longest line and longest event that is accepted by default, in bytes.
pub const DEFAULT_MAX_EVENT_BYTES: usize = 1 << 20;

/// One event of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Value of the `event` field; empty where there was none.
    pub name: &'a [u8],
    /// The data lines, joined by LF.
    pub data: &'a [u8],
}

/// Why bytes are no event stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line or an event is longer than the bound.
    #[error("a line or event of the stream is longer than {limit} bytes")]
    TooLong {
        /// The bound, in bytes.
        limit: usize,
    },
    /// A line that is no field of the event-stream format.
    #[error("not an event stream: a line begins with `{0}`")]
    NotAField(String),
}

/// The data of an event and the bytes that follow it.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// What one complete line means.
enum Line<'a> {
    Blank,
    Ignored,
    Data(&'a [u8]),
    Name(&'a [u8]),
}

fn classify(line: &[u8]) -> Result<Line<'_>, SseError> {
    if line.is_empty() {
        return Ok(Line::Blank);
    }
    let (field, value) = match memchr::memchr(b':', line).and_then(|i| line.split_at_checked(i)) {
        Some((field, value)) => (
            field,
            value.strip_prefix(b": ").or(value.strip_prefix(b":")).unwrap_or(value),
        ),
        None => (line, &[][..]),
    };
    match field {
        b"data" => Ok(Line::Data(value)),
        b"event" => Ok(Line::Name(value)),
        _ if field
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) =>
        {
            Ok(Line::Ignored)
        }
        _ => Err(SseError::NotAField(
            String::from_utf8_lossy(line.get(..40).unwrap_or(line)).into_owned(),
        )),
    }
}

/// An incremental parser. Its memory is bounded by twice the limit; in the common case, where an event lies inside one
/// read, nothing is copied.
#[derive(Debug)]
pub struct SseParser {
    limit: usize,
    /// A line whose end has not come yet.
    line: Vec<u8>,
    /// Data of an event whose end has not come yet.
    data: Vec<u8>,
    has_data: bool,
    name: Vec<u8>,
    /// The last byte was CR: a LF that follows belongs to it.
    after_cr: bool,
    /// No line has been completed: a byte-order mark may still come.
    at_start: bool,
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_EVENT_BYTES)
    }
}

impl SseParser {
    /// A parser that refuses lines and events longer than `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            name: Vec::new(),
            after_cr: false,
            at_start: true,
        }
    }

    /// Feeds the next bytes; `on_event` sees every event that they complete, in order, and may break off.
    /// After a break or an error the parser is not to be used again.
    ///
    /// # Errors
    /// [`SseError`] where the bytes are no event stream or too long for one.
    pub fn feed<B>(
        &mut self,
        bytes: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, SseError> {
        let mut rest = bytes;
        // The only data line so far of the current event, as long as it still lies in `bytes`.
        let mut inside: Option<&[u8]> = None;
        loop {
            if self.after_cr && !rest.is_empty() {
                self.after_cr = false;
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            // The usual event: one line of data and a blank line, nothing carried over.
            if let Some((data, after)) = self.simple_event(rest, inside.is_some())? {
                rest = after;
                if let ControlFlow::Break(b) = on_event(Event { name: &[], data }) {
                    return Ok(ControlFlow::Break(b));
                }
                continue;
            }
            let Some((head, tail)) = memchr::memchr2(b'\n', b'\r', rest).and_then(|i| rest.split_at_checked(i)) else {
                break;
            };
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();

            let carried = !self.line.is_empty();
            let buffer;
            let line = if carried {
                self.carry(head)?;
                buffer = std::mem::take(&mut self.line);
                &buffer[..]
            } else {
                self.bound(head.len())?;
                buffer = Vec::new();
                head
            };
            let line = if self.at_start {
                line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
            } else {
                line
            };
            self.at_start = false;
            match classify(line)? {
                Line::Ignored => {}
                Line::Name(name) => {
                    self.name.clear();
                    self.name.extend_from_slice(name);
                }
                Line::Data(value) if carried || self.has_data || inside.is_some() => {
                    self.append(inside.take())?;
                    self.append(Some(value))?;
                }
                // Not carried, so it lies in `bytes`: find it there again to get the longer lifetime.
                Line::Data(value) => inside = head.get(head.len() - value.len()..),
                Line::Blank => {
                    let data = inside.take().or(self.has_data.then_some(&self.data[..]));
                    let flow = data.map(|data| on_event(Event { name: &self.name, data }));
                    self.data.clear();
                    self.name.clear();
                    self.has_data = false;
                    if let Some(ControlFlow::Break(b)) = flow {
                        return Ok(ControlFlow::Break(b));
                    }
                }
            }
            if carried {
                // Keep the allocation for the next split line.
                self.line = buffer;
                self.line.clear();
            }
        }
        self.append(inside)?;
        self.carry(rest)?;
        Ok(ControlFlow::Continue(()))
    }

    /// Data of the event that `bytes` begins with and what follows it, where it is `data: …` LF LF and stands by itself.
    fn simple_event<'a>(&self, bytes: &'a [u8], inside: bool) -> Result<Option<Cut<'a>>, SseError> {
        const FIELD: &[u8] = b"data: ";
        let between = !inside && !self.has_data && !self.at_start && self.name.is_empty() && self.line.is_empty();
        let Some(value) = bytes.strip_prefix(FIELD).filter(|_| between) else {
            return Ok(None);
        };
        let Some((data, end)) = memchr::memchr2(b'\n', b'\r', value).and_then(|i| value.split_at_checked(i)) else {
            return Ok(None);
        };
        let Some(after) = end.strip_prefix(b"\n\n") else {
            return Ok(None);
        };
        self.bound(data.len() + FIELD.len())?;
        Ok(Some((data, after)))
    }

    const fn bound(&self, bytes: usize) -> Result<(), SseError> {
        if bytes > self.limit {
            Err(SseError::TooLong { limit: self.limit })
        } else {
            Ok(())
        }
    }

    fn carry(&mut self, part: &[u8]) -> Result<(), SseError> {
        self.bound(self.line.len() + part.len())?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn append(&mut self, value: Option<&[u8]>) -> Result<(), SseError> {
        let Some(value) = value else { return Ok(()) };
        self.bound(self.data.len() + value.len())?;
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Name and data.
    type Parsed = (Vec<u8>, Vec<u8>);

    /// Events of the parts, and the error that ended them.
    fn parse(parts: &[&[u8]], limit: usize) -> (Vec<Parsed>, Option<SseError>) {
        let mut parser = SseParser::new(limit);
        let mut events = Vec::new();
        for part in parts {
            let fed = parser.feed(part, |e| {
                events.push((e.name.to_vec(), e.data.to_vec()));
                ControlFlow::<()>::Continue(())
            });
            if let Err(e) = fed {
                return (events, Some(e));
            }
        }
        (events, None)
    }

    fn check(input: &str, expected: &[&str]) {
        let (events, error) = parse(&[input.as_bytes()], 1 << 20);
        assert_eq!(error, None, "{input:?}");
        let data: Vec<String> = events.into_iter().map(|(_, d)| String::from_utf8(d).unwrap()).collect();
        assert_eq!(data, expected, "{input:?}");
    }

    #[test]
    fn grammar() {
        check("data: a\n\ndata:b\n\n", &["a", "b"]);
        check("data:  two spaces\n\n", &[" two spaces"]);
        check("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]);
        check("data: a\ndata: b\ndata:c\n\n", &["a\nb\nc"]);
        check(": a comment\n\n: another\ndata: x\n: inside\n\n", &["x"]);
        check("id: 7\nretry: 10\nfoo: bar\ndata: x\n\n", &["x"]);
        check("data\n\n", &[""]);
        check("\n\n\n", &[]);
        check("event: ping\n\ndata: x\n\n", &["x"]);
        check("\u{feff}data: x\n\n", &["x"]);
        // An event without its blank line is not one.
        check("data: x\n\ndata: y\n", &["x"]);
        check("data: a: b\n\n", &["a: b"]);
    }

    #[test]
    fn names() {
        let (events, _) = parse(&[b"event: error\ndata: x\n\ndata: y\n\n"], 100);
        assert_eq!(
            events,
            vec![(b"error".to_vec(), b"x".to_vec()), (vec![], b"y".to_vec())]
        );
    }

    #[test]
    fn what_is_no_event_stream() {
        for text in ["<!DOCTYPE html>\n", "{\"error\": 1}\n", "data x: y\n"] {
            assert!(
                matches!(parse(&[text.as_bytes()], 100).1, Some(SseError::NotAField(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn long_lines_and_events_are_bounded() {
        let long = format!("data: {}", "x".repeat(200));
        let too_long = Some(SseError::TooLong { limit: 100 });
        assert_eq!(parse(&[long.as_bytes()], 100).1, too_long);
        assert_eq!(parse(&[format!("{long}\n").as_bytes()], 100).1, too_long);
        let endless: Vec<&[u8]> = std::iter::repeat_n(&b"x"[..], 200).collect();
        assert_eq!(parse(&endless, 100).1, too_long);
        let many = "data: 0123456789\n".repeat(20);
        assert_eq!(parse(&[many.as_bytes()], 100).1, too_long);
    }

    #[test]
    fn a_break_ends_the_feed() {
        let mut seen = 0;
        let flow = SseParser::default().feed(b"data: a\n\ndata: b\n\n", |_| {
            seen += 1;
            ControlFlow::Break(7)
        });
        assert_eq!((flow, seen), (Ok(ControlFlow::Break(7)), 1));
    }

    fn soup() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("data: "),
            Just("data:"),
            Just("data"),
            Just("\n"),
            Just("\r"),
            Just("\r\n"),
            Just("\n\n"),
            Just(":"),
            Just("event: error"),
            Just("é🚀"),
            Just("{\"a\":1}"),
            Just("[DONE]"),
            Just("\u{feff}"),
            Just(" "),
            Just("x"),
            Just("id: 1\n"),
            Just("data: abc\n\n"),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|v| v.concat().into_bytes())
    }

    fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut from = 0;
        let mut parts = Vec::new();
        for cut in cuts.into_iter().chain([bytes.len()]) {
            parts.push(&bytes[from..cut]);
            from = cut;
        }
        parts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]
        #[test]
        fn any_chunking_gives_the_same_events(
            bytes in prop_oneof![soup(), prop::collection::vec(any::<u8>(), 0..80)],
            cuts in prop::collection::vec(any::<usize>(), 0..12),
            limit in 4usize..64,
        ) {
            let whole = parse(&[&bytes], limit);
            prop_assert_eq!(&parse(&split(&bytes, &cuts), limit), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&parse(&single, limit), &whole);
        }
    }
}
