//! Where a key may be sent: over https anywhere, in the clear to this machine only.

use std::net::IpAddr;

/// The environment variable that may hold the private key that runs are signed with. It is for servelab alone: no engine is given it,
/// and it is no API key.
pub const SIGNING_KEY_VARIABLE: &str = "SERVELAB_SIGNING_KEY";

/// A key would go over the network in the clear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API key would go to {url} in the clear, where everyone on the way can read it; use https://, or a tunnel to this \
     machine such as `ssh -L` and its address http://127.0.0.1:PORT"
)]
pub struct KeyInTheClear {
    /// The URL as given, without user information.
    pub url: String,
}

/// Refuses a URL that a key must not be sent to: one that is not https and whose host is not this machine
/// (`localhost`, 127.0.0.0/8, `[::1]`).
///
/// # Errors
/// [`KeyInTheClear`] with the remedy.
pub fn takes_key(url: &str) -> Result<(), KeyInTheClear> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if scheme.eq_ignore_ascii_case("https") || is_this_machine(host_of(host_port)) {
        return Ok(());
    }
    Err(KeyInTheClear {
        url: url.replacen(authority, host_port, 1),
    })
}

/// The host without its port and brackets.
fn host_of(host_port: &str) -> &str {
    match host_port.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or(v6, |(host, _)| host),
        None => host_port.split_once(':').map_or(host_port, |(host, _)| host),
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leaves_this_machine_over_https_only() {
        for url in [
            "https://example.invalid",
            "HTTPS://example.invalid:8443/v1",
            "http://127.0.0.1",
            "http://127.8.9.10:8000/v1",
            "http://[::1]",
            "http://[::1]:8000/",
            "http://localhost",
            "http://LOCALHOST:8000/v1?x=1",
        ] {
            assert_eq!(takes_key(url), Ok(()), "{url}");
        }
        for url in [
            "http://example.invalid",
            "http://example.invalid:80/v1",
            "http://10.0.0.1:8000",
            "http://0.0.0.0",
            "http://[fe80::1]:8000",
            "http://localhost.example.invalid",
            "http://127.0.0.1.example.invalid",
            "http://127.0.0.1@example.invalid/",
            "example.invalid",
            "",
        ] {
            assert!(takes_key(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_refusal_names_the_url_and_the_remedy_and_no_password() {
        let said = takes_key("http://me:hunter2@example.invalid/v1")
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("http://example.invalid/v1") && said.contains("https://"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}
