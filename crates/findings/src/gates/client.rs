//! What the gates ask of the client itself: was it late, was it kept from running, is it exact enough?

use super::{Check, GateFacts, NOT_MEASURED, count, percent};
use servelab_schema::{Gates, Instrument, Load, Nanos};
use std::num::NonZeroU32;

/// From how many ticks on the event loop's 99th percentile is not simply its largest lag.
const TICKS_OF_A_P99: u64 = 100;

/// The median lag may be this part of the limit of the 99th percentile.
const MEDIAN_PART: u64 = 8;

/// What a thread waits for its core each time it gets one, at most, where nothing else wants that core: waking an idle core of
/// a virtual machine takes tens of microseconds. Not starvation, and no error beyond what the lag gates see.
const WAKE_UP_S: f64 = 100e-6;

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
        return Check::new(false, NOT_MEASURED, limit);
    };
    let scale = f64::from(facts.time_scale.get());
    let (asked, received) = (work.requests_per_s * scale, work.chunks_per_s * scale);
    Check::new(
        asked <= count(requests) && received <= count(chunks),
        format!("{asked:.1} requests/s, {received:.0} chunks/s of wall time"),
        limit,
    )
}

/// The error of a request's TTFT is that of one stamp; that of its TPOT is the error of one gap, spread over all its tokens: so
/// it is held against the time from the first to the last token.
pub(super) fn certified_error(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let share = limits.certified_error_delta_ratio.get() * facts.delta.get();
    let limit = format!("p99 × time scale ≤ {} of what is measured", percent(share));
    let Some(certificate) = facts.certificate else {
        return Check::not_applicable("the instrument was not calibrated", limit);
    };
    let Some(ttft) = facts.median_ttft.filter(|time| *time > Nanos::ZERO) else {
        return Check::not_applicable("no request completed", limit);
    };
    let scale = f64::from(facts.time_scale.get());
    let part = |error: Nanos, of: Nanos| error.as_secs_f64() * scale / of.as_secs_f64();
    let of_ttft = part(certificate.ttft_error_p99_ns, ttft);
    let generation = facts.median_generation.filter(|time| *time > Nanos::ZERO);
    let of_generation = generation.map(|generation| part(certificate.gap_error_p99_ns, generation));
    let mut observed = format!("{} of the median TTFT", percent(of_ttft));
    if let Some(part) = of_generation {
        observed = format!("{observed}, {} of the median time of its tokens", percent(part));
    }
    Check::new(of_ttft.max(of_generation.unwrap_or(0.0)) <= share, observed, limit)
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
            Check::new(
                seen.as_secs_f64() <= relative,
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
    match seen {
        Some(seen) => Check::new(seen <= most, lag("p99", seen, scale), limit),
        None => Check::new(false, NOT_MEASURED, limit),
    }
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
        return Check::new(false, NOT_MEASURED, format!("p99 ≤ {most}"));
    };
    if i.event_loop_ticks == 0 {
        return Check::not_applicable("over before the first tick", format!("p99 ≤ {most}"));
    }
    let of = |share: f64, time: Option<Nanos>| share * time.map_or(0.0, Nanos::as_secs_f64);
    let typical = of(limits.event_loop_lag_ttft_ratio.get(), facts.median_ttft).max(typical_part.as_secs_f64());
    let is_short = i.event_loop_ticks < TICKS_OF_A_P99;
    let times = [facts.median_ttft, facts.median_generation].into_iter().flatten();
    let measured = times.filter(|time| *time > Nanos::ZERO).min();
    let (name, seen, tail) = if is_short {
        let tail = of(limits.starvation_ratio.get(), measured).max(most.as_secs_f64());
        ("largest", i.event_loop_lag_max_ns, tail)
    } else {
        ("p99", i.event_loop_lag_p99_ns, most.as_secs_f64())
    };
    let median = i.event_loop_lag_p50_ns;
    Check::new(
        seen.as_secs_f64() <= tail && median.as_secs_f64() <= typical,
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
        return Check::new(false, NOT_MEASURED, limit);
    };
    let known: Vec<(&str, f64)> = lost(i)
        .into_iter()
        .filter_map(|(what, share)| Some((what, share?)))
        .collect();
    let observed: Vec<String> = known
        .iter()
        .map(|(what, share)| format!("{what} {}", percent(*share)))
        .collect();
    if observed.is_empty() {
        return Check::not_applicable("over before the first tick", limit);
    }
    Check::new(
        known.iter().all(|(_, share)| *share <= most),
        observed.join(", "),
        limit,
    )
}

