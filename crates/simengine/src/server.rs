//! The server: binds, starts up, accepts, routes. One thread per connection reads, checks and tokenizes; the pacing thread
//! writes the answers.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags};
use servelab_random::hash;

use crate::api::{self, Completion, Prompt, Refusal};
use crate::args::SimArgs;
use crate::chunk::{Api, Template, TemplateSpec};
use crate::clock::{self, TimeMap, WallClock};
use crate::config::EngineConfig;
use crate::dialect::Dialect;
use crate::error::SimError;
use crate::faults::{Fault, Kind, Script};
use crate::host::TokenizerPool;
use crate::http::{self, Connection, EVENT_STREAM, Request};
use crate::metrics::{Lateness, Metrics};
use crate::pacer::{self, Ending, Job, Outcome, PacerHandle, PacerSpec, Waker};
use crate::routes::{self, JSON};
use crate::scripted::{self, Stage};
use crate::step::{StepEngine, Submission, block_hashes};
use crate::stream::{Stream, StreamSpec};
use crate::task::Task;
use crate::text::{Answer, AnswerSpec, Vocabulary};
use crate::tokenizer::PromptTokenizer;

/// What happened that the server's owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A scripted fault has killed the engine.
    Died,
    /// Someone asked it to stop (a signal, or the parent has gone).
    Stop,
}

/// What every connection needs.
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) tokenizer: Arc<dyn PromptTokenizer>,
    vocabulary: Arc<Vocabulary>,
    script: Script,
    clock: WallClock,
    pub(crate) metrics: Arc<Mutex<Metrics>>,
    pacer: PacerHandle,
    seed: u64,
    fingerprint: String,
    /// The body of `/v1/models`.
    pub(crate) models: String,
    completions: AtomicU64,
    stopping: AtomicBool,
    /// Has the warm-up ended?
    pub(crate) ready: AtomicBool,
    /// Wall time that the simulated network takes.
    delay_ns: u64,
    /// Wakes the acceptor and silent connections.
    stop: Waker,
}

impl Shared {
    /// Waits as long as the simulated network takes, before an answer that no engine paces.
    fn network(&self) {
        if self.delay_ns > 0 {
            self.clock
                .sleep_until_ns(self.clock.now_ns().saturating_add(self.delay_ns));
        }
    }
}

/// A socket that is bound but does not listen yet: connections are refused until the engine is ready, as with vLLM.
#[derive(Debug)]
pub struct Bound {
    fd: rustix::fd::OwnedFd,
    /// Where it will listen.
    pub address: SocketAddr,
}

/// Binds host and port.
///
/// # Errors
/// [`SimError::Listen`] where the address is taken or unknown.
pub fn bind(host: &str, port: u16) -> Result<Bound, SimError> {
    let failed = |detail: String| SimError::Listen {
        address: format!("{host}:{port}"),
        detail,
    };
    let address = (host, port)
        .to_socket_addrs()
        .map_err(|e| failed(e.to_string()))?
        .next()
        .ok_or_else(|| failed("the name has no address".to_owned()))?;
    let family = if address.is_ipv4() {
        rustix::net::AddressFamily::INET
    } else {
        rustix::net::AddressFamily::INET6
    };
    let fd = rustix::net::socket_with(
        family,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| failed(e.to_string()))?;
    rustix::net::sockopt::set_socket_reuseaddr(&fd, true).map_err(|e| failed(e.to_string()))?;
    rustix::net::bind(&fd, &address).map_err(|e| failed(e.to_string()))?;
    let bound = rustix::net::getsockname(&fd).map_err(|e| failed(e.to_string()))?;
    let address = SocketAddr::try_from(bound).map_err(|e| failed(e.to_string()))?;
    Ok(Bound { fd, address })
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What a server is made of.
pub struct ServerSpec<'a> {
    /// The simulator's options.
    pub args: &'a SimArgs,
    /// The engine's configuration.
    pub config: EngineConfig,
    /// The prompts' tokenizer.
    pub tokenizer: Arc<dyn PromptTokenizer>,
    /// What goes wrong.
    pub script: Script,
    /// The wall clock of the run.
    pub clock: WallClock,
    /// Where events go.
    pub events: Sender<Event>,
    /// Is it ready when it listens? SGLang is not: its warm-up comes after.
    pub ready: bool,
}

impl std::fmt::Debug for ServerSpec<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerSpec")
    }
}

