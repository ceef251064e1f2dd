//! An engine that repeats secrets wherever it can be heard: in answers, pages, labels and faults.

use crate::{
    engines::{PLANTED, Sim, matrix_with, telling},
    support::{Project, command_output, engine, trials},
};
use serde_json::{Value, json};
use servelab_schema::Outcome;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

const ARMS: &str = r#"
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The server as it is"
[variant.expect]
effective = { note = "quiet" }
cache-config = { note = "quiet" }

[[variant]]
id = "C1b"
role = "aa"
hypothesis = "The same again"
"#;

/// Everything that is secret, in one text.
fn secrets() -> String {
    let values: Vec<&str> = PLANTED.iter().map(|(_, value)| *value).collect();
    values.join(" ")
}

/// One request: its first line and its body.
fn request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if let Some((_, n)) = line.to_ascii_lowercase().split_once("content-length:") {
            length = n.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// The simulator's answer with every text of it replaced by the secrets.
fn retold(sim: u16, body: &[u8]) -> String {
    let mut server = TcpStream::connect(("127.0.0.1", sim)).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.0\r\nhost: sim\r\ncontent-type: application/json\r\nconnection: close";
    write!(server, "{head}\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
    server.write_all(body).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
    let line = |line: &str| {
        let Some(data) = line.strip_prefix("data: ") else {
            return line.to_owned();
        };
        let Ok(mut event) = serde_json::from_str::<Value>(data) else {
            return line.to_owned();
        };
        if let Some(content) = event
            .pointer_mut("/choices/0/delta/content")
            .filter(|c| c.as_str() != Some(""))
        {
            *content = json!(secrets());
        }
        format!("data: {event}")
    };
    answer.lines().map(|l| line(l) + "\n").collect()
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Answers one request; `n` counts completions.
fn answer(mut stream: &TcpStream, sim: u16, n: &AtomicUsize) {
    let Some((first, body)) = request(stream) else { return };
    let told = secrets();
    let path = first.split(' ').nth(1).unwrap();
    let (status, kind, text) = match path {
        "/v1/chat/completions" if n.fetch_add(1, Ordering::Relaxed) % 7 == 6 => (
            "500 Oops",
            "application/json",
            json!({"error": {"message": told}}).to_string(),
        ),
        "/v1/chat/completions" => {
            let text = retold(sim, &body);
            let kind = if text.starts_with('{') {
                "application/json"
            } else {
                "text/event-stream"
            };
            ("200 OK", kind, text)
        }
        "/health" => ("200 OK", "text/plain", String::new()),
        "/version" => ("200 OK", "application/json", json!({"version": told}).to_string()),
        "/v1/models" => (
            "200 OK",
            "application/json",
            json!({"data": [{"id": told}]}).to_string(),
        ),
        "/server_info" => {
            let told = told.replace('\\', "\\\\").replace('\'', "\\'");
            let config = format!("note='{told}', extra=X(api_key='planted-unknown', n=1)");
            ("200 OK", "application/json", json!({"vllm_config": config}).to_string())
        }
        "/metrics" => {
            let told = label(&told);
            let text = format!(
                "vllm:cache_config_info{{note=\"{told}\"}} 1\nvllm:request_success_total{{finished_reason=\"{told}\"}} {}\n",
                n.load(Ordering::Relaxed)
            );
            ("200 OK", "text/plain", text)
        }
        _ => ("404 Not Found", "text/plain", told),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}",
        text.len()
    );
    let _ = write!(stream, "{head}\r\nconnection: close\r\n\r\n{text}");
}

/// The port of that engine.
fn tells_all(sim: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let n = AtomicUsize::new(0);
        thread::scope(|scope| {
            for stream in listener.incoming().flatten() {
                let n = &n;
                scope.spawn(move || answer(&stream, sim, n));
            }
        });
    });
    port
}

#[test]
fn no_secret_of_an_engine_that_serves_reaches_a_file_or_the_terminal() {
    let project = Project::new(1, 12);
    let sim = Sim::start(&project);
    let base = format!("http://127.0.0.1:{}", tells_all(sim.port));
    let provider = format!("api-key-env = \"SERVED_API_KEY\"\n[engine.provider.url]\nbase = \"{base}\"");
    let arms = format!("{ARMS}\n[output]\nstop = \"natural\"\n");
    matrix_with(&project, "tells", &provider, &arms);
    let mut shown = String::new();
    let mut servelab = |words: &[&str], code: i32| {
        let output = project.command(words).envs(PLANTED).output().unwrap();
        let said = command_output(&output).exits(code);
        shown.push_str(&said.out);
        shown.push_str(&said.err);
    };
    servelab(&["run", "matrix/tells.toml", "--run-id", "tells"], 6);
    servelab(&["ingest"], 0);
    servelab(&["report", "tells"], 0);
    servelab(&["results", "show", "tells"], 0);
    assert!(!shown.to_lowercase().contains("planted"), "{shown}");
    let mut found = Vec::new();
    telling(&project.path("runs"), &mut found);
    telling(&project.path("report"), &mut found);
    let database = fs::read(project.path("servelab.db")).unwrap();
    assert!(!String::from_utf8_lossy(&database).to_lowercase().contains("planted"));
    assert!(found.is_empty(), "{}", found.join("\n"));

    let run = project.run("tells");
    let (mut answers, mut faults) = (0, 0);
    for (record, traces) in trials(&run) {
        let engine = engine(&run, &record.id);
        let all = "[redacted] [redacted] [redacted] [redacted]";
        assert_eq!(engine.version.as_deref(), Some(all));
        assert_eq!(engine.effective["note"].value, all);
        assert_eq!(engine.cache_config["note"], all);
        assert_eq!(engine.effective["extra.n"].value, "1", "what is no secret stays");
        assert!(engine.metrics.unwrap().finished.unwrap().contains_key(all));
        for trace in traces {
            match trace.outcome {
                Outcome::Completed(done) => {
                    assert!(done.text().unwrap().starts_with(all), "{:?}", done.text());
                    answers += 1;
                }
                Outcome::Failed(failure) => faults += usize::from(failure.detail.contains("[redacted]")),
            }
        }
    }
    assert!(answers > 0 && faults > 0, "{answers} answers, {faults} faults");
}
