//! Profiles other than the held load, against the scripted server: what leaves when, and what ends it.

use crate::{common::*, driver::*, server::*};
use servelab_load::{
    LoadError, LoadResult, LoadSpec, PreparedRequest,
    bench::{
        Conversations, Extent, LoadProfile, Pace,
        fetch::{Question, ask, fetch},
    },
    start_with_profile,
};
use servelab_schema::{Arrivals, Load, Nanos, PromptId, Rate, Trace};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

fn open(rate_per_s: f64) -> Load {
    Load::Open {
        rate_per_s: Rate::new(rate_per_s).unwrap(),
        arrivals: Arrivals::Constant,
    }
}

fn n(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn run_profile(spec: LoadSpec, profile: LoadProfile) -> (LoadResult, Vec<Trace>) {
    let rows = Rows::default();
    let result = start_with_profile(spec, profile, rows.sink()).unwrap().join().unwrap();
    (result, rows.take())
}

/// A load that is not held sends exactly its warm-up and its measured requests, and nothing at its end.
#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    for (load, pace) in [
        (closed(3), Pace::Load),
        (closed(3), Pace::Batch(n(3))),
        (open(2000.0), Pace::Load),
        (open(1.0), Pace::Offsets((0..7).map(|i| Nanos(i * 1000)).collect())),
    ] {
        let server = Server::start(|_, _| vec![good_answer()]);
        let profile = LoadProfile {
            pace,
            ..LoadProfile::default()
        };
        let (result, traces) = run_profile(spec(&server.url, load, 4, 7), profile);
        assert_eq!((result.counts.planned, result.counts.completed), (7, 7));
        assert_eq!((result.counts.fillers_completed, result.counts.fillers_failed), (4, 0));
        assert!(traces[..4].iter().all(|t| !t.measured) && traces[4..].iter().all(|t| t.measured));
        assert_eq!(server.state(|s| s.requests.len()), 11);
        let warm = traces[..4].iter().map(|t| t.finished_ns).max().unwrap();
        assert!(
            traces[4..]
                .iter()
                .all(|t| t.scheduled_ns >= warm || t.sent_ns >= Some(warm))
        );
        assert_eq!(result.until, None);
    }
}

#[test]
fn offsets_are_kept_to_the_nanosecond() {
    let offsets = [0, 5_000_000, 5_000_000, 12_345_678].map(Nanos);
    let server = Server::start(|_, _| vec![Act::wait_for(|s| s.requests.len() == 4), good_answer()]);
    let profile = LoadProfile {
        pace: Pace::Offsets(offsets.to_vec()),
        ..LoadProfile::default()
    };
    let (result, traces) = run_profile(spec(&server.url, open(1.0), 0, 4), profile);
    assert_eq!(result.counts.completed, 4);
    let at: Vec<u64> = traces
        .iter()
        .map(|t| t.scheduled_ns.0 - traces[0].scheduled_ns.0)
        .collect();
    assert_eq!(at, offsets.map(|o| o.0));
    assert!(traces.iter().all(|t| t.sent_ns >= Some(t.scheduled_ns)));
}

#[test]
fn time_ends_what_numbers_do_not() {
    let length = Nanos::from_millis(60);
    for load in [closed(2), open(500.0)] {
        let server = Server::start(|_, _| vec![good_answer()]);
        let profile = LoadProfile {
            extent: Extent::For(length),
            ..LoadProfile::default()
        };
        let (result, traces) = run_profile(spec(&server.url, load, 0, 3), profile);
        let until = result.until.unwrap();
        assert_eq!(usize::try_from(result.counts.planned).unwrap(), traces.len());
        assert_eq!(result.counts.completed, result.counts.planned);
        assert!(traces.len() > 3, "the three requests come round: {}", traces.len());
        assert!(traces.iter().all(|t| t.scheduled_ns < until));
        let ids: Vec<&str> = traces.iter().take(4).map(|t| t.prompt_id.as_str()).collect();
        assert_eq!(ids, ["measured-0", "measured-1", "measured-2", "measured-0"]);
    }
}

/// Against a server that refuses at once, a load that lasts for a time does not fill the disk.
#[test]
fn a_lasting_load_against_refusals_slows_down() {
    let server = Server::start(|_, _| vec![Act::say("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")]);
    let profile = LoadProfile {
        extent: Extent::For(Nanos::from_millis(300)),
        ..LoadProfile::default()
    };
    let (result, traces) = run_profile(spec(&server.url, closed(1), 0, 1), profile);
    // Pauses of 10, 20, 40, 80, 160 ms … leave room for at most seven requests, however fast the machine is.
    assert!(traces.len() <= 7 && result.counts.completed == 0, "{}", traces.len());
}

