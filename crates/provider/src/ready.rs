//! Waiting for an engine to answer a real completion, whether servelab started it or found it up; and one that has.

use crate::{Ended, Exit, Identity, Place, ProviderError, Running, Salvage};
use servelab_engine::{ApiKey, EngineClient, ProbeError, Snapshot, log, refusal::refusal};
use servelab_schema::{Dialect, Nanos, PlannedVariant};
use std::{fmt, time::Duration};

const POLL: Duration = Duration::from_millis(10);

/// Between two completions that an engine is asked for before it has given one.
const AGAIN: Duration = Duration::from_millis(100);

/// How long an engine that says that it is ready may go on refusing the first completion, wall time.
const REFUSING: Nanos = Nanos::from_secs(5);

/// What an engine is waited for with.
pub struct Wait<'a> {
    /// The name that requests give as `model`.
    pub model: &'a str,
    /// Whose pages.
    pub dialect: Dialect,
    /// Its API key.
    pub key: Option<ApiKey>,
    /// What the plan allows an engine that servelab starts, wall time.
    pub startup: Nanos,
    /// False where the simulated engine must not answer.
    pub may_be_simulated: bool,
    /// The arm, to tell whether the engine refuses its setting.
    pub variant: &'a PlannedVariant,
    /// The arm that it is compared with.
    pub control: Option<&'a PlannedVariant>,
    /// Wall time.
    pub now: &'a (dyn Fn() -> Nanos + Sync),
    /// Says when to give up.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// Why there is no engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// How it ended: an exit status in words, `killed`, or `not started by servelab`.
    pub status: String,
    /// What is known of the cause, without secrets.
    pub words: String,
    /// The engine's own words where they are about the setting: it refused it. None where anything else was the cause.
    pub refusal: Option<String>,
    /// True where memory ran out, or may have.
    pub memory: bool,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Failed {
    /// One that servelab ended, or left where it did not start it.
    fn given_up(engine: &dyn Running, words: String) -> Self {
        let status = if engine.is_ours() {
            "killed"
        } else {
            "not started by servelab"
        };
        Self {
            status: status.to_owned(),
            words,
            refusal: None,
            memory: false,
        }
    }
}

/// An engine that answered a real completion. Comes only from [`wait_ready`].
#[derive(Debug)]
pub struct Ready {
    engine: Box<dyn Running>,
    client: EngineClient,
}

/// Waits until every address of `engine` has answered: its page about health, and one real completion.
///
/// # Errors
/// [`ProviderError`] where something is left of an engine that failed, or [`ProviderError::Simulated`].
pub async fn wait_ready(
    mut engine: Box<dyn Running>,
    wait: &Wait<'_>,
    place: &dyn Place,
) -> Result<Result<Ready, Failed>, ProviderError> {
    let (deadline, answer) = place.patience(wait.startup);
    let mut first = None;
    for base in engine.endpoints().to_vec() {
        let client = EngineClient::new(&base, wait.key.clone(), wait.dialect)?;
        let mut waiting = Waiting {
            engine: engine.as_mut(),
            client: &client,
            wait,
            deadline,
            answer,
        };
        if let Err(failed) = waiting.first_answer().await {
            engine.stop(Duration::ZERO).await?;
            return Ok(Err(failed));
        }
        if !wait.may_be_simulated && client.is_simulated().await {
            engine.stop(Duration::ZERO).await?;
            return Err(ProviderError::Simulated { base });
        }
        first.get_or_insert(client);
    }
    match first {
        Some(client) => Ok(Ok(Ready { engine, client })),
        None => {
            let failed = Failed::given_up(engine.as_ref(), "it has no address".to_owned());
            engine.stop(Duration::ZERO).await?;
            Ok(Err(failed))
        }
    }
}

/// One address that is waited for.
struct Waiting<'a> {
    engine: &'a mut dyn Running,
    client: &'a EngineClient,
    wait: &'a Wait<'a>,
    deadline: Nanos,
    answer: Duration,
}

