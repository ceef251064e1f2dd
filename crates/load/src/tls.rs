//! TLS over a socket that stamps its own reads.

use crate::clock;
use rustls::pki_types::ServerName;
use servelab_schema::WallInstant;
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What the connections to one host need to speak TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate authorities; `roots` (DER) are trusted besides.
    pub(crate) fn new(host: &str, roots: &[Vec<u8>]) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "the host is no name a certificate can have")?;
        let config = servelab_tls::trusting(roots).map_err(|e| e.to_string())?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    /// Shakes hands on an open connection.
    pub(crate) async fn shake(&self, stream: TcpStream) -> io::Result<TlsStream<Stamped>> {
        let stamped = Stamped {
            stream,
            read_at: clock::monotonic(),
        };
        self.connector.connect(self.name.clone(), stamped).await
    }
}

/// A socket that remembers when its last read returned.
#[derive(Debug)]
pub(crate) struct Stamped {
    stream: TcpStream,
    read_at: WallInstant,
}

impl Stamped {
    /// [`clock::monotonic`] right after the last read that brought bytes or the end.
    pub(crate) const fn read_at(&self) -> WallInstant {
        self.read_at
    }
}

impl AsyncRead for Stamped {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_ready() {
            this.read_at = clock::monotonic();
        }
        read
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