/// As many arrive as were asked for, in the time in which they were asked for, whatever the seed and the process.
#[test]
fn the_rate_that_is_asked_for_is_scheduled() {
    let length = Nanos::from_millis(50);
    for (arrivals, extent) in [
        (Arrivals::Poisson, Extent::Once),
        (Arrivals::Poisson, Extent::For(length)),
        (Arrivals::Burst { size: n(8) }, Extent::Once),
    ] {
        let server = Server::start(|_, _| vec![good_answer()]);
        let load = Load::Open {
            rate_per_s: Rate::new(400.0).unwrap(),
            arrivals,
        };
        let profile = LoadProfile {
            extent,
            ..LoadProfile::default()
        };
        let (result, traces) = run_profile(spec(&server.url, load, 0, 20), profile);
        assert_eq!(traces.len(), 20);
        let rate = result.scheduled_rate_per_s.unwrap();
        assert!((rate - 400.0).abs() < 1e-6, "{arrivals:?}: {rate}");
        let offset = |t: &Trace| t.scheduled_ns.since(traces[0].scheduled_ns);
        assert!(traces.iter().all(|t| offset(t) < length));
    }
    // A recording has no horizon: its rate is that of its gaps.
    let server = Server::start(|_, _| vec![good_answer()]);
    let profile = LoadProfile {
        pace: Pace::Offsets([0, 2, 4, 6, 10].map(Nanos::from_millis).to_vec()),
        ..LoadProfile::default()
    };
    let (result, _) = run_profile(spec(&server.url, open(1.0), 0, 5), profile);
    let rate = result.scheduled_rate_per_s.unwrap();
    assert!((rate - 400.0).abs() < 1e-6, "{rate}");
}

#[derive(Debug)]
struct Echo;

impl Conversations for Echo {
    fn turns(&self) -> NonZeroU32 {
        n(3)
    }

    fn next(&self, opener: usize, answers: &[String]) -> Option<PreparedRequest> {
        (answers.len() < 3).then(|| PreparedRequest {
            prompt_id: PromptId::new(format!("follow-{opener}-{}", answers.len())).unwrap(),
            body: format!("{{\"measured\":{answers:?}}}").into_bytes().into(),
            expect: expect(10, 4),
        })
    }
}

#[test]
fn a_conversation_goes_on_with_its_own_answers() {
    for load in [closed(2), open(1000.0)] {
        let server = Server::start(|_, _| vec![good_answer()]);
        let profile = LoadProfile {
            conversations: Some(Arc::new(Echo)),
            ..LoadProfile::default()
        };
        let (result, traces) = run_profile(spec(&server.url, load, 0, 4), profile);
        assert_eq!((result.counts.planned, result.counts.completed), (12, 12));
        let bodies: Vec<String> = server.state(|s| s.requests.iter().map(|(_, body)| body.clone()).collect());
        assert_eq!(bodies.iter().filter(|b| *b == "{\"measured\":[\"xxxx\"]}").count(), 4);
        assert_eq!(
            bodies
                .iter()
                .filter(|b| *b == "{\"measured\":[\"xxxx\", \"xxxx\"]}")
                .count(),
            4
        );
        for opener in 0..4 {
            let turn = |id: String| traces.iter().find(|t| t.prompt_id.as_str() == id).unwrap();
            let first = turn(format!("measured-{opener}"));
            let (second, third) = (turn(format!("follow-{opener}-1")), turn(format!("follow-{opener}-2")));
            // A turn is due when the one before it has ended.
            assert_eq!(
                (second.scheduled_ns, third.scheduled_ns),
                (first.finished_ns, second.finished_ns)
            );
        }
        // Turns are no arrivals: the rate is that of the conversations.
        if let Some(rate) = result.scheduled_rate_per_s {
            assert!((rate - 1000.0).abs() < 1e-6, "{rate}");
            // So is what was sent, but for the machine's lateness.
            assert!(result.instrument.achieved_rate_per_s.is_some());
        }
    }
}

#[test]
fn profiles_that_contradict_their_load_are_refused() {
    let check = |load: Load, profile: LoadProfile, words: &str| {
        let error = profile.check(&spec("http://127.0.0.1:1/", load, 0, 2)).unwrap_err();
        assert!(matches!(&error, LoadError::Spec(why) if why.contains(words)), "{error}");
    };
    let pace = |pace| LoadProfile {
        pace,
        ..LoadProfile::default()
    };
    check(open(1.0), pace(Pace::Batch(n(2))), "batches wait for answers");
    check(
        closed(1),
        pace(Pace::Offsets(vec![Nanos(0); 2])),
        "offsets make an open loop",
    );
    check(open(1.0), pace(Pace::Offsets(vec![Nanos(0)])), "one offset for each");
    check(
        open(1.0),
        pace(Pace::Offsets(vec![Nanos(2), Nanos(1)])),
        "must not decrease",
    );
    let zero = LoadProfile {
        extent: Extent::For(Nanos::ZERO),
        ..LoadProfile::default()
    };
    check(closed(1), zero, "the duration is 0");
    let short = LoadProfile {
        extent: Extent::For(Nanos::from_secs(1)),
        ..LoadProfile::default()
    };
    check(open(0.4), short, "no request arrives in the duration");
    let ramp = Nanos(1);
    check(
        closed(1),
        LoadProfile {
            ramp,
            ..pace(Pace::Batch(n(1)))
        },
        "can be ramped",
    );
    check(
        closed(1),
        LoadProfile {
            ramp,
            ..LoadProfile::held()
        },
        "a held load",
    );
}

