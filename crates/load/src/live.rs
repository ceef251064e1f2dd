//! Counters for the progress line: cheap to update, cheap to look at, never used for results (those come from the traces).

use hdrhistogram::Histogram;
use servelab_schema::{Nanos, Outcome, Reason, Trace};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What the load looks like at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveSnapshot {
    /// Requests sent, of any kind.
    pub sent: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests completed, of any kind.
    pub completed: u64,
    /// Measured requests that have ended.
    pub measured_ended: u64,
    /// Measured requests to be sent in all.
    pub measured_planned: u64,
    /// Failures of any request, by reason.
    pub failed: BTreeMap<Reason, u64>,
    /// Median time to first token of completed measured requests, engine time; about 1 % exact.
    pub ttft_p50: Option<Nanos>,
    /// 99th percentile of the same.
    pub ttft_p99: Option<Nanos>,
    /// Median time per output token of completed measured requests, engine time; about 1 % exact.
    pub tpot_p50: Option<Nanos>,
}

impl LiveSnapshot {
    /// Failures of any request.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

#[derive(Debug)]
struct State {
    counts: LiveSnapshot,
    ttft: Option<Histogram<u32>>,
    tpot: Option<Histogram<u32>>,
}

/// The counters of one load, shared between the load's thread and whoever draws the progress line.
#[derive(Debug, Clone)]
pub struct Live(Arc<Mutex<State>>);

impl Live {
    pub(crate) fn new(measured_planned: u64) -> Self {
        // Two significant digits, growing with the values; None only if the constant were wrong.
        let histogram = || Histogram::new(2).ok();
        let counts = LiveSnapshot {
            measured_planned,
            ..LiveSnapshot::default()
        };
        Self(Arc::new(Mutex::new(State {
            counts,
            ttft: histogram(),
            tpot: histogram(),
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> LiveSnapshot {
        let quantile = |h: &Option<Histogram<u32>>, q| {
            h.as_ref()
                .filter(|h| !h.is_empty())
                .map(|h| Nanos(h.value_at_quantile(q)))
        };
        self.with(|s| LiveSnapshot {
            ttft_p50: quantile(&s.ttft, 0.5),
            ttft_p99: quantile(&s.ttft, 0.99),
            tpot_p50: quantile(&s.tpot, 0.5),
            ..s.counts.clone()
        })
    }

    pub(crate) fn began(&self) {
        self.with(|s| {
            s.counts.sent += 1;
            s.counts.in_flight += 1;
        });
    }

    pub(crate) fn ended(&self, trace: &Trace) {
        self.with(|s| {
            let counts = &mut s.counts;
            counts.in_flight -= 1;
            counts.measured_ended += u64::from(trace.measured);
            match &trace.outcome {
                Outcome::Completed(completion) => {
                    counts.completed += 1;
                    if trace.measured {
                        if let (Some(h), Some(ttft)) = (&mut s.ttft, completion.ttft()) {
                            // Grows with the value; a record that is refused is missing from a live figure only.
                            let _ = h.record(ttft.0);
                        }
                        if let (Some(h), Some(tpot)) = (&mut s.tpot, completion.tpot_s()) {
                            #[expect(clippy::as_conversions, reason = "float to integer saturates; a live figure")]
                            let _ = h.record((tpot * 1e9) as u64);
                        }
                    }
                }
                Outcome::Failed(failure) => {
                    *counts.failed.entry(failure.reason).or_default() += 1;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_percentiles_are_those_of_the_traces() {
        let live = Live::new(2);
        for _ in 0..2 {
            live.began();
            live.ended(&servelab_schema::examples::trace());
        }
        let seen = live.snapshot();
        assert_eq!((seen.measured_ended, seen.in_flight, seen.completed), (2, 0, 2));
        let ttft = seen.ttft_p50.map(Nanos::as_millis_f64);
        assert!(ttft.is_some_and(|ms| (121.0..124.0).contains(&ms)), "{ttft:?}");
        let tpot = seen.tpot_p50.map(Nanos::as_millis_f64);
        assert!(tpot.is_some_and(|ms| (32.8..33.5).contains(&ms)), "{tpot:?}");
    }
}
