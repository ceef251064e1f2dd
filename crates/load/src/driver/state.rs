//! The state of a load: which request is next, what has ended, and the instants that bound the windows.

use super::first_ones::FirstOnes;
use crate::{
    bench::{Extent, LoadProfile},
    clock::{self, TrialClock},
    facts::{LoadResult, SelfFacts, ThreadCpu},
    request::PreparedRequest,
};
use servelab_schema::{Instrument, Nanos, Outcome, Reason, Trace, TrialCounts, TrialInstant, WallInstant, Window};

/// One request that is to be sent.
#[derive(Debug)]
pub(crate) struct Job {
    /// Number in the trial, in the order sent.
    pub(crate) seq: u32,
    pub(crate) request: PreparedRequest,
    /// Which measured request of the spec it is, or which one opened its conversation.
    pub(crate) opener: usize,
    /// It follows an answer of its conversation: no schedule asked for it.
    pub(crate) follows: bool,
    pub(crate) measured: bool,
    /// When it should be sent.
    pub(crate) scheduled: TrialInstant,
}

/// A span that grows to hold what it is shown.
#[derive(Debug, Clone, Copy, Default)]
struct Span(Option<(TrialInstant, TrialInstant)>);

impl Span {
    fn add(&mut self, from: TrialInstant, to: TrialInstant) {
        let (start, end) = self.0.unwrap_or((from, to));
        self.0 = Some((start.min(from), end.max(to)));
    }

    fn window(self) -> Option<Window> {
        self.0.map(|(start_ns, end_ns)| Window { start_ns, end_ns })
    }
}

#[derive(Debug, Clone, Copy)]
struct CpuMark {
    cpu_ns: u64,
    since: WallInstant,
}

/// What has been handed out, what has ended and what was counted, of one load.
#[derive(Debug, Default)]
pub(crate) struct LoadState {
    warm_up: u32,
    measured: Vec<PreparedRequest>,
    fillers: Vec<PreparedRequest>,
    next_seq: u32,
    measured_index: usize,
    filler_index: usize,
    fillers_ended: u32,
    measured_ended: usize,
    span: Span,
    held: Span,
    /// sent − scheduled of measured requests, engine ns.
    lags_ns: Vec<u64>,
    /// Measured requests that were sent because the schedule said so, and not because a turn followed.
    arrivals: u32,
    scheduled: Span,
    sent: Span,
    /// How many arrivals fill which time; none in a closed loop and for a recording.
    fills: Option<(usize, Nanos)>,
    counts: TrialCounts,
    extent: Extent,
    /// When the last measured request may be sent, once the first one could be; only where time decides.
    until: Option<TrialInstant>,
    /// Measured requests that were handed out.
    handed_out: u32,
    /// Measured requests that were sent a second time.
    stale_connections: u32,
    first_ones: FirstOnes,
    cpu_mark: Option<CpuMark>,
    /// CPU of the load's thread over the held window.
    load_cpu: Option<ThreadCpu>,
}

impl LoadState {
    /// A load that has not begun; `planned` is how many will be measured, none where time decides.
    pub(crate) fn new(
        warm_up: u32,
        measured: Vec<PreparedRequest>,
        fillers: Vec<PreparedRequest>,
        profile: &LoadProfile,
        planned: Option<u32>,
    ) -> Self {
        let counts = TrialCounts {
            planned: planned.unwrap_or(0),
            ..TrialCounts::default()
        };
        Self {
            warm_up,
            measured,
            fillers,
            counts,
            extent: profile.extent,
            first_ones: FirstOnes::new(profile.give_up_after),
            ..Self::default()
        }
    }

    /// Warm-up requests that have not been handed out.
    pub(crate) fn warm_up_left(&self) -> u32 {
        let handed_out = u32::try_from(self.filler_index).unwrap_or(u32::MAX);
        self.warm_up.saturating_sub(handed_out)
    }

