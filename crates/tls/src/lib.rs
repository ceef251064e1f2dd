//! Which certificates are trusted: one answer for the load and for every question beside it.
//!
//! Certificate authorities are the system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where these are set. rustls with
//! ring; only HTTP/1.1 is offered. No client certificates, no way to switch verification off.
//!
//! Trap: a system's store holds oddities that rustls refuses; they are passed over, as browsers do.

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::sync::Arc;

/// Why nobody can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// There is no authority at all.
    #[error("this system has no certificate authorities{why}")]
    NoAuthorities {
        /// What the system says, in brackets; empty where it says nothing.
        why: String,
    },
    /// A certificate that was given is none.
    #[error("a certificate authority that was given cannot be used: {why}")]
    Unusable {
        /// What is wrong with it.
        why: String,
    },
    /// rustls itself refuses.
    #[error("TLS cannot be set up: {why}")]
    Setup {
        /// What it says.
        why: String,
    },
}

/// A client that trusts the system's authorities, and `roots` (DER) besides.
///
/// # Errors
/// [`TlsError`] where there are none, or one that was given cannot be read.
pub fn trusting(roots: &[Vec<u8>]) -> Result<ClientConfig, TlsError> {
    let mut store = RootCertStore::empty();
    for der in roots {
        let added = store.add(CertificateDer::from_slice(der));
        added.map_err(|e| TlsError::Unusable { why: e.to_string() })?;
    }
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    if store.is_empty() {
        let why = system.errors.first().map_or_else(String::new, |e| format!(" ({e})"));
        return Err(TlsError::NoAuthorities { why });
    }
    with(store)
}

/// A client that trusts no certificate: for addresses without TLS, which need no authority of the system's.
///
/// # Errors
/// [`TlsError::Setup`].
pub fn trusting_nobody() -> Result<ClientConfig, TlsError> {
    with(RootCertStore::empty())
}

/// What `url` needs: [`trusting`] where it is `https`, else [`trusting_nobody`].
///
/// # Errors
/// As these.
pub fn for_url(url: &str) -> Result<ClientConfig, TlsError> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme.eq_ignore_ascii_case("https") {
        trusting(&[])
    } else {
        trusting_nobody()
    }
}

fn with(store: RootCertStore) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Setup { why: e.to_string() })?;
    let mut config = config.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_and_http_needs_none() {
        let wrong = trusting(&[b"no certificate".to_vec()]).unwrap_err();
        assert!(matches!(wrong, TlsError::Unusable { .. }), "{wrong}");
        let config = for_url("http://127.0.0.1:1").unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        assert!(trusting(&[own.cert.der().to_vec()]).is_ok());
    }
}