/// How the client lost time, and which share of it; none where nobody knows.
fn lost(i: &Instrument) -> [(&'static str, Option<f64>); 4] {
    let s = &i.starvation;
    let stopped = (i.event_loop_ticks > 0).then(|| count(i.event_loop_missed_ticks) / count(i.event_loop_ticks));
    let seconds = count(s.wall_ns) / 1e9;
    let waiting = s.run_queue_wait_ratio.zip(s.run_queue_turns).map(|(share, turns)| {
        let waking = count(turns) * WAKE_UP_S;
        (share.get() - waking / seconds).max(0.0)
    });
    [
        ("stopped", stopped),
        ("stolen", s.stolen_ratio.map(|r| r.get())),
        ("throttled", s.throttled_ratio.map(|r| r.get())),
        ("waiting for a core", waiting),
    ]
}

pub(super) fn cpu(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let most = limits.client_thread_cpu_ratio;
    let limit = format!("busiest thread ≤ {}", percent(most.get()));
    facts.instrument.map_or_else(
        || Check::new(false, NOT_MEASURED, limit.as_str()),
        |i| {
            let seen = i.client_thread_cpu_ratio;
            Check::new(
                seen <= most,
                format!("{} of a core", percent(seen.get())),
                limit.as_str(),
            )
        },
    )
}

pub(super) fn achieved_rate(limits: &Gates, facts: &GateFacts<'_>) -> Check {
    let share = limits.achieved_rate_ratio;
    if matches!(facts.load, Load::Closed { .. }) {
        return Check::not_applicable("closed loop", format!("within {}", percent(share.get())));
    }
    let asked = facts.scheduled_rate_per_s.filter(|r| r.is_finite() && *r > 0.0);
    let achieved = facts
        .instrument
        .and_then(|i| i.achieved_rate_per_s)
        .filter(|r| r.is_finite());
    if facts.instrument.is_some() && asked.is_none() && achieved.is_none() {
        let limit = format!("within {} of the schedule", percent(share.get()));
        return Check::not_applicable("fewer than two arrivals have no rate", limit);
    }
    let Some((asked, achieved)) = asked.zip(achieved) else {
        return Check::new(
            false,
            NOT_MEASURED,
            format!("within {} of the schedule", percent(share.get())),
        );
    };
    let off = (achieved / asked - 1.0).abs();
    Check::new(
        off <= share.get(),
        format!("{achieved:.3}/s, off by {}", percent(off)),
        format!("within {} of the scheduled {asked:.3}/s", percent(share.get())),
    )
}

/// Whether both clocks ran alike: what the wall clock gains or loses was set, or the machine was suspended.
pub(super) fn clock(facts: &GateFacts<'_>) -> Check {
    let limit = format!("wall and monotonic clock within {CLOCK_STEP_LIMIT}");
    let Some(i) = facts.instrument else {
        return Check::new(false, NOT_MEASURED, limit);
    };
    let elapsed = |start: u64, end: u64| i128::from(end).saturating_sub(i128::from(start));
    let wall = elapsed(i.clocks_start.unix_ns, i.clocks_end.unix_ns);
    let monotonic = elapsed(i.clocks_start.monotonic_ns, i.clocks_end.monotonic_ns);
    let step = wall.saturating_sub(monotonic);
    let size = u64::try_from(step.unsigned_abs()).unwrap_or(u64::MAX);
    let sign = if step < 0 { "back" } else { "forward" };
    Check::new(
        monotonic >= 0 && wall >= 0 && size <= CLOCK_STEP_LIMIT.0,
        format!(
            "the wall clock moved {sign} by {:.3}ms against the monotonic one",
            count(size) / 1e6
        ),
        limit,
    )
}
