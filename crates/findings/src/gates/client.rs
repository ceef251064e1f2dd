//! What the gates ask of the client itself: was it late, was it kept from running, is it exact enough?

use super::{AskedRate, Check, GateFacts, NOT_MEASURED, count, percent};
use servelab_schema::{FigureName, GateFigure, Gates, Instrument, Load, Nanos};
use std::num::NonZeroU32;

/// From how many ticks on the event loop's 99th percentile is not simply its largest lag.
const TICKS_OF_A_P99: u64 = 100;

/// The median lag may be this part of the limit of the 99th percentile.
const MEDIAN_PART: u64 = 8;

/// What a thread waits for its core each time it gets one, at most, where nothing else wants that core: waking a core of a virtual
/// machine from its sleep takes tens of microseconds. Not starvation, and no error beyond what the lag gates see.
const WAKE_UP_S: f64 = 100e-6;

/// The same of a core that was busy a moment ago: 7 to 10 µs on an idle virtual machine, at 1,200 to 13,000 turns a second.
const AWAKE_S: f64 = 10e-6;

/// Share of the load that sleeping cores may cost: a hundred wakings a second. Who has more turns finds its core awake.
const ASLEEP_RATIO: f64 = 0.01;

/// Share of the load that waking is forgiven at most: no number of turns excuses more.
const WAKING_RATIO: f64 = 0.1;

/// How far the wall clock may move against the monotonic one over a load. Both are slewed alike, so that only setting the
/// clock or suspending the machine parts them; a time service steps by milliseconds.
const CLOCK_STEP_LIMIT: Nanos = Nanos::from_millis(20);

/// The client works in wall time, whatever the engine's time is.
pub(super) fn certificate(facts: &GateFacts<'_>) -> Check {
    let Some(certificate) = facts.certificate else {
        return Check::not_applicable(
            "the instrument was not calibrated",
            "what the instrument is certified for",
        );
    };
    let (requests, chunks) = (certificate.highest_requests_per_s, certificate.highest_chunks_per_s);
    let limit = format!("≤ {requests} requests/s and {chunks} chunks/s of wall time");
    let Some(work) = facts.work else {
        return Check::failed(NOT_MEASURED, limit);
    };
    let scale = f64::from(facts.time_scale.get());
    let (asked, received) = (work.requests_per_s * scale, work.chunks_per_s * scale);
    Check::of(
        [
            GateFigure::new(FigureName::RequestRate, asked).at_most(count(requests)),
            GateFigure::new(FigureName::ChunkRate, received).at_most(count(chunks)),
        ],
        format!("{asked:.1} requests/s, {received:.0} chunks/s of wall time"),
        limit,
    )
}

/// The error of a request's TTFT is that of one stamp; that of its TPOT is the error of one gap, spread over all its tokens: so
/// it is held against the time from the first to the last token. Where one of both medians is missing the other is judged alone.
pub(super) fn certified_error(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let share = limits.certified_error_delta_ratio.get() * facts.delta.get();
    let limit = format!("p99 × time scale ≤ {} of what is measured", percent(share));
    let Some(certificate) = facts.certificate else {
        return Check::not_applicable("the instrument was not calibrated", limit);
    };
    let scale = f64::from(facts.time_scale.get());
    let part = |error: Nanos, of: Option<Nanos>| {
        let of = of.filter(|time| *time > Nanos::ZERO)?;
        Some(error.as_secs_f64() * scale / of.as_secs_f64())
    };
    let of_ttft = part(certificate.ttft_error_p99_ns, facts.median_ttft);
    let of_generation = part(certificate.gap_error_p99_ns, facts.median_generation);
    let (mut figures, mut observed) = (Vec::new(), Vec::new());
    for (name, part, of) in [
        (FigureName::OfTtft, of_ttft, "median TTFT"),
        (FigureName::OfGeneration, of_generation, "median time of its tokens"),
    ] {
        let Some(part) = part else { continue };
        figures.push(GateFigure::new(name, part).at_most(share));
        observed.push(format!("{} of the {of}", percent(part)));
    }
    if figures.is_empty() {
        return Check::not_applicable(without_medians(facts), limit);
    }
    Check::of(figures, observed.join(", "), limit)
}

