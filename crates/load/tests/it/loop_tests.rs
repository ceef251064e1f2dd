//! The open loop, the trial's clock and the live counters against the scripted server.

use crate::{common::*, driver::*, server::*};
use servelab_load::{arrivals::Schedule, clock::TrialClock, start};
use servelab_schema::{Arrivals, Load, Nanos, Rate, Reason, TimeScale, Trace};
use std::num::NonZeroU32;

fn open(rate_per_s: f64, arrivals: Arrivals) -> Load {
    Load::Open {
        rate_per_s: Rate::new(rate_per_s).unwrap(),
        arrivals,
    }
}

#[test]
fn the_open_loop_never_waits_for_answers() {
    const MEASURED: usize = 30;
    // No measured request is answered before the last one has arrived, and a filler after it: whoever waits for an answer
    // waits for ever.
    let server = Server::start(|_, body| {
        let wait = Act::wait_for(|s| {
            let measured = s.requests.iter().filter(|(_, b)| b.contains("measured")).count();
            measured == MEASURED && s.requests.last().is_some_and(|(_, b)| b.contains("filler"))
        });
        if body.contains("measured") {
            vec![wait, good_answer()]
        } else {
            vec![good_answer()]
        }
    });
    let spec = spec(&server.url, open(2000.0, Arrivals::Poisson), 5, MEASURED);
    let (result, traces) = run(spec);
    assert_eq!((result.counts.completed, result.counts.failures()), (30, 0));
    let measured: Vec<&Trace> = traces.iter().filter(|t| t.measured).collect();
    // The schedule is the seed's, whatever happens on the wire.
    let offsets = Schedule::new(Arrivals::Poisson, Rate::new(2000.0).unwrap(), 1, "measured")
        .fill(MEASURED)
        .offsets;
    let base = measured[0].scheduled_ns.0 - offsets[0].0;
    let scheduled: Vec<u64> = measured.iter().map(|t| t.scheduled_ns.0 - base).collect();
    assert_eq!(scheduled, offsets.iter().map(|n| n.0).collect::<Vec<_>>());
    assert!(traces.iter().all(|t| t.sent_ns >= Some(t.scheduled_ns)));
    // Fillers hold the load before and after.
    let (first, last) = (measured[0].scheduled_ns, measured[MEASURED - 1].scheduled_ns);
    let before = traces.iter().filter(|t| !t.measured && t.finished_ns <= first).count();
    assert!(before >= 5, "{before}");
    assert!(traces.iter().any(|t| !t.measured && t.scheduled_ns > last));
    let rate = result.scheduled_rate_per_s.unwrap();
    assert!(
        (rate - 2000.0).abs() < 1e-6 && result.instrument.achieved_rate_per_s.is_some(),
        "{rate}"
    );
}

#[test]
fn a_burst_leaves_together() {
    let server = Server::start(|_, _| vec![Act::wait_for(|s| s.requests.len() >= 8), good_answer()]);
    let size = NonZeroU32::new(8).unwrap();
    let mut spec = spec(&server.url, open(100.0, Arrivals::Burst { size }), 0, 16);
    spec.fillers.clear();
    let (result, traces) = run(spec);
    assert_eq!(result.counts.completed, 16);
    let scheduled: Vec<u64> = traces
        .iter()
        .map(|t| t.scheduled_ns.0 - traces[0].scheduled_ns.0)
        .collect();
    assert_eq!(scheduled, [[0; 8], [80_000_000; 8]].concat());
}

#[test]
fn an_open_loop_against_nothing_ends() {
    let server = Server::start(|_, _| vec![Act::Reset]);
    let (result, _) = run(spec(&server.url, open(1000.0, Arrivals::Constant), 3, 20));
    assert_eq!((result.counts.completed, result.counts.failures()), (0, 20));
    assert!(result.counts.fillers_failed >= 3);
}

#[test]
fn engine_time_is_wall_time_times_the_scale() {
    let server = Server::start(|_, _| vec![Act::say(STREAM_HEAD), Act::Hang]);
    let mut spec = spec(&server.url, closed(1), 0, 2);
    spec.fillers.clear();
    spec.clock = TrialClock::start(TimeScale::new(NonZeroU32::new(100).unwrap()));
    // Three seconds for the engine are 30 ms for us.
    spec.deadlines.ttft = Nanos::from_secs(3);
    let (_, traces) = run(spec);
    for trace in &traces {
        assert_eq!(reason(&trace.outcome), Some(Reason::TtftTimeout));
        assert_eq!(trace.finished_ns, trace.sent_ns.unwrap().after(Nanos::from_secs(3)));
    }
    assert!(traces[1].sent_ns.unwrap() > traces[0].finished_ns);
}

#[test]
fn live_counters_follow_the_load() {
    let server = Server::start(|n, _| match n {
        0..3 => vec![good_answer()],
        3 => vec![Act::say("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")],
        _ => vec![Act::Hang],
    });
    let mut spec = spec(&server.url, closed(1), 0, 5);
    spec.fillers.clear();
    let load = start(spec, |_: &Trace| Ok(())).unwrap();
    server.wait_for(|s| s.requests.len() == 5);
    let live = load.live().snapshot();
    assert_eq!(
        (
            live.sent,
            live.in_flight,
            live.completed,
            live.measured_ended,
            live.measured_planned
        ),
        (5, 1, 3, 4, 5)
    );
    assert_eq!((live.failures(), live.failed.get(&Reason::HttpStatus)), (1, Some(&1)));
    assert!(live.ttft_p50.is_some() && live.ttft_p50 <= live.ttft_p99 && live.tpot_p50.is_some());
    assert!(!load.is_finished());
    load.control().stop(servelab_load::Stop::Cancelled);
    let result = load.join().unwrap();
    assert_eq!(result.counts.failed.get(&Reason::Cancelled), Some(&1));
    assert!(
        ["load", "writer"]
            .iter()
            .all(|name| result.threads.iter().any(|t| t.name == *name))
    );
}
