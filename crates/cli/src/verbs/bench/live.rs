//! What is told of a load while it runs, on standard error, and the end that a signal asks for.

use super::{
    super::signals::{self, Begun},
    find_max, knee,
};
use crate::{
    output,
    progress::{EVERY, left_of, live_words},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use servelab_bench::{ResultSet, Watch, find_max::Probe};
use servelab_load::{Control, Live, LiveSnapshot, Stop, clock::monotonic};
use servelab_schema::{WallInstant, WallNanos};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Between two drawings.
const FRAME: Duration = Duration::from_millis(100);

/// What a user sees of the loads, and how they are ended.
#[derive(Debug)]
pub(super) struct OnTerminal {
    /// The load that runs, from 1, of so many.
    load: Mutex<usize>,
    loads: usize,
    /// How long each goes on, where time ends it.
    lasts: Option<WallNanos>,
    line: Mutex<Option<Line>>,
    interrupt: Interrupt,
    begun: Begun,
}

impl OnTerminal {
    /// Listens for signals from now on.
    pub(super) fn listen(loads: usize, lasts: Option<WallNanos>) -> std::io::Result<Self> {
        let begun = Begun::default();
        Ok(Self {
            load: Mutex::new(0),
            loads,
            lasts,
            line: Mutex::new(None),
            interrupt: Interrupt::listen(&begun)?,
            begun,
        })
    }

    /// True once somebody asked for the end.
    pub(super) fn is_asked(&self) -> bool {
        self.interrupt.is_asked()
    }

    fn show(&self, line: Option<Line>) {
        let before = std::mem::replace(&mut *self.line.lock().unwrap_or_else(PoisonError::into_inner), line);
        if let Some(line) = before {
            line.finish();
        }
    }
}

impl Watch for OnTerminal {
    fn begins(&self, load: &str, live: Live, control: Control) {
        self.begun.set();
        self.interrupt.ends(control);
        let number = {
            let mut number = self.load.lock().unwrap_or_else(PoisonError::into_inner);
            *number += 1;
            *number
        };
        let name = if self.loads > 1 {
            format!("load {number} of {}: {load}", self.loads)
        } else {
            load.to_owned()
        };
        self.show(Line::show(Told {
            name,
            live,
            began: monotonic(),
            lasts: self.lasts,
        }));
    }

    fn ended(&self) {
        self.show(None);
    }

    fn measured(&self, set: &ResultSet) {
        output::note(&knee::line(set));
    }

    fn probed(&self, probe: &Probe) {
        output::note(&find_max::line(probe));
    }

    fn is_interrupted(&self) -> bool {
        self.is_asked()
    }
}

/// One load and its time.
#[derive(Debug)]
struct Told {
    name: String,
    live: Live,
    began: WallInstant,
    lasts: Option<WallNanos>,
}

impl Told {
    /// `12 of 60 requests, 8 in flight, TTFT …, about 30s left`.
    fn words(&self, now: &LiveSnapshot) -> String {
        let elapsed = monotonic().since(self.began);
        let left = match self.lasts {
            Some(lasts) => left_of(lasts, elapsed),
            None => {
                let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
                crate::progress::left(count(now.measured_ended), count(now.measured_planned), elapsed)
            }
        };
        let left = left.map_or_else(String::new, |left| format!(", about {left} left"));
        format!("{}{left}", live_words(now))
    }
}

/// Shows one load while it runs: a line that changes on a terminal, else one every half minute.
#[derive(Debug)]
struct Line {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Line {
    /// Shows it until it is finished; none where nothing is to be shown.
    fn show(told: Told) -> Option<Self> {
        if !output::progress_is_wanted() {
            return None;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            if output::progress_is_drawn() {
                draw(&told, &flag);
            } else {
                tell(&told, &flag);
            }
        });
        Some(Self { ended, thread })
    }

    /// Takes the line away.
    fn finish(self) {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // Only a panic could end it early; the panic hook has reported that.
        let _ = self.thread.join();
    }
}

fn draw(told: &Told, ended: &AtomicBool) {
    let bars = MultiProgress::new();
    let bar = bars.add(ProgressBar::new(0));
    output::draws(Some(bars));
    // A wrong template would only make the line plain.
    if let Ok(style) = ProgressStyle::with_template("{prefix}\n  {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(told.name.clone());
    while !ended.load(Ordering::Acquire) {
        bar.set_message(told.words(&told.live.snapshot()));
        std::thread::park_timeout(FRAME);
    }
    bar.finish_and_clear();
    output::draws(None);
}

fn tell(told: &Told, ended: &AtomicBool) {
    let mut said = told.began;
    while !ended.load(Ordering::Acquire) {
        let rest = WallNanos(EVERY.0.saturating_sub(monotonic().since(said).0));
        if rest == WallNanos::default() {
            said = monotonic();
            output::note(&format!("{}: {}", told.name, told.words(&told.live.snapshot())));
        } else {
            std::thread::park_timeout(rest.into());
        }
    }
}

/// A signal: the first ends the load that runs and prints what there is, the second ends at once.
#[derive(Debug, Clone, Default)]
struct Interrupt(Arc<(AtomicBool, Mutex<Option<Control>>)>);

impl Interrupt {
    /// Listens from now on.
    fn listen(begun: &Begun) -> std::io::Result<Self> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        signals::listen(
            begun,
            move |why| {
                output::warn(&format!(
                    "{why}: interrupted, the figures are of what has ended; once more ends at once"
                ));
                heard.0.0.store(true, Ordering::Release);
                heard.stop();
            },
            |why| output::warn(&format!("{why} again: nothing is printed")),
        )?;
        Ok(interrupt)
    }

    fn stop(&self) {
        if let Some(control) = &*self.0.1.lock().unwrap_or_else(PoisonError::into_inner) {
            control.stop(Stop::Cancelled);
        }
    }

    /// True once it was asked for.
    fn is_asked(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }

    /// The load that an interruption ends.
    fn ends(&self, control: Control) {
        *self.0.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(control);
        if self.is_asked() {
            self.stop();
        }
    }
}
