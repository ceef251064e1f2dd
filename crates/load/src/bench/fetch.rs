//! What must be asked of a server before a load: one page, over the very transport that the load uses, with its headers.

use crate::{
    attempt::Deadlines,
    clock::TrialClock,
    connection::{Connection, Net},
    control::Control,
    http::{BodyEnd, Part, ResponseReader},
    request::{Endpoint, HeadTemplate, RequestHeaders},
    spec::LoadError,
    transport::Wire,
};
use servelab_schema::{Nanos, TimeScale};
use std::{future::poll_fn, ops::ControlFlow, task::Poll};

/// Largest page that is read, in bytes.
const MAX_PAGE: usize = 1 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Status code.
    pub status: u16,
    /// Its body; what is no UTF-8 is replaced.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection can be made, or no thread or event loop for it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The server did not answer properly.
    #[error("{path} was not answered: {why}")]
    Answer {
        /// What was asked for.
        path: String,
        /// What happened.
        why: String,
    },
}

/// Asks for each of `paths` in turn, each on a connection of its own, within `limit` each. Blocks.
///
/// # Errors
/// [`LoadError`] where nothing can be asked: no address, no event loop. Each path has its own result besides.
pub fn fetch(
    endpoint: &Endpoint,
    headers: &RequestHeaders,
    paths: &[&str],
    limit: Nanos,
) -> Result<Vec<Result<Page, FetchError>>, LoadError> {
    let clock = TrialClock::start(TimeScale::REAL);
    let deadlines = Deadlines {
        connect: limit,
        ttft: limit,
        idle: limit,
        total: limit,
    };
    let net = crate::driver::net(endpoint, clock, deadlines, Control::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut pages = Vec::with_capacity(paths.len());
        for path in paths {
            let head = HeadTemplate::get(endpoint, headers, path);
            let page = tokio::time::timeout(clock.until(clock.now().after(limit)), page(&net, &head)).await;
            let late = || Err(format!("nothing within {limit}"));
            pages.push(page.unwrap_or_else(|_| late()).map_err(|why| FetchError::Answer {
                path: (*path).to_owned(),
                why,
            }));
        }
        pages
    }))
}

async fn page(net: &Net, head: &[u8]) -> Result<Page, String> {
    let mut connection = Connection::open(net).await.map_err(|fault| fault.detail)?;
    let wire = connection.wire();
    let mut written = 0_usize;
    while written < head.len() {
        let n = poll_fn(|cx| wire.poll_write(cx, [head, &[]], written)).await;
        written += n.map_err(|e| e.to_string())?.max(1);
    }
    answer(wire).await
}

async fn answer(wire: &mut Wire) -> Result<Page, String> {
    let mut reader = ResponseReader::default();
    let mut body = Vec::new();
    loop {
        let ended = poll_fn(|cx| {
            let read = wire.poll_read(cx, |bytes, _| {
                if bytes.is_empty() {
                    return Ok(true);
                }
                let fed = reader.feed(bytes, |part| {
                    if let Part::Body(bytes) = part {
                        body.extend_from_slice(bytes);
                    }
                    ControlFlow::<()>::Continue(())
                });
                fed.map(|_| false).map_err(|e| e.to_string())
            });
            match read {
                Poll::Ready(Ok(taken)) => Poll::Ready(taken),
                Poll::Ready(Err(e)) => Poll::Ready(Err(e.to_string())),
                Poll::Pending => Poll::Pending,
            }
        });
        let ended = ended.await?;
        if body.len() > MAX_PAGE {
            return Err(format!("the page is longer than {MAX_PAGE} bytes"));
        }
        let status = reader.head().map(|h| h.status);
        match (status, reader.end()) {
            (Some(status), BodyEnd::Complete { .. }) => return Ok(page_of(status, &body)),
            (Some(status), BodyEnd::UntilClose) if ended => return Ok(page_of(status, &body)),
            _ if ended => return Err("the answer broke off".to_owned()),
            _ => {}
        }
    }
}

fn page_of(status: u16, body: &[u8]) -> Page {
    Page {
        status,
        body: String::from_utf8_lossy(body).into_owned(),
    }
}
