//! What must be asked of a server before a load: pages and short JSON answers, over the very transport that the load uses,
//! with its headers.
//!
//! Traps: a question may reach the server twice. Where a kept connection ends before the first byte of an answer, it is
//! asked again on a new one, because servers close connections without a word. So nothing is asked here that must not be
//! asked twice, and nothing of a load goes this way.

use crate::{
    attempt::Deadlines,
    clock::TrialClock,
    connection::{Connection, Net},
    control::Control,
    http::{BodyEnd, Part, ResponseReader},
    request::{Endpoint, HeadTemplate, RequestHeaders},
    spec::LoadError,
    stream::Fault,
    transport::Wire,
};
use bytes::Bytes;
use servelab_schema::{Nanos, Reason, TimeScale};
use std::{
    future::poll_fn,
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};
use tokio::task::JoinSet;

/// Largest page that is read, in bytes.
const MAX_PAGE: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    path: String,
    body: Option<Bytes>,
}

impl Question {
    /// The page at `path`.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            body: None,
        }
    }

    /// What `path` answers to this JSON.
    #[must_use]
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            path: path.into(),
            body: Some(body.into()),
        }
    }
}

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
        /// What kind of trouble it was.
        reason: Reason,
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
    let questions: Vec<Question> = paths.iter().map(|path| Question::get(*path)).collect();
    ask(endpoint, headers, &questions, limit, NonZeroUsize::MIN)
}

/// Asks all `questions`, up to `lanes` at a time, within `limit` each; answers come in the order of the questions. JSON goes
/// over connections that are kept between two questions, pages each over one of its own. Blocks.
///
/// # Errors
/// [`LoadError`] where nothing can be asked: no address, no event loop. Each question has its own result besides.
pub fn ask(
    endpoint: &Endpoint,
    headers: &RequestHeaders,
    questions: &[Question],
    limit: Nanos,
    lanes: NonZeroUsize,
) -> Result<Vec<Result<Page, FetchError>>, LoadError> {
    let clock = TrialClock::start(TimeScale::REAL);
    let deadlines = Deadlines {
        connect: limit,
        ttft: limit,
        idle: limit,
        total: limit,
    };
    let net = crate::driver::net(endpoint, clock, deadlines, Control::default())?;
    let heads = questions.iter().map(|question| match &question.body {
        None => HeadTemplate::get(endpoint, headers, &question.path),
        Some(body) => HeadTemplate::post(endpoint, headers, &question.path, body.len()),
    });
    let shared = Arc::new(Lanes {
        net,
        limit,
        wires: heads.zip(questions.iter().map(|q| q.body.clone())).collect(),
        next: AtomicUsize::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut answers: Vec<(usize, Result<Page, Fault>)> = runtime.block_on(async {
        let mut set = JoinSet::new();
        for _ in 0..lanes.get().min(questions.len()) {
            set.spawn(lane(Arc::clone(&shared)));
        }
        set.join_all().await.concat()
    });
    answers.sort_by_key(|(i, _)| *i);
    let answers = answers.into_iter().zip(questions).map(|((_, answer), question)| {
        answer.map_err(|fault| FetchError::Answer {
            path: question.path.clone(),
            reason: fault.reason,
            why: fault.detail,
        })
    });
    Ok(answers.collect())
}

/// What all lanes share.
struct Lanes {
    net: Net,
    limit: Nanos,
    /// The head of each question, and its JSON.
    wires: Vec<(Vec<u8>, Option<Bytes>)>,
    /// The question that nobody asks yet.
    next: AtomicUsize,
}

/// Asks one question after the other until there is none left.
async fn lane(shared: Arc<Lanes>) -> Vec<(usize, Result<Page, Fault>)> {
    let Lanes { net, limit, .. } = &*shared;
    let (mut answers, mut kept) = (Vec::new(), None);
    loop {
        let i = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some((head, body)) = shared.wires.get(i) else {
            return answers;
        };
        let asked = asked(net, head, body.as_deref(), &mut kept);
        let answer = tokio::time::timeout(net.clock.until(net.clock.now().after(*limit)), asked).await;
        answers.push((
            i,
            answer.unwrap_or_else(|_| Err(Fault::new(Reason::TtftTimeout, format!("nothing within {limit}")))),
        ));
    }
}

/// One question and its answer, over the kept connection where it lives.
async fn asked(net: &Net, head: &[u8], body: Option<&[u8]>, kept: &mut Option<Connection>) -> Result<Page, Fault> {
    if body.is_some()
        && let Some(mut connection) = kept.take()
        && connection.is_fresh(net)
    {
        match exchange(connection.wire(), head, body).await {
            Ok((page, reusable)) => {
                *kept = reusable.then_some(connection);
                return Ok(page);
            }
            Err(broken) if broken.in_answer => return Err(broken.fault),
            Err(_) => {}
        }
    }
    let mut connection = Connection::open(net).await?;
    let (page, reusable) = exchange(connection.wire(), head, body).await.map_err(|b| b.fault)?;
    *kept = (reusable && body.is_some()).then_some(connection);
    Ok(page)
}

/// Why an exchange has no page.
struct Broken {
    fault: Fault,
    /// A byte of an answer had come.
    in_answer: bool,
}

impl Broken {
    fn before(e: &std::io::Error) -> Self {
        Self {
            fault: reset(e),
            in_answer: false,
        }
    }
}

/// The connection broke.
fn reset(e: &std::io::Error) -> Fault {
    Fault::new(Reason::Reset, e.to_string())
}

/// The page, and whether its connection can carry another question.
async fn exchange(wire: &mut Wire, head: &[u8], body: Option<&[u8]>) -> Result<(Page, bool), Broken> {
    let body = body.unwrap_or_default();
    let mut written = 0_usize;
    while written < head.len() + body.len() {
        let n = poll_fn(|cx| wire.poll_write(cx, [head, body], written)).await;
        written += n.map_err(|e| Broken::before(&e))?.max(1);
    }
    answer(wire).await
}

async fn answer(wire: &mut Wire) -> Result<(Page, bool), Broken> {
    let mut reader = ResponseReader::default();
    let (mut body, mut in_answer) = (Vec::new(), false);
    loop {
        let ended = poll_fn(|cx| {
            let read = wire.poll_read(cx, |bytes, _| {
                if bytes.is_empty() {
                    return Ok(true);
                }
                in_answer = true;
                let fed = reader.feed(bytes, |part| {
                    if let Part::Body(bytes) = part {
                        body.extend_from_slice(bytes);
                    }
                    ControlFlow::<()>::Continue(())
                });
                fed.map(|_| false)
                    .map_err(|e| Fault::new(Reason::Malformed, e.to_string()))
            });
            match read {
                Poll::Ready(Ok(taken)) => Poll::Ready(taken),
                Poll::Ready(Err(e)) => Poll::Ready(Err(reset(&e))),
                Poll::Pending => Poll::Pending,
            }
        });
        let ended = ended.await.map_err(|fault| Broken { fault, in_answer })?;
        let broken = |reason, why: &str| Broken {
            fault: Fault::new(reason, why),
            in_answer,
        };
        if body.len() > MAX_PAGE {
            let why = format!("the page is longer than {MAX_PAGE} bytes");
            return Err(broken(Reason::Malformed, &why));
        }
        let status = reader.head().map(|h| h.status);
        match (status, reader.end()) {
            (Some(status), BodyEnd::Complete { reusable }) => return Ok((page_of(status, &body), reusable)),
            (Some(status), BodyEnd::UntilClose) if ended => return Ok((page_of(status, &body), false)),
            _ if ended => return Err(broken(Reason::Truncated, "the answer broke off")),
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
