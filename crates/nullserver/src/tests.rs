//! The server over real sockets.

use crate::{Options, Writes, server::Server};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn options(chunks: u32, writes: Writes) -> Options {
    Options {
        port: 0,
        chunks,
        chunks_from_request: false,
        prompt_tokens: 10,
        ttft: Duration::ZERO,
        itl: Duration::ZERO,
        writes,
        stamps: true,
        until_stdin_ends: false,
    }
}

fn start(options: Options) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, address) = mpsc::channel();
    let flag = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut server = Server::bind(options, flag).unwrap();
        sender.send(server.address().unwrap()).unwrap();
        server.serve().unwrap();
    });
    Running {
        address: address.recv().unwrap(),
        stop,
        thread: Some(thread),
    }
}

impl Running {
    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
        let mut text = Vec::new();
        let mut block = [0; 4096];
        loop {
            let n = stream.read(&mut block).unwrap();
            assert!(n > 0, "{path} ended early");
            text.extend_from_slice(&block[..n]);
            let all = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = all.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    return body.to_owned();
                }
            }
        }
    }
}

/// The body of a request for a stream.
const STREAM: &str = "{\"stream\":true}";

fn post(id: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /v1/chat/completions HTTP/1.1\r\nx-request-id: {id}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Reads one stream to its end and returns it.
fn stream(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0; 1];
    while !text.ends_with(b"\r\n0\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "ended early");
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_connection_carries_many_streams() {
    for writes in [Writes::Coalesced, Writes::Each] {
        let server = start(options(4, writes));
        let mut socket = server.connect();
        for n in 0..3 {
            socket.write_all(post(&format!("r{n}"), STREAM).as_bytes()).unwrap();
            let text = stream(&mut socket);
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert_eq!(text.matches("\"content\":\" word\"").count(), 4);
            assert_eq!(text.matches("data: [DONE]").count(), 1);
        }
        let stats: serde_json::Value = serde_json::from_str(&server.get("/stats")).unwrap();
        assert_eq!(stats["requests"], 3);
        assert!(stats["cpu_ns"].as_u64().unwrap() > 0);
    }
}

#[test]
fn stamps_are_in_order_and_keep_the_schedule() {
    let server = start(Options {
        ttft: Duration::from_micros(3_000),
        itl: Duration::from_micros(2_000),
        ..options(3, Writes::Each)
    });
    let mut socket = server.connect();
    socket.write_all(post("one", STREAM).as_bytes()).unwrap();
    stream(&mut socket);
    let text = server.get("/stamps");
    let mut words = text.split_whitespace();
    assert_eq!(words.next(), Some("one"));
    let times: Vec<u64> = words.map(|w| w.parse().unwrap()).collect();
    let [read, role, first, second, third, end] = times[..] else {
        panic!("{text}")
    };
    // A write may be late by any time, but never early.
    assert!(role >= read + 3_000_000 && first >= role, "{text}");
    assert!(
        second >= read + 5_000_000 && third >= read + 7_000_000 && end >= third,
        "{text}"
    );
    assert_eq!(server.get("/stamps"), "", "handed out once");
}

#[test]
fn requests_in_pieces_and_requests_at_once() {
    let server = start(Options {
        chunks_from_request: true,
        ..options(2, Writes::Each)
    });
    let mut socket = server.connect();
    socket.set_nodelay(true).unwrap();
    let request = post("slow", "{\"stream\":true,\"max_tokens\":5}");
    for byte in request.as_bytes() {
        socket.write_all(&[*byte]).unwrap();
    }
    assert_eq!(stream(&mut socket).matches("\"content\":\" word\"").count(), 5);
    let two = post("a", "{\"stream\":true,\"max_tokens\":1}") + &post("b", STREAM);
    socket.write_all(two.as_bytes()).unwrap();
    assert_eq!(stream(&mut socket).matches("\"content\":\" word\"").count(), 1);
    assert_eq!(stream(&mut socket).matches("\"content\":\" word\"").count(), 2);
    let text = server.get("/stamps");
    let ids: Vec<&str> = text.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(ids, ["slow", "a", "b"]);
}

#[test]
fn a_reader_that_lags_gets_every_byte() {
    // Far more than a socket's buffers hold, and the reader begins only when the server has nothing more to do.
    let server = start(options(60_000, Writes::Coalesced));
    let mut socket = server.connect();
    socket.write_all(post("big", STREAM).as_bytes()).unwrap();
    let mut others = server.connect();
    others.write_all(post("big2", STREAM).as_bytes()).unwrap();
    for socket in [&mut others, &mut socket] {
        let mut text = Vec::new();
        let mut block = vec![0; 65_536];
        while !text.ends_with(b"\r\n0\r\n\r\n") {
            let n = socket.read(&mut block).unwrap();
            assert!(n > 0);
            text.extend_from_slice(&block[..n]);
        }
        let words = memchr::memmem::find_iter(&text, b"\"content\":\" word\"").count();
        assert_eq!(words, 60_000);
    }
}

#[test]
fn what_is_no_request_ends_the_connection_only() {
    let server = start(options(1, Writes::Each));
    let mut socket = server.connect();
    socket.write_all(b"\0\0\0\r\n\r\n").unwrap();
    assert_eq!(socket.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(server.get("/health"), "");
    assert!(server.get("/else").contains("/v1/chat/completions"));
    // The slots of closed connections are used again.
    for _ in 0..50 {
        let mut socket = server.connect();
        socket.write_all(post("x", STREAM).as_bytes()).unwrap();
        stream(&mut socket);
    }
    let stats: serde_json::Value = serde_json::from_str(&server.get("/stats")).unwrap();
    assert_eq!(stats["requests"], 50);
}

/// Whoever asks for no stream gets the same answer in one piece, and no earlier.
#[test]
fn an_answer_in_one_piece_has_the_same_length_and_time() {
    let server = start(Options {
        chunks_from_request: true,
        ttft: Duration::from_millis(20),
        itl: Duration::from_millis(2),
        ..options(16, Writes::Each)
    });
    let mut socket = server.connect();
    socket.write_all(post("w", "{\"max_tokens\":6}").as_bytes()).unwrap();
    let (mut text, mut block) = (String::new(), [0; 4096]);
    while !text.ends_with('}') {
        let n = socket.read(&mut block).unwrap();
        assert!(n > 0, "{text}");
        text.push_str(std::str::from_utf8(&block[..n]).unwrap());
    }
    let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["usage"]["completion_tokens"], 6);
    assert_eq!(body["choices"][0]["message"]["content"], " word".repeat(6));
    let stamps = server.get("/stamps");
    let row: Vec<u64> = stamps.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
    assert!(row[1] - row[0] >= 30_000_000, "20 ms and five times 2 ms: {stamps}");
    let models = server.get("/v1/models");
    assert!(
        models.contains("\"id\":\"null\"") && models.contains("simulated"),
        "{models}"
    );
}
