//! An engine as a child process in a process group of its own.

use crate::{ApiKey, Command, EngineClient, EngineError, Ready, docker, log};
use rustix::process::{Pid, Signal, kill_process_group};
use servelab_schema::Nanos;
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
    container: Option<String>,
    exit: Option<ExitStatus>,
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
        let mut program = std::process::Command::new(&command.program);
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
            container: command.container.clone(),
            exit: None,
        })
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

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log_path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How it ended, where it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().ok().flatten();
        }
        self.exit
    }

    /// Waits until `/health` answers and one real completion comes back. `now` is wall time; `stop` says when to give up.
    ///
    /// # Errors
    /// [`EngineError::Died`] with the first root cause of its log, [`EngineError::NotReady`] at the deadline,
    /// [`EngineError::Stopped`] on `stop`. The engine is then killed; what [`stop`](Self::stop) finds comes first.
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
        let client = EngineClient::new(&format!("http://127.0.0.1:{}", self.port), self.key.clone())?;
        loop {
            if let Some(status) = self.exited() {
                let text = self.log();
                return Err(EngineError::Died {
                    status: status.to_string(),
                    cause: log::why_it_ended(status, &text),
                    memory: log::killed(status) || log::out_of_memory(&text).is_some(),
                    log: self.log_path.clone(),
                });
            }
            // A healthy port of somebody else's is no engine of ours: ours must be alive too, checked above.
            if client.healthy().await && client.probe(model).await.is_ok() {
                return Ok(client);
            }
            if stop() {
                return Err(EngineError::Stopped);
            }
            if now().saturating_sub(begin) > deadline {
                let last = log::last_line(&self.log()).to_owned();
                let seconds = deadline.0 / 1_000_000_000;
                return Err(EngineError::NotReady {
                    seconds,
                    last,
                    log: self.log_path.clone(),
                });
            }
            tokio::time::sleep(POLL).await;
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
        Self::nothing_serves(self.port)?;
        Ok(Ended { how, was_alive })
    }

    /// Looks that nobody accepts on `port` once its engine has ended: a child in a session of its own is in no group of ours.
    ///
    /// # Errors
    /// [`EngineError::Orphan`] where somebody does.
    pub fn nothing_serves(port: u16) -> Result<(), EngineError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => Err(EngineError::Orphan { port }),
            Err(_) => Ok(()),
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
        of == Some(group) && !matches!(state, "Z" | "X")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_outlives_its_engine_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("server.log");
        let sleep = || Command {
            program: "sleep".into(),
            args: vec!["60".to_owned()],
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
