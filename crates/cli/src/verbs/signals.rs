//! What SIGINT, SIGTERM and SIGHUP do: the first ends what runs in order, the second at once.

use crate::output;
use servelab_runner::{EVENT_TARGET, StopFlag, StopReason, StopSignal};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// The exit code of a program that a signal ended at once.
const ABORTED: i32 = 5;

/// Set once something is measured. Before that there is nothing that a signal could lose, and the first one ends at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Begun(Arc<AtomicBool>);

impl Begun {
    /// From now on.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Listens from now on, on a thread of its own, so that the second signal is heard whatever the program is busy with. `first`
/// is called at the first signal; `second` at the next one, just before the program exits.
pub(crate) fn listen(
    begun: &Begun,
    first: impl FnOnce(StopReason) + Send + 'static,
    second: impl FnOnce(StopReason) + Send + 'static,
) -> io::Result<()> {
    let mut ours = vec![SIGINT, SIGTERM];
    // What runs under `nohup` is to outlive its terminal.
    if !is_ignored(SIGHUP) {
        ours.push(SIGHUP);
    }
    let mut signals = Signals::new(ours)?;
    let begun = begun.clone();
    let hear = move || {
        let mut heard = signals.forever().map(reason);
        if let Some(why) = heard.next() {
            if !begun.is_set() {
                output::warn(&format!("{why}: nothing was measured yet"));
                std::process::exit(ABORTED);
            }
            first(why);
        }
        if let Some(why) = heard.next() {
            second(why);
            std::process::exit(ABORTED);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(hear).map(drop)
}

/// Ends a run at the first signal, and its engine with it at the second.
pub(crate) fn obey(stop: &StopFlag, begun: &Begun) -> io::Result<()> {
    let (wish, kill) = (stop.clone(), stop.clone());
    let first = move |why: StopReason| {
        // A limit may have been reached before: that stays the reason.
        wish.stop(why.clone());
        tracing::warn!(target: EVENT_TARGET, why = %why, "the run is to end");
        output::warn(&format!(
            "{why}: ending the trial and sealing the run; once more ends at once"
        ));
    };
    let second = move |why: StopReason| {
        kill.kill_engine();
        let left = match kill.run() {
            Some(run) => format!(
                "the run is left unsealed; `servelab run --resume {run}` goes on with it, `servelab seal {run}` closes it"
            ),
            None => "nothing was measured".to_owned(),
        };
        output::warn(&format!("{why} again: {left}"));
    };
    listen(begun, first, second)
}

fn reason(signal: i32) -> StopReason {
    StopReason::Signal(match signal {
        SIGHUP => StopSignal::Hangup,
        SIGTERM => StopSignal::Terminate,
        _ => StopSignal::Interrupt,
    })
}

/// True where whoever started this program made it ignore the signal.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    u32::try_from(signal).is_ok_and(|n| n > 0 && mask & (1 << (n - 1)) != 0)
}
