//! The socket under a connection, with a stamp on each read.
//!
//! A read is stamped right after its system call returns, and everything that it brought gets that one stamp. Only plain
//! TCP for now; TLS would be a second kind of [`Wire`], with the stamp still taken at the socket's read below it.

use crate::clock;
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Most that one read takes, in bytes. One buffer serves every stream of a thread, so an open stream costs no read buffer.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BYTES]);
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Wire(TcpStream);

impl Wire {
    /// Opens a connection to the first address that accepts one.
    pub(crate) async fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self(stream));
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// True where an idle connection can't be used: the peer has closed it, or sent what nobody asked for.
    pub(crate) fn is_spent(&self) -> bool {
        let mut byte = [0];
        !matches!(self.0.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads what is there and hands it on with the monotonic stamp of the read; an empty slice is the end of the stream.
    pub(crate) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8], u64) -> T,
    ) -> Poll<io::Result<T>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let read = Pin::new(&mut self.0).poll_read(cx, &mut buffer);
            let at = clock::monotonic_ns();
            read.map_ok(|()| take(buffer.filled(), at))
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
        Pin::new(&mut self.0).poll_write_vectored(cx, &[IoSlice::new(head_left), IoSlice::new(body_left)])
    }
}