/// Why there is no time to hold an error against.
fn without_medians(facts: &GateFacts<'_>) -> &'static str {
    match facts.median_ttft {
        _ if facts.counts.completed == 0 => "no request completed",
        None => "first timestamps of two kinds have no median, and no request took time to its last token",
        Some(_) => "the median TTFT is 0, and no request took time to its last token",
    }
}

pub(super) fn schedule_lag(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let floor = limits.schedule_lag_p99_ns;
    let share = limits.schedule_lag_ttft_ratio;
    let relative = facts.median_ttft.map(|ttft| share.get() * ttft.as_secs_f64());
    let seen = facts.instrument.map(|i| i.schedule_lag_p99_ns);
    match (seen, relative) {
        (Some(seen), Some(relative)) if relative > floor.as_secs_f64() => {
            let limit = format!(
                "p99 ≤ {:.2}ms ({} of median TTFT)",
                relative * 1e3,
                percent(share.get())
            );
            Check::of(
                [GateFigure::new(FigureName::P99, seen.as_secs_f64()).at_most(relative)],
                lag("p99", seen, facts.time_scale),
                limit,
            )
        }
        _ => {
            let of = format!(" (or {} of median TTFT if that is more)", percent(share.get()));
            at_most_time(seen, floor, &of, facts.time_scale)
        }
    }
}

fn at_most_time(seen: Option<Nanos>, most: Nanos, also: &str, scale: NonZeroU32) -> Check {
    let limit = format!("p99 ≤ {most}{also}");
    let Some(seen) = seen else {
        return Check::failed(NOT_MEASURED, limit);
    };
    let figure = GateFigure::new(FigureName::P99, seen.as_secs_f64()).at_most(most.as_secs_f64());
    Check::of([figure], lag("p99", seen, scale), limit)
}

/// A lag for people; in a scaled run with the wall-clock error that it comes from.
fn lag(name: &str, seen: Nanos, scale: NonZeroU32) -> String {
    if scale == NonZeroU32::MIN {
        format!("{name} {seen}")
    } else {
        let wall = Nanos(seen.0.checked_div(u64::from(scale.get())).unwrap_or(seen.0));
        format!("{name} {seen} ({wall} wall × {scale})")
    }
}

/// The 99th percentile against its limit, and the median against the TTFT that it would shift.
///
/// Of fewer than a hundred ticks the 99th percentile is the largest: one late tick would decide, whatever it did to the
/// figures. There a single lag may also be what starvation may cost of the times that are measured.
pub(super) fn event_loop_lag(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let most = limits.event_loop_lag_p99_ns;
    let typical_part = Nanos(most.0 / MEDIAN_PART);
    let Some(i) = facts.instrument else {
        return Check::failed(NOT_MEASURED, format!("p99 ≤ {most}"));
    };
    let ticks = [
        GateFigure::new(FigureName::Ticks, count(i.event_loop_ticks)),
        GateFigure::new(FigureName::MissedTicks, count(i.event_loop_missed_ticks)),
    ];
    if i.event_loop_ticks == 0 {
        return Check::not_applicable("over before the first tick", format!("p99 ≤ {most}")).with(ticks);
    }
    let of = |share: f64, time: Option<Nanos>| share * time.map_or(0.0, Nanos::as_secs_f64);
    let typical = of(limits.event_loop_lag_ttft_ratio.get(), facts.median_ttft).max(typical_part.as_secs_f64());
    let is_short = i.event_loop_ticks < TICKS_OF_A_P99;
    let times = [facts.median_ttft, facts.median_generation].into_iter().flatten();
    let measured = times.filter(|time| *time > Nanos::ZERO).min();
    let (figure, name, seen, tail) = if is_short {
        let tail = of(limits.starvation_ratio.get(), measured).max(most.as_secs_f64());
        (FigureName::Max, "largest", i.event_loop_lag_max_ns, tail)
    } else {
        (FigureName::P99, "p99", i.event_loop_lag_p99_ns, most.as_secs_f64())
    };
    let median = i.event_loop_lag_p50_ns;
    let lags = [
        GateFigure::new(figure, seen.as_secs_f64()).at_most(tail),
        GateFigure::new(FigureName::P50, median.as_secs_f64()).at_most(typical),
    ];
    Check::of(
        [lags, ticks].concat(),
        format!(
            "{}, median {median}; {} of {} ticks missed",
            lag(name, seen, facts.time_scale),
            i.event_loop_missed_ticks,
            i.event_loop_ticks
        ),
        format!("{name} ≤ {:.2}ms, median ≤ {:.2}ms", tail * 1e3, typical * 1e3),
    )
}

/// The largest of the shares, since one lost moment may count in several of them.
pub(super) fn starvation(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let most = limits.starvation_ratio.get();
    let limit = format!("each ≤ {} of the load", percent(most));
    let Some(i) = facts.instrument else {
        return Check::failed(NOT_MEASURED, limit);
    };
    let known = lost(i)
        .into_iter()
        .filter_map(|(name, share)| Some(GateFigure::new(name, share?).at_most(most)));
    let figures: Vec<GateFigure> = known.collect();
    if figures.is_empty() {
        return Check::not_applicable("over before the first tick", limit);
    }
    let words = |f: &GateFigure| format!("{} {}", f.name.as_str().replace('-', " "), percent(f.value));
    let observed: Vec<String> = figures.iter().map(words).collect();
    Check::of(figures, observed.join(", "), limit)
}

/// How the client lost time, and which share of it; none where nobody knows.
fn lost(i: &Instrument) -> [(FigureName, Option<f64>); 4] {
    let s = &i.starvation;
    let stopped = (i.event_loop_ticks > 0).then(|| count(i.event_loop_missed_ticks) / count(i.event_loop_ticks));
    let seconds = count(s.wall_ns) / 1e9;
    let waiting = s
        .run_queue_wait_ratio
        .zip(s.run_queue_turns)
        .map(|(share, turns)| (share.get() - waking(count(turns) / seconds)).max(0.0));
    [
        (FigureName::Stopped, stopped),
        (FigureName::Stolen, s.stolen_ratio.map(|r| r.get())),
        (FigureName::Throttled, s.throttled_ratio.map(|r| r.get())),
        (FigureName::WaitingForACore, waiting),
    ]
}

/// Share of the load that waking takes a thread of so many turns a second: waiting within it is forgiven.
const fn waking(turns_per_s: f64) -> f64 {
    (turns_per_s * WAKE_UP_S)
        .min(turns_per_s * AWAKE_S + ASLEEP_RATIO)
        .min(WAKING_RATIO)
}

pub(super) fn cpu(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let most = limits.client_thread_cpu_ratio;
    let limit = format!("busiest thread ≤ {}", percent(most.get()));
    facts.instrument.map_or_else(
        || Check::failed(NOT_MEASURED, limit.as_str()),
        |i| {
            let seen = i.client_thread_cpu_ratio;
            let figure = GateFigure::new(FigureName::BusiestThread, seen.get()).at_most(most.get());
            Check::of([figure], format!("{} of a core", percent(seen.get())), limit.as_str())
        },
    )
}

/// Against the schedule: was the client late? Against what was asked for: was that the load at all?
pub(super) fn achieved_rate(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let share = limits.achieved_rate_ratio.get();
    let of_schedule = format!("within {} of the schedule", percent(share));
    let Load::Open { rate_per_s, .. } = facts.load else {
        return Check::not_applicable("closed loop", format!("within {}", percent(share)));
    };
    let scheduled = facts.scheduled_rate_per_s.filter(|r| r.is_finite() && *r > 0.0);
    let achieved = facts
        .instrument
        .and_then(|i| i.achieved_rate_per_s)
        .filter(|r| r.is_finite());
    if facts.instrument.is_some() && scheduled.is_none() && achieved.is_none() {
        return Check::not_applicable("fewer than two arrivals have no rate", of_schedule);
    }
    let Some((scheduled, achieved)) = scheduled.zip(achieved) else {
        return Check::failed(NOT_MEASURED, of_schedule);
    };
    let (asked, off) = (rate_per_s.get(), achieved / scheduled - 1.0);
    let figures = [
        GateFigure::new(FigureName::Achieved, achieved),
        GateFigure::new(FigureName::Scheduled, scheduled),
        GateFigure::new(FigureName::Off, off).at_least(-share).at_most(share),
    ];
    match facts.asked_rate {
        AskedRate::Kept { slack_ratio } => {
            let (off_asked, most) = (achieved / asked - 1.0, share + slack_ratio);
            let of_asked = GateFigure::new(FigureName::OffAsked, off_asked)
                .at_least(-most)
                .at_most(most);
            let figures = figures
                .into_iter()
                .chain([GateFigure::new(FigureName::Asked, asked), of_asked]);
            Check::of(
                figures.collect::<Vec<_>>(),
                format!(
                    "{achieved:.3}/s, {} off the schedule, {} off what was asked for",
                    percent(off.abs()),
                    percent(off_asked.abs())
                ),
                format!(
                    "within {} of the scheduled {scheduled:.3}/s, {} of the asked {asked}/s",
                    percent(share),
                    percent(most)
                ),
            )
        }
        AskedRate::NotKept { why } => Check::of(
            figures,
            format!("{achieved:.3}/s, {} off the schedule", percent(off.abs())),
            format!(
                "within {} of the scheduled {scheduled:.3}/s; not held against {asked}/s: {why}",
                percent(share)
            ),
        ),
    }
}

/// Whether both clocks ran alike: what the wall clock gains or loses was set, or the machine was suspended.
pub(super) fn clock(facts: &GateFacts<'_>) -> Check {
    let limit = format!("wall and monotonic clock within {CLOCK_STEP_LIMIT}");
    let Some(i) = facts.instrument else {
        return Check::failed(NOT_MEASURED, limit);
    };
    let elapsed = |start: u64, end: u64| i128::from(end).saturating_sub(i128::from(start));
    let wall = elapsed(i.clocks_start.unix_ns, i.clocks_end.unix_ns);
    let monotonic = elapsed(i.clocks_start.monotonic_ns, i.clocks_end.monotonic_ns);
    let step = signed_seconds(wall.saturating_sub(monotonic));
    let most = CLOCK_STEP_LIMIT.as_secs_f64();
    let sign = if step < 0.0 { "back" } else { "forward" };
    Check::of(
        [
            GateFigure::new(FigureName::WallElapsed, signed_seconds(wall)).at_least(0.0),
            GateFigure::new(FigureName::MonotonicElapsed, signed_seconds(monotonic)).at_least(0.0),
            GateFigure::new(FigureName::Step, step).at_least(-most).at_most(most),
        ],
        format!(
            "the wall clock moved {sign} by {:.3}ms against the monotonic one",
            step.abs() * 1e3
        ),
        limit,
    )
}

fn signed_seconds(ns: i128) -> f64 {
    let size = Nanos(u64::try_from(ns.unsigned_abs()).unwrap_or(u64::MAX)).as_secs_f64();
    if ns < 0 { -size } else { size }
}
