//! Ctrl-C: once ends the run cleanly, twice at once.

use servelab_provider::KillHandle;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Asks a run to end. Clones ask the same run.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    asked: Arc<AtomicBool>,
    engine: Arc<Mutex<Option<KillHandle>>>,
}

impl StopFlag {
    /// Ends the run after the requests in flight are cut: the trial becomes Aborted, the run is sealed as Aborted.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// True once [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
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
