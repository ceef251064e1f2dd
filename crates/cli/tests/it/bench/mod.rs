//! `servelab bench` from outside: every flag, every way to be wrong. What is measured is not asserted; what is sent, counted
//! and said is.

mod body;
pub(crate) mod hints;
mod load;
mod names;
mod outcome;
mod printed;
mod prompts;
mod trust;

use crate::{
    bench_server::{Act, Server, answer},
    support::{CommandOutput, command_output, hearing_hangups},
};
use serde_json::Value;
use servelab_chat::{ChatMessage, ChatTokenizer};
use servelab_load::arrivals::Schedule;
use servelab_schema::{Arrivals, Nanos, Rate, Trace, TrialInstant};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

const TOKENIZER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../datasets/tokenizers/mistral-7b-instruct-v0.3"
);

fn servelab() -> Command {
    Command::new(env!("CARGO_BIN_EXE_servelab"))
}

/// The address of one simulated engine that all tests share; it ends with this process.
fn sim() -> &'static str {
    static SIM: OnceLock<(Child, String)> = OnceLock::new();
    let (_, url) = SIM.get_or_init(|| {
        let words = [
            "--port",
            "0",
            "--startup-seconds",
            "0",
            "--time-scale",
            "50",
            "--exit-with-parent",
        ];
        let mut child = servelab()
            .args(["sim", "--tokenizer-dir", TOKENIZER])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let address = out.lines().map_while(Result::ok).find_map(|line| {
            let said: Value = serde_json::from_str(&line).ok()?;
            Some(said.get("listening")?.as_str()?.to_owned())
        });
        (child, format!("http://{}", address.unwrap()))
    });
    url
}

fn run(url: &str, words: &[&str]) -> CommandOutput {
    command_output(&servelab().args(["bench", "--url", url]).args(words).output().unwrap())
}

/// The JSON answer of a bench that ran. Gates of timing may fail on a busy machine; the exit code says so.
fn json(url: &str, words: &[&str]) -> Value {
    let said = run(url, &[words, &["--format", "json"]].concat());
    assert!(said.code == 0 || said.code == 6, "{}\n{}", said.code, said.err);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let valid = answer["results"].as_array().unwrap().iter().all(|r| r["valid"] == true);
    let some_each = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .all(|r| r["requests"]["completed"] != 0);
    assert_eq!(said.code == 0, valid && some_each);
    answer
}

/// The only result of an answer.
fn one(answer: &Value) -> &Value {
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
    &answer["results"][0]
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    fn traces(&self, name: &str) -> Vec<Trace> {
        traces(&self.path(name))
    }
}

fn traces(path: &Path) -> Vec<Trace> {
    let text = fs::read_to_string(path).unwrap();
    let mut traces: Vec<Trace> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    traces.sort_by_key(|t| (t.block, t.seq));
    traces
}

/// Scheduled offsets from the first one.
fn offsets(traces: &[Trace]) -> Vec<u64> {
    traces
        .iter()
        .map(|t| t.scheduled_ns.0 - traces[0].scheduled_ns.0)
        .collect()
}

fn bodies(server: &Server) -> Vec<Value> {
    server.requests().into_iter().map(|r| r.body).collect()
}
