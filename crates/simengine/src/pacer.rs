//! The pacing thread: steps the simulated engine in engine time and writes each step's tokens at its end in wall time.
//!
//! A step's bytes are rendered when it begins, so that at its deadline only the writes are left. The thread sleeps in `poll`
//! until shortly before the deadline and spins for the rest; tokio's timer would be up to a millisecond late. Sockets are
//! written here and not in the connections' threads, because a thread switch per chunk would cost more than the write.

use std::collections::{HashMap, VecDeque};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::net::SendFlags;

use crate::clock::{TimeMap, WallClock};
use crate::error::SimError;
use crate::host::TokenizerPool;
use crate::metrics::{Finished, Metrics};
use crate::step::{RequestId, Step, StepEngine, Submission};
use crate::stream::{Emission, Stream, Then};

/// The thread wakes this long before a deadline and spins: a twentieth of the wait, within bounds. A processor that has slept
/// for long wakes late (up to 0.3 ms on a virtual machine), and the longer the wait, the less the spin costs.
const SPIN_NS: std::ops::RangeInclusive<u64> = 60_000..=300_000;
/// How long a full socket waits before it is tried again.
const RETRY_NS: u64 = 1_000_000;

/// A wake-up that can be waited for together with a socket.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// [`SimError::System`] where the system gives none.
    pub fn new() -> Result<Self, SimError> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| {
            SimError::System {
                what: "eventfd",
                detail: e.to_string(),
            }
        })?;
        Ok(Self(Arc::new(fd)))
    }

    /// Signals.
    pub fn wake(&self) {
        // It can only fail when it is signalled 2^64 times already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        let mut buffer = [0u8; 8];
        let _ = rustix::io::read(&*self.0, &mut buffer);
    }

    /// Its descriptor, for `poll`.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// How an answer's connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It takes the next request.
    Reuse,
    /// It is closed.
    Close,
    /// It is reset.
    Reset,
}

/// Where the pacing thread leaves an answer's outcome.
#[derive(Debug, Clone)]
pub struct Ending {
    outcome: Arc<Mutex<Option<Outcome>>>,
    waker: Waker,
}

impl Ending {
    /// None yet; `waker` is signalled when there is one.
    #[must_use]
    pub fn new(waker: Waker) -> Self {
        Self {
            outcome: Arc::new(Mutex::new(None)),
            waker,
        }
    }

    /// The outcome, once there is one.
    #[must_use]
    pub fn get(&self) -> Option<Outcome> {
        let outcome = *self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.is_some() {
            self.waker.clear();
        }
        outcome
    }

    /// What is signalled when there is an outcome.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    fn set(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.waker.wake();
    }
}

/// A request for the engine.
#[derive(Debug)]
pub struct Job {
    /// What the scheduler is told; `ready_s` is set by the pacing thread.
    pub submission: Submission,
    /// Wall time at which the request had been read.
    pub arrival_ns: u64,
    /// Token limit, for the metrics.
    pub max_tokens: u32,
    /// The answer.
    pub stream: Stream,
    /// Bytes that go before it after the network's delay; without one, whoever hands the job over has written them.
    pub head: Vec<u8>,
    /// Where it goes.
    pub socket: Arc<TcpStream>,
    /// Where its outcome goes.
    pub ending: Ending,
}

enum Command {
    Submit(Box<Job>),
    Cancel(RequestId),
    Shutdown,
}

/// The way to the pacing thread.
#[derive(Clone)]
pub struct PacerHandle {
    commands: Sender<Command>,
    waker: Waker,
}

impl std::fmt::Debug for PacerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PacerHandle")
    }
}

impl PacerHandle {
    fn send(&self, command: Command) {
        // After a shutdown nobody listens, and nothing is lost by it: the connections are closed.
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }

    /// Hands a request over.
    pub fn submit(&self, job: Job) {
        self.send(Command::Submit(Box::new(job)));
    }

    /// The client has gone.
    pub fn cancel(&self, id: RequestId) {
        self.send(Command::Cancel(id));
    }

    /// Ends every open answer as vLLM does on SIGTERM, and then the thread.
    pub fn shutdown(&self) {
        self.send(Command::Shutdown);
    }
}

struct Open {
    stream: Stream,
    socket: Arc<TcpStream>,
    ending: Ending,
    prompt_tokens: u32,
    max_tokens: u32,
    arrival_s: f64,
    started_s: f64,
    first_s: Option<f64>,
    last_s: f64,
    /// What a full socket has not taken yet, and what follows.
    backlog: Vec<u8>,
    then: Then,
    finish: Option<&'static str>,
}

