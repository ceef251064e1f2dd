//! Stopping a load from outside: Ctrl-C, or the engine's process has ended.

use servelab_schema::Reason;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};
use tokio::sync::Notify;

/// Why a load was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The user or the runner asked for it.
    Cancelled,
    /// The engine's process ended.
    EngineExited,
    /// The first measured requests all failed ([`LoadProfile::give_up_after`](crate::bench::LoadProfile::give_up_after)).
    GaveUp,
}

impl Stop {
    /// The reason that requests in flight fail with.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Cancelled | Self::GaveUp => Reason::Cancelled,
            Self::EngineExited => Reason::EngineExited,
        }
    }
}

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const ENGINE_EXITED: u8 = 2;
const GAVE_UP: u8 = 3;

#[derive(Debug, Default)]
struct Inner {
    state: AtomicU8,
    notify: Notify,
}

/// A handle that stops a load from any thread. Clones stop the same load; the first reason stays.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Inner>);

impl Control {
    /// Sends nothing more and cuts what is in flight.
    pub fn stop(&self, stop: Stop) {
        let state = match stop {
            Stop::Cancelled => CANCELLED,
            Stop::EngineExited => ENGINE_EXITED,
            Stop::GaveUp => GAVE_UP,
        };
        let _ = self
            .0
            .state
            .compare_exchange(RUNNING, state, Ordering::AcqRel, Ordering::Acquire);
        self.0.notify.notify_waiters();
    }

    /// Whether and why the load was stopped.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        match self.0.state.load(Ordering::Acquire) {
            CANCELLED => Some(Stop::Cancelled),
            ENGINE_EXITED => Some(Stop::EngineExited),
            GAVE_UP => Some(Stop::GaveUp),
            _ => None,
        }
    }

    /// Waits until the load is stopped.
    pub(crate) async fn wait(&self) -> Stop {
        loop {
            let mut notified = std::pin::pin!(self.0.notify.notified());
            // Registered before the check, so that a stop in between is not missed.
            notified.as_mut().enable();
            if let Some(stop) = self.stopped() {
                return stop;
            }
            notified.await;
        }
    }
}
