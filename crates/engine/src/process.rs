//! An engine as a child process in a process group of its own.

use crate::{
    ApiKey, Command, EngineClient, EngineError, Ready, client::ProbeError, docker, guard::Guard, log, redact::Secrets,
};
use rustix::process::{Pid, Signal, kill_process_group};
use servelab_schema::{Dialect, Nanos};
use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

const POLL: Duration = Duration::from_millis(10);

/// Between two completions that an engine is asked for before it has given one.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a port may be served after the last process of its engine has ended, wall time.
const PORT: Duration = Duration::from_secs(3);

/// How long the first completion may take, wall time: an engine that compiles on demand takes its time for it.
const FIRST_STEP: Duration = Duration::from_secs(60);

/// How long an engine that says that it is ready may go on refusing the first completion, wall time.
const REFUSING: Nanos = Nanos::from_secs(5);

/// The variable that vLLM takes its API key from.
pub const KEY_VARIABLE: &str = "VLLM_API_KEY";

/// How long a loopback port may take to refuse or accept.
const CONNECT: Duration = Duration::from_millis(500);

/// A started engine that has not answered yet. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    group: Pid,
    log_path: PathBuf,
    port: u16,
    key: Option<ApiKey>,
    dialect: Dialect,
    container: Option<String>,
    exit: Option<ExitStatus>,
    /// Gone where servelab itself ends the engine; ends it where servelab is gone.
    guard: Option<Guard>,
}

/// How an engine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In words, such as `SIGTERM, exit 0`.
    pub how: String,
    /// True where it was still running when it was told to stop.
    pub was_alive: bool,
}

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// [`EngineError::Port`] where there is none.
pub(crate) fn free_port() -> Result<u16, EngineError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(EngineError::Port)?;
    Ok(listener.local_addr().map_err(EngineError::Port)?.port())
}

impl Launched {
    /// A free port for the next engine.
    ///
    /// # Errors
    /// [`EngineError::Port`] where there is none.
    pub fn free_port() -> Result<u16, EngineError> {
        free_port()
    }

