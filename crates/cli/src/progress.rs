//! What a run tells while it goes on, on standard error: two lines that change on a terminal, else a line for each trial and one
//! every half minute.

mod at;
mod waiting;
mod words;

pub(crate) use waiting::Waiting;

pub(crate) use words::{left, left_of, live_words};

use crate::output;
use at::{At, Came};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use servelab_findings::Judged;
use servelab_load::{LiveSnapshot, clock::monotonic};
use servelab_runner::Progress;
use servelab_schema::{EngineKind, GateName, Nanos, TrialRecord, Validity, WallNanos};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Between two lines about one trial or load, where lines stay.
pub(crate) const EVERY: WallNanos = WallNanos::from_secs(30);

/// How a run is told.
#[derive(Debug)]
enum Shown {
    /// Not at all; only what must be known.
    Nothing,
    /// In lines that stay.
    Lines,
    /// In two lines that change.
    Drawn { trials: ProgressBar, requests: ProgressBar },
}

/// Tells how far a run is.
#[derive(Debug)]
pub(crate) struct Told {
    shown: Shown,
    at: Mutex<At>,
}

fn style(template: &str) -> ProgressStyle {
    // A wrong template would only make the line plain.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn drawn(total: usize, kind: EngineKind) -> Shown {
    let bars = MultiProgress::new();
    let trials = bars.add(ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)));
    trials.set_style(style("{prefix} [{bar:20}] {msg}"));
    trials.set_prefix(kind.to_string());
    trials.enable_steady_tick(Duration::from_millis(500));
    let requests = bars.add(ProgressBar::new(0));
    requests.set_style(style("  {wide_msg}"));
    output::draws(Some(bars));
    Shown::Drawn { trials, requests }
}

impl Told {
    pub(crate) fn new(total: usize, kind: EngineKind) -> Self {
        let shown = if output::progress_is_drawn() {
            drawn(total, kind)
        } else if output::progress_is_wanted() {
            Shown::Lines
        } else {
            Shown::Nothing
        };
        Self {
            shown,
            at: Mutex::new(At::BEFORE_THE_FIRST),
        }
    }

    pub(crate) fn finish(&self) {
        if let Shown::Drawn { trials, requests, .. } = &self.shown {
            requests.finish_and_clear();
            trials.finish_and_clear();
            output::draws(None);
        }
    }

    fn at<T>(&self, f: impl FnOnce(&mut At) -> T) -> T {
        f(&mut self.at.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What happens in the trial that runs: now where it is drawn, now and then in a line.
    fn now(&self, words: &str) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Drawn { trials, requests, .. } => self.at(|at| {
                trials.set_message(at.number(monotonic()));
                requests.set_message(format!("{}: {words}", at.name()));
            }),
            Shown::Lines => {
                if let Some(line) = self.at(|at| at.due(monotonic(), words)) {
                    output::note(&line);
                }
            }
        }
    }
}

/// Why a take does not count, and what helps; none where it does.
fn trouble(record: &TrialRecord, judged: &Judged, again: bool) -> Option<String> {
    match &judged.validity {
        Validity::Valid => None,
        Validity::Aborted { why } => Some(format!("{} was aborted: {why}", record.id)),
        Validity::Invalid { gates } => {
            // What that means and what helps is said at the end, once for each gate.
            let failed = judged.gates.iter().filter(|g| gates.contains(&g.gate));
            let failed: Vec<String> = failed
                .map(|g| format!("{}: {} (allowed: {})", g.gate, g.observed, g.limit))
                .collect();
            let log = if gates.contains(&GateName::EngineAlive) {
                format!("; see trials/{}/server.log", record.id)
            } else {
                String::new()
            };
            let again = if again {
                "; the instrument is to blame, so it is taken again at the end of its block"
            } else {
                ""
            };
            Some(format!("{} is Invalid: {}{log}{again}", record.id, failed.join("; ")))
        }
    }
}

impl Progress for Told {
    fn trial_begins(&self, n: usize, total: usize, name: &str) {
        self.at(|at| at.begins(monotonic(), (n, total), name));
        if let Shown::Drawn { trials, .. } = &self.shown {
            // More than were planned, where some are taken again.
            trials.set_length(u64::try_from(total).unwrap_or(u64::MAX));
            trials.set_position(u64::try_from(n.saturating_sub(1)).unwrap_or(0));
        }
        self.now("starting the engine");
    }

    fn engine_says(&self, line: &str) {
        let line: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
        self.now(&format!("starting the engine: {line}"));
    }

    fn engine_ready(&self, startup: Nanos) {
        self.now(&format!("engine ready after {startup}"));
    }

    fn live(&self, live: &LiveSnapshot) {
        self.now(&live_words(live));
    }

    fn trial_ends(&self, record: &TrialRecord, judged: &Judged, again: bool) {
        if matches!(self.shown, Shown::Lines) {
            let counts = &record.counts;
            let came = Came {
                id: record.id.as_str(),
                validity: &judged.validity,
                completed: counts.completed,
                failed: counts.failures(),
            };
            let line = self.at(|at| at.ended(monotonic(), came));
            output::note(&line);
        }
        if let Some(text) = trouble(record, judged, again) {
            output::warn(&text);
        }
    }
}
