//! The socket under a connection, with a stamp on each read.
//!
//! A read is stamped right after its system call returns, and everything that it brought gets that one stamp. Under TLS the
//! stamp is that of the socket's read as well: deciphering is our time, not the engine's.

use crate::{
    clock,
    tls::{Stamped, Tls},
};
use servelab_schema::WallInstant;
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// Most that one read takes, in bytes. One buffer serves every stream of a thread, so an open stream costs no read buffer.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BYTES]);
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// No address accepted.
    Connect(io::Error),
    /// The peer speaks no TLS, or its certificate cannot be trusted.
    Tls(io::Error),
}

/// An open connection.
#[derive(Debug)]
pub(crate) enum Wire {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<Stamped>>),
}

impl Wire {
    /// Opens a connection to the first address that accepts one.
    pub(crate) async fn open(addresses: &[SocketAddr], tls: Option<&Tls>) -> Result<Self, OpenError> {
        let stream = connect(addresses).await.map_err(OpenError::Connect)?;
        Ok(match tls {
            None => Self::Plain(stream),
            Some(tls) => Self::Tls(Box::new(tls.shake(stream).await.map_err(OpenError::Tls)?)),
        })
    }

    /// True where an idle connection can't be used: the peer has closed it, or sent what nobody asked for.
    pub(crate) fn is_spent(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let mut byte = [0];
                !matches!(stream.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
            }
            // What TLS itself sends between two answers, such as tickets, is taken in by the way.
            Self::Tls(stream) => {
                let mut byte = [0];
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(stream)
                    .poll_read(&mut cx, &mut ReadBuf::new(&mut byte))
                    .is_ready()
            }
        }
    }

    /// Whether an error of this wire is one of TLS itself rather than of the connection below it.
    pub(crate) fn is_tls_error(&self, error: &io::Error) -> bool {
        matches!(self, Self::Tls(_)) && error.get_ref().is_some_and(|e| e.is::<rustls::Error>())
    }

    /// Reads what is there and hands it on with the monotonic stamp of the read; an empty slice is the end of the stream.
    pub(crate) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8], WallInstant) -> T,
    ) -> Poll<io::Result<T>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match self {
                Self::Plain(stream) => {
                    let read = Pin::new(stream).poll_read(cx, &mut buffer);
                    let at = clock::monotonic();
                    read.map_ok(|()| take(buffer.filled(), at))
                }
                Self::Tls(stream) => {
                    // Records of the request that the socket had no room for.
                    if let Poll::Ready(Err(e)) = Pin::new(&mut **stream).poll_flush(cx) {
                        return Poll::Ready(Err(e));
                    }
                    let read = Pin::new(&mut **stream).poll_read(cx, &mut buffer);
                    let at = stream.get_ref().0.read_at();
                    match read {
                        // Closed without TLS's own farewell: where HTTP's framing is not complete, that says so.
                        Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                            Poll::Ready(Ok(take(&[], at)))
                        }
                        other => other.map_ok(|()| take(buffer.filled(), at)),
                    }
                }
            }
        })
    }

    /// Writes from `parts` as if they were one, skipping the first `skip` bytes; returns how many were written.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: [&[u8]; 2],
        skip: usize,
    ) -> Poll<io::Result<usize>> {
        let [head, body] = parts;
        let head_left = head.get(skip..).unwrap_or_default();
        let body_left = body.get(skip.saturating_sub(head.len())..).unwrap_or_default();
        match self {
            // A plain write is a cheaper system call than one of several parts.
            Self::Plain(stream) if body_left.is_empty() => Pin::new(stream).poll_write(cx, head_left),
            Self::Plain(stream) => {
                Pin::new(stream).poll_write_vectored(cx, &[IoSlice::new(head_left), IoSlice::new(body_left)])
            }
            Self::Tls(stream) => {
                let next = if head_left.is_empty() { body_left } else { head_left };
                Pin::new(stream).poll_write(cx, next)
            }
        }
    }
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}
