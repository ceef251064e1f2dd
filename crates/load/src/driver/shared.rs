//! What the slots of a load share, and how one request is run from its slot to its row.

use super::state::{Job, LoadState, may_be_engine_exit};
use crate::{
    bench::{Extent, LoadProfile},
    connection::{Connection, Net, exchange},
    control::Stop,
    live::Live,
    request::HeadTemplate,
    spec::{Labels, LoadSpec},
    stream::{Fault, KeepText, Said},
};
use servelab_schema::{ConnectionUse, Failure, Nanos, Outcome, Reason, RequestId, Trace, TrialInstant, V};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::TrySendError},
    },
    task::JoinHandle,
};

/// What the tasks of one load share. All of it is used on one thread; the locks satisfy the compiler and never wait.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) net: Net,
    pub(crate) profile: LoadProfile,
    head: HeadTemplate,
    keep_text: KeepText,
    labels: Labels,
    engine_exit_grace: Duration,
    live: Live,
    traces: mpsc::Sender<Trace>,
    state: Mutex<LoadState>,
    ended: Notify,
    /// Rows that wait to learn whether the engine's process has ended.
    waiting: Mutex<Vec<JoinHandle<()>>>,
}

/// What a slot has after a request.
#[derive(Debug)]
pub(crate) struct Done {
    /// The connection, where it can carry another request.
    pub(crate) connection: Option<Connection>,
    /// When the slot became free.
    pub(crate) free: TrialInstant,
    pub(crate) completed: bool,
    /// What the answer said, where that is kept.
    text: Option<Said>,
}

/// How one job went on the wire.
struct Run {
    attempt: u32,
    connect: Nanos,
    sent: Option<TrialInstant>,
    headers: Option<TrialInstant>,
    finished: TrialInstant,
    outcome: Outcome,
    text: Option<Said>,
    connection: Option<Connection>,
    /// The first send of a request that was sent a second time, because the server had closed the connection.
    stale: Option<TrialInstant>,
}

impl Shared {
    pub(crate) fn new(spec: LoadSpec, profile: LoadProfile, net: Net, live: Live, traces: mpsc::Sender<Trace>) -> Self {
        let planned = profile.planned(&spec);
        let state = LoadState::new(spec.warm_up, spec.measured, spec.fillers, &profile, planned);
        Self {
            net,
            profile,
            head: HeadTemplate::new(&spec.endpoint, &spec.headers),
            keep_text: spec.keep_text,
            labels: spec.labels,
            engine_exit_grace: spec.engine_exit_grace,
            live,
            traces,
            state: Mutex::new(state),
            ended: Notify::new(),
            waiting: Mutex::default(),
        }
    }

    /// True where time and not a number of requests ends the load.
    pub(crate) fn lasts(&self) -> bool {
        self.profile.extent != Extent::Once
    }

