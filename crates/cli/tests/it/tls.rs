//! Servers that speak TLS, with a certificate that nobody signed.

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};
use tokio::{io::copy_bidirectional, net, runtime};
use tokio_rustls::TlsAcceptor;

/// A certificate for one name.
pub(crate) struct Certificate {
    pub(crate) config: Arc<ServerConfig>,
    /// What `SSL_CERT_FILE` may hold to trust it.
    pub(crate) pem: String,
}

impl Certificate {
    pub(crate) fn of(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key)
            .unwrap();
        Self {
            config: Arc::new(config),
            pem: format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                base64(made.cert.der())
            ),
        }
    }

    /// A port that speaks TLS and passes everything on to another one of this machine, for as long as this process lives.
    pub(crate) fn in_front_of(&self, to: u16) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = net::TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        let Ok(mut client) = acceptor.accept(client).await else {
                            return;
                        };
                        let mut server = net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            });
        });
        address
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| -> String {
        let bits = (0..3).fold(0_u32, |bits, i| {
            bits << 8 | u32::from(three.get(i).copied().unwrap_or(0))
        });
        let digit = |i: usize| char::from(DIGITS[usize::try_from(bits >> (18 - 6 * i) & 63).unwrap()]);
        (0..4).map(|i| if i <= three.len() { digit(i) } else { '=' }).collect()
    };
    bytes.chunks(3).map(group).collect()
}
