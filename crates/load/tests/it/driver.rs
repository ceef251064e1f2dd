//! Builders of loads, and the closed loop against the scripted server.

use crate::{common::*, server::*};
use servelab_load::{
    Endpoint, Labels, LoadError, LoadResult, LoadSpec, PreparedRequest, RequestHeaders, SinkError, Stop,
    attempt::{Deadlines, SizeLimits},
    clock::TrialClock,
    run_load, start,
    stream::KeepText,
};
use servelab_schema::{ConnectionUse, Load, Nanos, Outcome, PromptId, Reason, TimeScale, Trace, VariantId};
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

/// The traces of a load, in the order they reached the sink.
#[derive(Clone, Default)]
pub(crate) struct Rows(Arc<Mutex<Vec<Trace>>>);

impl Rows {
    pub(crate) fn sink(&self) -> impl FnMut(&Trace) -> Result<(), SinkError> + Send + 'static {
        let rows = Arc::clone(&self.0);
        move |trace| {
            rows.lock().unwrap().push(trace.clone());
            Ok(())
        }
    }

    pub(crate) fn take(&self) -> Vec<Trace> {
        let mut rows = std::mem::take(&mut *self.0.lock().unwrap());
        rows.sort_by_key(|t| t.seq);
        rows
    }
}

pub(crate) fn requests(kind: &str, n: usize) -> Vec<PreparedRequest> {
    let request = |i| PreparedRequest {
        prompt_id: PromptId::new(format!("{kind}-{i}")).unwrap(),
        body: format!("{{\"{kind}\":{i}}}").into_bytes().into(),
        expect: expect(10, 4),
    };
    (0..n).map(request).collect()
}

pub(crate) fn closed(n: u32) -> Load {
    Load::Closed {
        concurrency: NonZeroU32::new(n).unwrap(),
    }
}

/// A load with deadlines that no test should reach.
pub(crate) fn spec(url: &str, load: Load, warm_up: u32, measured: usize) -> LoadSpec {
    let long = Nanos::from_secs(20);
    LoadSpec {
        endpoint: Endpoint::parse(url).unwrap(),
        headers: RequestHeaders::default(),
        load,
        warm_up,
        measured: requests("measured", measured),
        fillers: requests("filler", 3),
        seed: 1,
        deadlines: Deadlines {
            connect: long,
            ttft: long,
            idle: long,
            total: long,
        },
        limits: SizeLimits::default(),
        keep_text: KeepText::Nothing,
        connections: ConnectionUse::Kept,
        labels: Labels {
            block: 3,
            variant: VariantId::new("C7").unwrap(),
            request_prefix: "b03-C7".to_owned(),
        },
        clock: TrialClock::start(TimeScale::REAL),
        engine_exit_grace: Duration::ZERO,
    }
}

pub(crate) fn run(spec: LoadSpec) -> (LoadResult, Vec<Trace>) {
    let rows = Rows::default();
    let result = run_load(spec, rows.sink()).unwrap();
    (result, rows.take())
}

pub(crate) fn good_answer() -> Act {
    Act::say(answer(&good(4)))
}

#[test]
fn the_load_is_held_from_before_the_first_to_the_end_of_the_last_measured_request() {
    const N: usize = 4;
    const MEASURED: usize = 10;
    // The server answers only while N requests are in flight: a load that is not held would never end. Once the last
    // measured one is answered the fillers may drain.
    let server = Server::start(|_, _| {
        vec![
            Act::wait_for(|s| s.in_flight == N || s.measured_answered == MEASURED),
            Act::Answered,
            good_answer(),
        ]
    });
    let (result, traces) = run(spec(&server.url, closed(4), 6, MEASURED));

    assert_eq!(server.state(|s| (s.max_in_flight, s.connections)), (N, N));
    assert_eq!(
        (result.counts.planned, result.counts.completed, result.counts.failures()),
        (10, 10, 0)
    );
    let measured: Vec<&Trace> = traces.iter().filter(|t| t.measured).collect();
    let order: Vec<&str> = measured.iter().map(|t| t.prompt_id.as_str()).collect();
    assert_eq!(order, (0..10).map(|i| format!("measured-{i}")).collect::<Vec<_>>());
    assert_eq!(
        traces.len() - 10,
        usize::try_from(result.counts.fillers_completed).unwrap()
    );

    // The warm-up has ended before the first measured request is sent.
    let first = measured.iter().filter_map(|t| t.sent_ns).min().unwrap();
    assert!(traces.iter().filter(|t| !t.measured && t.finished_ns <= first).count() >= 6);
    let last = measured.iter().map(|t| t.finished_ns).max().unwrap();
    let held = result.held.unwrap();
    assert_eq!((held.start_ns, held.end_ns), (first, last));
    // No filler begins after the window, and every trace is in the span.
    assert!(
        traces
            .iter()
            .all(|t| t.scheduled_ns <= last && t.sent_ns >= Some(t.scheduled_ns))
    );
    let span = result.span.unwrap();
    assert!(span.start_ns <= held.start_ns && span.end_ns >= held.end_ns);
    assert_eq!(result.instrument.achieved_rate_per_s, None);
}