    /// Reads or changes the state.
    pub(crate) fn state<T>(&self, f: impl FnOnce(&mut LoadState) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the state says so.
    pub(crate) async fn until(&self, reached: impl Fn(&LoadState) -> bool) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Registered before the check, so that an end in between is not missed.
            ended.as_mut().enable();
            if self.state(|s| reached(s)) {
                return;
            }
            ended.await;
        }
    }

    /// Waits for the rows whose reason is still open.
    pub(crate) async fn settle(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for task in waiting {
            // Only a panic could end it early; the panic hook has reported that.
            let _ = task.await;
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "LoadSpec::check has made the longest id of this prefix"
    )]
    fn request_id(&self, seq: u32, attempt: u32) -> RequestId {
        self.labels.request_id(seq, attempt).expect("the prefix was checked")
    }

    /// Runs one request on `connection`, or on a new one, and where it opens a conversation the turns that follow, each as
    /// soon as the one before it has ended.
    pub(crate) async fn run(self: &Arc<Self>, job: Job, connection: Option<Connection>) -> Done {
        let (measured, opener) = (job.measured, job.opener);
        let mut done = self.run_one(job, connection).await;
        let Some(conversations) = self.profile.conversations.as_deref().filter(|_| measured) else {
            return done;
        };
        let mut answers = Vec::new();
        while done.completed && self.net.control.stopped().is_none() {
            answers.extend(done.text.take().map(|said| said.content));
            let next = conversations.next(opener, &answers);
            let Some(mut job) = next.and_then(|request| self.state(|s| s.follow(request, opener, done.free))) else {
                break;
            };
            let connection = self.ahead(done.connection, &mut job).await;
            done = self.run_one(job, connection).await;
        }
        done
    }

    /// The connection for a job that is sent as soon as it can be: where the server closes each one, a new one, and the job is
    /// due once that is open. (Opened earlier, while the answer before is read, it would take a place that such servers
    /// give to one connection at a time.)
    pub(crate) async fn ahead(&self, connection: Option<Connection>, job: &mut Job) -> Option<Connection> {
        if connection.is_some() || self.net.connections == ConnectionUse::Kept {
            return connection;
        }
        // Where that fails, the request says why.
        let opened = Connection::open(&self.net).await.ok();
        job.scheduled = self.net.clock.now();
        opened
    }

    /// Runs one request and sends its row to the writer.
    async fn run_one(self: &Arc<Self>, job: Job, connection: Option<Connection>) -> Done {
        self.live.began();
        let follows = job.follows;
        let mut run = self.exchange(&job, connection).await;
        if self.keep_text != KeepText::Nothing {
            // The next turn of a conversation needs it too.
            let said = match &self.profile.conversations {
                Some(_) => run.text.clone(),
                None => run.text.take(),
            };
            run.outcome = with_text(run.outcome, said.and_then(|said| said.into_text(self.keep_text)));
        }
        let trace = Trace {
            v: V,
            request_id: self.request_id(job.seq, run.attempt),
            prompt_id: job.request.prompt_id,
            block: self.labels.block,
            variant: self.labels.variant.clone(),
            seq: job.seq,
            attempt: run.attempt,
            measured: job.measured,
            scheduled_ns: job.scheduled,
            sent_ns: run.sent,
            connect_ns: run.connect,
            headers_ns: run.headers,
            finished_ns: run.finished,
            expected_prompt_tokens: job.request.expect.prompt_tokens,
            outcome: run.outcome,
        };
        let completed = trace.completion().is_some();
        // A slot is free when its answer has ended: what we do after that is our own delay and shows as schedule lag.
        let free = if completed {
            trace.finished_ns
        } else {
            self.net.clock.now()
        };
        self.state(|s| s.ended(&trace, follows, run.stale));
        self.ended.notify_waiters();
        self.keep(trace).await;
        Done {
            connection: run.connection,
            free,
            completed,
            text: run.text,
        }
    }

    async fn exchange(&self, job: &Job, connection: Option<Connection>) -> Run {
        let mut connection = connection.and_then(|mut c| c.is_fresh(&self.net).then_some(c));
        let (mut attempt, mut connect, mut stale) = (1, Nanos::ZERO, None);
        loop {
            let reused = connection.is_some();
            let open = match connection.take() {
                Some(open) => open,
                None => {
                    let began = self.net.clock.now();
                    let opened = Connection::open(&self.net).await;
                    let now = self.net.clock.now();
                    connect = connect.saturating_add(now.since(began));
                    match opened {
                        Ok(open) => open,
                        Err(fault) => return unsent(&fault, job, (attempt, stale), connect, now),
                    }
                }
            };
            let id = self.request_id(job.seq, attempt);
            let head = self.head.head(id.as_str(), job.request.body.len());
            let done = exchange(&self.net, open, &head, &job.request.body, job.request.expect).await;
            match done.end {
                // Whether it wrote something or not, the server had closed the kept connection: a race that every client
                // has which keeps connections, and the one case that is tried again, as attempt 2.
                Ok(end) if reused && end.unanswered => (attempt, stale) = (2, Some(done.sent)),
                Err(_) if reused => (attempt, stale) = (2, Some(done.sent)),
                Ok(end) => {
                    return Run {
                        attempt,
                        connect,
                        sent: Some(done.sent),
                        headers: end.headers,
                        finished: end.finished,
                        outcome: end.outcome,
                        text: end.text,
                        connection: done.connection,
                        stale,
                    };
                }
                Err(e) => {
                    let fault = Fault::new(Reason::Reset, e.to_string());
                    return unsent(&fault, job, (attempt, stale), connect, self.net.clock.now());
                }
            }
        }
    }

    /// Gives a row its final reason and sends it to the writer. A broken connection may mean that the engine's process has
    /// ended; that news takes a moment, and only the row waits for it.
    async fn keep(self: &Arc<Self>, mut trace: Trace) {
        let open = matches!(&trace.outcome, Outcome::Failed(f) if may_be_engine_exit(f.reason));
        if open && self.net.control.stopped().is_none() && !self.engine_exit_grace.is_zero() {
            let shared = Arc::clone(self);
            let task = tokio::spawn(async move {
                let _ = tokio::time::timeout(shared.engine_exit_grace, shared.net.control.wait()).await;
                shared.name_engine_exit(&mut trace);
                shared.write(trace).await;
            });
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(task);
            return;
        }
        if open {
            self.name_engine_exit(&mut trace);
        }
        self.write(trace).await;
    }

    fn name_engine_exit(&self, trace: &mut Trace) {
        if self.net.control.stopped() == Some(Stop::EngineExited)
            && let Outcome::Failed(failure) = &mut trace.outcome
        {
            failure.reason = Reason::EngineExited;
        }
    }

    async fn write(&self, trace: Trace) {
        self.live.ended(&trace);
        if self.state(|s| s.counted(&trace)) {
            self.net.control.stop(Stop::GaveUp);
        }
        // The writer outlives every slot; if it is gone, it has panicked, and the load ends with that error.
        let gone = match self.traces.try_send(trace) {
            Ok(()) => false,
            Err(TrySendError::Full(trace)) => self.traces.send(trace).await.is_err(),
            Err(TrySendError::Closed(_)) => true,
        };
        if gone {
            self.net.control.stop(Stop::Cancelled);
        }
    }
}

/// A completion with its text; a failure as it is.
fn with_text(outcome: Outcome, text: Option<String>) -> Outcome {
    match outcome {
        Outcome::Completed(completion) => Outcome::Completed(completion.with_text(text)),
        failed @ Outcome::Failed(_) => failed,
    }
}

/// The run of a job of which no byte reached the wire, or none but on a connection that was dead.
fn unsent(
    fault: &Fault,
    job: &Job,
    (attempt, stale): (u32, Option<TrialInstant>),
    connect: Nanos,
    now: TrialInstant,
) -> Run {
    let after = now.since(stale.unwrap_or(job.scheduled));
    Run {
        attempt,
        connect,
        sent: stale,
        headers: None,
        finished: now,
        outcome: Outcome::Failed(Failure::new(fault.reason, None, &fault.detail, after)),
        text: None,
        connection: None,
        stale,
    }
}

#[cfg(test)]
mod tests;
