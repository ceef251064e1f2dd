//! An engine that has answered a real completion, whether servelab started it or found it up.

use crate::{ApiKey, EngineClient, EngineError, process::Ended, process::Launched};
use servelab_schema::{Dialect, Nanos};
use std::{process::ExitStatus, time::Duration};

/// Between two looks for an engine that should be up.
const POLL: Duration = Duration::from_millis(100);

/// How long an engine that is up may take for one token, wall time.
const ANSWER: Duration = Duration::from_secs(10);

/// An engine that answered a real completion. Comes only from [`Launched::wait_ready`] and [`Ready::attach`].
#[derive(Debug)]
pub struct Ready {
    /// None where servelab did not start it.
    launched: Option<Launched>,
    client: EngineClient,
}

impl Ready {
    pub(crate) const fn started(launched: Launched, client: EngineClient) -> Self {
        Self {
            launched: Some(launched),
            client,
        }
    }

    /// Finds the engine that is up at `base` and has the pages of `dialect`. It may still be loading: it has `patience` of wall time, told by `now`.
    ///
    /// # Errors
    /// [`EngineError::NotUp`] where none answers a completion in time, [`EngineError::Simulated`] where the simulated
    /// engine does, [`EngineError::Stopped`] on `stop`.
    pub async fn attach(
        (base, dialect): (&str, Dialect),
        key: Option<ApiKey>,
        model: &str,
        patience: Nanos,
        now: impl Fn() -> Nanos + Send,
        stop: impl Fn() -> bool + Send,
    ) -> Result<Self, EngineError> {
        let begin = now();
        let client = EngineClient::new(base, key, dialect)?;
        loop {
            let tried = if client.healthy().await {
                if client.is_simulated().await {
                    return Err(EngineError::Simulated { base: base.to_owned() });
                }
                client.probe(model, ANSWER).await.map_err(|refusal| refusal.error)
            } else {
                Err(EngineError::Http {
                    url: base.to_owned(),
                    message: "its page about health does not answer 200".to_owned(),
                })
            };
            let Err(error) = tried else {
                return Ok(Self { launched: None, client });
            };
            if stop() {
                return Err(EngineError::Stopped);
            }
            if now().saturating_sub(begin) > patience {
                return Err(EngineError::NotUp {
                    base: base.to_owned(),
                    message: error.to_string(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks the engine about itself.
    #[must_use]
    pub const fn client(&self) -> &EngineClient {
        &self.client
    }

    /// True where servelab started it, and so knows when and ends it.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.launched.is_some()
    }

    /// The process group that the engine's processes are in; none where they are not below servelab, as in a container.
    #[must_use]
    pub fn group(&self) -> Option<i32> {
        let launched = self.launched.as_ref()?;
        launched.container().is_none().then(|| launched.group())
    }

    /// What it has written so far, without secrets; none where servelab does not have its log.
    #[must_use]
    pub fn log(&self) -> Option<String> {
        self.launched.as_ref().map(Launched::log)
    }

    /// How it ended, where it has. Of an engine that servelab did not start nobody knows.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.launched.as_mut()?.exited()
    }

    /// Stops what servelab started, see [`Launched::stop`]; leaves running what it did not.
    ///
    /// # Errors
    /// [`EngineError::Leak`] where a process of the group survives, [`EngineError::Orphan`] where its port is served on.
    pub async fn stop(self, grace: Duration) -> Result<Ended, EngineError> {
        match self.launched {
            Some(launched) => launched.stop(grace).await,
            None => Ok(Ended {
                how: "left running: servelab did not start it".to_owned(),
                was_alive: true,
            }),
        }
    }
}
