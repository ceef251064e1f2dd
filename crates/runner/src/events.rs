//! `events.jsonl`: what happens while a run goes on, from `tracing`, until the run is about to be sealed.
//!
//! The program installs [`EventLog::layer`] once; a run opens the log with its directory and closes it before the seal.
//! Between the first and the last request of a trial the runner says nothing but what ends the trial, so that no write to
//! the disk stands beside a stream.

use crate::Progress;
use servelab_engine::redact::Secrets;
use servelab_evidence::{EvidenceError, JsonlWriter};
use servelab_findings::Judged;
use servelab_load::{
    LiveSnapshot,
    clock::{monotonic, utc_now},
};
use servelab_schema::{EventLevel, Nanos, RunEvent, TrialRecord, V, Validity, WallInstant};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, FilterFn, LevelFilter, filter_fn},
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// Target of what the progress lines and the end of a run tell people anyway.
pub const TARGET: &str = "servelab_run";

/// The log of the run that goes on now; none before its directory is there and after it is closed.
#[derive(Debug, Clone, Default)]
pub struct EventLog(Arc<Mutex<Option<Open>>>);

struct Open {
    rows: JsonlWriter<RunEvent>,
    started: WallInstant,
    secrets: Secrets,
    failed: Option<EvidenceError>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl EventLog {
    /// What the program's subscriber needs to write servelab's events to the run that goes on.
    #[must_use]
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        Rows(self.clone()).with_filter(wanted())
    }

    /// Begins to write. `started` is the run's start.
    pub(crate) fn open(&self, rows: JsonlWriter<RunEvent>, started: WallInstant, secrets: Secrets) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Open {
            rows,
            started,
            secrets,
            failed: None,
        });
    }

    /// Writes nothing more, and says what could not be written.
    pub(crate) fn close(&self) -> Result<(), EvidenceError> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Open { rows, failed, .. }) = open else {
            return Ok(());
        };
        failed.map_or_else(|| rows.finish(), Err)
    }
}

/// Servelab's own words: libraries have nothing to say in a run's evidence.
fn wanted<S: Subscriber>() -> impl Filter<S> {
    let own: FilterFn<fn(&Metadata<'_>) -> bool> = filter_fn(|m| m.target().starts_with("servelab"));
    own.and(LevelFilter::INFO)
}

struct Rows(EventLog);

impl<S: Subscriber> Layer<S> for Rows {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut log = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = log.as_mut() else { return };
        let mut said = Message::default();
        event.record(&mut said);
        let fields = said.fields.into_iter();
        let row = RunEvent {
            v: V,
            utc: utc_now(),
            at_ns: monotonic().since(open.started),
            level: match *event.metadata().level() {
                Level::ERROR => EventLevel::Error,
                Level::WARN => EventLevel::Warn,
                _ => EventLevel::Info,
            },
            part: event.metadata().module_path().unwrap_or_default().to_owned(),
            what: open.secrets.redact(&said.what),
            fields: fields
                .map(|(name, value)| (name, open.secrets.redact(&value)))
                .collect(),
        };
        if open.failed.is_none() {
            open.failed = open.rows.append(&row).err();
        }
    }
}

/// What an event says, read off its fields.
#[derive(Default)]
struct Message {
    what: String,
    fields: BTreeMap<String, String>,
}

impl Message {
    fn note(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.what = value;
        } else {
            self.fields.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}"));
    }
}

/// Progress that is also written down, where nothing is being measured.
pub(crate) struct Logged<'a>(pub(crate) &'a dyn Progress);

impl Progress for Logged<'_> {
    fn trial_begins(&self, n: usize, total: usize, name: &str) {
        tracing::info!(target: TARGET, trial = name, n, total, "a take begins");
        self.0.trial_begins(n, total, name);
    }
    fn engine_says(&self, line: &str) {
        self.0.engine_says(line);
    }
    fn engine_ready(&self, startup: Nanos) {
        tracing::info!(target: TARGET, startup_ns = startup.0, "its engine is ready");
        self.0.engine_ready(startup);
    }
    fn live(&self, live: &LiveSnapshot) {
        self.0.live(live);
    }
    fn trial_ends(&self, record: &TrialRecord, judged: &Judged, again: bool) {
        let trial = record.id.as_str();
        match &judged.validity {
            Validity::Valid => tracing::info!(target: TARGET, trial, "a take ended: Valid so far"),
            Validity::Invalid { gates } => {
                let gates: Vec<&str> = gates.iter().map(|g| g.as_str()).collect();
                let gates = gates.join(" ");
                tracing::warn!(target: TARGET, trial, gates, again, "a take ended: Invalid");
            }
            Validity::Aborted { why } => tracing::warn!(target: TARGET, trial, why, "a take ended: Aborted"),
        }
        self.0.trial_ends(record, judged, again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_evidence::{Disk, RunWriter, names};
    use servelab_schema::{RunId, examples};
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn servelab_s_own_words_are_written_without_secrets_while_a_run_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (id, plan) = (RunId::new("r1").unwrap(), examples::plan());
        let run = RunWriter::create(Arc::new(Disk), dir.path(), &id, &plan, &examples::environment()).unwrap();
        let log = EventLog::default();
        let subscriber = tracing_subscriber::registry().with(log.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: TARGET, "before the run");
            let secrets = Secrets::of([("MY_TOKEN".to_owned(), "s3cret-value".to_owned())]);
            log.open(run.events().unwrap(), WallInstant(0), secrets);
            tracing::warn!(target: TARGET, trial = "t1", n = 3, "it said s3cret-value");
            tracing::info!(target: "hyper::client", "not ours");
            tracing::debug!(target: TARGET, "too much");
            log.close().unwrap();
            tracing::info!(target: TARGET, "after the run");
        });
        let text = std::fs::read_to_string(run.dir().join(names::EVENTS)).unwrap();
        let rows: Vec<RunEvent> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 1, "{text}");
        assert_eq!(
            (rows[0].level, rows[0].what.as_str()),
            (EventLevel::Warn, "it said [redacted]")
        );
        let fields = [("n", "3"), ("trial", "t1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(rows[0].fields, BTreeMap::from(fields));
    }
}