impl Waiting<'_> {
    async fn first_answer(&mut self) -> Result<(), Failed> {
        let now = self.wait.now;
        let begin = now();
        let mut healthy_since = None;
        let mut last = "its page about health does not answer 200".to_owned();
        loop {
            if let Some(exit) = self.engine.exited() {
                return Err(self.died(&exit));
            }
            let mut pause = POLL;
            // A healthy port of somebody else's is no engine of ours: ours must be alive too, checked above.
            if self.client.healthy().await {
                let since = *healthy_since.get_or_insert_with(now);
                match self.probe().await {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(refused)) => {
                        last = refused.error.to_string();
                        if now().saturating_sub(since) > REFUSING
                            && let Some(broken) = self.broken(&refused)
                        {
                            return Err(broken);
                        }
                    }
                    None => {}
                }
                pause = AGAIN;
            }
            if (self.wait.stop)() {
                let words = "stopped while the engine was starting".to_owned();
                return Err(Failed::given_up(self.engine, words));
            }
            if now().saturating_sub(begin) > self.deadline {
                return Err(self.late(healthy_since.is_some(), &last));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One completion, or none where the engine ended or it is time to give up.
    async fn probe(&mut self) -> Option<Result<(), ProbeError>> {
        let probe = self.client.probe(self.wait.model, self.answer);
        tokio::pin!(probe);
        loop {
            tokio::select! {
                answer = &mut probe => return Some(answer),
                () = tokio::time::sleep(AGAIN) => if self.engine.exited().is_some() || (self.wait.stop)() {
                    return None;
                }
            }
        }
    }

    fn refusal(&self, words: &str) -> Option<String> {
        refusal(self.wait.variant, self.wait.control, words)
    }

    fn died(&mut self, exit: &Exit) -> Failed {
        let text = self.engine.salvage().log.unwrap_or_default();
        let cause = log::why_it_ended(exit.killed, &text);
        let memory = exit.killed || log::out_of_memory(&text).is_some();
        Failed {
            status: exit.words.clone(),
            words: format!("the engine ended before it was ready ({}): {cause}", exit.words),
            refusal: self.refusal(&cause).filter(|_| !memory),
            memory,
        }
    }

    /// It says that it is ready and answers no request.
    fn no_answer(&self, cause: &str, memory: bool) -> Failed {
        Failed {
            memory,
            ..Failed::given_up(
                self.engine,
                format!("the engine says that it is ready and answers no request: {cause}"),
            )
        }
    }

    /// What a refused first completion says of an engine that calls itself ready: some faults show only there. None where
    /// it may still come.
    fn broken(&mut self, refused: &ProbeError) -> Option<Failed> {
        let status = refused.status.filter(|status| !matches!(status, 408 | 429 | 503))?;
        let text = self.engine.salvage().log.unwrap_or_default();
        let memory = log::out_of_memory(&text);
        if status < 500 {
            // It refuses the request, such as for want of a chat template, and not the setting.
            return Some(self.no_answer(&refused.error.to_string(), memory.is_some()));
        }
        let found = memory.clone().or_else(|| log::root_cause(&text));
        let cause = found.unwrap_or_else(|| refused.error.to_string());
        Some(Failed {
            refusal: self.refusal(&cause).filter(|_| memory.is_none()),
            ..self.no_answer(&cause, memory.is_some())
        })
    }

    /// Why it was not ready at the deadline.
    fn late(&mut self, was_healthy: bool, last: &str) -> Failed {
        let Some(text) = self.engine.salvage().log else {
            let base = self.client.base();
            let words = format!(
                "no engine answers at {base} ({last}); start it first, or let servelab start one with \
                 [engine.provider.process]"
            );
            return Failed::given_up(self.engine, words);
        };
        let memory = log::out_of_memory(&text);
        match memory.clone().or_else(|| log::root_cause(&text)) {
            // It called itself ready and then said why it was not: engine processes may die behind a front end that lives.
            Some(cause) if was_healthy => Failed {
                refusal: self.refusal(&cause).filter(|_| memory.is_none()),
                ..self.no_answer(&cause, memory.is_some())
            },
            _ => Failed::given_up(
                self.engine,
                format!(
                    "the engine was not ready within {} s; last line of its log: {}; raise timeouts.startup",
                    self.deadline.0 / 1_000_000_000,
                    log::quoted(log::last_line(&text))
                ),
            ),
        }
    }
}

impl Ready {
    /// Asks the engine about itself, at the address that the load goes to.
    #[must_use]
    pub const fn client(&self) -> &EngineClient {
        &self.client
    }

    /// True where servelab started it, and so knows when and ends it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.engine.is_ours()
    }

    /// The process group that the engine's processes are in; none where they are not below servelab, as in a container.
    #[must_use]
    pub fn group(&self) -> Option<i32> {
        self.engine.group()
    }

    /// How it ended by itself, where it has. Of an engine that servelab did not start nobody knows.
    pub fn exited(&mut self) -> Option<Exit> {
        self.engine.exited()
    }

    /// How it ended, where it has, and what it has written so far, without secrets.
    pub fn salvage(&mut self) -> Salvage {
        self.engine.salvage()
    }

    /// Which processes it is now, by what can be seen of them and by its page of metrics.
    pub async fn identity(&self, page: Option<&Snapshot>) -> Identity {
        Identity {
            page_start_s: page.and_then(Snapshot::process_start),
            ..self.engine.facts().await
        }
    }

    /// Stops what servelab started, see [`Running::stop`]; leaves running what it did not.
    ///
    /// # Errors
    /// [`ProviderError`] where something is left.
    pub async fn stop(self, grace: Duration) -> Result<Ended, ProviderError> {
        self.engine.stop(grace).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Log, child::tests::shell, url::Url};
    use servelab_schema::{ArgValue, examples};
    use std::{
        fs::File,
        io::{BufRead, BufReader, Read, Write},
        net::{Ipv4Addr, TcpListener},
        sync::atomic::{AtomicU64, Ordering},
    };

    /// Answers every request on a port of its own: `/health` with 200, completions with `status`.
    fn serve(status: &'static str, body: &'static str) -> u16 {
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

    /// An arm that changes the KV cache's type.
    fn arm() -> PlannedVariant {
        let mut variant = examples::plan().variants.remove(0);
        let mut field = variant.flags.first_entry().unwrap().remove();
        field.value = ArgValue::Text("fp8".to_owned());
        variant.flags.insert("kv-cache-dtype".to_owned(), field);
        variant.differs_in = vec!["kv-cache-dtype".to_owned()];
        variant
    }

    /// Waits for one engine, for so many looks at the time: a second flies by between two.
    async fn waited(engine: Box<dyn Running>, place: &dyn Place, looks: u64) -> Result<Ready, Failed> {
        let seconds = AtomicU64::new(0);
        let now = || Nanos::from_secs(seconds.fetch_add(1, Ordering::Relaxed));
        let variant = arm();
        let wait = Wait {
            model: "m",
            dialect: Dialect::Vllm,
            key: None,
            startup: Nanos::from_secs(looks),
            may_be_simulated: true,
            variant: &variant,
            control: None,
            now: &now,
            stop: &|| false,
        };
        wait_ready(engine, &wait, place).await.unwrap()
    }

    /// A place that waits as one does that starts its engines.
    fn local() -> Box<dyn Place> {
        let plan = examples::plan();
        crate::of(&plan.engine, &plan.profile, &crate::Host::new("s".into(), ".".into()))
    }

    async fn failed(script: &str, port: u16, log: &str, looks: u64) -> Failed {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), log).unwrap();
        let log = Log {
            file: File::options().append(true).open(file.path()).unwrap(),
            path: file.path().to_path_buf(),
        };
        // The port is served by this test, which outlives the engine: an orphan, were it looked for.
        let engine = Box::new(NoPort(shell(script, port, Some(log))));
        waited(engine, local().as_ref(), looks).await.unwrap_err()
    }

    /// A child whose port is somebody else's.
    #[derive(Debug)]
    struct NoPort(crate::child::ChildEngine);

    impl Running for NoPort {
        fn endpoints(&self) -> &[String] {
            self.0.endpoints()
        }
        fn is_ours(&self) -> bool {
            true
        }
        fn log(&self) -> Option<String> {
            self.0.log()
        }
        fn exited(&mut self) -> Option<Exit> {
            self.0.exited()
        }
        fn facts(&self) -> crate::Task<'_, Identity> {
            self.0.facts()
        }
        fn group(&self) -> Option<i32> {
            None
        }
        fn kill_handle(&self) -> Option<crate::KillHandle> {
            None
        }
        fn stop(self: Box<Self>, _: Duration) -> crate::Task<'static, Result<Ended, ProviderError>> {
            Box::pin(async {
                Ok(Ended {
                    how: String::new(),
                    was_alive: true,
                })
            })
        }
    }

    async fn never_answers(status: &'static str, body: &'static str, log: &str) -> Failed {
        failed("sleep 60", serve(status, body), log, 20).await
    }

    #[tokio::test]
    async fn an_engine_that_is_ready_and_answers_nothing_is_broken() {
        const FAULT: &str = "500 Internal Server Error";
        const READY: &str = "the engine says that it is ready and answers no request: ";
        let module = "INFO up\nERROR ModuleNotFoundError: No module named 'intel_extension_for_pytorch'\n";
        let fp8 = "ERROR NotImplementedError: FP8 KV cache on CPU requires x86 with AVX-512 or AMX.\n";
        let memory = "torch.OutOfMemoryError: CUDA out of memory for the fp8 cache.\n";
        for (status, body, log, words, refused, memory) in [
            (FAULT, "oops", module, "ModuleNotFoundError", false, false),
            (FAULT, "oops", fp8, "NotImplementedError: FP8", true, false),
            (FAULT, "oops", memory, "out of GPU memory", false, true),
            (FAULT, "oops", "", "HTTP 500", false, false),
            (
                "400 Bad Request",
                "no chat template",
                fp8,
                "no chat template",
                false,
                false,
            ),
            (
                "503 Service Unavailable",
                "",
                fp8,
                "NotImplementedError: FP8",
                true,
                false,
            ),
        ] {
            let failed = never_answers(status, body, log).await;
            assert!(
                failed.words.starts_with(READY) && failed.words.contains(words),
                "{failed}"
            );
            assert_eq!((failed.refusal.is_some(), failed.memory), (refused, memory), "{failed}");
            assert_eq!(failed.status, "killed");
        }
        let failed = never_answers("503 Service Unavailable", "", "INFO warming up\n").await;
        assert!(
            failed.words.contains("INFO warming up; raise timeouts.startup"),
            "{failed}"
        );
    }

    #[tokio::test]
    async fn a_death_is_a_refusal_only_by_its_words() {
        /// However late the shell is.
        const FOR_EVER: u64 = 1_000_000;
        let port = serve("503 Service Unavailable", "");
        let died = |words: &'static str| failed("exit 2", port, words, FOR_EVER);
        let refused = died("vllm serve: error: argument --kv-cache-dtype: invalid choice: 'fp9'\n").await;
        let words = "error: argument --kv-cache-dtype: invalid choice: 'fp9'";
        assert_eq!(refused.refusal.as_deref(), Some(words));
        assert_eq!(refused.status, "exit status: 2");
        assert!(
            refused.words.contains("ended before it was ready (exit status: 2)"),
            "{refused}"
        );
        let port_taken = died("OSError: [Errno 98] Address already in use\n").await;
        assert_eq!((port_taken.refusal, port_taken.memory), (None, false));
        let killed = failed("kill -9 $$", port, "ValueError: fp8\n", FOR_EVER).await;
        assert_eq!((killed.refusal, killed.memory), (None, true));
    }

    #[tokio::test]
    async fn one_that_should_be_up_is_not_waited_for_long() {
        let base = format!("http://127.0.0.1:{}", serve("503 Service Unavailable", "warming"));
        let url = Url::new(&base);
        let failed = waited(Box::new(url.clone()), &url, 20).await.unwrap_err();
        assert_eq!(failed.status, "not started by servelab");
        assert!(
            failed.words.contains(&base) && failed.words.contains("start it first"),
            "{failed}"
        );
        assert!(failed.words.contains("503"), "what it said last: {failed}");
        let answer = "{\"usage\": {\"completion_tokens\": 1}}";
        let url = Url::new(&format!("http://127.0.0.1:{}", serve("200 OK", answer)));
        let mut ready = waited(Box::new(url.clone()), &url, 20).await.unwrap();
        assert!(!ready.is_ours());
        let salvage = ready.salvage();
        assert_eq!((salvage.exit, salvage.log), (None, None));
        let ended = ready.stop(Duration::ZERO).await.unwrap();
        assert!(ended.how.contains("left running"));
    }
}
