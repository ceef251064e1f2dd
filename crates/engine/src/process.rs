//! An engine as a child process in a process group of its own.

use crate::{Command, EngineClient, EngineError, log};
use rustix::process::{Pid, Signal, kill_process_group};
use servelab_schema::Nanos;
use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

const POLL: Duration = Duration::from_millis(10);

/// A started engine that has not answered yet. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    group: Pid,
    log_path: PathBuf,
    port: u16,
    exit: Option<ExitStatus>,
}

/// An engine that answered a real completion. Comes only from [`Launched::wait_ready`].
#[derive(Debug)]
pub struct Ready {
    launched: Launched,
    client: EngineClient,
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

    /// Starts `command`, which listens on `port`, with its output going to `output` at `log_path`.
    ///
    /// # Errors
    /// [`EngineError::Launch`] where it cannot be started.
    pub fn launch(command: &Command, port: u16, output: File, log_path: &Path) -> Result<Self, EngineError> {
        let launch = |source: io::Error| EngineError::Launch {
            program: command.program.display().to_string(),
            source,
        };
        let child = std::process::Command::new(&command.program)
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
            exit: None,
        })
    }

    /// The process group.
    #[must_use]
    pub fn group(&self) -> i32 {
        self.group.as_raw_nonzero().get()
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
    /// [`EngineError::Stopped`] on `stop`. The engine is then killed.
    pub async fn wait_ready(
        mut self,
        model: &str,
        deadline: Nanos,
        now: impl Fn() -> Nanos + Send,
        stop: impl Fn() -> bool + Send,
    ) -> Result<Ready, EngineError> {
        let begin = now();
        let client = EngineClient::new(&format!("http://127.0.0.1:{}", self.port))?;
        loop {
            if let Some(status) = self.exited() {
                let text = self.log();
                let cause = log::root_cause(&text).unwrap_or_else(|| log::last_line(&text).to_owned());
                let log = self.log_path.clone();
                return Err(EngineError::Died {
                    status: status.to_string(),
                    cause,
                    log,
                });
            }
            // A healthy port of somebody else's is no engine of ours: ours must be alive too, checked above.
            if client.healthy().await && client.probe(model).await.is_ok() {
                return Ok(Ready { launched: self, client });
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
    /// [`EngineError::Leak`] where a process of the group survives.
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
        let status = self
            .exited()
            .map_or_else(|| "still running".to_owned(), |s| s.to_string());
        how.push_str(&status);
        if gone {
            Ok(Ended { how, was_alive })
        } else {
            Err(EngineError::Leak { group: self.group() })
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

impl Ready {
    /// Asks the engine about itself.
    #[must_use]
    pub const fn client(&self) -> &EngineClient {
        &self.client
    }

    /// The process group.
    #[must_use]
    pub fn group(&self) -> i32 {
        self.launched.group()
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.launched.log()
    }

    /// How it ended, where it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.launched.exited()
    }

    /// See [`Launched::stop`].
    ///
    /// # Errors
    /// [`EngineError::Leak`] where a process of the group survives.
    pub async fn stop(self, grace: Duration) -> Result<Ended, EngineError> {
        self.launched.stop(grace).await
    }
}
