//! An engine as a child process in a process group of its own.

use crate::{
    Ended, Exit, Guarded, Identity, KillHandle, Log, ProviderError, Running, Task, command::Command, docker::Container,
    group::Group, guard::Guard, proc,
};
use rustix::process::Signal;
use servelab_engine::{ApiKey, KEY_VARIABLE, redact::Secrets};
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

const POLL: Duration = Duration::from_millis(10);

/// Between two looks at a port that should not be served any more.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a port may be served after the last process of its engine has ended, wall time.
const PORT: Duration = Duration::from_secs(3);

/// How long a group may take to vanish after SIGKILL, wall time.
const GONE: Duration = Duration::from_secs(5);

/// How long a loopback port may take to refuse or accept.
const CONNECT: Duration = Duration::from_millis(500);

/// An engine below servelab. Dropping it kills its whole process group.
#[derive(Debug)]
pub(crate) struct ChildEngine {
    group: Arc<Group>,
    endpoints: [String; 1],
    port: u16,
    log: Option<PathBuf>,
    secrets: Secrets,
    container: Option<Container>,
    /// Gone where servelab itself ends the engine; ends it where servelab is gone.
    guard: Option<Guard>,
}

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// [`ProviderError::Port`] where there is none.
pub(crate) fn free_port() -> Result<u16, ProviderError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ProviderError::Port)?;
    Ok(listener.local_addr().map_err(ProviderError::Port)?.port())
}

impl ChildEngine {
    /// Starts `command`, which listens on `port` of 127.0.0.1. `key` is given to it by environment.
    ///
    /// # Errors
    /// [`ProviderError::Launch`] where it cannot be started.
    pub(crate) fn launch(
        command: &Command,
        port: u16,
        key: Option<ApiKey>,
        log: Option<Log>,
        container: Option<Container>,
    ) -> Result<Self, ProviderError> {
        let launch = |source: io::Error| ProviderError::Launch {
            program: command.program.display().to_string(),
            source,
        };
        let mut program = std::process::Command::new(command.executable().map_err(launch)?);
        program.env_remove(servelab_schema::SIGNING_KEY_VARIABLE);
        if let Some(dir) = &command.dir {
            program.current_dir(dir);
        }
        if let Some(key) = &key {
            program.env(KEY_VARIABLE, key.secret());
        }
        let (mut out, mut err, mut path) = (Stdio::null(), Stdio::null(), None);
        if let Some(log) = log {
            out = log.file.try_clone().map_err(launch)?.into();
            err = log.file.into();
            path = Some(log.path);
        }
        let child = program
            .args(&command.args)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .map_err(launch)?;
        Ok(Self {
            group: Group::led_by(child),
            endpoints: [format!("http://127.0.0.1:{port}")],
            port,
            log: path,
            secrets: Secrets::of_environment().and(key.as_ref().map_or("", ApiKey::secret)),
            container,
            guard: None,
        })
    }

    /// What a guard must know of it.
    pub(crate) fn guarded(&self) -> Guarded {
        let container = self.container.as_ref();
        Guarded {
            group: self.group.id(),
            // It is held, dead or alive, so there is an entry of it.
            started: proc::started(self.group.id()).unwrap_or_default(),
            container: container.map(|c| (c.docker.display().to_string(), c.name.clone())),
        }
    }

    /// The same with a guard: the engine ends even where this process is killed.
    pub(crate) fn with(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    async fn end(mut self, grace: Duration) -> Result<Ended, ProviderError> {
        let was_alive = self.group.exited().is_none();
        let mut how = String::new();
        if was_alive {
            self.group.signal(Signal::TERM);
            how.push_str("SIGTERM, ");
            if !self.wait_gone(grace).await {
                how.push_str("SIGKILL, ");
            }
        }
        // Children of a dead leader may live on, so the group is always killed.
        self.group.signal(Signal::KILL);
        let gone = self.wait_gone(GONE).await;
        if let Some(container) = self.container.take() {
            container.remove_for_sure()?;
        }
        let status = self.group.exited();
        how.push_str(&status.map_or_else(|| "still running".to_owned(), |s| s.to_string()));
        if !gone {
            return Err(ProviderError::Leak { group: self.group.id() });
        }
        self.group.give_up();
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
    /// [`ProviderError::Orphan`] where somebody still accepts.
    async fn port_is_given_up(&self) -> Result<(), ProviderError> {
        let unserved = async {
            while is_served(self.port) {
                tokio::time::sleep(AGAIN).await;
            }
        };
        match tokio::time::timeout(PORT, unserved).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ProviderError::Orphan { port: self.port }),
        }
    }

    /// True when every process of the group has ended within `limit`.
    async fn wait_gone(&self, limit: Duration) -> bool {
        let gone = async {
            while self.group.exited().is_none() || proc::group_alive(self.group.id()) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, gone).await.is_ok()
    }
}

impl Running for ChildEngine {
    fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn log(&self) -> Option<String> {
        let bytes = fs::read(self.log.as_ref()?).unwrap_or_default();
        Some(self.secrets.redact(&String::from_utf8_lossy(&bytes)))
    }

