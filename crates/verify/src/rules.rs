//! The rules that rows keep: each by itself, with those before it, and with the records of their take.
//!
//! What a row says twice must agree, what follows from rows is counted again, and a row of another take is found by its name,
//! its place and its times: a take's `span` is the first and the last instant of its own rows, to the nanosecond.

use crate::{
    context::Context,
    report::{Break, Breaks, Kind},
};
use servelab_schema::{
    EngineRecord, Instrument, Nanos, Outcome, PromptId, TelemetrySample, TokenSource, Trace, TrialCounts, TrialEnd,
    TrialInstant, TrialRecord, Window,
};
use std::collections::HashMap;

/// Breaks of rows that are listed of one file.
const MOST_OF_A_FILE: u64 = 5;

/// No take has so many requests: the bits of their numbers are kept.
const MOST_REQUESTS: u32 = 1 << 27;

/// Names the files of a take in breaks.
#[derive(Debug, Clone)]
pub(crate) struct TakeNames {
    /// Folder of the take, relative to the run.
    pub(crate) folder: String,
    /// Name of its traces.
    pub(crate) traces: String,
}

/// A set of small numbers.
#[derive(Debug, Default)]
struct Numbers(Vec<u64>);

impl Numbers {
    /// False where it was there already.
    fn insert(&mut self, n: u32) -> bool {
        let (word, bit) = (usize::try_from(n / 64).unwrap_or(usize::MAX), 1_u64 << (n % 64));
        if self.0.len() <= word {
            self.0.resize(word.saturating_add(1), 0);
        }
        self.0.get_mut(word).is_some_and(|w| {
            let new = *w & bit == 0;
            *w |= bit;
            new
        })
    }
}

/// A span that grows with what it is shown.
#[derive(Debug, Default, Clone, Copy)]
struct Span(Option<Window>);

impl Span {
    fn add(&mut self, start_ns: TrialInstant, end_ns: TrialInstant) {
        let so_far = self.0.unwrap_or(Window { start_ns, end_ns });
        self.0 = Some(Window {
            start_ns: so_far.start_ns.min(start_ns),
            end_ns: so_far.end_ns.max(end_ns),
        });
    }
}

/// The rules of one take while its rows go by.
#[derive(Debug)]
pub(crate) struct TakeRules<'a> {
    context: &'a Context<'a>,
    record: &'a TrialRecord,
    /// None where the engine may have failed the load: then not every prompt was sent.
    may_be_short: bool,
    names: &'a TakeNames,
    /// Place of each prompt of the trial, in the order they are sent.
    places: HashMap<&'a PromptId, u32>,
    request_prefix: String,
    seen: Numbers,
    rows: u32,
    highest: u32,
    /// Number and place of each measured request.
    measured: Vec<(u32, u32)>,
    counts: TrialCounts,
    span: Span,
    held: Span,
    lags: Vec<u64>,
    sent_twice: u32,
    breaks: Breaks,
    row_breaks: u64,
}