    /// The next request of a warm-up that has exactly as many as it asks for.
    pub(crate) fn next_warm_up(&mut self, scheduled: TrialInstant) -> Option<Job> {
        (self.warm_up_left() > 0).then(|| self.next_filler(scheduled)).flatten()
    }

    pub(crate) const fn is_warm(&self) -> bool {
        self.fillers_ended >= self.warm_up
    }

    pub(crate) fn is_measured_out(&self) -> bool {
        self.measured_ended >= self.planned()
    }

    fn planned(&self) -> usize {
        usize::try_from(self.counts.planned).unwrap_or(usize::MAX)
    }

    /// The closed loop's next request for a slot that became free at `free`; none when the slot has nothing more to do.
    pub(crate) fn next(&mut self, free: TrialInstant) -> Option<Job> {
        if !self.is_warm() {
            self.next_filler(free)
        } else if let Some(job) = self.next_measured(free) {
            Some(job)
        } else if self.is_measured_out() {
            None
        } else {
            self.next_filler(free)
        }
    }

    /// The next filler, in turn; none where there are none.
    pub(crate) fn next_filler(&mut self, scheduled: TrialInstant) -> Option<Job> {
        let index = self.filler_index.checked_rem(self.fillers.len())?;
        self.filler_index = self.filler_index.wrapping_add(1);
        let request = self.fillers.get(index)?.clone();
        Some(self.job(request, 0, false, scheduled))
    }

    /// Measured requests may be sent from `now` on: a load that lasts for a time counts it from here.
    pub(crate) fn begin(&mut self, now: TrialInstant) {
        if let Extent::For(length) = self.extent {
            self.until.get_or_insert(now.after(length));
        }
    }

    /// An open loop's own schedule has `arrivals` that fill `horizon`.
    pub(crate) fn fills(&mut self, arrivals: usize, horizon: Option<Nanos>) {
        self.fills = horizon.map(|horizon| (arrivals, horizon));
    }

    /// The next measured request; none where all have been sent or the time is over.
    pub(crate) fn next_measured(&mut self, scheduled: TrialInstant) -> Option<Job> {
        let opener = match self.extent {
            Extent::Once => self.measured_index,
            Extent::For(_) => {
                self.begin(scheduled);
                if self.until.is_some_and(|until| scheduled >= until) {
                    return None;
                }
                self.measured_index.checked_rem(self.measured.len())?
            }
        };
        let request = self.measured.get(opener)?.clone();
        if self.cpu_mark.is_none() {
            self.cpu_mark = Some(CpuMark {
                cpu_ns: clock::thread_cpu_ns(),
                since: clock::monotonic(),
            });
        }
        self.measured_index += 1;
        Some(self.job(request, opener, true, scheduled))
    }

    /// The next request of a conversation; none where the time is over.
    pub(crate) fn follow(&mut self, request: PreparedRequest, opener: usize, scheduled: TrialInstant) -> Option<Job> {
        self.until.is_none_or(|until| scheduled < until).then(|| Job {
            follows: true,
            ..self.job(request, opener, true, scheduled)
        })
    }

    fn job(&mut self, request: PreparedRequest, opener: usize, measured: bool, scheduled: TrialInstant) -> Job {
        let seq = self.next_seq;
        self.next_seq = seq + 1;
        if measured {
            self.handed_out += 1;
            self.first_ones.sent(seq);
        }
        Job {
            seq,
            request,
            opener,
            follows: false,
            measured,
            scheduled,
        }
    }