/// Listens on `bound` and serves. Engine time 0 is now.
///
/// # Errors
/// [`SimError`] where the timing model or the system refuses.
pub fn start(bound: Bound, spec: ServerSpec<'_>) -> Result<Server, SimError> {
    let failed = |e: rustix::io::Errno| SimError::Listen {
        address: bound.address.to_string(),
        detail: e.to_string(),
    };
    let tokenizer = spec.tokenizer;
    let ids = |text: &str| tokenizer.text_ids(text, false).ok();
    let vocabulary = Arc::new(Vocabulary::new(ids, spec.args.empty_token_probability));
    let metrics = Arc::new(Mutex::new(Metrics::new(&spec.config, spec.args.time_scale)));
    let engine = StepEngine::new(&spec.config, spec.args.slowdown())?;
    let events = Mutex::new(spec.events);
    let map = TimeMap::new(spec.clock.now_ns(), spec.args.time_scale);
    let delay_ns = map.span_ns(spec.args.network_delay / 1e3);
    let (pacer, pacing) = pacer::start(PacerSpec {
        clock: spec.clock,
        map,
        engine,
        delay_ns,
        pool: TokenizerPool::new(spec.config.tokenizer_workers()),
        metrics: metrics.clone(),
        on_death: Box::new(move || {
            let _ = events.lock().unwrap_or_else(PoisonError::into_inner).send(Event::Died);
        }),
    })?;
    rustix::net::listen(&bound.fd, 1024).map_err(failed)?;
    let listener = TcpListener::from(bound.fd);
    let shared = Arc::new(Shared {
        fingerprint: format!(
            "simulated-{}-{}-{}",
            spec.config.dialect.name(),
            spec.config.dialect.version(),
            spec.config.profile.name
        ),
        models: routes::models(&spec.config),
        tokenizer,
        vocabulary,
        script: spec.script,
        clock: spec.clock,
        metrics,
        pacer,
        seed: spec.args.seed,
        config: spec.config,
        completions: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
        ready: AtomicBool::new(spec.ready),
        delay_ns,
        stop: Waker::new()?,
    });
    let accepting = shared.clone();
    let acceptor = spawn("acceptor", move || accept(&accepting, &listener))?;
    Ok(Server {
        shared,
        address: bound.address,
        threads: vec![acceptor, pacing],
    })
}

fn spawn(name: &'static str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SimError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(f)
        .map_err(|e| SimError::System {
            what: "starting a thread",
            detail: e.to_string(),
        })
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it says that it is healthy.
    pub fn set_ready(&self) {
        self.shared.ready.store(true, Ordering::SeqCst);
    }

    /// How late its emissions were so far.
    #[must_use]
    pub fn lateness(&self) -> Lateness {
        self.shared
            .metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lateness()
    }

    /// Stops as vLLM does on SIGTERM: open answers end with `finish_reason` "abort".
    pub fn stop(self) -> Lateness {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.stop.wake();
        self.shared.pacer.shutdown();
        let shared = self.shared;
        for thread in self.threads {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
        shared.metrics.lock().unwrap_or_else(PoisonError::into_inner).lateness()
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let mut fds = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(shared.stop.fd(), PollFlags::IN),
        ];
        let polled = rustix::event::poll(&mut fds, None);
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        if polled.is_err() {
            continue;
        }
        let Ok((socket, _)) = listener.accept() else {
            // Out of descriptors, most likely: give connections time to end instead of spinning.
            shared
                .clock
                .sleep_until_ns(shared.clock.now_ns().saturating_add(10_000_000));
            continue;
        };
        let _ = socket.set_nodelay(true);
        let shared = shared.clone();
        // Where no thread can be had, the connection is closed, as an overloaded server does.
        let _ = spawn("connection", move || serve(&shared, socket));
    }
}

fn serve(shared: &Shared, socket: TcpStream) {
    let socket = Arc::new(socket);
    let mut connection = Connection::new();
    loop {
        let request = match connection.read(&socket) {
            Ok(request) => request,
            Err(http::ReadError::Closed) => return,
            Err(http::ReadError::Malformed) => {
                let _ = (&*socket).write_all(&http::response(
                    400,
                    "text/plain; charset=utf-8",
                    b"Invalid HTTP request received.",
                    &[],
                ));
                return;
            }
            Err(http::ReadError::TooLarge) => {
                let _ = (&*socket).write_all(&http::response(
                    413,
                    "text/plain; charset=utf-8",
                    b"Request too large.",
                    &[],
                ));
                return;
            }
        };
        let close = request.close;
        let outcome = match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/chat/completions") => complete(shared, &socket, &request, Api::Chat),
            ("POST", "/v1/completions") => complete(shared, &socket, &request, Api::Completions),
            _ => {
                let answer = routes::route(shared, &request);
                shared.network();
                let written = (&*socket).write_all(&answer);
                if written.is_ok() {
                    Outcome::Reuse
                } else {
                    Outcome::Close
                }
            }
        };
        if outcome != Outcome::Reuse || close || shared.stopping.load(Ordering::SeqCst) {
            scripted::close(
                &socket,
                if outcome == Outcome::Reset {
                    outcome
                } else {
                    Outcome::Close
                },
            );
            return;
        }
    }
}