struct Pacer {
    clock: WallClock,
    map: TimeMap,
    engine: StepEngine,
    pool: TokenizerPool,
    open: HashMap<RequestId, Open>,
    /// The step in progress and its bytes.
    step: Option<(Step, Vec<(RequestId, Emission)>)>,
    /// What the engine has sent and the simulated network has not delivered yet: due time and bytes, in order.
    on_the_line: VecDeque<(u64, RequestId, Emission)>,
    delay_ns: u64,
    blocked: usize,
    metrics: Arc<Mutex<Metrics>>,
    commands: Receiver<Command>,
    waker: Waker,
    on_death: Box<dyn Fn() + Send>,
    stopping: bool,
}

/// What the pacing thread works with.
pub struct PacerSpec {
    /// Wall clock of the run.
    pub clock: WallClock,
    /// Wall to engine time.
    pub map: TimeMap,
    /// The engine.
    pub engine: StepEngine,
    /// The modelled tokenizer workers.
    pub pool: TokenizerPool,
    /// Wall time from the engine's sending to the socket.
    pub delay_ns: u64,
    /// The counters.
    pub metrics: Arc<Mutex<Metrics>>,
    /// Called when a scripted fault kills the engine.
    pub on_death: Box<dyn Fn() + Send>,
}

impl std::fmt::Debug for PacerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PacerSpec")
    }
}

/// Starts the pacing thread.
///
/// # Errors
/// [`SimError::System`] where the system gives no thread or event.
pub fn start(spec: PacerSpec) -> Result<(PacerHandle, JoinHandle<()>), SimError> {
    let (tx, rx) = std::sync::mpsc::channel();
    let waker = Waker::new()?;
    let mut pacer = Pacer {
        clock: spec.clock,
        map: spec.map,
        engine: spec.engine,
        pool: spec.pool,
        open: HashMap::new(),
        step: None,
        on_the_line: VecDeque::new(),
        delay_ns: spec.delay_ns,
        blocked: 0,
        metrics: spec.metrics,
        commands: rx,
        waker: waker.clone(),
        on_death: spec.on_death,
        stopping: false,
    };
    let thread = std::thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(move || {
            // The default slack of 50 µs would be added to every sleep.
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
            go_first();
            pacer.run();
        })
        .map_err(|e| SimError::System {
            what: "starting the pacing thread",
            detail: e.to_string(),
        })?;
    Ok((PacerHandle { commands: tx, waker }, thread))
}

/// Where the system lets it, this thread goes before all other work on the same cores: by real-time scheduling (it never runs
/// for more than a step's writes and the last microseconds before them), else by a lower nice value. Elsewhere it takes its turn.
fn go_first() {
    use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let level = thread_priority::ThreadPriorityValue::try_from(10).map(ThreadPriority::Crossplatform);
    let real_time = level.is_ok_and(|level| {
        thread_priority::set_thread_priority_and_policy(thread_priority::thread_native_id(), level, fifo).is_ok()
    });
    if !real_time {
        let _ = rustix::process::setpriority_process(None, -10);
    }
}

impl Pacer {
    fn metrics<T>(&self, f: impl FnOnce(&mut Metrics) -> T) -> T {
        f(&mut self.metrics.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now_s(&self) -> f64 {
        self.map.engine_s(self.clock.now_ns())
    }

    fn run(&mut self) {
        loop {
            self.take_commands();
            if self.stopping {
                self.abort_all();
                return;
            }
            let now_s = self.now_s();
            let next = self.engine.next_event_s(now_s).map(|s| (s, self.map.wall_ns(s)));
            let due = self.on_the_line.front().map(|(due, _, _)| *due);
            let now_ns = self.clock.now_ns();
            match due.into_iter().chain(next.map(|(_, at)| at)).min() {
                Some(at) => {
                    let left = at.saturating_sub(now_ns);
                    let spin = (left / 20).clamp(*SPIN_NS.start(), *SPIN_NS.end());
                    // A command may come while the thread sleeps; then the loop looks again.
                    if left > spin && self.wait(Some(left - spin)) {
                        continue;
                    }
                    let _ = self.clock.spin_until_ns(at);
                    match next {
                        Some((event_s, event_at)) if event_at == at => self.turn(event_s, at),
                        Some(_) | None => self.deliver_due(at),
                    }
                }
                None => {
                    self.wait(None);
                }
            }
            if self.blocked > 0 {
                self.retry_blocked();
            }
        }
    }

    /// Sleeps until a command comes, at most `ns`. True when it woke before its time.
    fn wait(&self, ns: Option<u64>) -> bool {
        let asked = ns;
        let ns = if self.blocked > 0 {
            Some(ns.unwrap_or(RETRY_NS).min(RETRY_NS))
        } else {
            ns
        };
        let timeout = ns.map(|ns| Timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
        });
        let mut fds = [PollFd::new(self.waker.fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => ns != asked,
            Ok(_) => {
                self.waker.clear();
                true
            }
            Err(_) => true,
        }
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Submit(job) => self.accept(*job),
                Command::Cancel(id) => self.cancel(id),
                Command::Shutdown => self.stopping = true,
            }
        }
    }

