//! One request and its answer over one connection.
//!
//! Moves bytes between an [`Attempt`] and a [`Wire`], stamps `sent` and every read, and minds deadlines and stops. What the
//! bytes mean is the attempt's business.

use crate::{
    attempt::{Attempt, AttemptEnd, Deadlines, Progress, SizeLimits},
    clock::TrialClock,
    control::Control,
    stream::{Expectation, Fault, KeepText},
    timer::Alarm,
    tls::Tls,
    transport::{OpenError, Wire},
};
use servelab_schema::{ConnectionUse, Reason, TrialInstant, WallNanos};
use std::{future::Future, io, net::SocketAddr, pin::pin, task::Poll};

/// An idle connection older than this is not used again: engines close theirs after about 5 s, and a request that crosses
/// the close on the wire would be lost.
const MAX_IDLE: WallNanos = WallNanos(3_000_000_000);

/// What every exchange of a load shares.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    pub(crate) addresses: Vec<SocketAddr>,
    /// What an `https` endpoint needs besides.
    pub(crate) tls: Option<Tls>,
    pub(crate) clock: TrialClock,
    pub(crate) deadlines: Deadlines,
    pub(crate) limits: SizeLimits,
    pub(crate) control: Control,
    /// What is kept of answers: for the trace, or because the next turn of a conversation is made from them.
    pub(crate) keep_text: KeepText,
    /// What the server does with connections.
    pub(crate) connections: ConnectionUse,
}

/// An open connection between two requests.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    idle_since: TrialInstant,
    alarm: Alarm,
}

impl Connection {
    /// Opens a connection within the connect deadline.
    pub(crate) async fn open(net: &Net) -> Result<Self, Fault> {
        let deadline = net.clock.now().after(net.deadlines.connect);
        tokio::select! {
            biased;
            opened = Wire::open(&net.addresses, net.tls.as_ref()) => match opened {
                Ok(wire) => Ok(Self { wire, idle_since: net.clock.now(), alarm: Alarm::default() }),
                Err(OpenError::Connect(e)) => Err(Fault::new(Reason::Connect, e.to_string())),
                Err(OpenError::Tls(e)) => Err(Fault::new(Reason::Tls, e.to_string())),
            },
            stop = net.control.wait() => Err(Fault::new(stop.reason(), "stopped while connecting")),
            () = tokio::time::sleep(net.clock.until(deadline)) => {
                Err(Fault::new(Reason::Connect, format!("no connection within {}", net.deadlines.connect)))
            }
        }
    }

    /// The wire itself, for what is not a measured request.
    pub(crate) const fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// True where another request can be sent on it.
    pub(crate) fn is_fresh(&mut self, net: &Net) -> bool {
        // Idle time is the server's matter, and servers count it on the wall.
        let idle = net.clock.now().since(self.idle_since);
        idle <= net.clock.span(MAX_IDLE) && !self.wire.is_spent()
    }
}

/// What an exchange came to.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The outcome; none where not one byte could be written, so that the request was never on the wire.
    pub(crate) end: Result<AttemptEnd, io::Error>,
    /// Just before the first write.
    pub(crate) sent: TrialInstant,
    /// The connection, where it can carry another request.
    pub(crate) connection: Option<Connection>,
}

/// A body up to this long, in bytes, is copied behind its head, so that both leave in one plain write and one packet.
const JOINED_BYTES: usize = 16 * 1024;

/// Sends `head` and `body` and reads the answer to its end.
pub(crate) async fn exchange(
    net: &Net,
    mut connection: Connection,
    head: &[u8],
    body: &[u8],
    expect: Expectation,
) -> Exchange {
    let clock = &net.clock;
    let Connection { wire, alarm, .. } = &mut connection;
    let mut stopped = pin!(net.control.wait());
    let joined;
    let (head, body) = if body.len() <= JOINED_BYTES {
        joined = [head, body].concat();
        (&joined[..], &[][..])
    } else {
        (head, body)
    };
    let request_bytes = head.len() + body.len();
    let mut written = 0_usize;
    let mut write_error: Option<io::Error> = None;
    let sent = clock.now();
    let mut attempt = Attempt::new(expect, net.deadlines, net.limits, sent);
    attempt.keep_text(net.keep_text);

    let progress = std::future::poll_fn(|cx| {
        loop {
            if written < request_bytes && write_error.is_none() {
                match wire.poll_write(cx, [head, body], written) {
                    Poll::Ready(Ok(0)) => write_error = Some(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(n)) => {
                        written += n;
                        continue;
                    }
                    Poll::Ready(Err(e)) => write_error = Some(e),
                    Poll::Pending => {}
                }
                if write_error.is_some() && written == 0 {
                    return Poll::Ready(None);
                }
            }
            // An engine may answer before it has read the whole request: it refuses, or it is gone.
            let read = wire.poll_read(cx, |bytes, stamp| {
                let at = clock.at(stamp);
                if bytes.is_empty() {
                    attempt.on_eof(at)
                } else {
                    attempt.on_bytes(bytes, at)
                }
            });
            match read {
                Poll::Ready(Ok(Progress::More)) => continue,
                Poll::Ready(Ok(ended)) => return Poll::Ready(Some(ended)),
                Poll::Ready(Err(e)) => {
                    let reason = if wire.is_tls_error(&e) {
                        Reason::Tls
                    } else {
                        Reason::Reset
                    };
                    return Poll::Ready(Some(attempt.broken(Fault::new(reason, e.to_string()), clock.now())));
                }
                Poll::Pending => {}
            }
            if let Poll::Ready(stop) = stopped.as_mut().poll(cx) {
                return Poll::Ready(Some(
                    attempt.fail(Fault::new(stop.reason(), "cut in flight"), clock.now()),
                ));
            }
            let (deadline, _) = attempt.deadline();
            if alarm.poll(cx, clock, deadline).is_pending() {
                return Poll::Pending;
            }
            if let Some(ended) = attempt.expire(clock.now()) {
                return Poll::Ready(Some(ended));
            }
        }
    })
    .await;

    match (progress, write_error) {
        (None, error) => {
            let error = error.unwrap_or_else(|| io::ErrorKind::WriteZero.into());
            Exchange {
                end: Err(error),
                sent,
                connection: None,
            }
        }
        (Some(progress), error) => {
            let whole = written == request_bytes && error.is_none();
            let reusable =
                progress == (Progress::Ended { reusable: true }) && whole && net.connections == ConnectionUse::Kept;
            connection.idle_since = clock.now();
            Exchange {
                end: Ok(attempt.into_end()),
                sent,
                connection: reusable.then_some(connection),
            }
        }
    }
}
