//! Reading a request just far enough: its path, its name, where it ends, and what it asks for. Never its JSON.

use memchr::memmem;

/// Longest head and body that are taken, in bytes.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// A request in a connection's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// True for `POST`.
    pub(crate) post: bool,
    /// The path with its query.
    pub(crate) path: &'a str,
    /// `x-request-id`; empty where there is none.
    pub(crate) id: &'a str,
    /// The body.
    pub(crate) body: &'a [u8],
    /// How many of the bytes it takes.
    pub(crate) size: usize,
}

/// What bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// A whole request.
    Whole(Request<'a>),
    /// The beginning of one.
    Partial,
    /// No request that this server takes.
    Bad,
}

/// Reads the request at the beginning of `bytes`.
#[must_use]
pub(crate) fn read(bytes: &[u8]) -> Read<'_> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let body_at = match head.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_BYTES => return Read::Partial,
        Ok(httparse::Status::Partial) | Err(_) => return Read::Bad,
    };
    let (mut length, mut id) = (0_usize, "");
    for header in head.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            match value.parse() {
                Ok(n) if n <= MAX_BYTES => length = n,
                _ => return Read::Bad,
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Read::Bad;
        } else if header.name.eq_ignore_ascii_case("x-request-id") {
            id = value;
        }
    }
    let size = body_at + length;
    let Some(body) = bytes.get(body_at..size) else {
        return Read::Partial;
    };
    let (post, path) = (head.method == Some("POST"), head.path.unwrap_or("/"));
    Read::Whole(Request {
        post,
        path,
        id,
        body,
        size,
    })
}

/// True where the body asks for a stream.
#[must_use]
pub(crate) fn wants_stream(body: &[u8]) -> bool {
    after(body, b"\"stream\":").is_some_and(|rest| rest.starts_with(b"true"))
}

/// What follows the last of these keys, without blanks before it: other clients write some.
fn after<'b>(body: &'b [u8], key: &[u8]) -> Option<&'b [u8]> {
    let at = memmem::rfind(body, key)?;
    Some(body.get(at + key.len()..)?.trim_ascii_start())
}

/// The number after `"max_tokens":` or `"max_completion_tokens":`; none where the body has neither.
#[must_use]
pub(crate) fn max_tokens(body: &[u8]) -> Option<u32> {
    let rest = after(body, b"\"max_tokens\":").or_else(|| after(body, b"\"max_completion_tokens\":"))?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_where_they_say() {
        let text = b"POST /v1/x HTTP/1.1\r\nX-Request-Id: r-7\r\nContent-Length: 4\r\n\r\nabcdGET";
        for cut in 0..text.len() - 3 {
            assert_eq!(read(&text[..cut]), Read::Partial, "{cut}");
        }
        let Read::Whole(request) = read(text) else { panic!() };
        assert_eq!(
            (request.post, request.path, request.id, request.body),
            (true, "/v1/x", "r-7", &b"abcd"[..])
        );
        assert_eq!(&text[request.size..], b"GET");
        for bad in [
            "\0\0\0\r\n",
            "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Read::Bad, "{bad:?}");
        }
    }

    #[test]
    fn tokens_are_found_without_parsing() {
        assert!(wants_stream(br#"{"stream":true}"#) && wants_stream(br#"{"stream": true}"#));
        assert!(!wants_stream(br#"{"stream":false}"#) && !wants_stream(b"{}"));
        let check = |body: &str, expected| assert_eq!(max_tokens(body.as_bytes()), expected, "{body}");
        check(r#"{"max_tokens":64}"#, Some(64));
        check(r#"{"max_completion_tokens": 7,"x":1}"#, Some(7));
        check(r#"{"messages":[]}"#, None);
        check(r#"{"max_tokens":null}"#, None);
        check(r#"{"max_tokens":99999999999}"#, None);
    }
}
