//! Where finished traces go: a thread of its own, so that writing never delays reading.

use crate::control::{Control, Stop};
use crate::{clock, facts::ThreadCpu};
use servelab_schema::Trace;
use std::{thread::JoinHandle, time::Duration};
use tokio::sync::mpsc;

/// Why a trace could not be kept; names the file and the remedy.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Takes each trace as soon as its attempt has ended. Called on the writer thread only.
pub trait TraceSink: Send {
    /// Keeps one trace.
    ///
    /// # Errors
    /// Whatever makes it impossible, such as a full disk: the load then stops.
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError>;

    /// Called when no trace is waiting and at the end: what was written must now survive the death of this process.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

impl<F: FnMut(&Trace) -> Result<(), SinkError> + Send> TraceSink for F {
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self(trace)
    }
}

/// Traces that may wait for the writer; beyond this the slot that ended waits, while other streams are read on.
const QUEUE: usize = 4096;

/// The writer thread.
pub(crate) struct Writer {
    thread: JoinHandle<(Result<(), SinkError>, ThreadCpu)>,
}

impl Writer {
    /// Starts it. The returned sender's clones must all be dropped before [`join`](Self::join).
    pub(crate) fn start(sink: Box<dyn TraceSink>, control: Control) -> std::io::Result<(Self, mpsc::Sender<Trace>)> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("servelab-writer".to_owned())
            .spawn(move || {
                let start = clock::monotonic();
                let result = write_all(sink, receiver, &control);
                (result, ThreadCpu::since("writer", 0, start))
            })?;
        Ok((Self { thread }, sender))
    }

    /// Waits for the last trace to be written.
    pub(crate) fn join(self) -> (Result<(), SinkError>, ThreadCpu) {
        self.thread.join().unwrap_or_else(|_| {
            (
                Err("the thread that writes traces panicked".into()),
                ThreadCpu::unknown("writer"),
            )
        })
    }
}

/// Pause after the queue was found empty. Waking a thread for every trace would cost the load's thread a system call each;
/// so traces are written in batches, at most this much later.
const PAUSE: Duration = Duration::from_millis(2);

fn write_all(
    mut sink: Box<dyn TraceSink>,
    mut traces: mpsc::Receiver<Trace>,
    control: &Control,
) -> Result<(), SinkError> {
    while let Some(first) = traces.blocking_recv() {
        let written = write_batch(&mut *sink, first, &mut traces);
        if written.is_err() {
            // Whoever still has a trace must not wait for room in the queue: closing it turns them away.
            traces.close();
            control.stop(Stop::Cancelled);
            return written;
        }
        std::thread::sleep(PAUSE);
    }
    sink.flush()
}

fn write_batch(sink: &mut dyn TraceSink, first: Trace, traces: &mut mpsc::Receiver<Trace>) -> Result<(), SinkError> {
    sink.write(&first)?;
    while let Ok(trace) = traces.try_recv() {
        sink.write(&trace)?;
    }
    sink.flush()
}
