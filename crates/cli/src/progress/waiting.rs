//! A word to whoever waits for a server that does not answer at once.

use crate::output;
use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

/// Silence that nobody wonders at.
const PATIENCE: Duration = Duration::from_secs(3);

/// Says why nothing happens, until it is dropped, each time that [`PATIENCE`] has doubled.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Its end ends the thread.
    _ends: Sender<()>,
}

impl Waiting {
    /// Begins to wait for `what`.
    pub(crate) fn of(what: String) -> Self {
        let (ends, ended) = channel();
        if output::progress_is_wanted() {
            thread::spawn(move || {
                let (mut pause, mut waited) = (PATIENCE, Duration::ZERO);
                while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    waited += pause;
                    output::note(&format!("{what}: no answer for {} s; Ctrl-C ends", waited.as_secs()));
                    pause *= 2;
                }
            });
        }
        Self { _ends: ends }
    }
}
