//! Where a server is.

use servelab_load::{Endpoint, EndpointError, bench::body::Api};
use std::{fmt, str::FromStr};

/// Where a server is, without the path of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: String,
    /// The text had no scheme, and `http://` was put in front of it.
    had_no_scheme: bool,
    /// The endpoint at which the text ended.
    named: Option<Api>,
    /// The text had a user or a password, which are in none of these fields.
    had_user: bool,
}

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `localhost:8000` and `10.0.0.7:8000/v1`, as people write where a server is.
        let had_no_scheme = !text.contains("://");
        let full = if had_no_scheme {
            format!("http://{text}")
        } else {
            text.to_owned()
        };
        if full.contains(['?', '#']) {
            return Err("a query or fragment is sent with no request; leave it out".to_owned());
        }
        let (scheme, rest) = full.split_once("://").unwrap_or(("http", &full));
        let (authority, path) = rest
            .split_at_checked(rest.find('/').unwrap_or(rest.len()))
            .unwrap_or((rest, ""));
        // Whoever parses arguments quotes what is wrong, so this is said later, by `check`.
        let (user, authority) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(u, a)| (Some(u), a));
        let without_user = format!("{scheme}://{authority}{path}");
        let mut base = without_user.trim_end_matches('/');
        let mut named = None;
        for api in Api::ALL {
            if let Some(before) = base.strip_suffix(api.path()) {
                (base, named) = (before, Some(api));
            }
        }
        let base = Self {
            url: base
                .strip_suffix("/v1")
                .unwrap_or(base)
                .trim_end_matches('/')
                .to_owned(),
            had_no_scheme,
            named,
            had_user: user.is_some(),
        };
        base.endpoint(Api::Chat).map_err(|e| e.to_string())?;
        Ok(base)
    }
}

impl BaseUrl {
    /// The URL of an endpoint.
    pub(crate) fn endpoint(&self, api: Api) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(&format!("{}{}", self.url, api.path()))
    }

    /// What was taken for granted in reading it, for people; none where nothing was.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        self.had_no_scheme
            .then(|| format!("--url has no scheme: taken as {}", self.url))
    }

    /// Why no load of `api` can go there; none where one can.
    pub(crate) fn contradiction(&self, api: Api) -> Option<String> {
        if self.had_user {
            return Some(
                "--url has a user or a password in it, which everyone on this machine can read; leave them out and send a key \
                 with --api-key-env"
                    .to_owned(),
            );
        }
        let named = self.named.filter(|named| *named != api)?;
        Some(format!(
            "--url ends in {}, and {} is what would be loaded: give --endpoint {}, or end the URL before the path",
            named.path(),
            api.path(),
            named.name()
        ))
    }

    /// True where the other text is another way of writing this address. Two names of one machine are not known to be one.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.plain() == other.plain()
    }

    /// Scheme, host, port and path in one way of writing them.
    fn plain(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("http", &self.url));
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.split('/').next().unwrap_or(rest).to_ascii_lowercase();
        let port = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(port).unwrap_or(&authority).to_owned();
        let authority = match authority.strip_prefix("localhost") {
            Some(rest) if rest.is_empty() || rest.starts_with(':') => format!("127.0.0.1{rest}"),
            _ => authority,
        };
        format!("{scheme}://{authority}{}", self.prefix())
    }

    /// The path before an endpoint's own: empty unless the server stands under one.
    pub(crate) fn prefix(&self) -> &str {
        let after = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        after.find('/').and_then(|at| after.get(at..)).unwrap_or("")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        for text in [
            "http://h:1",
            "http://h:1/",
            "http://h:1/v1",
            "http://h:1/v1/completions",
            "http://h:1/v1/chat/completions",
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), "http://h:1");
        }
        let under: BaseUrl = "http://h:1/llm/v1".parse().unwrap();
        assert_eq!(under.prefix(), "/llm");
        assert_eq!(
            under.endpoint(Api::Completions).unwrap().to_string(),
            "http://h:1/llm/v1/completions"
        );
        assert!(under.note().is_none());
        let bare: BaseUrl = "h:1/v1".parse().unwrap();
        assert_eq!(bare.to_string(), "http://h:1");
        assert!(bare.note().unwrap().contains("http://h:1"));
        for bad in ["", "ftp://h", "h:port", "a b", "h:1?x=1", "http://h/#a"] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad}");
        }
    }

    fn url(text: &str) -> BaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_endpoint_in_the_url_must_be_the_one_that_is_loaded() {
        let named = url("http://h:1/v1/completions");
        assert!(named.contradiction(Api::Completions).is_none());
        let said = named.contradiction(Api::Chat).unwrap();
        assert!(said.contains("--endpoint completions"), "{said}");
        assert!(url("http://h:1/v1").contradiction(Api::Embeddings).is_none());
    }

    #[test]
    fn a_password_is_refused_and_repeated_nowhere() {
        let secret = url("http://me:s3cret@h:1/v1");
        assert_eq!(secret.to_string(), "http://h:1");
        let said = secret.contradiction(Api::Chat).unwrap();
        assert!(
            said.contains("--api-key-env") && !format!("{said}{secret:?}").contains("s3cret"),
            "{said}"
        );
    }

    #[test]
    fn ways_of_writing_one_address() {
        let base = url("http://127.0.0.1:8000");
        for same in [
            "127.0.0.1:8000/v1",
            "http://localhost:8000",
            "HTTP://LocalHost:8000/v1/completions",
        ] {
            assert!(base.is_same_server(&url(same)), "{same}");
        }
        for other in [
            "http://127.0.0.1:8001",
            "https://127.0.0.1:8000",
            "http://127.0.0.1:8000/b",
            "http://localhosts:8000",
        ] {
            assert!(!base.is_same_server(&url(other)), "{other}");
        }
        assert!(url("https://h/x").is_same_server(&url("https://H:443/x/v1")));
    }
}