impl<'a> TakeRules<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        (record, engine): (&'a TrialRecord, &'a EngineRecord),
        names: &'a TakeNames,
    ) -> Self {
        let planned = context.planned(record.block, record.order);
        let prompts = planned
            .map(|(block, trial)| block.prompts_of(trial))
            .unwrap_or_default();
        Self {
            context,
            record,
            may_be_short: record.end != TrialEnd::Finished
                || record.counts.gave_up_after.is_some()
                || engine.failure.is_some(),
            names,
            places: prompts.iter().zip(0..).collect(),
            request_prefix: format!("b{:02}-{}-", record.block, record.variant),
            seen: Numbers::default(),
            rows: 0,
            highest: 0,
            measured: Vec::new(),
            counts: TrialCounts {
                planned: u32::try_from(prompts.len()).unwrap_or(u32::MAX),
                gave_up_after: record.counts.gave_up_after,
                ..TrialCounts::default()
            },
            span: Span::default(),
            held: Span::default(),
            lags: Vec::new(),
            sent_twice: 0,
            breaks: Breaks::default(),
            row_breaks: 0,
        }
    }

    fn row(&mut self, line: u64, what: impl AsRef<str>) {
        self.row_breaks = self.row_breaks.saturating_add(1);
        if self.row_breaks <= MOST_OF_A_FILE {
            self.breaks
                .add(Break::inconsistent(Kind::Row, &self.names.traces, what).line(line));
        } else {
            self.breaks.more = self.breaks.more.saturating_add(1);
        }
    }

    /// One row, in the order of the file.
    pub(crate) fn trace(&mut self, line: u64, t: &Trace) {
        if t.block != self.record.block || t.variant != self.record.variant {
            let what = format!("it is of block {} and variant {}: of another take", t.block, t.variant);
            self.row(line, what);
            return;
        }
        self.name(line, t);
        self.prompt(line, t);
        if let Some(what) = wrong_times(t) {
            self.row(line, what);
        }
        self.count(t);
    }

    /// The name of the request, and that it is there once.
    fn name(&mut self, line: u64, t: &Trace) {
        let number = t.request_id.as_str().strip_prefix(self.request_prefix.as_str());
        let number = number.and_then(|rest| rest.rsplit_once("-a"));
        let is_it = |(seq, attempt): (&str, &str)| {
            seq.len() >= 4 && seq.parse() == Ok(t.seq) && attempt.parse() == Ok(t.attempt)
        };
        if !number.is_some_and(is_it) {
            let what = format!(
                "request_id {} is not that of request {}, attempt {}, of this take",
                t.request_id, t.seq, t.attempt
            );
            self.row(line, what);
        }
        if !(1..=2).contains(&t.attempt) {
            self.row(line, format!("attempt {}: a request is sent once, or twice", t.attempt));
        }
        if t.seq >= MOST_REQUESTS {
            self.row(line, format!("seq {} is more than any take has", t.seq));
        } else if !self.seen.insert(t.seq) {
            self.row(line, format!("request {} is there already: a row was repeated", t.seq));
        }
        self.highest = self.highest.max(t.seq);
    }

    fn prompt(&mut self, line: u64, t: &Trace) {
        let place = self.places.get(&t.prompt_id).copied().filter(|_| t.measured);
        match place {
            Some(place) => self.measured.push((t.seq, place)),
            None if t.measured => self.row(line, format!("prompt {} is none of the block's", t.prompt_id)),
            None => {}
        }
        let expected = self.context.expected_tokens(&t.prompt_id, t.measured, &t.variant);
        // A server that was up before and takes no message of the system's is sent another text, whose tokens nobody counted.
        let was_changed = t.expected_prompt_tokens.is_none() && self.context.plan.engine.lives_on();
        match expected {
            None if t.measured => {}
            None => self.row(line, format!("prompt {} is none of the plan's fillers", t.prompt_id)),
            Some(tokens) if tokens != t.expected_prompt_tokens && !was_changed => {
                let told = |n: Option<std::num::NonZeroU32>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
                let what = format!(
                    "expected_prompt_tokens is {}, the plan says {} of {}",
                    told(t.expected_prompt_tokens),
                    told(tokens),
                    t.prompt_id
                );
                self.row(line, what);
            }
            Some(_) => {}
        }
        let counted = t.completion().filter(|c| c.token_source() == Some(TokenSource::Usage));
        let counted = counted.and_then(|c| c.prompt_tokens());
        if let Some((counted, expected)) = counted.zip(t.expected_prompt_tokens)
            && counted != expected
        {
            self.row(
                line,
                format!("it completed with {counted} prompt tokens, though {expected} were expected"),
            );
        }
    }

    fn count(&mut self, t: &Trace) {
        self.rows = self.rows.saturating_add(1);
        let n = match (&t.outcome, t.measured) {
            (Outcome::Completed(_), true) => &mut self.counts.completed,
            (Outcome::Completed(_), false) => &mut self.counts.fillers_completed,
            (Outcome::Failed(failure), true) => self.counts.failed.entry(failure.reason).or_default(),
            (Outcome::Failed(_), false) => &mut self.counts.fillers_failed,
        };
        *n = n.saturating_add(1);
        let began = t.sent_ns.unwrap_or(t.scheduled_ns);
        self.span.add(began, t.finished_ns);
        if t.measured {
            self.held.add(began, t.finished_ns);
            self.lags.extend(t.sent_ns.map(|sent| sent.since(t.scheduled_ns).0));
            self.sent_twice = self.sent_twice.saturating_add(u32::from(t.attempt > 1));
        }
    }

    /// What all rows together must be.
    pub(crate) fn finish(mut self) -> Breaks {
        self.counted();
        self.order();
        let record = self.record;
        match &record.instrument {
            Some(instrument) => {
                self.bounds();
                self.instrument(instrument);
                if self.rows > 0 && self.rows != self.highest.saturating_add(1) {
                    let what = format!(
                        "it has {} rows, but its highest request is {}: rows are missing, or are there twice",
                        self.rows, self.highest
                    );
                    self.breaks
                        .add(Break::inconsistent(Kind::Row, &self.names.traces, what));
                }
            }
            None if self.rows > 0 && record.end == TrialEnd::Finished => {
                let what = "it says that the engine never served, but there are traces";
                self.contradicts("/instrument", what, None);
            }
            None => {}
        }
        self.breaks
    }

    fn contradicts(&mut self, pointer: &str, what: &str, values: Option<(String, String)>) {
        let file = format!("{}/{}", self.names.folder, servelab_evidence::names::TRIAL);
        let found = Break::inconsistent(Kind::Contradiction, file, what).at(pointer);
        self.breaks.add(match values {
            Some((rows, record)) => found.but(rows, record),
            None => found,
        });
    }

    fn counted(&mut self) {
        if self.counts != self.record.counts {
            let (rows, record) = (format!("{:?}", self.counts), format!("{:?}", self.record.counts));
            self.contradicts("/counts", "its counts are not those of its rows", Some((rows, record)));
        }
    }

    /// Measured requests leave in the order of the plan, each once; all of them, where the load ran to its end.
    fn order(&mut self) {
        self.measured.sort_unstable();
        let ascending = self.measured.windows(2).all(|pair| match pair {
            [(_, a), (_, b)] => a < b,
            _ => true,
        });
        let n = u32::try_from(self.measured.len()).unwrap_or(u32::MAX);
        let last = self.measured.last().map_or(0, |(_, place)| place.saturating_add(1));
        let is_prefix = ascending && last == n;
        let whole = self.record.instrument.is_some();
        let what = if !ascending {
            "its measured requests are not the block's prompts in their order, each once"
        } else if whole && !is_prefix {
            "some of the block's prompts are passed over"
        } else if whole && !self.may_be_short && n != self.counts.planned {
            "not all of the block's prompts were sent, though the take ran to its end"
        } else {
            return;
        };
        self.breaks
            .add(Break::inconsistent(Kind::Row, &self.names.traces, what));
    }

    fn bounds(&mut self) {
        let told =
            |w: Option<Window>| w.map_or_else(|| "none".to_owned(), |w| format!("{}..{}", w.start_ns.0, w.end_ns.0));
        for (pointer, rows, record) in [
            ("/span", self.span.0, self.record.span),
            ("/held", self.held.0, self.record.held),
        ] {
            if rows != record {
                let what = "it is not from the first to the last of its rows";
                self.contradicts(pointer, what, Some((told(rows), told(record))));
            }
        }
    }

    fn instrument(&mut self, instrument: &Instrument) {
        if instrument.stale_connections != self.sent_twice {
            let values = (self.sent_twice.to_string(), instrument.stale_connections.to_string());
            let what = "it is not the number of measured requests that were sent twice";
            self.contradicts("/instrument/stale_connections", what, Some(values));
        }
        let lags = [
            instrument.event_loop_lag_p50_ns,
            instrument.event_loop_lag_p99_ns,
            instrument.event_loop_lag_max_ns,
        ];
        if !lags.is_sorted() {
            let what = "its median, 99th percentile and largest are out of order";
            self.contradicts("/instrument/event_loop_lag_p99_ns", what, None);
        }
        // Of a request that was sent twice the first sending is not kept.
        if self.sent_twice > 0 {
            return;
        }
        self.lags.sort_unstable();
        let lags = std::mem::take(&mut self.lags);
        for (name, rank, told) in [
            ("p50", nearest_rank(&lags, 50), instrument.schedule_lag_p50_ns),
            ("p99", nearest_rank(&lags, 99), instrument.schedule_lag_p99_ns),
            ("max", nearest_rank(&lags, 100), instrument.schedule_lag_max_ns),
        ] {
            if Nanos(rank) != told {
                let what = "it is not that of sent − scheduled of its measured requests";
                let values = Some((rank.to_string(), told.0.to_string()));
                self.contradicts(&format!("/instrument/schedule_lag_{name}_ns"), what, values);
            }
        }
    }
}

