//! Requests as bytes, made before the load begins: nothing is serialised, resolved or allocated for them on the hot path
//! but the few header bytes that carry a request's name.

use crate::{stream::Expectation, tls::Tls};
use bytes::Bytes;
use servelab_schema::PromptId;
use std::{
    fmt,
    io::Write as _,
    net::{SocketAddr, ToSocketAddrs},
};

/// Why a URL cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme than http and https.
    #[error("`{url}`: only http:// and https:// URLs can be measured; give one of these")]
    Scheme {
        /// The URL as given.
        url: String,
    },
    /// No host, a bad port, user information, or characters that no URL has.
    #[error("`{url}` is no URL such as http://127.0.0.1:8000/v1/chat/completions: {why}")]
    Form {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The host's name has no address.
    #[error("`{host}` cannot be resolved: {why}; check the host name")]
    Resolve {
        /// The host.
        host: String,
        /// The resolver's words.
        why: String,
    },
    /// No certificate authority can be trusted, or the host cannot have a certificate.
    #[error("https://{host}: {why}; set SSL_CERT_FILE to a PEM file of certificate authorities, or use http://")]
    Tls {
        /// The host.
        host: String,
        /// What is missing.
        why: String,
    },
}

/// Where requests go: host, port and path of an `http://` or `https://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Certificate authorities trusted besides the system's (DER); none where the URL is `http://`.
    roots: Option<Vec<Vec<u8>>>,
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Reads `http://host[:port]/path` or the same with `https`.
    ///
    /// # Errors
    /// [`EndpointError`] for any other form.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let form = |why| EndpointError::Form {
            url: url.to_owned(),
            why,
        };
        let (is_tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some(_) => return Err(EndpointError::Scheme { url: url.to_owned() }),
            None => return Err(form("it has no scheme")),
        };
        if !rest.bytes().all(|b| b.is_ascii_graphic()) || rest.contains('#') {
            return Err(form("it has a space, a fragment or a character outside ASCII"));
        }
        let usual_port = if is_tls { "443" } else { "80" };
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(path_at).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(form("it has user information; give credentials as a header"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6
                    .split_once(']')
                    .ok_or_else(|| form("an IPv6 address lacks its `]`"))?;
                (host, after.strip_prefix(':').or(after.is_empty().then_some(usual_port)))
            }
            None => authority
                .split_once(':')
                .map_or((authority, Some(usual_port)), |(host, port)| (host, Some(port))),
        };
        let port = port
            .and_then(|p| p.parse().ok())
            .filter(|p| *p > 0)
            .ok_or_else(|| form("its port is no number"))?;
        if host.is_empty() {
            return Err(form("it has no host"));
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            roots: is_tls.then(Vec::new),
            host: host.to_owned(),
            port,
            path,
        })
    }

    /// Trusts this certificate authority too, in DER form. Without effect on an `http://` URL.
    pub fn trust(&mut self, der: Vec<u8>) {
        self.roots.iter_mut().for_each(|roots| roots.push(der.clone()));
    }

    /// What its connections need to speak TLS; none where they do not.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, EndpointError> {
        let tls = self.roots.as_ref().map(|roots| Tls::new(&self.host, roots));
        tls.transpose().map_err(|why| EndpointError::Tls {
            host: self.host.clone(),
            why,
        })
    }

    /// Its addresses, looked up once before the load.
    ///
    /// # Errors
    /// [`EndpointError::Resolve`] where there is none.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, EndpointError> {
        let error = |why: String| EndpointError::Resolve {
            host: self.host.clone(),
            why,
        };
        let addresses: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|e| error(e.to_string()))?
            .collect();
        if addresses.is_empty() {
            Err(error("it has no address".to_owned()))
        } else {
            Ok(addresses)
        }
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.roots.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Extra request headers, such as `Authorization`. Their values are never shown, not even by `Debug`.
#[derive(Clone, Default)]
pub struct RequestHeaders(Vec<(String, String)>);

impl RequestHeaders {
    /// Adds a header.
    ///
    /// # Errors
    /// Refuses names and values that would break the request apart, and headers that the instrument sets itself.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("`{name}` is no header name"));
        }
        const OURS: [&str; 8] = [
            "host",
            "content-length",
            "content-type",
            "transfer-encoding",
            "connection",
            "accept",
            "accept-encoding",
            "x-request-id",
        ];
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(format!("the header `{name}` is set by the instrument itself"));
        }
        if !value.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f)) {
            return Err(format!(
                "the value of header `{name}` holds a line break or another control character"
            ));
        }
        self.0.push((name.to_owned(), value.to_owned()));
        Ok(())
    }
}

impl fmt::Debug for RequestHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| format!("{name}: (hidden)")))
            .finish()
    }
}

/// The part of the request head that every request shares.
#[derive(Debug, Clone)]
pub(crate) struct HeadTemplate(Vec<u8>);