#[test]
fn pages_are_read_over_the_same_transport() {
    let server = Server::start(|n, _| match n {
        0 => vec![Act::say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")],
        1 => vec![Act::say(
            "HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )],
        2 => vec![Act::say("HTTP/1.1 200 OK\r\n\r\nto the end"), Act::Close],
        3 => vec![
            Act::say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"),
            Act::Close,
        ],
        _ => vec![Act::Hang],
    });
    let mut spec = spec(&server.url, closed(1), 0, 1);
    spec.headers.add("Authorization", "Bearer key").unwrap();
    let paths = ["/a", "/b", "/c", "/d", "/e"];
    let pages = fetch(&spec.endpoint, &spec.headers, &paths, Nanos::from_millis(100)).unwrap();
    let said: Vec<Result<(u16, &str), String>> = pages
        .iter()
        .map(|p| {
            p.as_ref()
                .map(|p| (p.status, p.body.as_str()))
                .map_err(ToString::to_string)
        })
        .collect();
    assert_eq!(said[..3], [Ok((200, "{}")), Ok((404, "abc")), Ok((200, "to the end"))]);
    assert!(
        said[3]
            .as_ref()
            .unwrap_err()
            .contains("/d was not answered: the answer broke off"),
        "{said:?}"
    );
    assert!(
        said[4].as_ref().unwrap_err().contains("nothing within 100.00ms"),
        "{said:?}"
    );
    let heads: Vec<String> = server.state(|s| s.requests.iter().map(|(head, _)| head.clone()).collect());
    assert!(heads[0].starts_with("GET /a HTTP/1.1\r\nhost: ") && heads[0].contains("Authorization: Bearer key\r\n"));
}

/// `n` JSON questions whose answers name them.
fn questions(n: usize) -> Vec<Question> {
    (0..n)
        .map(|i| Question::post("/count", format!("{{\"i\":{i}}}")))
        .collect()
}

fn echo(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn questions_go_over_a_kept_connection_and_come_back_in_order() {
    let server = Server::start(|_, body| vec![Act::say(echo(body))]);
    let spec = spec(&server.url, closed(1), 0, 1);
    let (limit, one) = (Nanos::from_secs(20), NonZeroUsize::MIN);
    let pages = ask(&spec.endpoint, &spec.headers, &questions(5), limit, one).unwrap();
    for (i, page) in pages.into_iter().enumerate() {
        assert_eq!(page.unwrap().body, format!("{{\"i\":{i}}}"));
    }
    let (connections, head) = server.state(|s| (s.connections, s.requests[0].0.clone()));
    assert_eq!(connections, 1);
    assert!(head.starts_with("POST /count HTTP/1.1\r\nhost: "), "{head}");
    assert!(ask(&spec.endpoint, &spec.headers, &[], limit, one).unwrap().is_empty());
}

#[test]
fn questions_are_asked_side_by_side() {
    // Nobody is answered before three have come.
    let script = |_: usize, body: &str| {
        let all = Act::wait_for(|s| s.max_in_flight == 3);
        vec![all, Act::say(echo(body))]
    };
    let server = Server::start(script);
    let spec = spec(&server.url, closed(1), 0, 1);
    let lanes = NonZeroUsize::new(3).unwrap();
    let pages = ask(
        &spec.endpoint,
        &spec.headers,
        &questions(7),
        Nanos::from_secs(20),
        lanes,
    )
    .unwrap();
    for (i, page) in pages.into_iter().enumerate() {
        assert_eq!(page.unwrap().body, format!("{{\"i\":{i}}}"));
    }
    assert_eq!(server.state(|s| (s.connections, s.max_in_flight)), (3, 3));
}

/// llama.cpp closes a connection that it said it would keep.
#[test]
fn a_question_that_meets_a_closing_connection_is_asked_again() {
    let server = Server::start(|_, body| vec![Act::say(echo(body)), Act::Close]);
    let spec = spec(&server.url, closed(1), 0, 1);
    let (limit, one) = (Nanos::from_secs(20), NonZeroUsize::MIN);
    let pages = ask(&spec.endpoint, &spec.headers, &questions(9), limit, one).unwrap();
    assert!(pages.iter().all(Result::is_ok), "{pages:?}");
    // What was refused, or cut in the answer, is not asked again.
    let server = Server::start(|_, _| vec![Act::say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsh"), Act::Close]);
    let spec = self::spec(&server.url, closed(1), 0, 1);
    let pages = ask(&spec.endpoint, &spec.headers, &questions(1), limit, one).unwrap();
    assert!(pages[0].as_ref().unwrap_err().to_string().contains("broke off"));
    assert_eq!(server.state(|s| s.requests.len()), 1);
}
