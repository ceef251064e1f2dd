//! One HTTP/1.1 response as a push parser: bytes in; head, body slices and the end out.

use super::chunked::{ChunkedDecoder, ChunkedError};
use std::{borrow::Cow, cell::RefCell, ops::ControlFlow};

/// Largest response head, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most header lines.
const MAX_HEADERS: usize = 100;

const EVENT_STREAM: &str = "text/event-stream";
/// Longest head that is remembered, in bytes.
const MAX_KNOWN_BYTES: usize = 2048;

thread_local! {
    /// The last head and what it says: engines repeat it byte for byte, but for its date.
    static KNOWN: RefCell<Option<(Vec<u8>, ResponseHead, Framing)>> = const { RefCell::new(None) };
}

/// Why bytes are no answer that can be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The head is no HTTP/1.x head.
    #[error("no HTTP/1.1 response: {0}")]
    Head(String),
    /// The head is longer than the bound.
    #[error("the response head is longer than 64 KiB")]
    HeadTooLong,
    /// The framing headers contradict each other or name a coding we did not ask for.
    #[error("{0}")]
    Framing(&'static str),
    /// The chunked body is broken.
    #[error(transparent)]
    Chunked(#[from] ChunkedError),
}

/// What the head of a response says that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// `Content-Type` in lower case without parameters; empty where there is none.
    pub content_type: Cow<'static, str>,
    /// True where a `Content-Encoding` other than identity is given: its bytes are not the text.
    pub is_encoded: bool,
    /// True where the connection may carry another request after this response.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// True for an event stream.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.content_type == EVENT_STREAM
    }
}

/// A piece of the response.
#[derive(Debug)]
pub enum Part<'a> {
    /// The final head (1xx responses are skipped).
    Head(&'a ResponseHead),
    /// Bytes of the body, in order.
    Body(&'a [u8]),
}

/// How far the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// More must come.
    Open,
    /// It ended by its own framing.
    Complete {
        /// The connection may be used again.
        reusable: bool,
    },
    /// It has no framing: the close of the connection will be its end.
    UntilClose,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Head,
    Length { left: u64 },
    Chunked(ChunkedDecoder),
    UntilClose,
    Complete,
}

/// The parser for one response.
#[derive(Debug)]
pub struct ResponseReader {
    /// An unfinished head.
    head_bytes: Vec<u8>,
    framing: Framing,
    head: Option<ResponseHead>,
    /// Bytes after the end of the response: the peer broke the protocol and the connection is spent.
    surplus: bool,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self {
            head_bytes: Vec::new(),
            framing: Framing::Head,
            head: None,
            surplus: false,
        }
    }
}

impl ResponseReader {
    /// The head, once it has come.
    #[must_use]
    pub const fn head(&self) -> Option<&ResponseHead> {
        self.head.as_ref()
    }

    /// How far the body is.
    #[must_use]
    pub fn end(&self) -> BodyEnd {
        match self.framing {
            Framing::Complete => BodyEnd::Complete {
                reusable: !self.surplus && self.head.as_ref().is_some_and(|h| h.keep_alive),
            },
            Framing::UntilClose => BodyEnd::UntilClose,
            Framing::Head | Framing::Length { .. } | Framing::Chunked(_) => BodyEnd::Open,
        }
    }

