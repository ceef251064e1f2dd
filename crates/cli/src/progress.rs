//! The progress line of a run on standard error.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use servelab_findings::Judged;
use servelab_load::LiveSnapshot;
use servelab_runner::Progress;
use servelab_schema::{EngineKind, GateName, Nanos, TrialRecord, Validity};
use std::time::Duration;

/// Draws the run: trials done with the time left, and the requests of the trial that runs.
pub(crate) struct Bars {
    bars: MultiProgress,
    trials: ProgressBar,
    requests: ProgressBar,
}

fn style(template: &str) -> ProgressStyle {
    // A wrong template would only make the line plain.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Bars {
    pub(crate) fn new(total: usize, kind: EngineKind) -> Self {
        let bars = MultiProgress::new();
        let trials = bars.add(ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)));
        trials.set_style(style(
            "{prefix} [{bar:30}] trial {pos}/{len}  {elapsed_precise} elapsed, {eta} left  {msg}",
        ));
        trials.set_prefix(kind.to_string());
        trials.enable_steady_tick(Duration::from_millis(500));
        let requests = bars.add(ProgressBar::new(0));
        requests.set_style(style("  {prefix:24} [{bar:30}] {pos}/{len} measured  {msg}"));
        Self { bars, trials, requests }
    }

    pub(crate) fn finish(&self) {
        self.requests.finish_and_clear();
        self.trials.finish_and_clear();
    }
}

fn time(value: Option<Nanos>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| v.to_string())
}

impl Progress for Bars {
    fn trial_begins(&self, n: usize, total: usize, name: &str) {
        // More than were planned, where some are taken again.
        self.trials.set_length(u64::try_from(total).unwrap_or(u64::MAX));
        self.trials
            .set_position(u64::try_from(n.saturating_sub(1)).unwrap_or(0));
        self.requests.set_prefix(name.to_owned());
        self.requests.set_length(0);
        self.requests.set_position(0);
        self.requests.set_message("starting the engine");
    }

    fn engine_says(&self, line: &str) {
        let line: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
        self.requests.set_message(format!("starting the engine: {line}"));
    }

    fn engine_ready(&self, startup: Nanos) {
        self.requests.set_message(format!("engine ready after {startup}"));
    }

    fn live(&self, live: &LiveSnapshot) {
        self.requests.set_length(live.measured_planned);
        self.requests.set_position(live.measured_ended);
        let failures = live.failures();
        let failures = if failures == 0 {
            String::new()
        } else {
            format!("  {failures} FAILED")
        };
        self.requests.set_message(format!(
            "{} in flight  TTFT {}  TPOT {}{failures}",
            live.in_flight,
            time(live.ttft_p50),
            time(live.tpot_p50)
        ));
    }

    fn trial_ends(&self, record: &TrialRecord, judged: &Judged, again: bool) {
        self.trials.inc(1);
        let line = match &judged.validity {
            Validity::Valid => return,
            Validity::Invalid { gates } => {
                let names: Vec<&str> = gates.iter().map(|g| g.as_str()).collect();
                let failed = judged.gates.iter().filter(|g| gates.contains(&g.gate));
                let seen: Vec<String> = failed.map(|g| format!("{} (limit {})", g.observed, g.limit)).collect();
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
                format!(
                    "{} is Invalid: {}: {}{log}{again}",
                    record.id,
                    names.join(", "),
                    seen.join("; ")
                )
            }
            Validity::Aborted { why } => format!("{} was aborted: {why}", record.id),
        };
        let line = servelab_schema::foreign::plain(&line);
        // Without a terminal the bars are hidden, but this must be said.
        if self.bars.is_hidden() {
            crate::output::note(&line);
        } else {
            let _ = self.bars.println(line);
        }
    }
}
