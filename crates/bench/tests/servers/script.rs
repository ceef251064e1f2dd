//! A server that does as its profile says, on port 0, a thread for each connection.

use crate::{
    profile::{AfterStream, Answer, Case, Profile, at},
    stream::{Answering, Stream, prompt_tokens},
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Such as `POST /v1/chat/completions`.
    pub(crate) ask: String,
    head: Vec<String>,
    /// Its body; null where there is none.
    pub(crate) body: Value,
}

/// What every connection of a server shares.
struct Shared {
    profile: Profile,
    case: Case,
    stream: Stream,
    seen: Mutex<Vec<Request>>,
    is_closing: AtomicBool,
}

/// The running server; it ends with this value.
pub(crate) struct Script {
    pub(crate) url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Script {
    /// Starts `profile` with the stream of one case.
    pub(crate) fn start(profile: &Profile, case: &Case) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            stream: Stream::read(&profile.home.join(format!("{}.sse", case.stream))),
            profile: profile.clone(),
            case: case.clone(),
            seen: Mutex::default(),
            is_closing: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.is_closing.load(Ordering::SeqCst) {
                    return;
                }
                let served = Arc::clone(&served);
                std::thread::spawn(move || served.serve(&stream.unwrap()));
            }
        });
        Self {
            url: format!("http://{address}"),
            address,
            shared,
        }
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::SeqCst);
        // Wakes the accepting thread so that it ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream);
        let mut has_streamed = false;
        while let Some(request) = read(&mut reader) {
            if has_streamed && self.profile.after_stream == AfterStream::ClosesSilently {
                return;
            }
            let closes = request.says("connection: close");
            self.seen.lock().unwrap().push(request.clone());
            // The client may be gone; that is its own affair.
            let Ok(streamed) = self.answer(stream, &request) else {
                return;
            };
            has_streamed |= streamed;
            if closes {
                return;
            }
        }
    }

    /// True where the answer was a stream.
    fn answer(&self, out: &TcpStream, request: &Request) -> std::io::Result<bool> {
        let profile = &self.profile;
        if let Some(key) = &profile.key
            && !request.says(&format!("authorization: bearer {key}"))
        {
            let says = profile.page.iter().find(|p| p.ask == "unauthorized").unwrap();
            return self.say(out, request, &says.says);
        }
        let endpoint = match self.case.endpoint.as_str() {
            "chat" => "POST /v1/chat/completions",
            _ => "POST /v1/completions",
        };
        if request.ask != endpoint {
            let page = profile.page.iter().find(|p| p.ask == request.ask);
            return self.say(out, request, page.map_or(&profile.unknown, |p| &p.says));
        }
        if let Some(refusal) = profile.refuses.iter().find(|r| r.holds(&request.body)) {
            return self.say(out, request, &refusal.says);
        }
        if request.body["stream"] != Value::Bool(true) {
            let says = profile.page.iter().find(|p| p.ask == "not streamed");
            return self.say(out, request, says.map_or(&profile.unknown, |p| &p.says));
        }
        self.stream(out, &request.body)?;
        Ok(true)
    }

    fn say(&self, mut out: &TcpStream, request: &Request, says: &Answer) -> std::io::Result<bool> {
        let count = prompt_tokens(&request.body);
        let tokens: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
        let asked = request.body["model"].as_str().unwrap_or_default();
        let body = says
            .body
            .replace("{{count}}", &count.to_string())
            .replace("{{tokens}}", &tokens.join(","))
            .replace("{{asked}}", asked)
            .replace("{{model}}", &self.profile.model);
        let head = format!(
            "HTTP/1.1 {} Answer\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            says.status,
            says.kind,
            body.len()
        );
        out.write_all((head + &body).as_bytes())?;
        Ok(false)
    }

    /// Tokens of the answer to `body`, and whether its bound ended it.
    fn length(&self, body: &Value) -> (u32, bool) {
        let limit = self.profile.limits.iter().find_map(|field| at(body, field)?.as_u64());
        // A server that finds no bound which it knows says what the model says.
        let limit = limit.map_or(u32::MAX, |n| u32::try_from(n).unwrap());
        let natural = self.case.natural;
        let ignores_eos = self.profile.ignores_eos && body["ignore_eos"] == Value::Bool(true);
        if ignores_eos || limit <= natural {
            (limit.min(4096), true)
        } else {
            (natural, false)
        }
    }

    fn stream(&self, mut out: &TcpStream, body: &Value) -> std::io::Result<()> {
        let (tokens, is_bounded) = self.length(body);
        let events = self.stream.events(Answering {
            body,
            model: &self.profile.model,
            prompt: prompt_tokens(body),
            tokens,
            is_bounded,
        });
        out.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
        )?;
        let (first, rest) = events.split_at(self.profile.together.min(events.len()));
        let chunks = [first.concat()].into_iter().chain(rest.iter().cloned());
        for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
            let chunk = if self.profile.crlf {
                chunk.replace('\n', "\r\n")
            } else {
                chunk
            };
            out.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes())?;
        }
        out.write_all(b"0\r\n\r\n")
    }
}

impl Request {
    /// True for one of the small requests before the load.
    pub(crate) fn is_small(&self) -> bool {
        self.head
            .iter()
            .any(|line| line.to_ascii_lowercase().starts_with("x-request-id: servelab-probe"))
    }

    /// True where this line stands in its head, whatever the case of the name.
    fn says(&self, line: &str) -> bool {
        self.head.iter().any(|l| l.eq_ignore_ascii_case(line))
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let length = head
        .iter()
        .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let ask = head.first()?.rsplit_once(' ')?.0.to_owned();
    Some(Request {
        ask,
        head,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}
