//! `https` on the loopback, with certificates made for the test.

use crate::{common::*, driver, server};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use servelab_load::{Endpoint, LoadSpec};
use servelab_schema::{Outcome, Reason, Trace};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
};

/// How the server ends its connection after its answers.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// It goes on.
    Stays,
    /// It drops the socket without TLS's farewell, in the middle of the answer.
    BreaksOff,
}

/// A TLS server for `name` on port 0; its URL and its certificate.
fn tls_server(name: &str, end: End) -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let der = made.cert.der().to_vec();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(der.clone())], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/v1/chat/completions", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || serve(stream.unwrap(), config, end));
        }
    });
    (url, der)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, end: End) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    while let Some((_, body)) = server::read_request(&mut stream) {
        // An answer to a big request is big enough for many records.
        let padding = http_chunk(&format!(": {}\n", "p".repeat(body.len() / 2)));
        let answer = answer(&good(4)).replacen(STREAM_HEAD, &format!("{STREAM_HEAD}{padding}"), 1);
        let bytes = answer.as_bytes();
        if end == End::BreaksOff {
            let _ = stream.write_all(&bytes[..bytes.len() / 2]);
            let _ = stream.flush();
            return;
        }
        if stream.write_all(bytes).is_err() {
            return;
        }
    }
}

fn spec(url: &str, roots: &[Vec<u8>], n: usize) -> LoadSpec {
    let mut spec = driver::spec("http://127.0.0.1:1/", driver::closed(1), 0, n);
    spec.fillers.clear();
    spec.endpoint = Endpoint::parse(url).unwrap();
    for root in roots {
        spec.endpoint.trust(root.clone());
    }
    spec
}

fn fault(trace: &Trace) -> (Reason, &str) {
    match &trace.outcome {
        Outcome::Failed(f) => (f.reason, &f.detail),
        Outcome::Completed(_) => panic!("{trace:?}"),
    }
}

#[test]
fn streams_are_measured_over_tls_on_a_kept_connection() {
    let (url, root) = tls_server("127.0.0.1", End::Stays);
    let (result, traces) = driver::run(spec(&url, &[root], 3));
    assert_eq!(result.counts.completed, 3, "{traces:?}");
    for trace in &traces {
        let c = trace.completion().unwrap();
        let (sent, headers) = (trace.sent_ns.unwrap(), trace.headers_ns.unwrap());
        assert!(sent < headers && headers <= sent.after(c.first_chunk()) && c.chunks().len() == 4);
        assert_eq!((trace.attempt, trace.connect_ns.0), (1, 0), "opened ahead, then kept");
    }
}

#[test]
fn large_requests_go_through_tls_whole() {
    let (url, root) = tls_server("127.0.0.1", End::Stays);
    let mut spec = spec(&url, &[root], 2);
    for request in &mut spec.measured {
        request.body = vec![b'x'; 900_000].into();
    }
    let (result, traces) = driver::run(spec);
    assert_eq!(result.counts.completed, 2, "{traces:?}");
}

#[test]
fn what_cannot_be_trusted_fails_for_the_reason_tls() {
    let (url, _) = tls_server("127.0.0.1", End::Stays);
    let (_, other) = tls_server("127.0.0.1", End::Stays);
    let (elsewhere, root) = tls_server("example.org", End::Stays);
    for (case, url, roots) in [
        ("unknown authority", &url, vec![]),
        ("another authority", &url, vec![other]),
        ("another host's certificate", &elsewhere, vec![root]),
    ] {
        let (_, traces) = driver::run(spec(url, &roots, 1));
        let (reason, detail) = fault(&traces[0]);
        assert_eq!(reason, Reason::Tls, "{case}: {detail}");
        assert!(detail.contains("certificate"), "{case}: {detail}");
        assert_eq!(traces[0].sent_ns, None, "{case}");
    }
}

/// The reason where the server answers the handshake in plain HTTP.
pub(crate) fn spoken_to_a_plain_server() -> Reason {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            // Takes in what the client sent, so that the answer is not lost in a reset.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let (_, traces) = driver::run(spec(&url, &[], 1));
    fault(&traces[0]).0
}

#[test]
fn a_server_that_speaks_no_tls_fails_for_the_reason_tls() {
    assert_eq!(spoken_to_a_plain_server(), Reason::Tls);
}

#[test]
fn a_stream_broken_off_under_tls_is_truncated() {
    let (url, root) = tls_server("127.0.0.1", End::BreaksOff);
    let (_, traces) = driver::run(spec(&url, &[root], 1));
    assert_eq!(fault(&traces[0]).0, Reason::Truncated, "{traces:?}");
}

#[test]
fn pages_are_read_over_tls() {
    let (url, root) = tls_server("127.0.0.1", End::Stays);
    let spec = spec(&url, &[root], 1);
    let limit = servelab_schema::Nanos::from_secs(20);
    let pages = servelab_load::bench::fetch::fetch(&spec.endpoint, &spec.headers, &["/v1/models"], limit).unwrap();
    let page = pages[0].as_ref().unwrap();
    assert!(page.status == 200 && page.body.contains("[DONE]"), "{page:?}");
}