    fn accept(&mut self, job: Job) {
        let arrival_s = self.map.engine_s(job.arrival_ns);
        let mut submission = job.submission;
        let modelled = self.pool.ready_at(arrival_s, submission.prompt_tokens);
        let now = self.now_s();
        if now > modelled {
            self.metrics(|m| m.tokenize_overrun(now - modelled));
        }
        submission.ready_s = modelled.max(now);
        self.open.insert(
            submission.id,
            Open {
                stream: job.stream,
                socket: job.socket,
                ending: job.ending,
                prompt_tokens: submission.prompt_tokens,
                max_tokens: job.max_tokens,
                arrival_s,
                started_s: submission.ready_s,
                first_s: None,
                last_s: arrival_s,
                backlog: Vec::new(),
                then: Then::GoOn,
                finish: None,
            },
        );
        if !job.head.is_empty() {
            self.on_the_line.push_back((
                self.clock.now_ns().saturating_add(self.delay_ns),
                submission.id,
                Emission::plain(job.head),
            ));
        }
        self.engine.submit(submission);
    }

    fn cancel(&mut self, id: RequestId) {
        self.engine.cancel(id);
        self.end(id, Outcome::Close, None);
    }

    /// The engine has reached `event_s`, which is `deadline_ns` on the wall: the step in progress yields its tokens, and the
    /// next one begins. However late this thread is, the engine's own time does not slip.
    fn turn(&mut self, event_s: f64, deadline_ns: u64) {
        if let Some((step, emissions)) = self.step.take() {
            for (id, emission) in emissions {
                self.emit(id, emission, step.end_s, deadline_ns);
            }
        }
        self.take_commands();
        if let Some(step) = self.engine.advance(event_s) {
            self.begin(step);
        } else {
            let gauges = self.engine.gauges();
            self.metrics(|m| m.set_gauges(gauges));
            // Nothing could run although something is due: look again later, never in a tight loop.
            if self.engine.next_event_s(event_s).is_some_and(|s| s <= event_s) {
                self.wait(Some(RETRY_NS));
            }
        }
    }

    fn begin(&mut self, step: Step) {
        for id in &step.started {
            if let Some(open) = self.open.get_mut(id) {
                open.started_s = step.start_s.max(open.started_s);
            }
        }
        let mut emissions = Vec::with_capacity(step.outputs.len());
        for output in &step.outputs {
            if let Some(open) = self.open.get_mut(&output.id) {
                emissions.push((output.id, open.stream.emit(output.tokens, output.finished)));
            }
        }
        for id in &step.rejected {
            if let Some(open) = self.open.get_mut(id) {
                emissions.push((*id, open.stream.abort()));
            }
        }
        let gauges = self.engine.gauges();
        self.metrics(|m| m.step(step.positions, &step.drafts, gauges));
        self.step = Some((step, emissions));
    }

    /// The engine has sent an answer's next bytes: they are counted, and delivered now or after the network's delay.
    fn emit(&mut self, id: RequestId, emission: Emission, end_s: f64, deadline_ns: u64) {
        // A client that has gone in the meantime has been taken out.
        let Some(open) = self.open.get_mut(&id) else { return };
        let since = end_s - open.last_s;
        let first = open.first_s.is_none().then_some(open.prompt_tokens);
        open.first_s.get_or_insert(end_s);
        open.last_s = end_s;
        let (tokens, ended) = (emission.tokens, emission.then != Then::GoOn);
        let count = move |m: &mut Metrics| {
            if tokens > 0 {
                m.tokens(tokens, since, first);
            }
        };
        if self.delay_ns > 0 {
            self.metrics(count);
            let due = deadline_ns.saturating_add(self.delay_ns);
            self.on_the_line.push_back((due, id, emission));
        } else {
            self.deliver(id, emission, deadline_ns, count);
        }
        if ended {
            // A fault may end an answer before its last token: the engine must not go on with it.
            self.engine.cancel(id);
        }
    }

