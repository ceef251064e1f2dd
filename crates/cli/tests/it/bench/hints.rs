//! A server that cannot be measured: what is said of it, and the exit code.

use super::*;
use crate::tls::Certificate;
use rustls::{ServerConnection, StreamOwned};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

/// Reads until the head of a request has come.
fn request(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// A server that answers every connection so.
fn listen(answer: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(answer));
    address
}

/// A server whose every answer to a path that begins so is this, and 404 elsewhere.
pub(crate) fn pages(pages: &'static [(&'static str, &'static str, &'static str)]) -> String {
    let address = listen(move |mut stream| {
        let Some(head) = request(&mut stream) else { return };
        let found = pages.iter().find(|(ask, ..)| head.starts_with(ask));
        let (status, body) = found.map_or(("404 Not Found", ""), |(_, status, body)| (*status, *body));
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
    });
    format!("http://{address}")
}

/// The address of a port that nobody listens on.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server that speaks TLS and answers 404, with a certificate for `name` that nobody signed; and that certificate.
fn tls(name: &str) -> (SocketAddr, String) {
    let certificate = Certificate::of(name);
    let config = certificate.config;
    let address = listen(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        if request(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (address, certificate.pem)
}

/// Runs a bench that must end so and say all of this.
fn check(url: &str, words: &[&str], code: i32, says: &[&str]) {
    let said = run(url, words).exits(code);
    for part in says {
        let flat = said.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat.contains(part),
            "{url} {words:?} does not say {part:?}:\n{}",
            said.err
        );
    }
    assert!(
        said.out.is_empty() && !said.err.contains("panicked"),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn a_host_without_a_scheme_is_taken_as_http_and_said() {
    let server = Server::start(|_, _| answer());
    let bare = server.url.strip_prefix("http://").unwrap();
    let said = run(bare, &["--requests", "2", "--max-tokens", "1", "--format", "json"]);
    assert!(said.err.contains(&format!("taken as {}", server.url)), "{}", said.err);
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["url"], server.url);
}

#[test]
fn nobody_there() {
    let nobody = nobody();
    for words in [&[][..], &["--model", "m"]] {
        check(
            &format!("http://{nobody}"),
            words,
            4,
            &["Connection refused", "nothing listens there"],
        );
    }
}

#[test]
fn keys() {
    const REFUSAL: &str = r#"{"error":{"message":"Incorrect API key provided: sk-wrong-key"}}"#;
    let url = pages(&[
        ("GET /v1/models", "401 Unauthorized", REFUSAL),
        ("POST", "401 Unauthorized", REFUSAL),
    ]);
    check(
        &url,
        &[],
        4,
        &["HTTP 401: Incorrect API key provided", "--api-key-env NAME"],
    );
    let mut command = servelab();
    command.args(["bench", "--url", &url, "--api-key-env", "BENCH_HINT_KEY"]);
    let said = command_output(&command.env("BENCH_HINT_KEY", "sk-wrong-key").output().unwrap()).exits(4);
    assert!(
        said.err.contains("does not take the key in `BENCH_HINT_KEY`"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("sk-wrong-key"), "{}", said.err);
}

#[test]
fn tls_that_does_not_come_about() {
    let (address, _) = tls("localhost");
    let port = address.port();
    check(
        &format!("https://localhost:{port}"),
        &[],
        4,
        &["UnknownIssuer", "SSL_CERT_FILE"],
    );
    check(&format!("http://localhost:{port}"), &[], 4, &["write https://"]);
    let plain = listen(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    for words in [&[][..], &["--model", "m"]] {
        check(&format!("https://{plain}"), words, 4, &["write http://"]);
    }
}

#[test]
fn a_certificate_that_ssl_cert_file_names_is_trusted() {
    let (address, pem) = tls("localhost");
    let files = Files::new();
    let ask = |host: &str| {
        let mut command = servelab();
        command.args(["bench", "--url", &format!("https://{host}:{}", address.port())]);
        command.env("SSL_CERT_FILE", files.write("ca.pem", &pem));
        command_output(&command.output().unwrap()).exits(4).err
    };
    let said = ask("localhost");
    assert!(said.contains("/v1/models says HTTP 404"), "{said}");
    let said = ask("127.0.0.1");
    assert!(said.contains("certificate is for another name"), "{said}");
}

#[test]
fn an_https_port_that_answers_in_plain_words() {
    let url = pages(&[(
        "GET",
        "400 Bad Request",
        "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    )]);
    check(
        &url,
        &[],
        4,
        &["The plain HTTP request was sent to HTTPS port", "write https://"],
    );
}

#[test]
fn pages_that_are_no_list_of_models() {
    const NGINX: &str = "<html><head><title>502 Bad Gateway</title></head><body>nginx/1.22.1</body></html>";
    check(
        &pages(&[("GET", "502 Bad Gateway", NGINX)]),
        &[],
        4,
        &["502 Bad Gateway", "engine behind it"],
    );
    let url = pages(&[(
        "GET",
        "200 OK",
        "<!doctype html><html><head><title>Open WebUI</title></head></html>",
    )]);
    check(&url, &[], 4, &["a web page, \"Open WebUI\"", "that is no OpenAI API"]);
    let url = pages(&[("GET /v1/models", "200 OK", r#"{"object":"list","data":[]}"#)]);
    check(&url, &[], 4, &["it lists no model", "--model"]);
    let url = pages(&[]);
    check(
        &url,
        &[],
        4,
        &["/v1/models says HTTP 404", "stands under a path", "--model"],
    );
    check(
        &format!("{url}/api/v1"),
        &[],
        4,
        &["check the path `/api`", &format!("--url {url}")],
    );
    let url = pages(&[("GET", "307 Temporary Redirect", "")]);
    check(&url, &[], 4, &["redirects are not followed"]);
}

#[test]
fn a_server_that_says_nothing_yet() {
    let url = pages(&[(
        "GET",
        "503 Service Unavailable",
        r#"{"error":{"message":"Loading model","code":503}}"#,
    )]);
    check(&url, &[], 4, &["Loading model", "wait until it has loaded"]);
}