/// One completion request, from its bytes to the end of its answer.
fn complete(shared: &Shared, socket: &Arc<TcpStream>, request: &Request, api: Api) -> Outcome {
    let arrival_ns = shared.clock.now_ns();
    let number = shared.completions.fetch_add(1, Ordering::SeqCst) + 1;
    let fault = shared.script.of(number);
    if let Some(fault) = fault.filter(|f| f.kind.is_scripted()) {
        return play(shared, socket, request, api, number, fault);
    }
    match prepare(shared, request, api, number, fault, socket, arrival_ns) {
        Ok(mut job) => {
            if shared.delay_ns == 0 {
                let head = std::mem::take(&mut job.head);
                if !head.is_empty() && (&**socket).write_all(&head).is_err() {
                    return Outcome::Close;
                }
            }
            let (id, ending) = (job.submission.id, job.ending.clone());
            shared.pacer.submit(job);
            wait(shared, socket, id, &ending)
        }
        Err(refused) => {
            let bytes = routes::refuse(shared, &refused);
            shared.network();
            if (&**socket).write_all(&bytes).is_ok() {
                Outcome::Reuse
            } else {
                Outcome::Close
            }
        }
    }
}

/// Waits for the answer's end, or for the client to go.
fn wait(shared: &Shared, socket: &TcpStream, id: u64, ending: &Ending) -> Outcome {
    let waker = ending.waker();
    loop {
        if let Some(outcome) = ending.get() {
            return outcome;
        }
        // A client that has closed its side is gone, for uvicorn as for us.
        let mut fds = [
            PollFd::new(waker.fd(), PollFlags::IN),
            PollFd::new(socket, PollFlags::RDHUP),
        ];
        if rustix::event::poll(&mut fds, None).is_err() {
            continue;
        }
        let [_, client] = &fds;
        if client
            .revents()
            .intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
        {
            shared.pacer.cancel(id);
            return Outcome::Close;
        }
    }
}

fn template(shared: &Shared, request: &Request, completion: &Completion, prompt_tokens: u32, number: u64) -> Template {
    let prefix = match (shared.config.dialect, completion.api) {
        (Dialect::Vllm, Api::Chat) => "chatcmpl-",
        (Dialect::Vllm, Api::Completions) => "cmpl-",
        // SGLang's are the engine's own request ids.
        (Dialect::Sglang, _) => "",
    };
    let own = || format!("{:016x}", hash::mix_all(&[shared.seed, number, 0x1d]));
    let base = request.request_id.clone().unwrap_or_else(own);
    Template::new(TemplateSpec {
        dialect: shared.config.dialect,
        api: completion.api,
        id: format!("{prefix}{base}"),
        created: clock::unix_s(),
        model: completion.model.clone(),
        fingerprint: shared.fingerprint.clone(),
        prompt_tokens,
        continuous_usage: completion.continuous_usage,
        include_usage: completion.include_usage,
        token_ids: completion.token_ids,
    })
}

fn prompt_ids(shared: &Shared, prompt: &Prompt) -> Result<(Vec<u32>, Task), Refusal> {
    match prompt {
        Prompt::Messages(messages) => {
            let ids = shared.tokenizer.chat_ids(messages, true).map_err(routes::refusal)?;
            let last = messages
                .iter()
                .rev()
                .find(|m| m.role == "user")
                .map_or("", |m| m.content.as_str());
            Ok((ids, Task::of(last)))
        }
        Prompt::Text(text) => Ok((
            shared.tokenizer.text_ids(text, true).map_err(routes::refusal)?,
            Task::of(text),
        )),
        Prompt::Ids(ids) => Ok((ids.clone(), Task::Other)),
    }
}

/// Seed of an answer: greedy answers depend on the prompt alone, so that every variant gives the same; sampled ones also on
/// the request's seed or, without one, on its number.
fn answer_seed(shared: &Shared, completion: &Completion, ids: &[u32], number: u64) -> u64 {
    let prompt = ids
        .iter()
        .fold(hash::mix(shared.seed), |h, id| hash::mix(h ^ u64::from(*id)));
    if completion.temperature.abs() < f64::EPSILON {
        return prompt;
    }
    let extra = completion.seed.map_or(number, |s| u64::from_ne_bytes(s.to_ne_bytes()));
    hash::mix_all(&[prompt, extra])
}

