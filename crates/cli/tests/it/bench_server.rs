//! A scripted inference server on port 0 for the tests of `servelab bench`: it says what it is, and answers each request
//! as its script says. A thread for each connection.

use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// What the server does with one request.
pub(crate) enum Act {
    /// A good answer of as many tokens as were asked for, one a chunk, each saying `text`.
    Answer(String),
    /// The same once this holds of what has come.
    AnswerWhen(Box<dyn Fn(&State) -> bool + Send>),
    /// A refusal.
    Status(u16),
    /// A refusal in these words.
    Says(u16, String),
    /// Response head and so many token chunks, then nothing more.
    Silence(u32),
}

pub(crate) fn answer() -> Act {
    Act::Answer("x".to_owned())
}

/// What has come.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) requests: Vec<Request>,
    /// Bodies of what was asked before the load.
    probes: Vec<Value>,
    pub(crate) in_flight: usize,
    pub(crate) answered: usize,
    closing: bool,
}

type Script = dyn Fn(usize, &Request) -> Act + Send + Sync;

pub(crate) struct Server {
    pub(crate) url: String,
    address: std::net::SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Server {
    /// `script` gets the request's number from 0.
    pub(crate) fn start(script: impl Fn(usize, &Request) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let script: Arc<Script> = Arc::new(script);
        let server = Self {
            url: format!("http://{address}"),
            address,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.0.lock().unwrap().closing {
                    return;
                }
                let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
                std::thread::spawn(move || serve(stream.unwrap(), &shared, &*script));
            }
        });
        server
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.0.lock().unwrap().requests.clone()
    }

    /// Bodies of what was asked before the load.
    pub(crate) fn probes(&self) -> Vec<Value> {
        self.shared.0.lock().unwrap().probes.clone()
    }

    /// Waits until it is so.
    pub(crate) fn wait_for(&self, reached: impl Fn(&State) -> bool) {
        wait(&self.shared, reached);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap().closing = true;
        self.shared.1.notify_all();
        // Wakes the accepting thread so that it ends.
        let _ = TcpStream::connect(self.address);
    }
}

/// False where the server is closing.
fn wait(shared: &(Mutex<State>, Condvar), reached: impl Fn(&State) -> bool) -> bool {
    let state = shared.0.lock().unwrap();
    // The limit only ends a test that has already failed.
    let limit = Duration::from_secs(30);
    let (state, out) = shared
        .1
        .wait_timeout_while(state, limit, |s| !s.closing && !reached(s))
        .unwrap();
    assert!(
        !out.timed_out(),
        "in flight {}, requests {}",
        state.in_flight,
        state.requests.len()
    );
    !state.closing
}

fn serve(mut stream: TcpStream, shared: &(Mutex<State>, Condvar), script: &Script) {
    stream.set_nodelay(true).unwrap();
    while let Some(request) = read_request(&mut stream) {
        if request.head.starts_with("GET") {
            let page = match request.path.as_str() {
                "/version" => json!({"version": "9.9.9"}),
                "/v1/models" => json!({"data": [{"id": "first-model"}, {"id": "second-model"}]}),
                _ => Value::Null,
            };
            let page = page.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", page.len());
            stream.write_all((head + &page).as_bytes()).unwrap();
            continue;
        }
        // What is asked before the load, to find what the server takes: it takes everything, and no script counts it.
        if request.head.contains("x-request-id: servelab-probe-") {
            shared.0.lock().unwrap().probes.push(request.body.clone());
            let tokens = u32::try_from(request.body["max_tokens"].as_u64().unwrap()).unwrap();
            stream
                .write_all(completion(&request.path, "x", tokens).as_bytes())
                .unwrap();
            continue;
        }
        // Who would count prompts before the load learns nothing here, and no script counts it.
        if request.body["stream"] == Value::Null || request.body["stream"] == false {
            shared.0.lock().unwrap().probes.push(request.body.clone());
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .unwrap();
            continue;
        }
        let number = {
            let mut state = shared.0.lock().unwrap();
            state.requests.push(request.clone());
            state.in_flight += 1;
            shared.1.notify_all();
            state.requests.len() - 1
        };
        let tokens = u32::try_from(request.body["max_tokens"].as_u64().unwrap()).unwrap();
        let said = match script(number, &request) {
            Act::Answer(text) => stream.write_all(completion(&request.path, &text, tokens).as_bytes()),
            Act::AnswerWhen(reached) => {
                if !wait(shared, reached) {
                    return;
                }
                stream.write_all(completion(&request.path, "x", tokens).as_bytes())
            }
            Act::Status(status) => stream.write_all(refusal(status, "no way").as_bytes()),
            Act::Says(status, words) => stream.write_all(refusal(status, &words).as_bytes()),
            Act::Silence(chunks) => {
                let text: String = (1..=chunks).map(|n| token(&request.path, "x", n, false)).collect();
                let _ = stream.write_all((HEAD.to_owned() + &text).as_bytes());
                wait(shared, |_| false);
                return;
            }
        };
        let mut state = shared.0.lock().unwrap();
        state.in_flight -= 1;
        state.answered += 1;
        shared.1.notify_all();
        drop(state);
        if said.is_err() {
            return;
        }
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn refusal(status: u16, words: &str) -> String {
    format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n{words}", words.len())
}

fn event(payload: &str) -> String {
    let event = format!("data: {payload}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn token(path: &str, text: &str, n: u32, last: bool) -> String {
    let finish = if last { json!("length") } else { Value::Null };
    let choice = if path.ends_with("/chat/completions") {
        json!({"index": 0, "delta": {"content": text}, "finish_reason": finish})
    } else {
        json!({"index": 0, "text": text, "finish_reason": finish})
    };
    let usage = json!({"prompt_tokens": 10, "total_tokens": 10 + n, "completion_tokens": n});
    event(&json!({"choices": [choice], "usage": usage}).to_string())
}

fn completion(path: &str, text: &str, tokens: u32) -> String {
    let chunks: String = (1..=tokens).map(|n| token(path, text, n, n == tokens)).collect();
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": tokens}});
    format!(
        "{HEAD}{chunks}{}{}0\r\n\r\n",
        event(&usage.to_string()),
        event("[DONE]")
    )
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(Request {
        path: head.split(' ').nth(1).unwrap().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        head,
    })
}
