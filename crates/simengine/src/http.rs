//! HTTP/1.1 by hand: reading requests and writing heads. By hand, because a fault needs the socket itself: half a chunk, a
//! reset, a byte at a time.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::clock;

/// The mark on every answer.
pub const KIND_HEADER: &str = "x-servelab-engine-kind: simulated";

const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A request as read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// `x-request-id`, where given.
    pub request_id: Option<String>,
    /// Does the client close after the answer?
    pub close: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// Why no request was read.
#[derive(Debug)]
pub enum ReadError {
    /// The client closed the connection between two requests, or in one.
    Closed,
    /// What came is no HTTP/1.1 request.
    Malformed,
    /// Head or body is longer than the simulator takes.
    TooLarge,
}

/// A connection with what has been read beyond the last request.
#[derive(Debug, Default)]
pub struct Connection {
    buffer: Vec<u8>,
}

struct Head {
    request: Request,
    length: Option<usize>,
    chunked: bool,
    expects_continue: bool,
    size: usize,
}

impl Connection {
    /// A connection on which nothing has been read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn fill(&mut self, mut socket: &TcpStream) -> Result<(), ReadError> {
        let mut block = [0u8; 16 * 1024];
        let n = socket.read(&mut block).map_err(|_| ReadError::Closed)?;
        if n == 0 {
            return Err(ReadError::Closed);
        }
        self.buffer.extend_from_slice(block.get(..n).unwrap_or_default());
        Ok(())
    }

    /// Reads one request.
    ///
    /// # Errors
    /// [`ReadError`] where the connection ends or what comes is no request.
    pub fn read(&mut self, socket: &TcpStream) -> Result<Request, ReadError> {
        let head = loop {
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(ReadError::TooLarge);
            }
            self.fill(socket)?;
        };
        self.buffer.drain(..head.size);
        if head.expects_continue {
            let mut socket = socket;
            socket
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .map_err(|_| ReadError::Closed)?;
        }
        let mut request = head.request;
        if head.chunked {
            request.body = self.read_chunked(socket)?;
        } else {
            let length = head.length.unwrap_or(0);
            if length > MAX_BODY {
                return Err(ReadError::TooLarge);
            }
            while self.buffer.len() < length {
                self.fill(socket)?;
            }
            request.body = self.buffer.drain(..length).collect();
        }
        Ok(request)
    }

    fn read_chunked(&mut self, socket: &TcpStream) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let (start, size) = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete(found)) => break found,
                    Ok(httparse::Status::Partial) => self.fill(socket)?,
                    Err(_) => return Err(ReadError::Malformed),
                }
            };
            let size = usize::try_from(size).map_err(|_| ReadError::TooLarge)?;
            if size > MAX_BODY || body.len() + size > MAX_BODY {
                return Err(ReadError::TooLarge);
            }
            while self.buffer.len() < start + size + 2 {
                self.fill(socket)?;
            }
            body.extend_from_slice(self.buffer.get(start..start + size).unwrap_or_default());
            self.buffer.drain(..start + size + 2);
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

fn parse_head(buffer: &[u8]) -> Result<Option<Head>, ReadError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let size = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ReadError::Malformed),
    };
    let path = parsed.path.unwrap_or("/");
    let mut head = Head {
        request: Request {
            method: parsed.method.unwrap_or("").to_owned(),
            path: path.split('?').next().unwrap_or(path).to_owned(),
            // HTTP/1.0 closes unless it says otherwise; nobody here does.
            close: parsed.version == Some(0),
            ..Request::default()
        },
        length: None,
        chunked: false,
        expects_continue: false,
        size,
    };
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or("").trim();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = Some(value.parse().map_err(|_| ReadError::Malformed)?),
            "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => head.request.close |= value.eq_ignore_ascii_case("close"),
            "expect" => head.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "x-request-id" => head.request.request_id = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(Some(head))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

fn head(status: u16, extra: &[(String, String)]) -> String {
    let mut out = format!(
        "HTTP/1.1 {status} {}\r\ndate: {}\r\nserver: uvicorn\r\n{KIND_HEADER}\r\n",
        reason(status),
        clock::http_date(clock::unix_s())
    );
    for (name, value) in extra {
        out.push_str(name);
        out.push_str(": ");
        // A header that came from the client must not smuggle lines.
        out.extend(value.chars().filter(|c| !c.is_control()));
        out.push_str("\r\n");
    }
    out
}

/// A whole answer.
#[must_use]
pub fn response(status: u16, content_type: &str, body: &[u8], extra: &[(String, String)]) -> Vec<u8> {
    let mut out = head(status, extra);
    out.push_str(&format!("content-length: {}\r\n", body.len()));
    if !content_type.is_empty() {
        out.push_str(&format!("content-type: {content_type}\r\n"));
    }
    out.push_str("vary: Origin\r\n\r\n");
    let mut bytes = out.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a stream.
#[must_use]
pub fn stream_head(content_type: &str, extra: &[(String, String)]) -> Vec<u8> {
    let mut out = head(200, extra);
    out.push_str(&format!(
        "content-type: {content_type}\r\nvary: Origin\r\ntransfer-encoding: chunked\r\n\r\n"
    ));
    out.into_bytes()
}

/// The content type of an event stream.
pub const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_parse_in_pieces() {
        let full = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: r-1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        let head_len = full.len() - 2;
        for cut in 0..head_len {
            assert!(parse_head(&full[..cut]).unwrap().is_none(), "{cut}");
        }
        let head = parse_head(full).unwrap().unwrap();
        assert_eq!((head.size, head.length, head.request.close), (head_len, Some(2), true));
        assert_eq!(
            (head.request.path.as_str(), head.request.request_id.as_deref()),
            ("/v1/chat/completions", Some("r-1"))
        );
        assert!(parse_head(b"\x16\x03\x01\x02\x00 not http\r\n\r\n").is_err());
    }

    #[test]
    fn a_header_cannot_smuggle_lines() {
        let r = response(
            200,
            "text/plain",
            b"x",
            &[("X-Request-Id".into(), "a\r\nset-cookie: b".into())],
        );
        assert!(!String::from_utf8(r).unwrap().contains("\r\nset-cookie"));
    }
}