    /// Feeds the next bytes; `on_part` sees what they hold, in order, and may break off.
    ///
    /// # Errors
    /// [`HttpError`] where the bytes are no response; the parser is not to be used again.
    pub fn feed<B>(
        &mut self,
        bytes: &[u8],
        mut on_part: impl FnMut(Part<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, HttpError> {
        let mut rest = bytes;
        while matches!(self.framing, Framing::Head) {
            if rest.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let Some(used) = self.feed_head(rest)? else {
                return Ok(ControlFlow::Continue(()));
            };
            rest = rest.get(used..).unwrap_or_default();
            if let Some(head) = &self.head
                && let ControlFlow::Break(b) = on_part(Part::Head(head))
            {
                return Ok(ControlFlow::Break(b));
            }
        }
        while !rest.is_empty() {
            let body = match &mut self.framing {
                Framing::Head | Framing::Complete => break,
                Framing::UntilClose => std::mem::take(&mut rest),
                Framing::Length { left } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    let (body, after) = rest.split_at_checked(take).unwrap_or((rest, &[]));
                    rest = after;
                    // `take` is at most `left`.
                    *left -= u64::try_from(take).unwrap_or(*left);
                    if *left == 0 {
                        self.framing = Framing::Complete;
                    }
                    body
                }
                Framing::Chunked(decoder) => {
                    let body = decoder.next(&mut rest)?;
                    if decoder.is_end() {
                        self.framing = Framing::Complete;
                    }
                    body.unwrap_or_default()
                }
            };
            if !body.is_empty()
                && let ControlFlow::Break(b) = on_part(Part::Body(body))
            {
                return Ok(ControlFlow::Break(b));
            }
        }
        self.surplus |= !rest.is_empty();
        Ok(ControlFlow::Continue(()))
    }

    /// Takes bytes for the head. Some(n) = a head is complete and used n bytes of `bytes`.
    ///
    /// Only whole lines are parsed, so that the outcome of a broken line does not depend on how the reads cut it.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, HttpError> {
        let Some(lines) = memchr::memrchr(b'\n', bytes).map(|at| at + 1) else {
            self.carry_head(bytes)?;
            return Ok(None);
        };
        let (lines, rest) = bytes.split_at_checked(lines).unwrap_or((bytes, &[]));
        let carried = self.head_bytes.len();
        if carried == 0 {
            if let Some(used) = self.parse_head(lines)? {
                return Ok(Some(used));
            }
            self.carry_head(bytes)?;
            return Ok(None);
        }
        self.carry_head(lines)?;
        let buffer = std::mem::take(&mut self.head_bytes);
        let used = self.parse_head(&buffer)?;
        match used {
            Some(used) => Ok(Some(used.saturating_sub(carried))),
            None => {
                self.head_bytes = buffer;
                self.carry_head(rest)?;
                Ok(None)
            }
        }
    }

