//! Sends one small request and hands on what came.

use super::{
    Inquiry, NegotiateError,
    seen::{Listener, Seen},
};
use crate::{
    connection::{Connection, Net},
    request::HeadTemplate,
    stream::AnswerForm,
    transport::Wire,
};
use servelab_schema::{Nanos, Reason};
use std::{future::poll_fn, io, ops::ControlFlow, task::Poll};

/// Begins the name of each small request, which no measured one has.
pub(super) const PREFIX: &str = "servelab-probe";

/// Asks one server.
#[derive(Debug)]
pub(super) struct Asker {
    net: Net,
    head: HeadTemplate,
    form: AnswerForm,
    limit: Nanos,
    sent: u32,
    /// The connection of the last answer, where its head promised to keep it.
    kept: Option<Connection>,
}

/// How an exchange ended.
enum End {
    /// The answer is over, or was cut.
    Over,
    /// The peer closed the connection.
    Closed,
}

impl Asker {
    pub(super) fn new(net: Net, inquiry: &Inquiry<'_>) -> Self {
        Self {
            net,
            head: HeadTemplate::new(inquiry.endpoint, inquiry.headers),
            form: inquiry.asking.api.form(),
            limit: inquiry.limit,
            sent: 0,
            kept: None,
        }
    }

    /// Requests so far.
    pub(super) const fn sent(&self) -> u32 {
        self.sent
    }

    /// The bytes of a request.
    fn request(&mut self, body: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let mut request = self.head.head(&format!("{PREFIX}-{}", self.sent), body.len());
        request.extend_from_slice(body);
        request
    }

    /// Asks on a new connection.
    ///
    /// # Errors
    /// Where no connection can be made, or what comes is no answer.
    pub(super) async fn ask(&mut self, body: &[u8], most_texts: u32) -> Result<Seen, NegotiateError> {
        let request = self.request(body);
        let mut connection = Connection::open(&self.net).await.map_err(|fault| match fault.reason {
            Reason::Tls => NegotiateError::Tls { why: fault.detail },
            _ => NegotiateError::Unreachable { why: fault.detail },
        })?;
        let mut listener = Listener::new(self.form, most_texts);
        let end = self.exchange(connection.wire(), &request, &mut listener).await?;
        let seen = listener.finish(matches!(end, End::Closed));
        let seen = seen.ok_or_else(|| NegotiateError::Protocol {
            why: "the connection was closed without an answer".to_owned(),
        })?;
        self.kept = (seen.may_reuse && !seen.ran_on).then_some(connection);
        Ok(seen)
    }

    /// Whether the server answers another request on the connection of the last answer.
    pub(super) async fn is_kept(&mut self, body: &[u8]) -> bool {
        let Some(mut connection) = self.kept.take() else {
            return false;
        };
        let request = self.request(body);
        let mut listener = Listener::new(self.form, u32::MAX);
        let answered = self.exchange(connection.wire(), &request, &mut listener).await;
        answered.is_ok() && listener.finish(true).is_some()
    }

    async fn exchange(&self, wire: &mut Wire, request: &[u8], listener: &mut Listener) -> Result<End, NegotiateError> {
        let limit = self.net.clock.until(self.net.clock.now().after(self.limit));
        let exchanged = tokio::time::timeout(limit, exchange(wire, request, listener)).await;
        exchanged
            .map_err(|_| NegotiateError::Silent { limit: self.limit })?
            .map_err(|why| NegotiateError::Protocol { why })
    }
}

async fn exchange(wire: &mut Wire, request: &[u8], listener: &mut Listener) -> Result<End, String> {
    let mut written = 0_usize;
    while written < request.len() {
        match poll_fn(|cx| wire.poll_write(cx, [request, &[]], written)).await {
            Ok(n) => written += n.max(1),
            // It may have answered before it has read everything.
            Err(_) => break,
        }
    }
    loop {
        let read = poll_fn(|cx| {
            let read = wire.poll_read(cx, |bytes, _| {
                if bytes.is_empty() {
                    return Ok(Some(End::Closed));
                }
                let fed = listener.feed(bytes)?;
                Ok(matches!(fed, ControlFlow::Break(())).then_some(End::Over))
            });
            match read {
                Poll::Ready(Ok(taken)) => Poll::Ready(taken),
                Poll::Ready(Err(e)) => Poll::Ready(ended_by(&e)),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(end) = read.await? {
            return Ok(end);
        }
    }
}

/// A connection that breaks ends an answer as one that is closed does; whether it was whole, the answer says.
fn ended_by(error: &io::Error) -> Result<Option<End>, String> {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Ok(Some(End::Closed))
        }
        _ => Err(error.to_string()),
    }
}
