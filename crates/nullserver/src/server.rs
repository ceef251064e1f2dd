//! The event loop: one thread, an epoll set, a heap of due writes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::answer::Answer;
use crate::clock::{monotonic_ns, process_cpu_ns, timespec};
use crate::options::Options;
use crate::request::{self, Read, Request};
use crate::stamps::Stamps;

/// What an event belongs to, where it is no connection (those count from 0).
const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const STDIN: u64 = u64::MAX - 2;

/// Events taken at once: few enough that a due write is not kept waiting behind them.
const EVENTS: usize = 128;
/// Waiting connections that the kernel keeps.
const BACKLOG: i32 = 16_384;
/// Most bytes taken by one read.
const READ_BYTES: usize = 64 << 10;
/// How often a quiet server looks whether it was told to stop, in ns.
const LOOK_NS: u64 = 200_000_000;

/// Most chunks of an answer.
const MOST_CHUNKS: u32 = 100_000;

/// What it says of itself: it computes nothing, so whoever takes it for an engine says SIMULATED.
const VERSION: &str = r#"{"version":"servelab-null","engine_kind":"simulated"}"#;
const MODELS: &str = r#"{"object":"list","data":[{"id":"null","object":"model"}],"engine_kind":"simulated"}"#;

/// An answer under way.
#[derive(Debug)]
struct Answering {
    answer: Rc<Answer>,
    /// When the request was read.
    began_ns: u64,
    piece: usize,
    /// Bytes of the answer written so far.
    at: usize,
    /// Its row of stamps.
    row: Option<usize>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Tells this use of the slot from earlier ones.
    generation: u32,
    /// Bytes of a request that is not whole yet.
    inbox: Vec<u8>,
    answering: Option<Answering>,
    /// Registered for room to write.
    blocked: bool,
}

/// A write that is due: when, which slot, which use of it.
type Due = Reverse<(u64, usize, u32)>;

/// The server.
#[derive(Debug)]
pub(crate) struct Server {
    options: Options,
    stop: Arc<AtomicBool>,
    listener: TcpListener,
    epoll: OwnedFd,
    timer: OwnedFd,
    armed_ns: Option<u64>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    generation: u32,
    due: BinaryHeap<Due>,
    answer: Rc<Answer>,
    by_chunks: HashMap<u32, Rc<Answer>>,
    stamps: Stamps,
    buffer: Vec<u8>,
    requests: u64,
    writes: u64,
    most_connections: usize,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Keep,
    Close,
}

impl Server {
    /// Listens on 127.0.0.1.
    pub(crate) fn bind(options: Options, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        if options.until_stdin_ends {
            epoll::add(&epoll, io::stdin(), EventData::new_u64(STDIN), EventFlags::IN)?;
        }
        let answer = Rc::new(Answer::stream(options.shape(options.chunks)));
        Ok(Self {
            options,
            stop,
            listener,
            epoll,
            timer,
            armed_ns: None,
            connections: Vec::new(),
            free: Vec::new(),
            generation: 0,
            due: BinaryHeap::new(),
            answer,
            by_chunks: HashMap::new(),
            stamps: Stamps::default(),
            buffer: vec![0; READ_BYTES],
            requests: 0,
            writes: 0,
            most_connections: 0,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is told to stop.
    pub(crate) fn serve(&mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        while !self.stop.load(Ordering::Acquire) {
            self.arm()?;
            let look = timespec(LOOK_NS);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&look)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    TIMER => {
                        // Taking the number of expirations makes the descriptor wait again.
                        let _ = rustix::io::read(&self.timer, &mut [0_u8; 8]);
                        self.armed_ns = None;
                    }
                    STDIN => {
                        if io::stdin().lock().read(&mut [0_u8; 64]).is_ok_and(|n| n == 0) {
                            return Ok(());
                        }
                    }
                    slot => self.ready(usize::try_from(slot).unwrap_or(usize::MAX)),
                }
            }
            self.write_due();
        }
        Ok(())
    }