    fn carry_head(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        if self.head_bytes.len() + bytes.len() > MAX_HEAD_BYTES {
            return Err(HttpError::HeadTooLong);
        }
        self.head_bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, HttpError> {
        let known = KNOWN.with_borrow(|known| {
            let (text, head, framing) = known.as_ref()?;
            bytes.starts_with(text).then(|| (text.len(), head.clone(), *framing))
        });
        if let Some((used, head, framing)) = known {
            self.head = Some(head);
            self.framing = framing;
            return Ok(Some(used));
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let used = match response.parse(bytes).map_err(|e| HttpError::Head(e.to_string()))? {
            httparse::Status::Complete(used) if used > MAX_HEAD_BYTES => return Err(HttpError::HeadTooLong),
            httparse::Status::Complete(used) => used,
            httparse::Status::Partial => return Ok(None),
        };
        let status = response.code.unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            return Ok(Some(used));
        }
        let (head, framing) = read_headers(status, response.version == Some(1), response.headers)?;
        if let Some(text) = bytes.get(..used.min(MAX_KNOWN_BYTES)).filter(|text| text.len() == used) {
            KNOWN.set(Some((text.to_vec(), head.clone(), framing)));
        }
        self.head = Some(head);
        self.framing = framing;
        Ok(Some(used))
    }
}

fn read_headers(
    status: u16,
    is_http11: bool,
    headers: &[httparse::Header<'_>],
) -> Result<(ResponseHead, Framing), HttpError> {
    let mut head = ResponseHead {
        status,
        content_type: Cow::Borrowed(""),
        is_encoded: false,
        keep_alive: is_http11,
    };
    let mut length: Option<u64> = None;
    let mut chunked = false;
    for header in headers {
        let value = header.value.trim_ascii();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let n = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            let n = n.ok_or(HttpError::Framing("Content-Length is no number"))?;
            if length.replace(n).is_some_and(|before| before != n) {
                return Err(HttpError::Framing("two Content-Length headers that differ"));
            }
        } else if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpError::Framing("a Transfer-Encoding other than chunked"));
            }
            chunked = true;
        } else if is("content-encoding") {
            head.is_encoded = !value.eq_ignore_ascii_case(b"identity") && !value.is_empty();
        } else if is("content-type") {
            let text = String::from_utf8_lossy(value).to_ascii_lowercase();
            head.content_type = match text.split(';').next().unwrap_or_default().trim() {
                EVENT_STREAM => Cow::Borrowed(EVENT_STREAM),
                other => Cow::Owned(other.to_owned()),
            };
        } else if is("connection") {
            let value = value.to_ascii_lowercase();
            let has = |token: &[u8]| value.split(|b| *b == b',').any(|t| t.trim_ascii() == token);
            head.keep_alive = (is_http11 || has(b"keep-alive")) && !has(b"close");
        }
    }
    let framing = match length {
        Some(_) if chunked => return Err(HttpError::Framing("both Content-Length and Transfer-Encoding")),
        _ if matches!(status, 204 | 304) => Framing::Complete,
        Some(0) => Framing::Complete,
        Some(left) => Framing::Length { left },
        None if chunked => Framing::Chunked(ChunkedDecoder::default()),
        None => Framing::UntilClose,
    };
    Ok((head, framing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = (Option<u16>, Vec<u8>, BodyEnd);

    fn read(parts: &[&[u8]]) -> Result<Seen, HttpError> {
        let mut reader = ResponseReader::default();
        let mut body = Vec::new();
        for part in parts {
            let _ = reader.feed(part, |p| {
                if let Part::Body(b) = p {
                    body.extend_from_slice(b);
                }
                ControlFlow::<()>::Continue(())
            })?;
        }
        Ok((reader.head().map(|h| h.status), body, reader.end()))
    }

    fn check(input: &str, status: u16, body: &str, end: BodyEnd) {
        assert_eq!(
            read(&[input.as_bytes()]),
            Ok((Some(status), body.as_bytes().to_vec(), end)),
            "{input:?}"
        );
    }

    #[test]
    fn framings() {
        let reusable = BodyEnd::Complete { reusable: true };
        let spent = BodyEnd::Complete { reusable: false };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, "ab", reusable);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab",
            200,
            "ab",
            spent,
        );
        check("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, "ab", spent);
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", 200, "ab", spent);
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            200,
            "ab",
            BodyEnd::Open,
        );
        check("HTTP/1.1 204 No\r\n\r\n", 204, "", reusable);
        check("HTTP/1.1 200 OK\r\n\r\nab", 200, "ab", BodyEnd::UntilClose);
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            200,
            "ab",
            reusable,
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx",
            404,
            "x",
            reusable,
        );
    }

    #[test]
    fn broken_heads() {
        for bad in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ] {
            assert!(read(&[bad.as_bytes()]).is_err(), "{bad:?}");
        }
        let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"x: y\r\n".repeat(20_000);
        assert!(read(&[endless.as_bytes()]).is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_response(which in 0usize..4, body in "[ -~]{1,60}", steps in prop::collection::vec(1usize..40, 1..30)) {
            let n = body.len();
            let text = match which {
                0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n{body}"),
                1 => format!("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{body}\r\n0\r\n\r\n"),
                2 => format!("HTTP/1.1 500 No\r\nConnection: close\r\n\r\n{body}"),
                _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n{body}surplus"),
            };
            let bytes = text.as_bytes();
            let mut parts = Vec::new();
            let mut rest = bytes;
            for step in steps {
                let (a, b) = rest.split_at(step.min(rest.len()));
                parts.push(a);
                rest = b;
            }
            parts.push(rest);
            prop_assert_eq!(read(&parts), read(&[bytes]));
        }
    }
}
