//! Why no load can be put on a server. Words of the server's stand in fields of their own, for whoever shows them to clean.

use crate::spec::LoadError;

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum NegotiateError {
    /// The endpoint has no address, or this machine no thread or event loop for it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A body could not be made.
    #[error("the request cannot be written: {0}")]
    Body(String),
    /// No connection: refused, or no way there.
    #[error("no connection: {why}")]
    Unreachable {
        /// The operating system's words.
        why: String,
    },
    /// The peer speaks no TLS, or its certificate cannot be trusted.
    #[error("TLS failed: {why}")]
    Tls {
        /// The library's words.
        why: String,
    },
    /// Nothing came within the limit.
    #[error("no answer within {limit}")]
    Silent {
        /// How long was waited.
        limit: servelab_schema::Nanos,
    },
    /// The connection ended or broke before an answer, or what came is not HTTP or no event stream.
    #[error("no answer that can be read: {why}")]
    Protocol {
        /// What came.
        why: String,
    },
    /// 401 or 403: a key is missing or wrong.
    #[error("HTTP {status}: {said}")]
    Unauthorized {
        /// The status.
        status: u16,
        /// The server's words.
        said: String,
    },
    /// 407: a proxy stands before the server and wants to know who asks.
    #[error("HTTP 407: {said}")]
    Proxy {
        /// The proxy's words.
        said: String,
    },
    /// 404 or 405: the server has no such endpoint at this path.
    #[error("HTTP {status}: {said}")]
    NoEndpoint {
        /// The status.
        status: u16,
        /// The server's words.
        said: String,
    },
    /// The server does not serve the model that was asked for.
    #[error("the model `{model}` is not served: {said}")]
    UnknownModel {
        /// The model that was asked for.
        model: String,
        /// The server's words.
        said: String,
    },
    /// 429.
    #[error("HTTP 429: {said}")]
    RateLimited {
        /// The server's words.
        said: String,
    },
    /// A web page came: a proxy's, a gateway's, or a front end's.
    #[error("HTTP {status} with a web page: {title}")]
    WebPage {
        /// The status.
        status: u16,
        /// The page's title, or its first words.
        title: String,
    },
    /// 3xx: a redirect, which is not followed.
    #[error("HTTP {status}: the server sends elsewhere, and redirects are not followed")]
    Redirect {
        /// The status.
        status: u16,
    },
    /// It refused whatever was left out of the request.
    #[error("HTTP {status}: {said}")]
    Refused {
        /// The status.
        status: u16,
        /// The server's words.
        said: String,
    },
    /// 5xx, or an error in the stream.
    #[error("HTTP {status}: {said}")]
    ServerFailed {
        /// The status; 200 where the error came in the stream.
        status: u16,
        /// The server's words.
        said: String,
    },
    /// 200, but no event stream: it does not stream.
    #[error("an answer of type `{content_type}` where an event stream was asked for")]
    NotStreamed {
        /// What came instead.
        content_type: String,
    },
    /// A stream that says nothing of its end, so that a broken one could not be told from a whole one.
    #[error("a stream without [DONE] and without a finish_reason: a broken answer could not be told from a whole one")]
    NoEnd,
}

impl NegotiateError {
    /// The same with everything that a server said gone through `clean`.
    #[must_use]
    pub fn cleaned(mut self, clean: impl Fn(&str) -> String) -> Self {
        let words: &mut [&mut String] = match &mut self {
            Self::Load(_) | Self::Body(_) | Self::Silent { .. } | Self::Redirect { .. } | Self::NoEnd => &mut [],
            Self::Unreachable { why } | Self::Tls { why } | Self::Protocol { why } => &mut [why],
            Self::Unauthorized { said, .. }
            | Self::NoEndpoint { said, .. }
            | Self::Proxy { said }
            | Self::RateLimited { said }
            | Self::Refused { said, .. }
            | Self::ServerFailed { said, .. } => &mut [said],
            Self::UnknownModel { model, said } => &mut [model, said],
            Self::WebPage { title, .. } => &mut [title],
            Self::NotStreamed { content_type } => &mut [content_type],
        };
        for text in words {
            **text = clean(text);
        }
        self
    }
}
