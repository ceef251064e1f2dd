//! What is said beside the answer, on standard error: in lines for people, or as JSON for programs; less of it, or more.

use super::layout;
use clap::ValueEnum;
use indicatif::MultiProgress;
use servelab_schema::foreign::plain;
use std::{
    env,
    io::{self, IsTerminal, Write, stderr},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, progress and errors too.
    Json,
}

/// How this program talks, as its command line says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Voice {
    /// How logs are written.
    pub(crate) format: LogFormat,
    /// Only warnings and errors.
    pub(crate) quiet: bool,
}

/// Where notes go as events: no part of a run's own log.
const TARGET: &str = "cli";

static VOICE: OnceLock<Voice> = OnceLock::new();

impl Voice {
    /// Talks like this from now on; the first one counts.
    pub(crate) fn set(self) {
        let _ = VOICE.set(self);
    }

    fn get() -> Self {
        VOICE.get().copied().unwrap_or_default()
    }

    /// True where whoever runs this wants no colours anywhere.
    pub(crate) fn colours_are_refused() -> bool {
        env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
    }

    /// True where colours may be used on standard error.
    pub(crate) fn has_colours() -> bool {
        !Self::colours_are_refused() && stderr().is_terminal()
    }
}

/// True where progress is to be told at all.
pub(crate) fn progress_is_wanted() -> bool {
    !Voice::get().quiet
}

/// True where progress is drawn, in lines that change; else it is told in lines that stay.
pub(crate) fn progress_is_drawn() -> bool {
    progress_is_wanted() && Voice::get().format == LogFormat::Text && stderr().is_terminal()
}

/// The lines that change now, which stand below all that is said.
static BELOW: Mutex<Option<MultiProgress>> = Mutex::new(None);

fn below() -> MutexGuard<'static, Option<MultiProgress>> {
    BELOW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on these lines change below what is said; none where no more are drawn.
pub(crate) fn draws(lines: Option<MultiProgress>) {
    *below() = lines;
}

/// Standard error for who says something: lines that change make room.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Above;

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let write = || stderr().lock().write_all(text).map(|()| text.len());
        match &*below() {
            Some(lines) => lines.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().lock().flush()
    }
}

fn line(text: &str) {
    let text = layout::wrap(&plain(text), layout::width_of(&io::stderr()), 0);
    let _ = Above.write_all(text.as_bytes());
}

/// Says something that is good to know.
pub(crate) fn note(text: &str) {
    match Voice::get() {
        Voice { quiet: true, .. } => {}
        Voice {
            format: LogFormat::Json,
            ..
        } => tracing::info!(target: TARGET, "{}", plain(text)),
        Voice {
            format: LogFormat::Text,
            ..
        } => line(text),
    }
}

/// Says something that must be known.
pub(crate) fn warn(text: &str) {
    match Voice::get().format {
        LogFormat::Json => tracing::warn!(target: TARGET, "{}", plain(text)),
        LogFormat::Text => line(text),
    }
}

/// Asks something; the answer stands behind it on the line.
pub(crate) fn prompt(text: &str) {
    let _ = Above.write_all(plain(text).as_bytes());
}

/// Says why the program failed.
pub(crate) fn error(text: &str) {
    match Voice::get().format {
        LogFormat::Json => tracing::error!(target: TARGET, "{}", plain(text)),
        LogFormat::Text => line(&format!("error: {text}")),
    }
}

/// Says what is wrong with the command line, in the words of its parser.
pub(crate) fn usage(rendered: &str) {
    match Voice::get().format {
        LogFormat::Json => error(rendered.strip_prefix("error: ").unwrap_or(rendered).trim_end()),
        LogFormat::Text => line(rendered),
    }
}
