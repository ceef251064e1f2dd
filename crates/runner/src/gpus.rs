//! The GPUs of a run, asked with patience that ends: a driver that hangs must not hang the run.

use servelab_schema::{GpuFacts, GpuSample};
use servelab_telemetry::GpuProbe;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// How long the driver may take for one answer, wall time. A sample takes it some 40 ms a GPU.
const PATIENCE: Duration = Duration::from_secs(5);

/// The GPUs of this machine, opened once per run.
#[derive(Debug)]
pub(crate) struct Gpus {
    probe: Arc<GpuProbe>,
    facts: Vec<GpuFacts>,
    silent: AtomicBool,
}

/// What the driver said when it was asked for a sample.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) gpus: Vec<GpuSample>,
    /// Why there is no sample where there were some before.
    pub(crate) note: Option<String>,
}

impl Gpus {
    /// Loads the driver's library, or the one at `library`, and asks what the GPUs are.
    ///
    /// # Errors
    /// Why there is nothing to read, as environment.json notes it.
    pub(crate) async fn open(library: Option<PathBuf>) -> Result<Self, String> {
        let opened = within(PATIENCE, move || {
            let probe = GpuProbe::open(library.as_deref()).map_err(|error| error.to_string())?;
            let facts = probe.facts();
            Ok((probe, facts))
        });
        let (probe, facts) = opened.await.unwrap_or_else(|| Err(note("no GPU is read")))?;
        Ok(Self {
            probe: Arc::new(probe),
            facts,
            silent: AtomicBool::new(false),
        })
    }

    /// What the GPUs were when they were opened.
    pub(crate) fn facts(&self) -> &[GpuFacts] {
        &self.facts
    }

    /// The GPUs now. A driver that once gave no answer in time is not asked again in this run: each question would leave a
    /// thread behind that waits for it.
    pub(crate) async fn sample(&self) -> Reading {
        if self.silent.load(Ordering::SeqCst) {
            return Reading::default();
        }
        let probe = Arc::clone(&self.probe);
        if let Some(gpus) = within(PATIENCE, move || probe.sample()).await {
            return Reading { gpus, note: None };
        }
        self.silent.store(true, Ordering::SeqCst);
        let note = note("the GPUs are not asked again in this run");
        Reading {
            gpus: Vec::new(),
            note: Some(note),
        }
    }
}

fn note(so: &str) -> String {
    let seconds = PATIENCE.as_secs();
    format!("the NVIDIA driver did not answer within {seconds} s; {so}; `nvidia-smi` and `dmesg` show more")
}

/// The result of `work` on a thread of its own, or none where it takes longer than `limit`, wall time. The thread is then
/// left to itself, and nobody waits for it when the program ends.
async fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let thread = thread::Builder::new().name("gpu".to_owned()).spawn(move || {
        // Nobody may be listening any more.
        let _ = answer.send(work());
    });
    thread.ok()?;
    timeout(limit, answered).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_left_behind() {
        assert_eq!(within(Duration::from_secs(60), || 7).await, Some(7));
        let hangs = || loop {
            thread::park();
        };
        assert_eq!(within::<()>(Duration::from_millis(1), hangs).await, None);
        let dies = || -> u8 { std::panic::resume_unwind(Box::new("no")) };
        assert_eq!(within(Duration::from_secs(60), dies).await, None);
    }
}