/// The value of this rank in percent, as `trial.json` has it: the smallest with at least so many at or below it; 0 of none.
fn nearest_rank(sorted: &[u64], percent: usize) -> u64 {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Why the times of a row cannot be; none where they can.
fn wrong_times(t: &Trace) -> Option<&'static str> {
    let began = t.sent_ns.unwrap_or(t.scheduled_ns);
    if began < t.scheduled_ns {
        return Some("it was sent before it was scheduled");
    }
    if t.finished_ns < began {
        return Some("it ended before it was sent");
    }
    if t.connect_ns > t.finished_ns.since(t.scheduled_ns) {
        return Some("connecting took longer than the whole attempt");
    }
    if let Some(headers) = t.headers_ns {
        if t.sent_ns.is_none_or(|sent| headers < sent) {
            return Some("the response head came before the request was sent");
        }
        // An attempt that was given up ended at its deadline, though a late client may have read a head after that.
        if headers > t.finished_ns && t.completion().is_some() {
            return Some("the response head came after the end");
        }
    }
    match &t.outcome {
        Outcome::Completed(c) => {
            let Some((sent, headers)) = t.sent_ns.zip(t.headers_ns) else {
                return Some("it completed without being sent, or without a response head");
            };
            if sent.after(c.e2e()) > t.finished_ns {
                return Some("its last token came after its end");
            }
            if sent.after(c.first_chunk()) < headers {
                return Some("its first token came before the response head");
            }
            let content = c.ttft_content().map(|after| sent.after(after));
            content
                .is_some_and(|at| at < headers || at > t.finished_ns)
                .then_some("its first text came before the response head, or after its end")
        }
        Outcome::Failed(failure) => {
            (failure.after_ns != t.finished_ns.since(began)).then_some("after_ns is not from its sending to its end")
        }
    }
}

/// The rules of telemetry, row by row.
#[derive(Debug, Default)]
pub(crate) struct TelemetryRules {
    last: TrialInstant,
}

impl TelemetryRules {
    /// Why a sample cannot follow those before it; none where it can.
    pub(crate) fn sample(&mut self, context: &Context<'_>, s: &TelemetrySample) -> Option<String> {
        if s.t_ns < self.last {
            return Some("it is earlier than the sample before".to_owned());
        }
        self.last = s.t_ns;
        let known = |index: u32| context.environment.gpus.iter().any(|g| g.index == index);
        let strange = s.gpus.iter().find(|g| !known(g.index))?;
        Some(format!("GPU {} is not in environment.json", strange.index))
    }
}
