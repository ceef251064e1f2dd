//! A trial against time, in columns: requests in flight, requests waiting, KV cache in use, failures.

use servelab_schema::{TelemetrySample, Trace, TrialInstant, findings::Timeline};

/// The moments of a trial while its traces go by.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    /// When a request began, or ended; ends sort before beginnings of the same moment.
    events: Vec<(TrialInstant, bool)>,
    failed: Vec<TrialInstant>,
    end: TrialInstant,
}

/// The column of a moment; the last one for the very end.
fn column(at: TrialInstant, end: TrialInstant) -> u32 {
    let columns = u128::from(Timeline::COLUMNS);
    let place = (u128::from(at.0) * columns).checked_div(u128::from(end.0)).unwrap_or(0);
    u32::try_from(place.min(columns - 1)).unwrap_or(0)
}

/// Keeps the highest value of each column, and only where it changes.
fn changes(values: impl Iterator<Item = (u32, u32)>) -> Vec<(u32, u32)> {
    let mut points: Vec<(u32, u32)> = Vec::new();
    for (column, value) in values {
        match points.last_mut() {
            Some(last) if last.0 == column => last.1 = last.1.max(value),
            _ => points.push((column, value)),
        }
    }
    points.dedup_by(|next, last| next.1 == last.1);
    points
}

impl Moments {
    pub(crate) fn add(&mut self, trace: &Trace) {
        self.end = self.end.max(trace.finished_ns);
        if let Some(sent) = trace.sent_ns {
            self.events.push((sent, true));
            self.events.push((trace.finished_ns, false));
        }
        if trace.completion().is_none() {
            self.failed.push(trace.finished_ns);
        }
    }

    pub(crate) fn timeline(mut self, telemetry: &[TelemetrySample]) -> Timeline {
        let end = self.end;
        self.events.sort_unstable();
        let in_flight = self.in_flight();
        let samples = || telemetry.iter().filter(|s| s.t_ns <= end);
        let waiting = samples().filter_map(|s| Some((column(s.t_ns, end), s.engine_waiting?)));
        let kv = samples().filter_map(|s| Some((column(s.t_ns, end), permille(s.kv_cache_used_ratio?.get()))));
        let mut failed: Vec<u32> = self.failed.iter().map(|at| column(*at, end)).collect();
        failed.sort_unstable();
        failed.dedup();
        Timeline {
            end_ns: end,
            in_flight,
            waiting: changes(waiting),
            kv_used_permille: changes(kv),
            failed,
        }
    }

    /// The most requests that were in flight together in each column.
    fn in_flight(&self) -> Vec<(u32, u32)> {
        let mut now = 0_u32;
        let mut events = self.events.iter().peekable();
        let mut points = Vec::new();
        if events.peek().is_none() {
            return points;
        }
        for place in 0..Timeline::COLUMNS {
            let mut most = now;
            while let Some((_, begins)) = events.next_if(|(at, _)| column(*at, self.end) <= place) {
                now = if *begins { now + 1 } else { now.saturating_sub(1) };
                most = most.max(now);
            }
            points.push((place, most));
        }
        changes(points.into_iter())
    }
}

#[expect(clippy::as_conversions, reason = "a share of at most 1; float to integer saturates")]
fn permille(ratio: f64) -> u32 {
    (ratio * 1e3).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{completed, failed};
    use servelab_schema::{Ratio, Reason, examples};

    #[test]
    fn a_trial_in_columns() {
        let mut moments = Moments::default();
        // Two together from 40 to 80 of 160 ms.
        moments.add(&completed("a", 0, 80, 1, &[]));
        moments.add(&completed("b", 40, 120, 1, &[]));
        moments.add(&failed("c", 100, Reason::Reset));
        let sample = |ms: u64, waiting: u32, kv: f64| TelemetrySample {
            t_ns: TrialInstant::from_millis(ms),
            engine_waiting: Some(waiting),
            kv_cache_used_ratio: Some(Ratio::new(kv).unwrap()),
            ..examples::telemetry()
        };
        let t = moments.timeline(&[
            sample(0, 0, 0.1),
            sample(10, 0, 0.2004),
            sample(90, 3, 0.2),
            sample(999, 9, 1.0),
        ]);
        assert_eq!(t.end_ns, TrialInstant::from_millis(160));
        assert_eq!(t.in_flight, [(0, 1), (40, 2), (81, 1), (100, 2), (106, 1)]);
        assert_eq!(t.waiting, [(0, 0), (90, 3)]);
        assert_eq!(t.kv_used_permille, [(0, 100), (10, 200)]);
        assert_eq!(t.failed, [105]);
    }

    #[test]
    fn nothing_has_no_line() {
        assert_eq!(Moments::default().timeline(&[]), Timeline::default());
    }
}
