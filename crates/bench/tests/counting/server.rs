//! A scripted server on port 0 that counts with a real tokenizer and says so in the ways that real servers have.

use serde_json::{Value, json};
use servelab_bench::{Bench, PromptSource, ResultSet, Watch, find_max::Probe, text::Lengths};
use servelab_chat::{ChatMessage, ChatTokenizer};
use servelab_load::{Control, Live, bench::body::Api};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroU32,
    sync::{Arc, LazyLock, Mutex},
};

pub(crate) const TOKENIZER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../datasets/tokenizers/mistral-7b-instruct-v0.3"
);

pub(crate) static MISTRAL: LazyLock<ChatTokenizer> = LazyLock::new(|| ChatTokenizer::load(TOKENIZER).unwrap());

/// Who counts on the server's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// `/tokenize` as vLLM has it, and usage.
    Vllm,
    /// `/tokenize` and `/apply-template` as llama.cpp has them, and usage; an answer to a question ends its connection.
    LlamaCpp,
    /// `/tokenize` and `/chat_tokenize` as TGI has them, and usage.
    Tgi,
    /// `/tokenize` that says one number of everything, and usage.
    Constant,
    /// `/tokenize` that forgets the template, and usage.
    Forgetful,
    /// Usage alone.
    Usage,
    /// Nothing.
    Nothing,
}

/// What came, as (path, body).
pub(crate) type Seen = Arc<Mutex<Vec<(String, Value)>>>;

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Seen,
}

impl Server {
    /// It runs until the tests end.
    pub(crate) fn start(says: Says, context: Option<u32>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, says, context, &seen));
            }
        });
        Self { url, seen }
    }

    /// The bodies of the load's requests, and the number of questions that count.
    pub(crate) fn seen(&self) -> (Vec<Value>, u32) {
        let seen = self.seen.lock().unwrap().clone();
        let (streams, counting): (Vec<_>, Vec<_>) = seen.into_iter().partition(|(_, body)| body["stream"] == true);
        // Before the load it is found out what the server takes, by streams of another text.
        let is_load = |body: &Value| {
            let text = body["messages"][0]["content"].as_str().or(body["prompt"].as_str());
            text.unwrap().starts_with("A ")
        };
        let load = streams.into_iter().map(|(_, body)| body).filter(is_load).collect();
        (load, u32::try_from(counting.len()).unwrap())
    }
}

fn serve(mut stream: TcpStream, says: Says, context: Option<u32>, seen: &Seen) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().to_owned();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if let Some(n) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if !body.is_null() {
            seen.lock().unwrap().push((path.clone(), body.clone()));
        }
        let answer = answer(says, context, &path, &body);
        let closes = says == Says::LlamaCpp && body["stream"] != true;
        if stream.write_all(answer.as_bytes()).is_err() || closes {
            return;
        }
    }
}

fn ids(body: &Value, with_template: bool) -> Vec<u32> {
    match body["messages"][0]["content"].as_str() {
        Some(text) if with_template => MISTRAL.chat_ids(&[ChatMessage::user(text)]).unwrap(),
        Some(text) => MISTRAL.plain_ids(text).unwrap(),
        None => MISTRAL.plain_ids(body["prompt"].as_str().unwrap()).unwrap(),
    }
}

fn answer(says: Says, context: Option<u32>, path: &str, body: &Value) -> String {
    match path {
        "/v1/models" => page(200, &json!({"data": [{"id": "m", "max_model_len": context}]})),
        "/tokenize" if says == Says::Vllm => page(200, &json!({"count": ids(body, true).len()})),
        "/tokenize" if says == Says::Constant => page(200, &json!({"count": 7})),
        "/tokenize" if says == Says::Tgi => match body["inputs"].as_str() {
            Some(text) => page(200, &json!(MISTRAL.plain_ids(text).unwrap())),
            None => page(422, &json!({"error": "missing field `inputs`"})),
        },
        "/chat_tokenize" if says == Says::Tgi => page(200, &json!({"tokenize_response": ids(body, true)})),
        "/tokenize" if says == Says::Forgetful => page(200, &json!({"count": ids(body, false).len()})),
        "/tokenize" if says == Says::LlamaCpp => {
            let text = body["content"].as_str().unwrap_or("");
            // The rendered text has its special tokens already where it came from the template.
            let tokens = match text {
                "" => Vec::new(),
                _ if text.starts_with("<s>") => MISTRAL.encode_ids(text).unwrap(),
                _ => MISTRAL.plain_ids(text).unwrap(),
            };
            page(200, &json!({"tokens": tokens}))
        }
        "/apply-template" if says == Says::LlamaCpp => {
            let text = body["messages"][0]["content"].as_str().unwrap();
            let prompt = MISTRAL.render(&[ChatMessage::user(text)], true).unwrap();
            page(200, &json!({"prompt": prompt}))
        }
        "/v1/chat/completions" | "/v1/completions" => completion(says, path, body),
        _ => page(404, &json!({"detail": "Not Found"})),
    }
}

fn page(status: u16, body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn completion(says: Says, path: &str, body: &Value) -> String {
    let prompt = ids(body, true).len();
    let tokens = body["max_tokens"].as_u64().unwrap();
    let usage = |n: u64| match says {
        Says::Nothing => Value::Null,
        _ => json!({"prompt_tokens": prompt, "completion_tokens": n}),
    };
    let choice = |n: u64| {
        let finish = if n == tokens { json!("length") } else { Value::Null };
        match path {
            "/v1/completions" => json!({"index": 0, "text": "x", "finish_reason": finish}),
            _ => json!({"index": 0, "delta": {"content": "x"}, "finish_reason": finish}),
        }
    };
    if body["stream"] != true {
        return page(200, &json!({"choices": [{}], "usage": usage(tokens)}));
    }
    let mut events: Vec<String> = (1..=tokens)
        .map(|n| json!({"choices": [choice(n)], "usage": usage(n)}).to_string())
        .collect();
    events.push(json!({"choices": [], "usage": usage(tokens)}).to_string());
    events.push("[DONE]".to_owned());
    let events: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    format!("{head}content-length: {}\r\n\r\n{events}", events.len())
}

/// Nobody looks on.
pub(crate) struct Nobody;

impl Watch for Nobody {
    fn begins(&self, _: &str, _: Live, _: Control) {}
    fn ended(&self) {}
    fn measured(&self, _: &ResultSet) {}
    fn probed(&self, _: &Probe) {}
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Six requests of one token.
pub(crate) fn bench(url: &str, api: Api, lengths: Lengths) -> Bench {
    Bench {
        api,
        model: Some("m".to_owned()),
        prompts: PromptSource::Lengths(lengths),
        max_tokens: NonZeroU32::new(1),
        seed: 3,
        requests: NonZeroU32::new(6),
        concurrency: NonZeroU32::new(2),
        warmup: 2,
        ..Bench::at(url.parse().unwrap())
    }
}