    fn exited(&mut self) -> Option<Exit> {
        self.group.exited().map(Exit::from)
    }

    fn facts(&self) -> Task<'_, Identity> {
        Box::pin(async move {
            Identity {
                serving: proc::serving(self.port),
                container: match &self.container {
                    Some(container) => container.started().await,
                    None => None,
                },
                page_start_s: None,
            }
        })
    }

    fn group(&self) -> Option<i32> {
        // What runs in a container is below its daemon.
        self.container.is_none().then(|| self.group.id())
    }

    fn kill_handle(&self) -> Option<KillHandle> {
        let (group, container) = (Arc::clone(&self.group), self.container.clone());
        Some(KillHandle::new(move || {
            // Once it is given up its container is gone too.
            if group.is_held() {
                group.signal(Signal::KILL);
                // The label tells whose it is, should this fail.
                let _ = container.as_ref().map(Container::remove);
            }
        }))
    }

    fn stop(self: Box<Self>, grace: Duration) -> Task<'static, Result<Ended, ProviderError>> {
        Box::pin(self.end(grace))
    }
}

impl Drop for ChildEngine {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
        self.group.give_up();
        if let Some(container) = &self.container {
            // Nobody is left to be told; its label finds it.
            let _ = container.remove();
        }
    }
}

/// True where somebody accepts on that port of 127.0.0.1.
fn is_served(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, CONNECT).is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A shell below servelab that says that it serves `port`.
    pub(crate) fn shell(script: &str, port: u16, log: Option<Log>) -> ChildEngine {
        let command = Command {
            program: "sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            dir: None,
            container: None,
        };
        ChildEngine::launch(&command, port, None, log, None).unwrap()
    }

    #[tokio::test]
    async fn a_port_that_outlives_its_engine_is_an_error() {
        // The test itself plays the process that got away and serves on.
        let orphan = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = orphan.local_addr().unwrap().port();
        let engine = Box::new(shell("sleep 60", port, None));
        let error = engine.stop(Duration::from_secs(10)).await.unwrap_err();
        assert!(
            matches!(error, ProviderError::Orphan { port: p } if p == port),
            "{error}"
        );
        assert!(error.to_string().contains("ss -ltnp"), "{error}");
        drop(orphan);
        let engine = Box::new(shell("sleep 60", port, None));
        let ended = engine.stop(Duration::from_secs(10)).await.unwrap();
        assert!(ended.was_alive && ended.how.starts_with("SIGTERM, "), "{ended:?}");
    }

    /// Makes this program listen on the port that is its value.
    const LISTEN: &str = "SERVELAB_TEST_LISTEN";

    /// No test but the server of the next one: listens until it is killed.
    #[test]
    fn listens_when_asked() {
        let Ok(port) = std::env::var(LISTEN) else { return };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse().unwrap())).unwrap();
        listener.incoming().for_each(drop);
    }

    async fn identity(engine: &ChildEngine, other_than: &Identity) -> Identity {
        let served = async {
            loop {
                let now = engine.facts().await;
                if !now.serving.is_empty() && now.serving != other_than.serving {
                    return now;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), served).await.unwrap()
    }

    #[tokio::test]
    async fn a_server_that_its_shell_starts_again_is_another_one() {
        let port = free_port().unwrap();
        let program = format!("/proc/{}/exe", std::process::id());
        let server = format!("{LISTEN}={port} {program} --exact child::tests::listens_when_asked --nocapture");
        let engine = shell(&format!("while :; do {server} & wait $!; done"), port, None);
        let first = identity(&engine, &Identity::default()).await;
        let again = engine.facts().await;
        assert_eq!((first.restarted(&again), first.serving.len()), (None, 1));
        let server = rustix::process::Pid::from_raw(first.serving.first().unwrap().pid).unwrap();
        rustix::process::kill_process(server, Signal::KILL).unwrap();
        let second = identity(&engine, &first).await;
        let said = first.restarted(&second).unwrap();
        assert!(said.contains("serves its port in place of"), "{said}");
        assert_eq!(
            engine.group.exited(),
            None,
            "the shell, which is what servelab started, went on"
        );
        Box::new(engine).stop(Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn a_handle_ends_its_engine_from_anywhere_and_nobody_afterwards() {
        let mut engine = shell("sleep 60 & wait", 1, None);
        let (handle, group) = (engine.kill_handle().unwrap(), Arc::clone(&engine.group));
        let other = handle.clone();
        std::thread::spawn(move || other.kill_now()).join().unwrap();
        assert!(engine.wait_gone(Duration::from_secs(10)).await);
        assert!(engine.exited().unwrap().killed);
        let ended = Box::new(engine).stop(Duration::ZERO).await.unwrap();
        assert!(!ended.was_alive && ended.how.contains("SIGKILL"), "{ended:?}");
        assert!(!group.is_held(), "nothing is signalled any more");
        handle.kill_now();
    }
}