    /// Sets the alarm for the next due write.
    fn arm(&mut self) -> io::Result<()> {
        let Some(Reverse((due, _, _))) = self.due.peek() else {
            return Ok(());
        };
        if self.armed_ns.is_some_and(|armed| armed <= *due) {
            return Ok(());
        }
        let value = Itimerspec {
            it_interval: timespec(0),
            it_value: timespec((*due).max(1)),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value)?;
        self.armed_ns = Some(*due);
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
                Err(e) => return Err(e),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or(self.connections.len());
            let data = EventData::new_u64(u64::try_from(slot).unwrap_or(u64::MAX));
            epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
            self.generation = self.generation.wrapping_add(1);
            let connection = Connection {
                stream,
                generation: self.generation,
                inbox: Vec::new(),
                answering: None,
                blocked: false,
            };
            match self.connections.get_mut(slot) {
                Some(place) => *place = Some(connection),
                None => self.connections.push(Some(connection)),
            }
            self.most_connections = self.most_connections.max(self.open());
        }
    }

    fn open(&self) -> usize {
        self.connections.len() - self.free.len()
    }

    /// The connection of a slot, taken out while it is worked on.
    fn take(&mut self, slot: usize) -> Option<Connection> {
        self.connections.get_mut(slot).and_then(Option::take)
    }

    fn put(&mut self, slot: usize, connection: Connection, then: Then) {
        match then {
            Then::Keep => {
                if let Some(place) = self.connections.get_mut(slot) {
                    *place = Some(connection);
                }
            }
            // Closing the descriptor takes it out of the epoll set.
            Then::Close => self.free.push(slot),
        }
    }

    fn ready(&mut self, slot: usize) {
        let Some(mut connection) = self.take(slot) else { return };
        let mut then = Then::Keep;
        if connection.blocked {
            then = self.advance(slot, &mut connection);
        }
        if then == Then::Keep {
            then = self.read(slot, &mut connection);
        }
        self.put(slot, connection, then);
    }

    fn write_due(&mut self) {
        while let Some(Reverse((due, slot, generation))) = self.due.peek().copied() {
            if due > monotonic_ns() {
                return;
            }
            self.due.pop();
            let Some(mut connection) = self.take(slot) else {
                continue;
            };
            let mut then = Then::Keep;
            if connection.generation == generation && !connection.blocked {
                then = self.advance(slot, &mut connection);
            }
            self.put(slot, connection, then);
        }
    }

    fn read(&mut self, slot: usize, connection: &mut Connection) -> Then {
        let mut buffer = std::mem::take(&mut self.buffer);
        let then = match connection.stream.read(&mut buffer) {
            Ok(0) => Then::Close,
            Ok(n) => {
                let read_ns = monotonic_ns();
                let new = buffer.get(..n).unwrap_or_default();
                self.take_in(slot, connection, new, read_ns)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Then::Keep,
            Err(_) => Then::Close,
        };
        self.buffer = buffer;
        then
    }

    /// Answers the request in `new`, or keeps the bytes until it is whole.
    fn take_in(&mut self, slot: usize, connection: &mut Connection, new: &[u8], read_ns: u64) -> Then {
        if connection.answering.is_some() || !connection.inbox.is_empty() {
            connection.inbox.extend_from_slice(new);
            if connection.answering.is_some() {
                return Then::Keep;
            }
            return self.take_inbox(slot, connection, read_ns);
        }
        match request::read(new) {
            Read::Whole(request) => {
                connection
                    .inbox
                    .extend_from_slice(new.get(request.size..).unwrap_or_default());
                self.begin(connection, &request, read_ns);
                self.advance(slot, connection)
            }
            Read::Partial => {
                connection.inbox.extend_from_slice(new);
                Then::Keep
            }
            Read::Bad => Then::Close,
        }
    }

    fn take_inbox(&mut self, slot: usize, connection: &mut Connection, read_ns: u64) -> Then {
        let mut inbox = std::mem::take(&mut connection.inbox);
        match request::read(&inbox) {
            Read::Whole(request) => {
                let size = request.size;
                self.begin(connection, &request, read_ns);
                inbox.drain(..size);
                connection.inbox = inbox;
                self.advance(slot, connection)
            }
            Read::Partial => {
                connection.inbox = inbox;
                Then::Keep
            }
            Read::Bad => Then::Close,
        }
    }

    /// Chooses the answer to a request.
    fn begin(&mut self, connection: &mut Connection, request: &Request<'_>, read_ns: u64) {
        let mut row = None;
        let answer = match (request.post, request.path) {
            (true, "/v1/chat/completions") => {
                self.requests = self.requests.wrapping_add(1);
                let answer = if request::wants_stream(request.body) {
                    self.stream_for(request.body)
                } else {
                    Rc::new(Answer::whole(self.options.shape(self.chunks_for(request.body))))
                };
                row = self
                    .options
                    .stamps
                    .then(|| self.stamps.begin(request.id, read_ns, answer.pieces.len()));
                answer
            }
            (false, "/version") => Rc::new(Answer::plain("200 OK", "application/json", VERSION)),
            (false, "/v1/models") => Rc::new(Answer::plain("200 OK", "application/json", MODELS)),
            (false, "/health") => Rc::new(Answer::plain("200 OK", "text/plain", "")),
            (false, "/stats") => Rc::new(Answer::plain("200 OK", "application/json", &self.stats())),
            (false, "/stamps") => {
                let text = self.stamps.text();
                self.stamps.clear();
                for other in self.connections.iter_mut().flatten() {
                    if let Some(answering) = &mut other.answering {
                        answering.row = None;
                    }
                }
                Rc::new(Answer::plain("200 OK", "text/plain", &text))
            }
            _ => Rc::new(Answer::plain(
                "404 Not Found",
                "text/plain",
                "POST /v1/chat/completions\n",
            )),
        };
        connection.answering = Some(Answering {
            answer,
            began_ns: read_ns,
            piece: 0,
            at: 0,
            row,
        });
    }

    /// How many chunks the answer to this body has.
    fn chunks_for(&self, body: &[u8]) -> u32 {
        let asked = request::max_tokens(body).filter(|n| self.options.chunks_from_request && *n > 0);
        asked.map_or(self.options.chunks, |n| n.min(MOST_CHUNKS))
    }

    fn stream_for(&mut self, body: &[u8]) -> Rc<Answer> {
        let chunks = self.chunks_for(body);
        if chunks == self.options.chunks {
            return Rc::clone(&self.answer);
        }
        let shape = self.options.shape(chunks);
        let made = self.by_chunks.entry(chunks);
        Rc::clone(made.or_insert_with(|| Rc::new(Answer::stream(shape))))
    }

    fn stats(&self) -> String {
        format!(
            "{{\"requests\":{},\"writes\":{},\"connections\":{},\"most_connections\":{},\"cpu_ns\":{},\"monotonic_ns\":{}}}\n",
            self.requests,
            self.writes,
            // The connection that asks is taken out of its slot but not free.
            self.open(),
            self.most_connections,
            process_cpu_ns(),
            monotonic_ns()
        )
    }

    /// Writes what is due of the answer under way, and begins with the next request that has arrived meanwhile.
    fn advance(&mut self, slot: usize, connection: &mut Connection) -> Then {
        while let Some(answering) = &mut connection.answering {
            let Some(piece) = answering.answer.pieces.get(answering.piece).copied() else {
                connection.answering = None;
                if connection.inbox.is_empty() {
                    break;
                }
                return self.take_inbox(slot, connection, monotonic_ns());
            };
            let due = answering.began_ns.saturating_add(piece.after_ns);
            let now = monotonic_ns();
            if now < due {
                self.due.push(Reverse((due, slot, connection.generation)));
                break;
            }
            if answering.at == piece.start
                && let Some(row) = answering.row
            {
                self.stamps.wrote(row, answering.piece, now);
            }
            let bytes = answering.answer.bytes.get(answering.at..piece.end).unwrap_or_default();
            self.writes = self.writes.wrapping_add(1);
            match connection.stream.write(bytes) {
                Ok(n) => {
                    answering.at = answering.at.saturating_add(n);
                    if answering.at >= piece.end {
                        answering.piece += 1;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.block(slot, connection, true),
                Err(_) => return Then::Close,
            }
        }
        if connection.blocked {
            self.block(slot, connection, false)
        } else {
            Then::Keep
        }
    }

    /// Asks, or stops asking, to be told when there is room to write.
    fn block(&self, slot: usize, connection: &mut Connection, blocked: bool) -> Then {
        if connection.blocked == blocked {
            return Then::Keep;
        }
        connection.blocked = blocked;
        let flags = if blocked {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        let data = EventData::new_u64(u64::try_from(slot).unwrap_or(u64::MAX));
        match epoll::modify(&self.epoll, &connection.stream, data, flags) {
            Ok(()) => Then::Keep,
            Err(_) => Then::Close,
        }
    }
}