impl HeadTemplate {
    pub(crate) fn new(endpoint: &Endpoint, headers: &RequestHeaders) -> Self {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: servelab/{}\r\naccept: text/event-stream\r\n\
             content-type: application/json\r\n",
            endpoint.path,
            endpoint.authority(),
            env!("CARGO_PKG_VERSION"),
        );
        for (name, value) in &headers.0 {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        Self(head.into_bytes())
    }

    /// The whole head of a request for what stands at `path`.
    pub(crate) fn get(endpoint: &Endpoint, headers: &RequestHeaders, path: &str) -> Vec<u8> {
        let Self(post) = Self::new(endpoint, headers);
        let line_end = post.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut head = format!("GET {path} HTTP/1.1\r\n").into_bytes();
        head.extend_from_slice(post.get(line_end..).unwrap_or_default());
        head.extend_from_slice(b"connection: close\r\n\r\n");
        head
    }

    /// The whole head of `body_bytes` of JSON for what stands at `path`; the connection stays open.
    pub(crate) fn post(endpoint: &Endpoint, headers: &RequestHeaders, path: &str, body_bytes: usize) -> Vec<u8> {
        let there = Endpoint {
            path: path.to_owned(),
            ..endpoint.clone()
        };
        let Self(mut head) = Self::new(&there, headers);
        // Writing to a Vec cannot fail.
        let _ = write!(head, "content-length: {body_bytes}\r\n\r\n");
        head
    }

    /// The whole head for one request.
    pub(crate) fn head(&self, request_id: &str, body_bytes: usize) -> Vec<u8> {
        let mut head = Vec::with_capacity(self.0.len() + request_id.len() + 64);
        head.extend_from_slice(&self.0);
        head.extend_from_slice(b"x-request-id: ");
        head.extend_from_slice(request_id.as_bytes());
        head.extend_from_slice(b"\r\ncontent-length: ");
        // Writing to a Vec cannot fail.
        let _ = write!(head, "{body_bytes}\r\n\r\n");
        head
    }
}

/// One request, ready to be sent. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct PreparedRequest {
    /// The prompt it asks.
    pub prompt_id: PromptId,
    /// The JSON body.
    pub body: Bytes,
    /// What must hold of its answer.
    pub expect: Expectation,
}

impl PreparedRequest {
    /// The same with a `cache_salt`, which keeps what different salts leave in an engine's prefix cache apart.
    #[must_use]
    pub fn with_cache_salt(&self, salt: &str) -> Self {
        let object = self.body.strip_suffix(b"}").unwrap_or(&self.body);
        let field = serde_json::Value::from(salt);
        Self {
            body: [object, format!(",\"cache_salt\":{field}}}").as_bytes()]
                .concat()
                .into(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, shown) in [
            (
                "http://127.0.0.1:8000/v1/chat/completions",
                "http://127.0.0.1:8000/v1/chat/completions",
            ),
            ("HTTP://host/x?y=1", "http://host:80/x?y=1"),
            ("https://host/x", "https://host:443/x"),
            ("https://[::1]:9/x", "https://[::1]:9/x"),
            ("http://[::1]:9/", "http://[::1]:9/"),
            ("http://[::1]", "http://[::1]:80/"),
            ("http://h:1?q", "http://h:1/?q"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "host:80/x",
            "http://",
            "http://:80/",
            "http://h:x/",
            "http://h:0/",
            "http://h:99999/",
            "http://u@h/",
            "http://h/a b",
            "http://[::1/",
            "http://h/é",
            "http://h/x#y",
            "http://h/\r\nx: y",
        ] {
            assert!(
                matches!(Endpoint::parse(bad), Err(EndpointError::Form { .. })),
                "{bad:?}"
            );
        }
        assert!(matches!(Endpoint::parse("ftp://h/"), Err(EndpointError::Scheme { .. })));
    }

    #[test]
    fn headers_cannot_break_the_request() {
        let mut headers = RequestHeaders::default();
        headers.add("Authorization", "Bearer secret").unwrap();
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("x", "a\r\nb: c"),
            ("Host", "x"),
            ("x", "a\0"),
            ("X-Request-Id", "x"),
        ] {
            assert!(headers.add(name, value).is_err(), "{name:?} {value:?}");
        }
        assert!(!format!("{headers:?}").contains("secret"));
        let template = HeadTemplate::new(&Endpoint::parse("http://h:1/p").unwrap(), &headers);
        let head = String::from_utf8(template.head("r-1", 7)).unwrap();
        assert!(head.starts_with("POST /p HTTP/1.1\r\nhost: h:1\r\n"), "{head}");
        assert!(
            head.ends_with("Authorization: Bearer secret\r\nx-request-id: r-1\r\ncontent-length: 7\r\n\r\n"),
            "{head}"
        );
    }
}
