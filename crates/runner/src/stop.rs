//! Ctrl-C: once ends the run cleanly, twice at once.

use rustix::process::{Pid, Signal, kill_process_group};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI32, Ordering},
};

/// Asks a run to end. Clones ask the same run.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    asked: Arc<AtomicBool>,
    engine_group: Arc<AtomicI32>,
    container: Arc<Mutex<Option<String>>>,
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

    pub(crate) fn engine_is(&self, group: i32, container: Option<&str>) {
        *self.container.lock().unwrap_or_else(PoisonError::into_inner) = container.map(str::to_owned);
        self.engine_group.store(group, Ordering::SeqCst);
    }

    pub(crate) fn engine_is_gone(&self) {
        self.engine_group.store(0, Ordering::SeqCst);
        *self.container.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Kills the engine that runs now, for a program that is about to exit at once.
    pub fn kill_engine(&self) {
        if let Some(group) = Pid::from_raw(self.engine_group.load(Ordering::SeqCst)) {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let container = self.container.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(container) = container {
            // The label tells whose it is, should this fail.
            let _ = servelab_engine::docker::remove(&container);
        }
    }
}