    /// An attempt has ended; its row may still wait for its final reason. `follows` says that it was no arrival of its own
    /// but the next turn of a conversation. `stale` is the first send of a request that had to be sent a second time: until then
    /// the delay was the instrument's own, afterwards it is the dead connection's.
    pub(crate) fn ended(&mut self, trace: &Trace, follows: bool, stale: Option<TrialInstant>) {
        let began = trace.sent_ns.unwrap_or(trace.scheduled_ns);
        self.span.add(began, trace.finished_ns);
        if !trace.measured {
            self.fillers_ended += 1;
            return;
        }
        self.held.add(began, trace.finished_ns);
        self.stale_connections += u32::from(stale.is_some());
        if let Some(sent) = stale.or(trace.sent_ns) {
            self.lags_ns.push(sent.since(trace.scheduled_ns).0);
            if !follows {
                self.arrivals += 1;
                self.scheduled.add(trace.scheduled_ns, trace.scheduled_ns);
                self.sent.add(sent, sent);
            }
        }
        self.measured_ended += 1;
        let all_ended = self.extent == Extent::Once && self.measured_ended >= self.planned();
        if all_ended && let Some(mark) = self.cpu_mark {
            self.load_cpu = Some(ThreadCpu::since("load", mark.cpu_ns, mark.since));
        }
    }

    #[cfg(test)]
    pub(crate) const fn stale_connections(&self) -> u32 {
        self.stale_connections
    }

    /// A row has its final outcome. True where that makes the load hopeless.
    pub(crate) fn counted(&mut self, trace: &Trace) -> bool {
        let counts = &mut self.counts;
        let count = match (&trace.outcome, trace.measured) {
            (Outcome::Completed(_), true) => &mut counts.completed,
            (Outcome::Completed(_), false) => &mut counts.fillers_completed,
            (Outcome::Failed(failure), true) => counts.failed.entry(failure.reason).or_default(),
            (Outcome::Failed(_), false) => &mut counts.fillers_failed,
        };
        *count += 1;
        trace.measured && self.first_ones.ended(trace.seq, trace.completion().is_some())
    }

    /// Rates of the measured arrivals as scheduled and as sent, per second.
    ///
    /// Arrivals that fill a horizon, all of them handed out: n over the horizon, and n over the horizon stretched by what the
    /// last one was sent later than the first. Others, of a recording or of a load that was stopped, have no horizon: the gaps
    /// between them over the time from the first to the last.
    fn rates(&self) -> Option<(f64, f64)> {
        let length = |span: Span| Some(span.window()?.length().as_secs_f64());
        let (scheduled, sent) = (length(self.scheduled)?, length(self.sent)?);
        let (n, scheduled_s, sent_s) = match self.fills.filter(|(n, _)| self.measured_index >= *n) {
            Some((n, horizon)) => {
                let horizon = horizon.as_secs_f64();
                (u32::try_from(n).ok()?, horizon, horizon + sent - scheduled)
            }
            None => (self.arrivals.checked_sub(1)?, scheduled, sent),
        };
        let rate = |seconds: f64| (n > 0 && seconds > 0.0).then(|| f64::from(n) / seconds);
        rate(scheduled_s).zip(rate(sent_s))
    }

    /// Ends the load, on the load's own thread; `is_open` says whether a schedule was kept.
    pub(crate) fn close(self, is_open: bool, clock: &TrialClock, facts: SelfFacts) -> LoadResult {
        let (scheduled_rate_per_s, achieved_rate_per_s) = self.rates().filter(|_| is_open).unzip();
        // A load that was stopped has no end of its held window: then until now.
        let so_far = self
            .cpu_mark
            .map(|mark| ThreadCpu::since("load", mark.cpu_ns, mark.since));
        let threads: Vec<ThreadCpu> = self.load_cpu.or(so_far).into_iter().collect();
        let held = self.held.window();
        let mut counts = self.counts;
        if self.extent != Extent::Once {
            counts.planned = self.handed_out;
        }
        LoadResult {
            counts,
            span: self.span.window(),
            held,
            instrument: Instrument {
                stale_connections: self.stale_connections,
                ..facts.instrument(clock, held, self.lags_ns, &threads, achieved_rate_per_s)
            },
            scheduled_rate_per_s,
            until: self.until,
            threads,
            stopped: None,
        }
    }
}

/// Reasons that the death of the engine's process shows itself as, before anyone knows of it.
pub(crate) const fn may_be_engine_exit(reason: Reason) -> bool {
    matches!(reason, Reason::Connect | Reason::Reset | Reason::Truncated)
}
