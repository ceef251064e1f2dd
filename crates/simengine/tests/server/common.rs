//! A simulated server on a free port and a client that sees every byte.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};

use clap::Parser;
use serde_json::Value;
use servelab_simengine::SimArgs;
use servelab_simengine::clock::WallClock;
use servelab_simengine::faults::Script;
use servelab_simengine::run::configure;
use servelab_simengine::server::{Event, Server, ServerSpec, bind, start};
use servelab_simengine::tokenizer::{ModelTokenizer, PromptTokenizer};

#[derive(Parser)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub sim: SimArgs,
}

fn tokenizer() -> Arc<dyn PromptTokenizer> {
    static ONE: OnceLock<Arc<ModelTokenizer>> = OnceLock::new();
    let dir = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../datasets/tokenizers/mistral-7b-instruct-v0.3"
    );
    ONE.get_or_init(|| Arc::new(ModelTokenizer::load(Path::new(dir)).unwrap()))
        .clone()
}

/// A running server.
pub(crate) struct Sim {
    pub server: Server,
    pub events: Receiver<Event>,
    pub address: SocketAddr,
}

/// Starts a server as the captures' was started (context 2048, model `tiny`), with more simulator options in `options`, more engine
/// flags in `flags` and a fault script.
pub(crate) fn sim(options: &str, flags: &str, faults: &str) -> Sim {
    let scale = if options.contains("--time-scale") {
        ""
    } else {
        "--time-scale 5000"
    };
    let engine = if options.contains("--dialect sglang") {
        "--model-path m --context-length 2048 --served-model-name tiny --enable-metrics"
    } else {
        "m --max-model-len 2048 --served-model-name tiny"
    };
    // No option of the program: SGLang's state between listening and the end of its warm-up.
    let given = options.replace("--not-ready", "");
    let line = format!("sim --tokenizer-dir unused {scale} {given} -- {engine} {flags}");
    let args = Cli::try_parse_from(line.split_whitespace()).unwrap().sim;
    let bound = bind("127.0.0.1", 0).unwrap();
    let config = configure(&args, bound.address.port()).unwrap();
    let (tx, events) = channel();
    let spec = ServerSpec {
        args: &args,
        config,
        tokenizer: tokenizer(),
        script: Script::parse(faults, Path::new("faults.toml")).unwrap(),
        clock: WallClock::start(),
        events: tx,
        ready: !options.contains("--not-ready"),
    };
    let server = start(bound, spec).unwrap();
    Sim {
        address: server.address(),
        server,
        events,
    }
}

/// How a response's bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By its own length or last chunk.
    Body,
    /// By the end of the connection.
    Eof,
    /// By a reset.
    Reset,
}

/// A response as received.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// Body with the chunked framing removed.
    pub body: Vec<u8>,
    pub ended: Ended,
}

impl Raw {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    /// The data of each event, `[DONE]` too.
    pub(crate) fn data(&self) -> Vec<String> {
        data(&self.text())
    }
    /// The JSON of each event before `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.data()
            .iter()
            .filter(|d| *d != "[DONE]")
            .map(|d| serde_json::from_str(d).unwrap())
            .collect()
    }
    /// All text of a stream or a whole answer.
    pub(crate) fn content(&self) -> String {
        self.events().iter().filter_map(content_of).collect()
    }
}

pub(crate) fn content_of(event: &Value) -> Option<String> {
    let choice = event.get("choices")?.get(0)?;
    let text = choice
        .get("delta")
        .and_then(|d| d.get("content"))
        .or_else(|| choice.get("text"))?;
    text.as_str().map(str::to_owned)
}

pub(crate) fn data(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|l| l.strip_prefix("data: "))
        .map(str::to_owned)
        .collect()
}

impl Sim {
    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    pub(crate) fn get(&self, path: &str) -> Raw {
        self.ask("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Raw {
        self.ask("POST", path, body)
    }

    /// A chat request with the usual fields; `more` goes into the JSON object.
    pub(crate) fn chat(&self, prompt: &str, more: &str) -> Raw {
        self.post("/v1/chat/completions", &chat_body(prompt, more))
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Raw {
        let mut socket = self.connect();
        send(&mut socket, method, path, body, "");
        receive(&mut socket, &mut Vec::new())
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_else(|| panic!("no metric {name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

pub(crate) fn chat_body(prompt: &str, more: &str) -> String {
    let prompt = serde_json::to_string(prompt).unwrap();
    format!(
        "{{\"model\":\"tiny\",\"messages\":[{{\"role\":\"user\",\"content\":{prompt}}}],\"temperature\":0,\"stream\":true,\"stream_options\":{{\"include_usage\":true,\"continuous_usage_stats\":true}}{more}}}"
    )
}

pub(crate) fn send(socket: &mut TcpStream, method: &str, path: &str, body: &str, headers: &str) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body.as_bytes()).unwrap();
}

/// Reads one response; `rest` keeps what came beyond it.
pub(crate) fn receive(socket: &mut TcpStream, rest: &mut Vec<u8>) -> Raw {
    let mut raw = Raw {
        status: 0,
        headers: Vec::new(),
        body: Vec::new(),
        ended: Ended::Eof,
    };
    let more = |socket: &mut TcpStream, buffer: &mut Vec<u8>| -> Option<Ended> {
        let mut block = [0u8; 4096];
        match socket.read(&mut block) {
            Ok(0) => Some(Ended::Eof),
            Ok(n) => {
                buffer.extend_from_slice(&block[..n]);
                None
            }
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Some(Ended::Reset),
            Err(e) => panic!("{e}"),
        }
    };
    let head_end = loop {
        if let Some(at) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if let Some(ended) = more(socket, rest) {
            raw.ended = ended;
            return raw;
        }
    };
    let head = String::from_utf8(rest.drain(..head_end).collect()).unwrap();
    let mut lines = head.lines();
    raw.status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    raw.headers = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
        .collect();
    if raw.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = loop {
                if let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
                    let line: Vec<u8> = rest.drain(..at + 2).collect();
                    break usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
                }
                if let Some(ended) = more(socket, rest) {
                    raw.body.append(rest);
                    raw.ended = ended;
                    return raw;
                }
            };
            while rest.len() < size + 2 {
                if let Some(ended) = more(socket, rest) {
                    raw.body.append(rest);
                    raw.ended = ended;
                    return raw;
                }
            }
            raw.body.extend(rest.drain(..size));
            rest.drain(..2);
            if size == 0 {
                raw.ended = Ended::Body;
                return raw;
            }
        }
    }
    let length: usize = raw.header("content-length").map_or(0, |v| v.parse().unwrap());
    while rest.len() < length {
        if let Some(ended) = more(socket, rest) {
            raw.body.append(rest);
            raw.ended = ended;
            return raw;
        }
    }
    raw.body = rest.drain(..length).collect();
    raw.ended = Ended::Body;
    raw
}
