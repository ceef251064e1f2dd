//! Waiting for an engine to answer a real completion, whether servelab started it or found it up; and one that has.

use crate::{Ended, Exit, Identity, Place, ProviderError, Running, Salvage};
use servelab_engine::{ApiKey, EngineClient, ProbeError, Snapshot, log, refusal::refusal};
use servelab_schema::{Dialect, PlannedVariant, WallInstant, WallNanos};
use std::{fmt, time::Duration};

const POLL: Duration = Duration::from_millis(10);

/// Between two completions that an engine is asked for before it has given one.
const AGAIN: Duration = Duration::from_millis(100);

/// How long an engine that says that it is ready may go on refusing the first completion, wall time.
const REFUSING: WallNanos = WallNanos(5_000_000_000);

/// What an engine is waited for with.
pub struct Wait<'a> {
    /// The name that requests give as `model`.
    pub model: &'a str,
    /// Whose pages.
    pub dialect: Dialect,
    /// Its API key.
    pub key: Option<ApiKey>,
    /// What the plan allows an engine that servelab starts, wall time.
    pub startup: WallNanos,
    /// False where the simulated engine must not answer.
    pub may_be_simulated: bool,
    /// The arm, to tell whether the engine refuses its setting.
    pub variant: &'a PlannedVariant,
    /// The arm that it is compared with.
    pub control: Option<&'a PlannedVariant>,
    /// The monotonic clock.
    pub now: &'a (dyn Fn() -> WallInstant + Sync),
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
    deadline: WallNanos,
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
                    // What it takes is found out before its load; of an engine of ours it is known.
                    Some(Err(refused)) if refused.is_an_api && !self.engine.is_ours() => return Ok(()),
                    Some(Err(refused)) => {
                        last = refused.error.to_string();
                        if now().since(since) > REFUSING
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
            if now().since(begin) > self.deadline {
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
mod tests;
