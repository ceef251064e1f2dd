//! The progress line of a load on standard error, and the end that Ctrl-C asks for.

use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use servelab_bench::Watch;
use servelab_load::{Control, Live, LiveSnapshot, Stop};
use servelab_schema::Nanos;
use std::{
    io::{IsTerminal, stderr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Time between two drawings.
const EVERY: Duration = Duration::from_millis(100);

/// What a user sees of the loads, and how they are ended.
#[derive(Debug)]
pub(super) struct OnTerminal {
    line: Mutex<Option<Line>>,
    interrupt: Interrupt,
}

impl OnTerminal {
    /// Listens for Ctrl-C from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            line: Mutex::new(None),
            interrupt: Interrupt::listen()?,
        })
    }

    /// True once Ctrl-C was pressed.
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
        self.interrupt.ends(control);
        self.show(Some(Line::show(load, live)));
    }

    fn ended(&self) {
        self.show(None);
    }

    fn is_interrupted(&self) -> bool {
        self.is_asked()
    }
}

/// A line that shows one load while it runs; nothing where standard error is no terminal.
#[derive(Debug)]
struct Line {
    thread: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

fn time(value: Option<Nanos>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| v.to_string())
}

fn message(live: &LiveSnapshot) -> String {
    let failures = live.failures();
    let failures = if failures == 0 {
        String::new()
    } else {
        format!("  {failures} FAILED")
    };
    format!(
        "{} in flight  TTFT {}  TPOT {}{failures}",
        live.in_flight,
        time(live.ttft_p50),
        time(live.tpot_p50)
    )
}

impl Line {
    /// Shows `live` under `name` until it is finished.
    fn show(name: &str, live: Live) -> Self {
        if !stderr().is_terminal() {
            return Self { thread: None };
        }
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let bar = ProgressBar::new(0);
        // A wrong template would only make the line plain.
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len}  {elapsed_precise}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Acquire) {
                let now = live.snapshot();
                bar.set_length(now.measured_planned.max(now.measured_ended));
                bar.set_position(now.measured_ended);
                bar.set_message(message(&now));
                std::thread::park_timeout(EVERY);
            }
            bar.finish_and_clear();
        });
        Self {
            thread: Some((ended, thread)),
        }
    }

    /// Takes the line away.
    fn finish(self) {
        if let Some((ended, thread)) = self.thread {
            ended.store(true, Ordering::Release);
            thread.thread().unpark();
            // Only a panic could end it early; the panic hook has reported that.
            let _ = thread.join();
        }
    }
}

/// Ctrl-C: once ends the load that runs and prints what there is, twice ends at once.
#[derive(Debug, Clone, Default)]
struct Interrupt(Arc<(AtomicBool, Mutex<Option<Control>>)>);

impl Interrupt {
    /// Listens from now on.
    fn listen() -> std::io::Result<Self> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        // Registered before this returns: a Ctrl-C after that is not lost.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?
        };
        std::thread::Builder::new()
            .name("servelab-interrupt".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    while signals.recv().await.is_some() {
                        if heard.0.0.swap(true, Ordering::AcqRel) {
                            output::note("interrupted twice: nothing is printed");
                            std::process::exit(5);
                        }
                        output::note("interrupted: the figures are of what has ended; Ctrl-C again ends at once");
                        heard.stop();
                    }
                });
            })?;
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
