//! What ends a run before its last trial: a signal or a limit, once cleanly, twice at once.

use servelab_provider::KillHandle;
use servelab_schema::RunId;
use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// A signal that ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// Ctrl-C.
    Interrupt,
    /// What `kill` and a machine that shuts down send.
    Terminate,
    /// The terminal went away.
    Hangup,
}

/// Why a run ends before its last trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked.
    Signal(StopSignal),
    /// One of the plan's limits: its key and value.
    Limit {
        /// Such as `limits.max-duration`.
        key: &'static str,
        /// Such as `2h`.
        value: String,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(StopSignal::Interrupt) => f.write_str("SIGINT (Ctrl-C)"),
            Self::Signal(StopSignal::Terminate) => f.write_str("SIGTERM"),
            Self::Signal(StopSignal::Hangup) => f.write_str("SIGHUP (the terminal went away)"),
            Self::Limit { key, value } => write!(f, "{key} of {value} was reached"),
        }
    }
}

/// Asks a run to end. Clones ask the same run.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    why: Arc<OnceLock<StopReason>>,
    run: Arc<OnceLock<RunId>>,
    engine: Arc<Mutex<Option<KillHandle>>>,
}

impl StopFlag {
    /// Ends the run after the requests in flight are cut: the trial becomes Aborted, the run is sealed as Aborted. The first
    /// reason counts. True where this one is it.
    pub fn stop(&self, why: StopReason) -> bool {
        self.why.set(why).is_ok()
    }

    /// True once [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.why().is_some()
    }

    /// Why the run is to end.
    #[must_use]
    pub fn why(&self) -> Option<&StopReason> {
        self.why.get()
    }

    /// The run that has a directory now.
    #[must_use]
    pub fn run(&self) -> Option<&RunId> {
        self.run.get()
    }

    pub(crate) fn run_is(&self, run: &RunId) {
        // A flag serves one run.
        let _ = self.run.set(run.clone());
    }

    /// The engine that runs now; none where servelab did not start it, or it is gone.
    pub(crate) fn engine_is(&self, engine: Option<KillHandle>) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = engine;
    }

    /// Kills the engine that runs now, for a program that is about to exit at once.
    pub fn kill_engine(&self) {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            engine.kill_now();
        }
    }
}