    /// Starts `command`, which listens on `port`, with its output going to `output` at `log_path`. `key` is given to it by
    /// environment, as `VLLM_API_KEY`, and to its clients.
    ///
    /// # Errors
    /// [`EngineError::Launch`] where it cannot be started.
    pub fn launch(
        command: &Command,
        port: u16,
        key: Option<ApiKey>,
        output: File,
        log_path: &Path,
    ) -> Result<Self, EngineError> {
        let launch = |source: io::Error| EngineError::Launch {
            program: command.program.display().to_string(),
            source,
        };
        let mut program = std::process::Command::new(command.executable().map_err(launch)?);
        if let Some(dir) = &command.dir {
            program.current_dir(dir);
        }
        if let Some(key) = &key {
            program.env(KEY_VARIABLE, key.secret());
        }
        let child = program
            .args(&command.args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(launch)?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(launch)?;
        let group = Pid::from_child(&child);
        Ok(Self {
            child,
            group,
            log_path: log_path.to_path_buf(),
            port,
            key,
            dialect: Dialect::Vllm,
            container: command.container.clone(),
            exit: None,
            guard: None,
        })
    }

    /// The same with a guard, which the program `servelab` stands: the engine ends even where this process is killed.
    ///
    /// # Errors
    /// [`EngineError::Launch`] where the guard cannot be started; the engine is then killed.
    pub fn guarded(mut self, servelab: &Path) -> Result<Self, EngineError> {
        match Guard::over(servelab, self.group(), self.container()) {
            Ok(guard) => {
                self.guard = Some(guard);
                Ok(self)
            }
            Err(error) => {
                self.signal(Signal::KILL);
                Err(error)
            }
        }
    }

    /// The same, with the pages of another engine than vLLM.
    #[must_use]
    pub const fn speaking(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The process group.
    #[must_use]
    pub fn group(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// The container that it runs in, where it does.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        self.container.as_deref()
    }

    /// What it has written so far, without secrets: whoever quotes a part of it may cut one in two.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log_path).unwrap_or_default();
        let secrets = Secrets::of_environment().and(self.key.as_ref().map_or("", ApiKey::secret));
        secrets.redact(&String::from_utf8_lossy(&bytes))
    }

    /// How it ended, where it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().ok().flatten();
        }
        self.exit
    }

    /// Waits until its page about health answers and one real completion comes back. `now` is wall time; `stop` says when to
    /// give up.
    ///
    /// # Errors
    /// [`EngineError::Died`] with the first root cause of its log, [`EngineError::Broken`] where it says that it is ready and
    /// goes on refusing the completion, [`EngineError::NotReady`] at the deadline, [`EngineError::Stopped`] on `stop`. The engine is then killed; what [`stop`](Self::stop) finds comes first.
    pub async fn wait_ready(
        mut self,
        model: &str,
        deadline: Nanos,
        now: impl Fn() -> Nanos + Send,
        stop: impl Fn() -> bool + Send,
    ) -> Result<Ready, EngineError> {
        match self.first_answer(model, deadline, now, stop).await {
            Ok(client) => Ok(Ready::started(self, client)),
            Err(error) => {
                self.stop(Duration::ZERO).await?;
                Err(error)
            }
        }
    }

    async fn first_answer(
        &mut self,
        model: &str,
        deadline: Nanos,
        now: impl Fn() -> Nanos + Send,
        stop: impl Fn() -> bool + Send,
    ) -> Result<EngineClient, EngineError> {
        let begin = now();
        let base = format!("http://127.0.0.1:{}", self.port);
        let client = EngineClient::new(&base, self.key.clone(), self.dialect)?;
        let mut healthy_since = None;
        loop {
            if let Some(status) = self.exited() {
                let text = self.log();
                return Err(EngineError::Died {
                    status: status.to_string(),
                    cause: log::why_it_ended(status, &text),
                    memory: log::killed(status) || log::out_of_memory(&text).is_some(),
                });
            }
            let mut pause = POLL;
            // A healthy port of somebody else's is no engine of ours: ours must be alive too, checked above.
            if client.healthy().await {
                let since = *healthy_since.get_or_insert_with(&now);
                match self.probe(&client, model, &stop).await {
                    Some(Ok(())) => return Ok(client),
                    Some(Err(refusal)) if now().saturating_sub(since) > REFUSING => {
                        if let Some(broken) = self.broken(&refusal) {
                            return Err(broken);
                        }
                    }
                    _ => {}
                }
                pause = AGAIN;
            }
            if stop() {
                return Err(EngineError::Stopped);
            }
            if now().saturating_sub(begin) > deadline {
                return Err(self.late(deadline, healthy_since.is_some()));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One completion, or none where the engine ended or `stop` came first.
    async fn probe(
        &mut self,
        client: &EngineClient,
        model: &str,
        stop: &(impl Fn() -> bool + Send),
    ) -> Option<Result<(), ProbeError>> {
        let probe = client.probe(model, FIRST_STEP);
        tokio::pin!(probe);
        loop {
            tokio::select! {
                answer = &mut probe => return Some(answer),
                () = tokio::time::sleep(AGAIN) => if self.exited().is_some() || stop() {
                    return None;
                }
            }
        }
    }

    /// What a refused first completion says of an engine that calls itself ready: some faults show only there. None where
    /// it may still come.
    fn broken(&self, refusal: &ProbeError) -> Option<EngineError> {
        let status = refusal.status.filter(|status| !matches!(status, 408 | 429 | 503))?;
        let text = self.log();
        let memory = log::out_of_memory(&text);
        let said = refusal.error.to_string();
        Some(EngineError::Broken {
            memory: memory.is_some(),
            request: status < 500,
            cause: match memory.or_else(|| log::root_cause(&text)) {
                Some(cause) if status >= 500 => cause,
                _ => said,
            },
        })
    }

    /// Why it was not ready at the deadline.
    fn late(&self, deadline: Nanos, was_healthy: bool) -> EngineError {
        let text = self.log();
        let memory = log::out_of_memory(&text);
        match memory.clone().or_else(|| log::root_cause(&text)) {
            // It called itself ready and then said why it was not: engine processes may die behind a front end that lives.
            Some(cause) if was_healthy => EngineError::Broken {
                cause,
                memory: memory.is_some(),
                request: false,
            },
            _ => EngineError::NotReady {
                seconds: deadline.0 / 1_000_000_000,
                last: log::quoted(log::last_line(&text)),
            },
        }
    }

    fn signal(&self, signal: Signal) -> bool {
        kill_process_group(self.group, signal).is_ok()
    }

    /// Ends the whole process group: SIGTERM, `grace` to finish, SIGKILL; then looks that nothing of it is left.
    ///
    /// # Errors
    /// [`EngineError::Leak`] where a process of the group survives, [`EngineError::Container`] where its
    /// container does, [`EngineError::Orphan`] where its port is served on.
    pub async fn stop(mut self, grace: Duration) -> Result<Ended, EngineError> {
        let was_alive = self.exited().is_none();
        let mut how = String::new();
        if was_alive {
            self.signal(Signal::TERM);
            how.push_str("SIGTERM, ");
            if !self.wait_gone(grace).await {
                how.push_str("SIGKILL, ");
            }
        }
        // Children of a dead leader may live on, so the group is always killed.
        self.signal(Signal::KILL);
        let gone = self.wait_gone(Duration::from_secs(5)).await;
        if let Some(container) = self.container.take() {
            docker::remove_for_sure(&container)?;
        }
        let status = self
            .exited()
            .map_or_else(|| "still running".to_owned(), |s| s.to_string());
        how.push_str(&status);
        if !gone {
            return Err(EngineError::Leak { group: self.group() });
        }
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
        self.port_is_given_up().await?;
        Ok(Ended { how, was_alive })
    }

    /// Looks until nobody accepts on the port. A process of many threads counts as ended when its first thread has, and the
    /// last one closes the port: that may take a moment. A child in a session of its own is in no group of ours and goes on.
    ///
    /// # Errors
    /// [`EngineError::Orphan`] where somebody still accepts.
    async fn port_is_given_up(&self) -> Result<(), EngineError> {
        let unserved = async {
            while is_served(self.port) {
                tokio::time::sleep(AGAIN).await;
            }
        };
        match tokio::time::timeout(PORT, unserved).await {
            Ok(()) => Ok(()),
            Err(_) => Err(EngineError::Orphan { port: self.port }),
        }
    }

    /// True when every process of the group has ended within `limit`.
    async fn wait_gone(&mut self, limit: Duration) -> bool {
        let gone = async {
            while self.exited().is_none() || group_alive(self.group()) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, gone).await.is_ok()
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if self.exited().is_none() || group_alive(self.group()) {
            self.signal(Signal::KILL);
            // Reaps the leader, so that no zombie is left behind.
            let _ = self.child.wait();
        }
        if let Some(container) = &self.container {
            // Nobody is left to be told; its label finds it.
            let _ = docker::remove(container);
        }
    }
}

/// True where somebody accepts on that port of 127.0.0.1.
fn is_served(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, CONNECT).is_ok()
}

/// True where a process of the group runs; a zombie that nobody reaped does not count.
fn group_alive(group: i32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    entries.flatten().any(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else {
            return false;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let state = fields.first().copied().unwrap_or("Z");
        let of = fields.get(2).and_then(|g| g.parse::<i32>().ok());
        // The first thread may have ended before the others, which still hold files and memory.
        let threads = || fs::read_dir(entry.path().join("task")).map_or(0, Iterator::count);
        of == Some(group) && (!matches!(state, "Z" | "X") || threads() > 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every request on a port of its own: `/health` with 200, completions with `status`.
    fn serve(status: &'static str, body: &'static str) -> u16 {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let (mut first, mut length) = (String::new(), 0_u64);
                let _ = reader.read_line(&mut first);
                loop {
                    let mut line = String::new();
                    let _ = reader.read_line(&mut line);
                    if let Some((_, n)) = line.to_ascii_lowercase().split_once("content-length: ") {
                        length = n.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let _ = std::io::copy(&mut reader.take(length), &mut std::io::sink());
                let (status, body) = if first.starts_with("GET /health ") {
                    ("200 OK", "")
                } else {
                    (status, body)
                };
                let n = body.len();
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status}\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        port
    }

    /// The error of an engine that is healthy, writes `log` and answers completions so. Time flies: a second a look.
    async fn never_answers(status: &'static str, body: &'static str, log: &str) -> EngineError {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.log");
        std::fs::write(&path, log).unwrap();
        let command = Command {
            program: "sleep".into(),
            args: vec!["60".to_owned()],
            dir: None,
            container: None,
        };
        let output = File::options().append(true).open(&path).unwrap();
        let launched = Launched::launch(&command, serve(status, body), None, output, &path).unwrap();
        let mut launched = launched.speaking(Dialect::Vllm);
        let seconds = std::sync::atomic::AtomicU64::new(0);
        let now = || Nanos::from_secs(seconds.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        launched
            .first_answer("m", Nanos::from_secs(20), now, || false)
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn an_engine_that_is_ready_and_answers_nothing_is_broken() {
        let died = "INFO up\nERROR ModuleNotFoundError: No module named 'intel_extension_for_pytorch'\n";
        let error = never_answers("500 Internal Server Error", "oops", died).await;
        let EngineError::Broken {
            cause,
            memory: false,
            request: false,
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert!(cause.starts_with("ModuleNotFoundError"), "{cause}");
        let error = never_answers(
            "500 Internal Server Error",
            "oops",
            "torch.OutOfMemoryError: CUDA out of memory.\n",
        )
        .await;
        assert!(matches!(error, EngineError::Broken { memory: true, .. }), "{error}");
        let error = never_answers("400 Bad Request", "no chat template", died).await;
        let EngineError::Broken {
            cause, request: true, ..
        } = &error
        else {
            panic!("{error}")
        };
        assert!(cause.contains("no chat template"), "{cause}");
        let error = never_answers("503 Service Unavailable", "", "INFO warming up\n").await;
        assert!(matches!(error, EngineError::NotReady { .. }), "{error}");
        let error = never_answers("503 Service Unavailable", "", died).await;
        assert!(matches!(error, EngineError::Broken { request: false, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_outlives_its_engine_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("server.log");
        let sleep = || Command {
            program: "sleep".into(),
            args: vec!["60".to_owned()],
            dir: None,
            container: None,
        };
        let output = || File::create(&log).unwrap();
        // The test itself plays the process that got away and serves on.
        let orphan = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = orphan.local_addr().unwrap().port();
        let launched = Launched::launch(&sleep(), port, None, output(), &log).unwrap();
        let error = launched.stop(Duration::from_secs(10)).await.unwrap_err();
        assert!(matches!(error, EngineError::Orphan { port: p } if p == port), "{error}");
        assert!(error.to_string().contains("ss -ltnp"), "{error}");
        drop(orphan);
        let launched = Launched::launch(&sleep(), port, None, output(), &log).unwrap();
        let ended = launched.stop(Duration::from_secs(10)).await.unwrap();
        assert!(ended.was_alive && ended.how.starts_with("SIGTERM, "), "{ended:?}");
    }
}