    /// What the network delivers at `now_ns` or before.
    fn deliver_due(&mut self, now_ns: u64) {
        while let Some((due, id, emission)) = self.on_the_line.pop_front() {
            if due > now_ns {
                self.on_the_line.push_front((due, id, emission));
                return;
            }
            self.deliver(id, emission, due, |_| ());
        }
    }

    /// Writes to the client, then counts: the lock must not come before the write, nor the count after the answer's end.
    fn deliver(&mut self, id: RequestId, emission: Emission, deadline_ns: u64, count: impl FnOnce(&mut Metrics)) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let gone = !write(open, &emission);
        let late_ns = self.clock.now_ns().saturating_sub(deadline_ns);
        let has_bytes = !emission.bytes.is_empty();
        self.metrics(|m| {
            count(m);
            if has_bytes {
                m.late(late_ns);
            }
        });
        if gone {
            self.cancel(id);
            return;
        }
        if let Some(open) = self.open.get_mut(&id) {
            (open.then, open.finish) = (emission.then, emission.finish);
            if !open.backlog.is_empty() {
                self.blocked += 1;
                return;
            }
        }
        self.conclude(id, emission.then, emission.finish);
    }

    fn conclude(&mut self, id: RequestId, then: Then, finish: Option<&'static str>) {
        match then {
            Then::GoOn => {}
            Then::Done => self.end(id, Outcome::Reuse, finish),
            Then::Close => self.end(id, Outcome::Close, finish),
            Then::Reset => self.end(id, Outcome::Reset, finish),
            // It stays open, silent, until the client goes.
            Then::Silent => {}
            Then::Die => {
                (self.on_death)();
                self.end(id, Outcome::Close, finish);
            }
        }
    }

    fn end(&mut self, id: RequestId, outcome: Outcome, finish: Option<&'static str>) {
        let Some(open) = self.open.remove(&id) else { return };
        if let (Some(reason), Some(first_token_s)) = (finish, open.first_s) {
            let finished = Finished {
                reason,
                arrival_s: open.arrival_s,
                started_s: open.started_s,
                first_token_s,
                last_token_s: open.last_s,
                prompt_tokens: open.prompt_tokens,
                output_tokens: open.stream.sent_tokens(),
                max_tokens: open.max_tokens,
            };
            self.metrics(|m| m.finished(&finished));
        }
        if outcome == Outcome::Reset {
            let _ = rustix::net::sockopt::set_socket_linger(&*open.socket, Some(std::time::Duration::ZERO));
        }
        let ending = open.ending;
        // The connection's thread must hold the last reference when it closes.
        drop(open.socket);
        ending.set(outcome);
    }

    /// Tries again what full sockets have not taken.
    fn retry_blocked(&mut self) {
        let blocked: Vec<RequestId> = self
            .open
            .iter()
            .filter(|(_, o)| !o.backlog.is_empty())
            .map(|(id, _)| *id)
            .collect();
        let mut still = 0;
        for id in blocked {
            let Some(open) = self.open.get_mut(&id) else { continue };
            let bytes = std::mem::take(&mut open.backlog);
            let alive = write(open, &Emission::plain(bytes));
            let (then, finish, done) = (open.then, open.finish, open.backlog.is_empty());
            if !alive {
                self.cancel(id);
            } else if done {
                self.conclude(id, then, finish);
            } else {
                still += 1;
            }
        }
        self.blocked = still;
    }

    fn abort_all(&mut self) {
        self.deliver_due(u64::MAX);
        let ids: Vec<RequestId> = self.open.keys().copied().collect();
        for id in ids {
            if let Some(open) = self.open.get_mut(&id).filter(|o| o.then != Then::Silent) {
                let emission = open.stream.abort();
                write(open, &emission);
            }
            self.end(id, Outcome::Close, Some("abort"));
        }
    }
}

/// Writes what the socket takes now and keeps the rest. False when the client has gone.
fn write(open: &mut Open, emission: &Emission) -> bool {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if !open.backlog.is_empty() {
        open.backlog.extend_from_slice(&emission.bytes);
        return true;
    }
    let piece = if emission.split == 0 {
        emission.bytes.len().max(1)
    } else {
        emission.split
    };
    let mut sent = 0;
    for part in emission.bytes.chunks(piece) {
        let mut rest = part;
        while !rest.is_empty() {
            match rustix::net::send(&*open.socket, rest, flags) {
                Ok(n) => {
                    sent += n;
                    rest = rest.get(n..).unwrap_or_default();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    open.backlog
                        .extend_from_slice(emission.bytes.get(sent..).unwrap_or_default());
                    return true;
                }
                Err(_) => return false,
            }
        }
    }
    true
}
