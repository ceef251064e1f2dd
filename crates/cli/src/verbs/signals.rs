//! What SIGINT, SIGTERM and SIGHUP do to a run: the first ends it in order, the second at once.

use crate::output;
use servelab_runner::{EVENT_TARGET, StopFlag, StopReason, StopSignal};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{fs, io, thread};

/// Listens on a thread of its own, so that the second signal is heard whatever the run is busy with.
pub(crate) fn obey(stop: &StopFlag) -> io::Result<()> {
    let mut ours = vec![SIGINT, SIGTERM];
    // A run under `nohup` is to outlive its terminal.
    if !is_ignored(SIGHUP) {
        ours.push(SIGHUP);
    }
    let mut signals = Signals::new(ours)?;
    let stop = stop.clone();
    let listen = move || {
        let mut before = false;
        for signal in signals.forever() {
            heard(signal, before, &stop);
            before = true;
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen)
        .map(drop)
}

fn heard(signal: i32, before: bool, stop: &StopFlag) {
    let why = StopReason::Signal(match signal {
        SIGHUP => StopSignal::Hangup,
        SIGTERM => StopSignal::Terminate,
        _ => StopSignal::Interrupt,
    });
    if before {
        stop.kill_engine();
        let left = match stop.run() {
            Some(run) => format!("the run is left unsealed; `servelab seal {run}` closes it"),
            None => "nothing was measured".to_owned(),
        };
        output::note(&format!("{why} again: {left}"));
        std::process::exit(5);
    }
    // A limit may have been reached before: that stays the reason.
    stop.stop(why.clone());
    tracing::warn!(target: EVENT_TARGET, why = %why, "the run is to end");
    output::note(&format!(
        "{why}: ending the trial and sealing the run; once more ends at once"
    ));
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