#[test]
fn rows_say_what_was_sent() {
    let server = Server::start(|_, _| vec![Act::Dribble(answer(&good(4)).into_bytes())]);
    let mut spec = spec(&server.url, closed(1), 1, 2);
    spec.headers.add("Authorization", "Bearer key").unwrap();
    let (_, traces) = run(spec);
    let (heads, bodies): (Vec<String>, Vec<String>) = server.state(|s| s.requests.iter().cloned().unzip());
    assert_eq!(bodies, ["{\"filler\":0}", "{\"measured\":0}", "{\"measured\":1}"]);
    for (i, (trace, head)) in traces.iter().zip(&heads).enumerate() {
        assert_eq!(trace.request_id.as_str(), format!("b03-C7-{i:04}-a1"));
        assert!(
            head.contains(&format!("x-request-id: {}\r\n", trace.request_id)),
            "{head}"
        );
        assert!(
            head.contains("Authorization: Bearer key\r\n")
                && head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n")
        );
        assert_eq!(
            (trace.seq, trace.block, trace.variant.as_str(), trace.attempt),
            (u32::try_from(i).unwrap(), 3, "C7", 1)
        );
        assert_eq!(trace.connect_ns, Nanos(0), "opened ahead, then kept");
        let c = trace.completion().unwrap();
        let (sent, headers) = (trace.sent_ns.unwrap(), trace.headers_ns.unwrap());
        assert!(trace.scheduled_ns <= sent && sent < headers && headers <= sent.after(c.first_chunk()));
        assert!(sent.after(c.e2e()) <= trace.finished_ns);
        assert_eq!(c.chunks().iter().map(|k| k.tokens).sum::<u32>(), 4);
    }
    // A slot is free when its answer has ended.
    assert_eq!(traces[1].scheduled_ns, traces[0].finished_ns);
}

#[test]
fn the_text_is_kept_where_it_is_asked_for_and_its_hash_always() {
    let traces_of = |keep_text| {
        let server = Server::start(|_, _| vec![Act::Answered, good_answer()]);
        let (_, traces) = run(LoadSpec {
            keep_text,
            ..spec(&server.url, closed(1), 0, 2)
        });
        traces
    };
    for trace in traces_of(KeepText::Content) {
        let completion = trace.completion().unwrap();
        assert_eq!(completion.text(), Some("xxxx"));
        let row = serde_json::to_string(&trace).unwrap();
        assert_eq!(serde_json::from_str::<Trace>(&row).unwrap(), trace);
    }
    let hashes = |traces: Vec<Trace>| -> Vec<_> {
        let of = |t: &Trace| t.completion().unwrap().text_sha256().clone();
        traces.iter().map(of).collect()
    };
    let without = traces_of(KeepText::Nothing);
    assert!(without.iter().all(|t| t.completion().unwrap().text().is_none()));
    assert_eq!(hashes(without), hashes(traces_of(KeepText::Content)));
}

#[test]
fn a_connection_that_the_server_closed_is_opened_again() {
    let closing = |n: usize| {
        let close = answer(&good(4)).replace("\r\ntransfer", "\r\nconnection: close\r\ntransfer");
        if n == 0 {
            vec![Act::say(close), Act::Close]
        } else {
            vec![good_answer(), Act::Close]
        }
    };
    let server = Server::start(move |n, _| closing(n));
    let mut spec = spec(&server.url, closed(1), 0, 3);
    spec.fillers.clear();
    let (result, traces) = run(spec);
    // Said beforehand, it is not even tried; not said, the next request either finds out before it sends, or is sent again.
    assert!(traces[1].connect_ns > Nanos(0) && traces[1].attempt == 1);
    assert_eq!(result.counts.completed, 3);
}