fn prepare(
    shared: &Shared,
    request: &Request,
    api: Api,
    number: u64,
    fault: Option<&Fault>,
    socket: &Arc<TcpStream>,
    arrival_ns: u64,
) -> Result<Job, Refusal> {
    let completion = api::completion(api, &request.body, &shared.config)?;
    let (ids, task) = prompt_ids(shared, &completion.prompt)?;
    let prompt_tokens = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let max_tokens = api::output_limit(
        shared.config.dialect,
        &completion,
        prompt_tokens,
        shared.config.max_model_len,
    )?;
    let seed = answer_seed(shared, &completion, &ids, number);
    let answer = Answer::decide(
        &shared.vocabulary,
        &AnswerSpec {
            seed,
            max_tokens,
            min_tokens: completion.min_tokens,
            ignore_eos: completion.ignore_eos,
            task,
            stop: &completion.stop,
        },
    );
    let salt = completion
        .cache_salt
        .as_ref()
        .map_or(0, |s| s.bytes().fold(1, |h, b| hash::mix(h ^ u64::from(b))));
    let cached = shared.config.prefix_caching || shared.config.kv_offloading_gib.is_some();
    let hashes = if cached {
        block_hashes(&ids, shared.config.block_size, salt)
    } else {
        Vec::new()
    };
    let mut extra = Vec::new();
    if let Some(id) = request.request_id.as_ref().filter(|_| shared.config.request_id_headers) {
        extra.push(("x-request-id".to_owned(), id.clone()));
    }
    let template = template(shared, request, &completion, prompt_tokens, number);
    let mut head = if completion.stream {
        let wrong = fault.is_some_and(|f| f.kind == Kind::WrongContentType);
        http::stream_head(if wrong { JSON } else { EVENT_STREAM }, &extra)
    } else {
        Vec::new()
    };
    let ending = Ending::new(Waker::new().map_err(|e| Refusal {
        status: 500,
        message: e.to_string(),
        kind: "InternalServerError",
        param: None,
    })?);
    let output_tokens = answer.tokens;
    let late_head = if template.early_head() {
        Vec::new()
    } else {
        std::mem::take(&mut head)
    };
    let stream = Stream::new(StreamSpec {
        late_head,
        template,
        answer,
        vocabulary: shared.vocabulary.clone(),
        streaming: completion.stream,
        prompt_ids: if completion.token_ids { ids } else { Vec::new() },
        fault: fault.cloned(),
        extra_headers: extra,
    });
    let submission = Submission {
        id: number,
        ready_s: 0.0,
        prompt_tokens,
        output_tokens,
        block_hashes: hashes,
        task,
        seed,
    };
    Ok(Job {
        submission,
        arrival_ns,
        max_tokens,
        stream,
        head,
        socket: socket.clone(),
        ending,
    })
}

fn play(shared: &Shared, socket: &TcpStream, request: &Request, api: Api, number: u64, fault: &Fault) -> Outcome {
    // The usual fields where the request has them; a fault answers a bad request too.
    let completion = api::completion(api, &request.body, &shared.config).unwrap_or_else(|_| Completion {
        api,
        model: shared.config.served_names.first().cloned().unwrap_or_default(),
        prompt: Prompt::Ids(Vec::new()),
        max_tokens: None,
        min_tokens: 0,
        stream: true,
        include_usage: true,
        continuous_usage: false,
        ignore_eos: false,
        token_ids: false,
        temperature: 0.0,
        seed: None,
        stop: Vec::new(),
        cache_salt: None,
    });
    let tokens = prompt_ids(shared, &completion.prompt).map_or(0, |(ids, _)| u32::try_from(ids.len()).unwrap_or(0));
    let template = template(shared, request, &completion, tokens, number);
    shared.network();
    let stopping = || shared.stopping.load(Ordering::SeqCst);
    let wait_for_end = || {
        let mut fds = [
            PollFd::new(socket, PollFlags::RDHUP),
            PollFd::new(shared.stop.fd(), PollFlags::IN),
        ];
        while rustix::event::poll(&mut fds, None).is_err() {}
    };
    scripted::play(
        fault,
        &Stage {
            socket,
            clock: &shared.clock,
            template: &template,
            max_model_len: shared.config.max_model_len,
            wait_for_end: &wait_for_end,
            stopping: &stopping,
        },
    )
}
