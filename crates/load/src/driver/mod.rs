//! Keeps a load: warm-up, held load while measured requests are in flight, drain.
//!
//! In a closed loop N slots send fillers until the warm-up has ended, then the measured requests in their order, then fillers
//! again until the last measured one has ended; so N requests are in flight over the whole held window. The open loop does
//! the same on a schedule. Other profiles ([`LoadProfile`]) send exactly what they are given, in slots, on a schedule, at given
//! offsets or in batches. One `current_thread` runtime on a thread of its own serves every stream: with a server on the
//! same machine more threads only take cores from it, and one drives tens of thousands of chunks a second; writing, probing
//! and the caller live on other threads.

mod batch;
mod closed;
mod first_ones;
mod open;
mod shared;
mod state;

use crate::{
    attempt::{Deadlines, SizeLimits},
    bench::{LoadProfile, Pace},
    clock::{TrialClock, both_clocks},
    connection::Net,
    control::{Control, Stop},
    facts::{LoadResult, SelfFacts},
    live::Live,
    probe::Probe,
    request::{Endpoint, EndpointError},
    sink::{TraceSink, Writer},
    spec::{LoadError, LoadSpec},
    starvation::{Look, starvation},
    stream::KeepText,
};
use servelab_schema::{ConnectionUse, Load, Trace};
use shared::Shared;
use state::LoadState;
use std::{sync::Arc, thread::JoinHandle};
use tokio::sync::mpsc;

/// A load that runs on its own thread.
#[derive(Debug)]
pub struct LoadHandle {
    control: Control,
    live: Live,
    thread: JoinHandle<Result<LoadResult, LoadError>>,
}

impl LoadHandle {
    /// Stops the load from any thread.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Counters for a progress line.
    #[must_use]
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// True once [`join`](Self::join) will not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the load and of its last row. Blocks: in async code call it where blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`] where the load could not go on. Failed requests are no errors.
    pub fn join(self) -> Result<LoadResult, LoadError> {
        self.thread.join().unwrap_or(Err(LoadError::Panicked))
    }
}

/// Starts the held load of a trial; each finished trace goes to `sink`.
///
/// # Errors
/// [`LoadError`] where it cannot begin: a contradictory spec, a host without address, no thread.
pub fn start(spec: LoadSpec, sink: impl TraceSink + 'static) -> Result<LoadHandle, LoadError> {
    start_with_profile(spec, LoadProfile::held(), sink)
}

/// Starts a load of any profile; each finished trace goes to `sink`.
///
/// # Errors
/// As for [`start`].
pub fn start_with_profile(
    spec: LoadSpec,
    profile: LoadProfile,
    sink: impl TraceSink + 'static,
) -> Result<LoadHandle, LoadError> {
    spec.check()?;
    profile.check(&spec)?;
    raise_open_files();
    let control = Control::default();
    let live = Live::new(profile.planned(&spec).map_or(0, u64::from));
    let mut net = net(&spec.endpoint, spec.clock, spec.deadlines, control.clone())?;
    net.limits = spec.limits;
    net.keep_text = match spec.keep_text {
        KeepText::Nothing if profile.conversations.is_some() => KeepText::Content,
        asked => asked,
    };
    net.connections = spec.connections;
    let (writer, traces) = Writer::start(Box::new(sink), control.clone())?;
    let give_up_after = profile.give_up_after;
    let thread = {
        let (control, live) = (control.clone(), live.clone());
        std::thread::Builder::new()
            .name("servelab-load".to_owned())
            .spawn(move || {
                let result = on_own_runtime(spec, profile, net, live, traces);
                let (written, writer_cpu) = writer.join();
                written.map_err(LoadError::Sink)?;
                let mut result = result?;
                result.instrument.client_thread_cpu_ratio =
                    crate::facts::at_least(result.instrument.client_thread_cpu_ratio, writer_cpu.ratio);
                result.threads.push(writer_cpu);
                result.stopped = control.stopped();
                result.counts.gave_up_after = give_up_after.filter(|_| result.stopped == Some(Stop::GaveUp));
                Ok(result)
            })?
    };
    Ok(LoadHandle { control, live, thread })
}

/// The way to an endpoint.
pub(crate) fn net(
    endpoint: &Endpoint,
    clock: TrialClock,
    deadlines: Deadlines,
    control: Control,
) -> Result<Net, EndpointError> {
    Ok(Net {
        addresses: endpoint.resolve()?,
        tls: endpoint.tls()?,
        clock,
        deadlines,
        limits: SizeLimits::default(),
        control,
        keep_text: KeepText::Nothing,
        connections: ConnectionUse::Kept,
    })
}

/// Runs a load to its end on a thread of its own and waits for it.
///
/// # Errors
/// As for [`start`] and [`LoadHandle::join`].
pub fn run_load(spec: LoadSpec, sink: impl TraceSink + 'static) -> Result<LoadResult, LoadError> {
    start(spec, sink)?.join()
}

fn on_own_runtime(
    spec: LoadSpec,
    profile: LoadProfile,
    net: Net,
    live: Live,
    traces: mpsc::Sender<Trace>,
) -> Result<LoadResult, LoadError> {
    let (load, seed, n) = (spec.load, spec.seed, spec.measured.len());
    let clock = net.clock;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let (clocks_start, before) = (both_clocks(), Look::now());
        let probe = Probe::start()?;
        let shared = Arc::new(Shared::new(spec, profile, net, live, traces));
        let kept = match load {
            Load::Closed { .. } if let Pace::Batch(size) = shared.profile.pace => {
                batch::run(&shared, size.get()).await;
                Ok(())
            }
            Load::Closed { concurrency } => {
                closed::run(&shared, concurrency.get()).await;
                Ok(())
            }
            Load::Open { rate_per_s, arrivals } => open::run(&shared, rate_per_s, arrivals, seed, n).await,
        };
        shared.settle().await;
        let facts = SelfFacts {
            grid: probe.stop(),
            starvation: starvation(&before, &Look::now()),
            clocks: (clocks_start, both_clocks()),
        };
        kept?;
        let state: LoadState = shared.state(std::mem::take);
        Ok(state.close(matches!(load, Load::Open { .. }), &clock, facts))
    })
}

/// Raises the soft limit on open files to the hard one: each stream in flight needs a descriptor. Where that is refused,
/// connecting says so in its own words.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}
