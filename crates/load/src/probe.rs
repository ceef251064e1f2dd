//! How late the event loop is: a plain thread posts a stamp every 10 ms, and the loop says how old it is when it gets it.

use crate::{clock::monotonic_ns, facts::ThreadCpu};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::mpsc;

const EVERY: Duration = Duration::from_millis(10);

/// The probe of one event loop.
#[derive(Debug)]
pub(crate) struct Probe {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<ThreadCpu>,
    lags_ns: Arc<Mutex<Vec<u64>>>,
}

impl Probe {
    /// Starts it; must be called inside the runtime that is to be probed.
    pub(crate) fn start() -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let lags_ns = Arc::new(Mutex::new(Vec::new()));
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let flag = Arc::clone(&ended);
        let thread = std::thread::Builder::new()
            .name("servelab-probe".to_owned())
            .spawn(move || {
                let start = monotonic_ns();
                while !flag.load(Ordering::Acquire) && sender.send(monotonic_ns()).is_ok() {
                    std::thread::park_timeout(EVERY);
                }
                ThreadCpu::since("probe", 0, start)
            })?;
        let lags = Arc::clone(&lags_ns);
        tokio::spawn(async move {
            while let Some(posted) = receiver.recv().await {
                let lag = monotonic_ns().saturating_sub(posted);
                lags.lock().unwrap_or_else(PoisonError::into_inner).push(lag);
            }
        });
        Ok(Self { ended, thread, lags_ns })
    }

    /// Ends the probe and returns the lags in wall ns.
    pub(crate) fn stop(self) -> (Vec<u64>, ThreadCpu) {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let cpu = self.thread.join().unwrap_or_else(|_| ThreadCpu::unknown("probe"));
        (
            std::mem::take(&mut *self.lags_ns.lock().unwrap_or_else(PoisonError::into_inner)),
            cpu,
        )
    }
}
