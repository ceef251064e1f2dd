//! When a request on a kept connection is sent again. The runtime sees what the peer did only when it looks; here it does not
//! look between the peer's close and the request, so the race that happens on real engines is decided beforehand.

use super::*;
use crate::{
    Endpoint, PreparedRequest, RequestHeaders,
    attempt::{Deadlines, SizeLimits},
    clock::TrialClock,
    control::Control,
    stream::{Expectation, KeepText},
};
use servelab_schema::{ConnectionUse, Load, PromptId, TimeScale, TrialInstant, VariantId};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroU32,
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":1}}\n\n\
    data: [DONE]\n\n";

/// Runs one request on a connection that `close` has closed on the server's side, with a good answer for whoever connects
/// anew. Returns the row, the heads that the server saw on new connections, and how many requests were sent a second time.
fn after(close: impl FnOnce(TcpStream)) -> (Trace, Vec<String>, u32) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/chat/completions", listener.local_addr().unwrap());
    let endpoint = Endpoint::parse(&url).unwrap();
    let long = Nanos::from_secs(20);
    let deadlines = Deadlines {
        connect: long,
        ttft: long,
        idle: long,
        total: long,
    };
    let clock = TrialClock::start(TimeScale::REAL);
    let net = crate::driver::net(&endpoint, clock, deadlines, Control::default()).unwrap();
    let request = PreparedRequest {
        prompt_id: PromptId::new("p").unwrap(),
        body: b"{}".as_slice().into(),
        expect: Expectation::default(),
    };
    let spec = LoadSpec {
        endpoint,
        headers: RequestHeaders::default(),
        load: Load::Closed {
            concurrency: NonZeroU32::MIN,
        },
        warm_up: 0,
        measured: vec![request],
        fillers: Vec::new(),
        seed: 0,
        deadlines,
        limits: SizeLimits::default(),
        keep_text: KeepText::Nothing,
        connections: ConnectionUse::Kept,
        labels: Labels {
            block: 1,
            variant: VariantId::new("V").unwrap(),
            request_prefix: "t".to_owned(),
        },
        clock,
        engine_exit_grace: Duration::ZERO,
    };
    let (sender, mut traces) = mpsc::channel(4);
    let shared = Arc::new(Shared::new(spec, LoadProfile::default(), net, Live::new(1), sender));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let kept = Connection::open(&shared.net).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        close(peer);
        let server = std::thread::spawn(move || {
            listener.set_nonblocking(false).unwrap();
            let mut heads = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n{}") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap() == 0 {
                        // The test's own connection, which ends this thread.
                        return heads;
                    }
                    head.push(byte[0]);
                }
                heads.push(String::from_utf8(head).unwrap());
                stream.write_all(ANSWER.as_bytes()).unwrap();
            }
            heads
        });
        let job = shared.state(|s| s.next_measured(TrialInstant::START)).unwrap();
        shared.run(job, Some(kept)).await;
        drop(TcpStream::connect(shared.net.addresses[0]).unwrap());
        let stale = shared.state(|s| s.stale_connections());
        (traces.recv().await.unwrap(), server.join().unwrap(), stale)
    })
}

fn is_sent_again_once(close: impl FnOnce(TcpStream)) {
    let (trace, heads, stale) = after(close);
    assert!(trace.completion().is_some(), "{trace:?}");
    assert_eq!((trace.attempt, trace.request_id.as_str()), (2, "t-0000-a2"));
    assert!(trace.connect_ns > Nanos(0), "a new connection was opened");
    // It is timed from the second send, which came after the connection was opened.
    assert!(
        trace.sent_ns.unwrap() >= trace.scheduled_ns.after(trace.connect_ns),
        "{trace:?}"
    );
    assert_eq!((heads.len(), stale), (1, 1));
    assert!(heads[0].contains("x-request-id: t-0000-a2\r\n"), "{heads:?}");
}

#[test]
fn a_request_of_which_no_byte_was_sent_is_sent_again_once_and_says_so() {
    is_sent_again_once(|peer| {
        // A reset is known to our kernel when this returns: the first write fails.
        rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    });
}

#[test]
fn a_request_on_a_kept_connection_that_was_closed_without_a_byte_is_sent_again_once() {
    // A plain close: our first write succeeds, and the read ends without an answer.
    is_sent_again_once(drop);
}

#[test]
fn one_that_was_answered_by_a_byte_is_never_sent_again() {
    let (trace, heads, stale) = after(|mut peer| peer.write_all(b"H").unwrap());
    let Outcome::Failed(failure) = &trace.outcome else {
        panic!("{trace:?}")
    };
    // Its byte came before the request: the connection is spent, and nothing is sent on it at all.
    assert_eq!((failure.reason, trace.attempt, stale), (Reason::Truncated, 1, 0));
    assert_eq!(heads.len(), 0);
}