#[test]
fn every_reason_comes_from_some_fault() {
    let cut = || {
        Act::say(
            good(4)[..3]
                .iter()
                .map(|p| http_chunk(&format!("data: {p}\n\n")))
                .collect::<String>(),
        )
    };
    let with = |i: usize, payload: &str| {
        let mut payloads = good(4);
        payload.clone_into(&mut payloads[i]);
        vec![Act::say(answer(&payloads))]
    };
    let refuse = |status: u16, body: &str| {
        vec![Act::say(format!(
            "HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))]
    };
    let table: Vec<(Reason, Vec<Act>)> = vec![
        (Reason::HttpStatus, refuse(503, "busy")),
        (Reason::ContextOverflow, refuse(400, "maximum context length is 5")),
        (Reason::RateLimited, refuse(429, "")),
        (Reason::Reset, vec![Act::Reset]),
        (Reason::Truncated, vec![Act::say(STREAM_HEAD), cut(), Act::Close]),
        (Reason::Malformed, vec![Act::say("SSH-2.0\r\n\r\n")]),
        (Reason::ErrorEvent, with(3, r#"{"error":{"message":"boom"}}"#)),
        (Reason::EngineOom, with(3, r#"{"error":{"message":"out of memory"}}"#)),
        (Reason::AbortedByEngine, with(4, &token("x", 4, "\"abort\""))),
        (Reason::Empty, vec![Act::say(answer(&[done()]))]),
        (
            Reason::NoUsage,
            vec![Act::say(answer(&[text("a", "\"stop\""), done()]))],
        ),
        (Reason::PromptTokenMismatch, with(5, &usage(11, 4))),
        (Reason::ShortOutput, vec![Act::say(answer(&good(3)))]),
    ];
    let expected: Vec<Reason> = table.iter().map(|(reason, _)| *reason).collect();
    let mut script: Vec<_> = table.into_iter().map(|(_, acts)| Some(acts)).collect();
    // Broken on a kept connection without a byte of an answer, it is sent once more, and broken there too.
    let reset = expected.iter().position(|reason| *reason == Reason::Reset).unwrap();
    script.insert(reset, Some(vec![Act::Reset]));
    let script = Mutex::new(script);
    let server = Server::start(move |n, _| script.lock().unwrap()[n].take().unwrap());
    let mut faults = spec(&server.url, closed(1), 0, expected.len());
    faults.fillers.clear();
    let (result, traces) = run(faults);
    let seen: Vec<Reason> = traces.iter().filter_map(|t| reason(&t.outcome)).collect();
    assert_eq!(seen, expected);
    assert_eq!(result.counts.failures(), u32::try_from(expected.len()).unwrap());

    let limit = Nanos::from_millis(40);
    let alone = [
        (
            "head, then silence",
            silent_after(0, |d| d.ttft = limit),
            Reason::TtftTimeout,
        ),
        (
            "tokens, then silence",
            silent_after(3, |d| d.idle = limit),
            Reason::Stalled,
        ),
        (
            "no end within the total",
            silent_after(1, |d| d.total = limit),
            Reason::TotalTimeout,
        ),
        ("connection refused", refused(), Reason::Connect),
        (
            "https to a plain server",
            crate::tls::spoken_to_a_plain_server(),
            Reason::Tls,
        ),
        ("stopped by the user", stopped(Stop::Cancelled), Reason::Cancelled),
        ("server gone mid-run", stopped(Stop::EngineExited), Reason::EngineExited),
    ];
    let mut all = seen;
    for (name, seen, expected) in alone {
        assert_eq!(seen, expected, "{name}");
        println!("| {name} | {} |", crate::faults::word(seen));
        all.push(seen);
    }
    let missing: Vec<Reason> = Reason::ALL.into_iter().filter(|r| !all.contains(r)).collect();
    assert_eq!(missing, []);
}

/// The reason when the server says `events` events and then nothing, with one deadline made short. (Only silence is raced
/// against the short deadline, so a slow machine changes nothing.)
fn silent_after(events: usize, shorten: impl Fn(&mut Deadlines)) -> Reason {
    let said: String = good(4)[..events]
        .iter()
        .map(|p| http_chunk(&format!("data: {p}\n\n")))
        .collect();
    let server = Server::start(move |_, _| vec![Act::say(format!("{STREAM_HEAD}{said}")), Act::Hang]);
    let mut spec = spec(&server.url, closed(1), 0, 1);
    spec.fillers.clear();
    shorten(&mut spec.deadlines);
    let (_, traces) = run(spec);
    reason(&traces[0].outcome).unwrap()
}

fn refused() -> Reason {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut spec = spec(&format!("http://{port}/"), closed(1), 0, 1);
    spec.fillers.clear();
    let (_, traces) = run(spec);
    assert_eq!((traces[0].sent_ns, traces[0].headers_ns), (None, None));
    reason(&traces[0].outcome).unwrap()
}

fn stopped(stop: Stop) -> Reason {
    let server = Server::start(|_, _| vec![Act::Hang]);
    let rows = Rows::default();
    let load = start(spec(&server.url, closed(2), 0, 50), rows.sink()).unwrap();
    server.wait_for(|s| s.in_flight == 2);
    load.control().stop(stop);
    let result = load.join().unwrap();
    assert_eq!(
        (result.stopped, result.counts.planned, result.counts.failures()),
        (Some(stop), 50, 2)
    );
    reason(&rows.take()[0].outcome).unwrap()
}

#[test]
fn a_broken_connection_waits_for_the_news_that_the_engine_has_gone() {
    let (tell, told) = mpsc::channel();
    let server = Server::start(move |n, _| {
        if n >= 2 {
            // On the kept connection, and again on the fresh one.
            tell.send(()).unwrap();
            vec![Act::Reset]
        } else {
            vec![good_answer()]
        }
    });
    let rows = Rows::default();
    let mut spec = spec(&server.url, closed(1), 0, 3);
    spec.fillers.clear();
    spec.engine_exit_grace = Duration::from_secs(20);
    let load = start(spec, rows.sink()).unwrap();
    told.recv().unwrap();
    // The row must not be written before the news: wait until its slot has nothing left to do.
    server.wait_for(|s| s.measured_answered == 4);
    load.control().stop(Stop::EngineExited);
    let result = load.join().unwrap();
    let reasons: Vec<_> = rows.take().iter().map(|t| reason(&t.outcome)).collect();
    assert_eq!(reasons, [None, None, Some(Reason::EngineExited)]);
    assert_eq!(result.counts.failed.get(&Reason::EngineExited), Some(&1));
}

#[test]
fn a_full_disk_ends_the_load_with_its_own_words() {
    let server = Server::start(|_, _| vec![good_answer()]);
    let mut written = 0;
    let sink = move |_: &Trace| -> Result<(), SinkError> {
        written += 1;
        if written > 5 {
            Err("traces.jsonl: No space left on device".into())
        } else {
            Ok(())
        }
    };
    let error = run_load(spec(&server.url, closed(2), 0, 100_000), sink).unwrap_err();
    assert!(
        matches!(error, LoadError::Sink(_)) && error.to_string().contains("No space left"),
        "{error}"
    );
    assert!(server.state(|s| s.requests.len()) < 100_000);
}

#[test]
fn an_early_refusal_is_read_while_the_request_is_still_being_written() {
    let server = Server::start(|_, _| {
        vec![
            Act::say("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig"),
            Act::Drain,
            Act::Hang,
        ]
    });
    let mut spec = spec(&server.url, closed(1), 0, 1);
    spec.fillers.clear();
    spec.measured[0].body = vec![b'x'; 64 << 20].into();
    let (_, traces) = run(spec);
    let Outcome::Failed(f) = &traces[0].outcome else {
        panic!()
    };
    assert_eq!(
        (f.reason, f.http_status, f.detail.as_str()),
        (Reason::HttpStatus, Some(413), "big")
    );
}

#[test]
fn specs_that_contradict_themselves_are_refused() {
    let check = |change: fn(&mut LoadSpec), words: &str| {
        let mut spec = spec("http://127.0.0.1:1/", closed(1), 1, 1);
        change(&mut spec);
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(|s| s.measured.clear(), "give at least one prompt");
    check(|s| s.fillers.clear(), "set the warm-up to 0");
    check(|s| s.deadlines.idle = Nanos(0), "a timeout is 0");
    check(|s| s.labels.request_prefix = "../x".to_owned(), "request prefix");
}
