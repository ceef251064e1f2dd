//! `servelab bench` from outside: every flag, every way to be wrong. What is measured is not asserted; what is sent, counted
//! and said is.

use crate::{
    bench_server::{Act, Server, answer},
    support::{Said, said},
};
use serde_json::Value;
use servelab_chat::{ChatMessage, ChatTokenizer};
use servelab_load::arrivals::Schedule;
use servelab_schema::{Arrivals, Nanos, Rate, Trace};
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

fn run(url: &str, words: &[&str]) -> Said {
    said(&servelab().args(["bench", "--url", url]).args(words).output().unwrap())
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

#[test]
fn a_simulated_engine_is_measured_and_labelled() {
    let answer = json(
        sim(),
        &[
            "--requests",
            "12",
            "--max-tokens",
            "5",
            "--concurrency",
            "3",
            "--slo",
            "ttft=1h,e2e=1h",
        ],
    );
    assert_eq!(answer["engine_kind"], "simulated");
    assert_eq!(answer["model"], "mistralai/Mistral-7B-Instruct-v0.3");
    assert!(answer["engine_version"].as_str().unwrap().starts_with("0."));
    let result = one(&answer);
    assert_eq!(result["requests"]["planned"], 12);
    assert_eq!(result["requests"]["completed"], 12);
    assert_eq!(result["concurrency"], 3);
    assert_eq!(result["ttft_kind"], "token");
    for latency in ["ttft", "tpot", "e2e", "ttft_from_scheduled", "e2e_from_scheduled"] {
        let percentiles = result[latency]["percentiles"].as_array().unwrap();
        let names: Vec<&str> = percentiles.iter().map(|p| p["p"].as_str().unwrap()).collect();
        assert_eq!(names, ["p50", "p90", "p95", "p99"]);
        // 12 certify a median and nothing beyond it.
        assert!(percentiles[0]["certified_bound_s"].is_f64(), "{latency}");
        assert_eq!(
            (&percentiles[3]["certified_bound_s"], &percentiles[3]["needs_n"]),
            (&Value::Null, &662.into())
        );
    }
    for figure in [
        "icl_s",
        "tokens_per_chunk",
        "output_tokens",
        "interactivity_tokens_per_s",
    ] {
        assert!(result[figure]["p50"].is_f64(), "{figure}");
    }
    let throughput = &result["throughput"];
    assert_eq!(throughput["goodput_ratio"], 1.0);
    assert_eq!(throughput["goodput_requests_per_s"], throughput["requests_per_s"]);
    assert!(throughput["output_tokens_per_s"].as_f64() > Some(0.0) && throughput["input_tokens_per_s"].is_f64());
    let gates: Vec<&str> = result["gates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["gate"].as_str().unwrap())
        .collect();
    assert!(
        gates.starts_with(&["schedule-lag", "event-loop-lag", "client-cpu"]),
        "{gates:?}"
    );
}

#[test]
fn tables_and_csv_say_the_same() {
    let words = ["--requests", "6", "--max-tokens", "3", "--sweep", "concurrency=1,2"];
    let table = run(sim(), &words).out;
    for part in [
        "SIMULATED: no GPU gave these numbers",
        "closed loop, concurrency 1 (SIMULATED)",
        "closed loop, concurrency 2 (SIMULATED)",
        "first token chunk − sent",
        "(last − first chunk) / (N − m₁)",
        "p99 not certifiable (n = 6, needs 662)",
        "schedule-lag",
        "6 of 6 requests completed",
        "tokens/s",
    ] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let csv = run(sim(), &[&words[..], &["--format", "csv"]].concat()).out;
    let lines: Vec<Vec<&str>> = csv.lines().map(|l| l.split(',').collect()).collect();
    assert_eq!(lines.len(), 3);
    let at = |name: &str| lines[0].iter().position(|c| *c == name).unwrap();
    // The load's name has a comma and is quoted, so that fields after it are one further.
    assert_eq!(
        (
            lines[1][0],
            lines[1][at("concurrency") + 1],
            lines[2][at("concurrency") + 1]
        ),
        ("SIMULATED", "1", "2")
    );
    assert_eq!(lines[1][at("completed") + 1], "6");
    assert_eq!(lines[0].len() + 1, lines[1].len());
}

#[test]
fn what_is_sent_is_what_was_asked_for() {
    let server = Server::start(|_, _| answer());
    let said = json(
        &server.url,
        &[
            "--requests",
            "3",
            "--max-tokens",
            "7",
            "--seed",
            "5",
            "--ignore-eos",
            "--header",
            "X-One: 1",
            "--header",
            "x-two:2",
        ],
    );
    assert_eq!(
        (&said["engine_kind"], &said["engine_version"]),
        (&"measured".into(), &"9.9.9".into())
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.path, "/v1/chat/completions");
        let body = &request.body;
        assert_eq!(
            (&body["model"], &body["max_tokens"], &body["seed"]),
            (&"first-model".into(), &7.into(), &5.into())
        );
        assert_eq!((&body["ignore_eos"], &body["stream"]), (&true.into(), &true.into()));
        assert!(
            request.head.contains("X-One: 1\r\n") && request.head.contains("x-two: 2\r\n"),
            "{}",
            request.head
        );
    }

    let server = Server::start(|_, _| answer());
    let path = format!("{}/v1/", server.url);
    json(
        &path,
        &["--requests", "2", "--endpoint", "completions", "--model", "mine"],
    );
    for request in server.requests() {
        assert_eq!(
            (request.path.as_str(), &request.body["model"]),
            ("/v1/completions", &"mine".into())
        );
        assert!(request.body["prompt"].is_string() && request.body["ignore_eos"].is_null());
        assert_eq!(request.body["max_tokens"], 128);
    }
}

#[test]
fn seeds_decide_the_prompts_and_none_is_sent_twice() {
    let sent = |seed: &str| {
        let server = Server::start(|_, _| answer());
        let words = [
            "--requests",
            "20",
            "--max-tokens",
            "1",
            "--seed",
            seed,
            "--sweep",
            "concurrency=1,1",
            "--warmup",
            "2",
        ];
        json(&server.url, &words);
        let texts = bodies(&server)
            .iter()
            .map(|b| b["messages"].to_string())
            .collect::<Vec<_>>();
        let distinct: BTreeSet<&String> = texts.iter().collect();
        assert_eq!(
            (texts.len(), distinct.len()),
            (44, 44),
            "no prompt of a load or its warm-up comes again in another"
        );
        texts
    };
    let (a, again, other) = (sent("1"), sent("1"), sent("2"));
    assert_eq!(a, again);
    assert_ne!(a, other);
}

#[test]
fn an_api_key_is_sent_and_never_shown() {
    let server = Server::start(|n, _| if n == 0 { Act::Status(401) } else { answer() });
    let files = Files::new();
    let bench = |key: Option<&str>| {
        let mut command = servelab();
        command.args(["bench", "--url", &server.url, "--requests", "2", "--concurrency", "1"]);
        command.args(["--api-key-env", "BENCH_TEST_KEY", "--traces", &files.text("t.jsonl")]);
        command.env_remove("BENCH_TEST_KEY");
        command.envs(key.map(|k| ("BENCH_TEST_KEY", k)));
        said(&command.output().unwrap())
    };
    let said = bench(Some("hush-hush"));
    assert!(
        server
            .requests()
            .iter()
            .all(|r| r.head.contains("Authorization: Bearer hush-hush\r\n"))
    );
    let kept = fs::read_to_string(files.path("t.jsonl")).unwrap();
    assert!(said.out.contains("http-status") && kept.contains("http-status"));
    assert!(![said.out, said.err, kept].iter().any(|text| text.contains("hush")));
    let said = bench(None).exits(4);
    assert!(
        said.err.contains("BENCH_TEST_KEY") && said.err.contains("export it"),
        "{}",
        said.err
    );
    let said = bench(Some("two\nlines")).exits(4);
    assert!(
        said.err.contains("line break") && !said.err.contains("two"),
        "{}",
        said.err
    );
}

#[test]
fn prompts_come_from_a_file() {
    let files = Files::new();
    let rows = concat!(
        "{\"prompt\": \"One?\"}\n\n",
        "{\"id\": \"b\", \"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, ",
        "{\"role\": \"user\", \"content\": \"Two?\"}], \"max_tokens\": 3}\n"
    );
    let file = files.write("p.jsonl", rows);
    let server = Server::start(|_, _| answer());
    // Without a number each prompt is sent once.
    let out = json(
        &server.url,
        &[
            "--prompts",
            &file,
            "--concurrency",
            "1",
            "--traces",
            &files.text("t.jsonl"),
        ],
    );
    assert_eq!(one(&out)["requests"]["completed"], 2);
    let sent = bodies(&server);
    assert_eq!(
        (&sent[0]["messages"][0]["content"], &sent[0]["max_tokens"]),
        (&"One?".into(), &128.into())
    );
    assert_eq!(
        (&sent[1]["messages"][1]["content"], &sent[1]["max_tokens"]),
        (&"Two?".into(), &3.into())
    );
    let names: Vec<String> = files
        .traces("t.jsonl")
        .iter()
        .map(|t| t.prompt_id.to_string())
        .collect();
    assert_eq!(names, ["row-0", "b"]);

    // With more requests than prompts they come round, and the answer says so; --max-tokens overrides the file.
    let out = json(
        &server.url,
        &["--prompts", &file, "--requests", "5", "--max-tokens", "2"],
    );
    assert!(
        one(&out)["notes"][0]
            .as_str()
            .unwrap()
            .contains("only 2 different prompts for 5 requests")
    );
    assert!(bodies(&server)[2..].iter().all(|b| b["max_tokens"] == 2));

    // The loads of a sweep share the file's prompts, which a prefix cache would show.
    let sweep = ["--prompts", &file, "--max-tokens", "1", "--sweep", "concurrency=1,2"];
    let out = json(&server.url, &sweep);
    assert!(out["results"][1]["notes"][0].as_str().unwrap().contains("prefix cache"));

    for (text, says) in [
        (
            "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n",
            "p.jsonl:2: unknown field `promt`",
        ),
        ("{\"max_tokens\": 3}\n", "p.jsonl:1: give either"),
        ("\n", "no prompt"),
    ] {
        let file = files.write("p.jsonl", text);
        let said = run(&server.url, &["--prompts", &file]).exits(3);
        assert!(said.err.contains(says), "{}", said.err);
    }
    assert!(
        run(&server.url, &["--prompts", "/no/such/file"])
            .exits(3)
            .err
            .contains("/no/such/file")
    );
}

/// The engine counts what it is sent; a request whose count differs from what was asked for fails.
#[test]
fn prompts_have_exactly_the_tokens_asked_for() {
    for (endpoint, tokens) in [("chat", "40"), ("chat", "777"), ("completions", "300")] {
        let words = [
            "--input-tokens",
            tokens,
            "--tokenizer",
            TOKENIZER,
            "--endpoint",
            endpoint,
        ];
        let out = json(sim(), &[&words[..], &["--requests", "6", "--max-tokens", "2"]].concat());
        assert_eq!(one(&out)["requests"]["completed"], 6, "{endpoint} {tokens}: {out:#}");
    }
    let server = Server::start(|_, _| answer());
    run(
        &server.url,
        &[
            "--input-tokens",
            "64",
            "--tokenizer",
            TOKENIZER,
            "--requests",
            "8",
            "--max-tokens",
            "1",
        ],
    )
    .exits(6);
    let chat = ChatTokenizer::load(TOKENIZER).unwrap();
    let ids = |body: &Value| {
        let ids = chat
            .chat_ids(&[ChatMessage::user(body["messages"][0]["content"].as_str().unwrap())])
            .unwrap();
        assert_eq!(ids.len(), 64);
        ids
    };
    let all: Vec<Vec<u32>> = bodies(&server).iter().map(ids).collect();
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            let shared = a.iter().zip(b).take_while(|(x, y)| x == y).count();
            assert!(shared < 16, "two prompts share {shared} tokens: a cache block");
        }
    }
    let said = run(sim(), &["--input-tokens", "2", "--tokenizer", TOKENIZER]).exits(2);
    assert!(said.err.contains("cannot be made"), "{}", said.err);
    assert!(
        run(sim(), &["--input-tokens", "9"])
            .exits(2)
            .err
            .contains("--tokenizer")
    );
    let said = run(sim(), &["--input-tokens", "9", "--tokenizer", "/no/such"]).exits(3);
    assert!(said.err.contains("/no/such"), "{}", said.err);
}

#[test]
fn a_closed_loop_holds_its_concurrency() {
    // Nothing is answered before four are in flight; of the last ones, fewer are left.
    let server = Server::start(|_, _| Act::AnswerWhen(Box::new(|s| s.in_flight >= 4 || s.answered > 8)));
    let out = json(
        &server.url,
        &["--concurrency", "4", "--requests", "12", "--max-tokens", "1"],
    );
    assert_eq!(one(&out)["requests"]["completed"], 12);
    assert_eq!(server.requests().len(), 12);
}

#[test]
fn a_batch_leaves_together_when_the_one_before_has_ended() {
    let server = Server::start(|_, _| Act::AnswerWhen(Box::new(|s| s.requests.len() % 4 == 0)));
    let files = Files::new();
    let out = json(
        &server.url,
        &[
            "--batch",
            "4",
            "--requests",
            "12",
            "--max-tokens",
            "2",
            "--traces",
            &files.text("t"),
        ],
    );
    assert_eq!(one(&out)["requests"]["completed"], 12);
    let traces = files.traces("t");
    for (i, batch) in traces.chunks(4).enumerate() {
        assert!(batch.iter().all(|t| t.scheduled_ns == batch[0].scheduled_ns));
        assert!(i == 0 || traces[..i * 4].iter().all(|t| t.finished_ns <= batch[0].scheduled_ns));
    }
}

#[test]
fn an_open_loop_keeps_its_schedule_and_waits_for_nobody() {
    let files = Files::new();
    let check = |words: &[&str], arrivals: Arrivals, ramp: Nanos| {
        // No answer before the last request has come.
        let server = Server::start(|_, _| Act::AnswerWhen(Box::new(|s| s.requests.len() == 20)));
        let file = files.text("t");
        let load = [
            "--rate",
            "400",
            "--requests",
            "20",
            "--max-tokens",
            "1",
            "--traces",
            file.as_str(),
        ];
        let out = json(&server.url, &[&load[..], words].concat());
        let rates = &one(&out)["rates"];
        assert_eq!(
            (&rates["asked_per_s"], one(&out)["requests"]["completed"].as_u64()),
            (&400.0.into(), Some(20))
        );
        assert!(rates["achieved_per_s"].is_f64() && rates["scheduled_per_s"].is_f64());
        let rate = Rate::new(400.0).unwrap();
        let expected = Schedule::new(arrivals, rate, 1, "measured")
            .ramped(ramp)
            .take_offsets(20);
        let expected: Vec<u64> = expected.iter().map(|at| at.0 - expected[0].0).collect();
        assert_eq!(offsets(&files.traces("t")), expected, "{words:?}");
    };
    let none = Nanos::ZERO;
    check(&[], Arrivals::Poisson, none);
    check(&["--arrivals", "constant"], Arrivals::Constant, none);
    check(
        &["--arrivals", "constant", "--ramp", "30ms"],
        Arrivals::Constant,
        Nanos::from_millis(30),
    );
    let shape = servelab_schema::Shape::new(0.5).unwrap();
    check(&["--arrivals", "gamma:0.5"], Arrivals::Gamma { shape }, none);
    let size = NonZeroU32::new(5).unwrap();
    check(&["--arrivals", "burst:5"], Arrivals::Burst { size }, none);
}

#[test]
fn slots_begin_spread_over_the_ramp() {
    let server = Server::start(|_, _| Act::AnswerWhen(Box::new(|s| s.requests.len() >= 4)));
    let files = Files::new();
    let words = [
        "--concurrency",
        "4",
        "--requests",
        "8",
        "--max-tokens",
        "1",
        "--ramp",
        "40ms",
        "--traces",
    ];
    json(&server.url, &[&words[..], &[files.text("t").as_str()]].concat());
    // A slot is never early; how late it is, is the machine's matter.
    let first: Vec<Nanos> = files.traces("t")[..4].iter().map(|t| t.scheduled_ns).collect();
    assert!(
        first.iter().zip(0_u64..).all(|(at, slot)| at.0 >= slot * 10_000_000),
        "{first:?}"
    );
}

#[test]
fn time_ends_a_load() {
    let files = Files::new();
    for words in [["--concurrency", "2"], ["--rate", "100"], ["--batch", "2"]] {
        let server = Server::start(|_, _| answer());
        let more = ["--duration", "300ms", "--max-tokens", "1", "--traces"];
        let out = json(
            &server.url,
            &[&words[..], &more[..], &[files.text("t").as_str()]].concat(),
        );
        let traces = files.traces("t");
        let requests = &one(&out)["requests"];
        let n = u64::try_from(traces.len()).unwrap();
        assert_eq!(
            (requests["planned"].as_u64(), requests["completed"].as_u64()),
            (Some(n), Some(n)),
            "{words:?}"
        );
        assert_eq!(traces.len(), server.requests().len());
        let first = traces[0].scheduled_ns.0;
        assert!(n > 1 && traces.iter().all(|t| t.scheduled_ns.0 < first + 300_000_000));
        assert!(one(&out)["throughput"]["window_s"].as_f64() <= Some(0.3));
    }
}

#[test]
fn a_warm_up_ends_before_anything_is_measured() {
    let files = Files::new();
    for words in [["--concurrency", "3"], ["--rate", "200"], ["--batch", "3"]] {
        let server = Server::start(|_, _| answer());
        let more = ["--warmup", "5", "--requests", "6", "--max-tokens", "1", "--traces"];
        let out = json(
            &server.url,
            &[&words[..], &more[..], &[files.text("t").as_str()]].concat(),
        );
        let requests = &one(&out)["requests"];
        assert_eq!(
            (&requests["completed"], &requests["warm_up_completed"]),
            (&6.into(), &5.into()),
            "{words:?}"
        );
        let traces = files.traces("t");
        let (warm, measured): (Vec<&Trace>, Vec<&Trace>) = traces.iter().partition(|t| !t.measured);
        assert_eq!((warm.len(), measured.len()), (5, 6));
        let last = warm.iter().map(|t| t.finished_ns).max().unwrap();
        assert!(measured.iter().all(|t| t.sent_ns.unwrap() >= last));
    }
}

#[test]
fn sweeps_give_one_result_each() {
    let server = Server::start(|_, _| answer());
    let files = Files::new();
    let words = [
        "--sweep",
        "rate=100,400",
        "--arrivals",
        "constant",
        "--requests",
        "5",
        "--max-tokens",
        "1",
        "--traces",
    ];
    let out = json(&server.url, &[&words[..], &[files.text("t").as_str()]].concat());
    let rates: Vec<&Value> = out["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["rate_per_s"])
        .collect();
    assert_eq!(rates, [&100.0, &400.0]);
    let traces = files.traces("t");
    let blocks: Vec<u32> = traces.iter().map(|t| t.block).collect();
    assert_eq!(blocks, [[1; 5], [2; 5]].concat());
    assert_eq!(offsets(&traces[..5])[4], 40_000_000);
    assert_eq!(offsets(&traces[5..])[4], 10_000_000);
}

#[test]
fn a_turn_carries_the_history() {
    let server = Server::start(|n, _| Act::Answer(format!("said {n}. ")));
    for words in [["--concurrency", "1"], ["--rate", "50"]] {
        let out = json(
            &server.url,
            &[&words[..], &["--turns", "3", "--requests", "2", "--max-tokens", "2"]].concat(),
        );
        let result = one(&out);
        assert_eq!(
            (&result["requests"]["planned"], &result["requests"]["completed"]),
            (&6.into(), &6.into())
        );
        let turns = result["ttft_by_turn"].as_object().unwrap();
        assert_eq!(turns.keys().collect::<Vec<_>>(), ["1", "2", "3"]);
        assert!(turns.values().all(|l| l["n"] == 2));
    }
    // With one slot the turns of a conversation follow each other.
    let sent = bodies(&server);
    let roles: Vec<&str> = sent[2]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
    assert_eq!(sent[2]["messages"][0], sent[0]["messages"][0]);
    assert_eq!(sent[2]["messages"][1]["content"], "said 0. said 0. ");
    assert_eq!(sent[2]["messages"][3]["content"], "said 1. said 1. ");
    assert_eq!(sent[3]["messages"].as_array().unwrap().len(), 1);
    // A turn that fails ends its conversation, and what it should still have had is missed.
    let server = Server::start(|n, _| if n == 1 { Act::Status(500) } else { answer() });
    let out = json(
        &server.url,
        &[
            "--concurrency",
            "1",
            "--turns",
            "4",
            "--requests",
            "2",
            "--max-tokens",
            "1",
        ],
    );
    let requests = &one(&out)["requests"];
    let seen = ["planned", "completed", "failed", "never_sent"].map(|k| requests[k].as_u64().unwrap());
    assert_eq!(seen, [8, 5, 1, 2]);
}

#[test]
fn recorded_traffic_is_replayed_at_its_times() {
    let files = Files::new();
    let rows = concat!(
        "{\"timestamp\": 1030, \"messages\": [{\"role\": \"user\", \"content\": \"B\"}], \"output_length\": 2}\n",
        "{\"timestamp\": 1000, \"prompt\": \"A\", \"output_length\": 3}\n",
        "{\"timestamp\": 1030, \"prompt\": \"C\"}\n"
    );
    let file = files.write("r.jsonl", rows);
    // No answer before all have come: the arrivals wait for nobody.
    let server = Server::start(|_, _| Act::AnswerWhen(Box::new(|s| s.requests.len() == 3)));
    let words = ["--replay", &file, "--traces", &files.text("t")];
    let out = json(&server.url, &words);
    assert_eq!(one(&out)["requests"]["completed"], 3);
    let traces = files.traces("t");
    assert_eq!(offsets(&traces), [0, 30_000_000, 30_000_000]);
    let lengths: Vec<u32> = traces
        .iter()
        .map(|t| t.completion().unwrap().completion_tokens().get())
        .collect();
    assert_eq!(lengths, [3, 2, 128]);
    assert_eq!(bodies(&server)[0]["messages"][0]["content"], "A");

    // Mooncake's form: lengths and names of blocks. The engine counts exactly the recorded tokens.
    let mooncake = concat!(
        "{\"timestamp\": 0, \"input_length\": 1100, \"output_length\": 3, \"hash_ids\": [7, 8, 9]}\n",
        "{\"timestamp\": 20, \"input_length\": 700, \"output_length\": 4, \"hash_ids\": [7, 10]}\n",
        "{\"timestamp\": 20, \"input_length\": 50, \"output_length\": 2}\n"
    );
    let file = files.write("m.jsonl", mooncake);
    let out = json(
        sim(),
        &[
            "--replay",
            &file,
            "--tokenizer",
            TOKENIZER,
            "--ignore-eos",
            "--traces",
            &files.text("t"),
        ],
    );
    assert_eq!(one(&out)["requests"]["completed"], 3, "{out:#}");
    let lengths: Vec<(u32, u32)> = files
        .traces("t")
        .iter()
        .map(|t| t.completion().unwrap())
        .map(|c| (c.prompt_tokens().get(), c.completion_tokens().get()))
        .collect();
    assert_eq!(lengths, [(1100, 3), (700, 4), (50, 2)]);
    let server = Server::start(|_, _| answer());
    run(&server.url, &["--replay", &file, "--tokenizer", TOKENIZER]);
    let texts: Vec<String> = bodies(&server)
        .iter()
        .map(|b| b["messages"][0]["content"].to_string())
        .collect();
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let (long, short) = (
        texts.iter().max_by_key(|t| t.len()).unwrap(),
        texts.iter().min_by_key(|t| t.len()).unwrap(),
    );
    let middle = texts.iter().find(|t| *t != long && *t != short).unwrap();
    // Equal first blocks of 512 tokens are equal text; the third prompt shares nothing.
    assert!(
        shared(long, middle) > 512 * 3 && shared(long, middle) < middle.len() - 100,
        "{}",
        shared(long, middle)
    );
    assert!(shared(long, short) < 60);

    assert!(run(sim(), &["--replay", &file]).exits(2).err.contains("--tokenizer"));
    let file = files.write("bad.jsonl", "{\"timestamp\": 1}\n");
    assert!(run(sim(), &["--replay", &file]).exits(3).err.contains("line 1"));
}

#[test]
fn timeouts_end_requests_each_with_its_reason() {
    for (flag, chunks, reason) in [
        ("--ttft-timeout", 0, "ttft-timeout"),
        ("--idle-timeout", 2, "stalled"),
        ("--total-timeout", 2, "total-timeout"),
    ] {
        let server = Server::start(move |_, _| Act::Silence(chunks));
        let said = run(&server.url, &["--requests", "2", flag, "60ms", "--format", "json"]).exits(6);
        let answer: Value = serde_json::from_str(&said.out).unwrap();
        let requests = &answer["results"][0]["requests"];
        assert_eq!(
            (&requests["failed"], &requests["failed_by_reason"][reason]),
            (&2.into(), &2.into()),
            "{requests}"
        );
        assert!(answer["results"][0]["ttft"].is_null(), "no sample from nothing");
    }
}

#[test]
fn failures_are_counted_and_named_and_are_infinite() {
    // One of four fails.
    let server = Server::start(|n, _| if n % 4 == 3 { Act::Status(503) } else { answer() });
    let words = ["--requests", "40", "--concurrency", "1", "--max-tokens", "2"];
    let said = run(&server.url, &words).exits(6);
    for part in [
        "30 of 40 requests completed, 10 FAILED",
        "10 × http-status: HTTP 503: no way",
        "failures as ∞",
        "Invalid",
    ] {
        assert!(said.out.contains(part), "no {part:?} in\n{}", said.out);
    }
    let out = json(&server.url, &words);
    let result = one(&out);
    let with = |i: usize| &result["ttft"]["percentiles"][i]["with_failures_s"];
    assert!(with(0).is_f64() && with(3).is_null());
    assert_eq!(
        (&result["ttft"]["n"], &result["ttft"]["failed"]),
        (&30.into(), &10.into())
    );
    let gate = result["gates"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["gate"] == "failures")
        .unwrap();
    assert_eq!(gate["outcome"], "failed");
    let csv = run(&server.url, &[&words[..], &["--format", "csv"]].concat()).out;
    assert!(csv.contains(",inf,"), "{csv}");

    let broken = Server::start(|_, _| Act::Status(500));
    let said = run(&broken.url, &["--requests", "3"]).exits(6);
    assert!(said.out.contains("no request completed"), "{}", said.out);
}

/// Prompts that were counted for another model are no success, and the answer names the cause.
#[test]
fn prompts_of_another_tokenizer_are_refused_and_explained() {
    let server = Server::start(|_, _| answer());
    let files = Files::new();
    let file = files.write("p.jsonl", "{\"prompt\": \"a\", \"prompt_tokens\": 11}\n");
    let out = json(&server.url, &["--prompts", &file]);
    let result = one(&out);
    assert_eq!(result["requests"]["failed_by_reason"]["prompt-token-mismatch"], 1);
    assert!(result["notes"][0].as_str().unwrap().contains("--tokenizer"));
    let gates = result["gates"].as_array().unwrap();
    let gate = gates.iter().find(|g| g["gate"] == "prompt-tokens").unwrap();
    assert_eq!(gate["outcome"], "failed");
}

#[test]
fn https_is_spoken_and_a_server_that_does_not_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let out = json(&url, &["--model", "m", "--requests", "2", "--concurrency", "1"]);
    assert_eq!(one(&out)["requests"]["failed_by_reason"]["tls"], 2, "{out:#}");
    assert!(run(&url, &[]).exits(4).err.contains("--model"));
}

#[test]
fn objectives_decide_goodput() {
    let server = Server::start(|_, _| answer());
    let ratio = |slo: &str| {
        let out = json(&server.url, &["--requests", "4", "--max-tokens", "2", "--slo", slo]);
        one(&out)["throughput"]["goodput_ratio"].clone()
    };
    assert_eq!(ratio("ttft=1h,tpot=1h,e2e=1h"), 1.0);
    assert_eq!(ratio("ttft=1h,e2e=1us"), 0.0);
    let out = json(&server.url, &["--requests", "4", "--max-tokens", "2"]);
    assert!(
        one(&out)["throughput"]["goodput_ratio"].is_null(),
        "no objectives, no goodput"
    );
}

#[test]
fn ctrl_c_prints_what_has_ended() {
    let server = Server::start(|n, _| if n < 3 { answer() } else { Act::Silence(0) });
    let mut command = servelab();
    command.args([
        "bench",
        "--url",
        &server.url,
        "--requests",
        "50",
        "--concurrency",
        "2",
        "--format",
        "json",
    ]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.wait_for(|s| s.in_flight == 2 && s.answered == 3);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said = said(&child.wait_with_output().unwrap()).exits(5);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let result = one(&answer);
    let seen =
        ["planned", "completed", "failed", "cut_off", "never_sent"].map(|k| result["requests"][k].as_u64().unwrap());
    assert_eq!(seen, [50, 3, 0, 2, 45]);
    assert_eq!(result["interrupted"], true);
    assert!(said.err.contains("interrupted"), "{}", said.err);
}

#[test]
fn wrong_input_is_answered_with_a_remedy() {
    let check = |words: &[&str], code: i32, says: &[&str]| {
        let said = said(&servelab().arg("bench").args(words).output().unwrap()).exits(code);
        for part in says {
            assert!(
                said.err.contains(part),
                "{words:?} does not say {part:?}:\n{}",
                said.err
            );
        }
        assert!(said.out.is_empty() && !said.err.contains("panicked"), "{}", said.err);
    };
    let nobody = {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        format!("http://{port}")
    };
    let url = ["--url", nobody.as_str()];
    let with = |words: &[&'static str]| -> Vec<String> { url.iter().chain(words).map(|w| (*w).to_owned()).collect() };
    let usage = |words: &[&'static str], says: &[&str]| {
        let words = with(words);
        check(&words.iter().map(String::as_str).collect::<Vec<_>>(), 2, says);
    };
    check(&[], 2, &["--url"]);
    check(&["--url", "127.0.0.1:8000"], 2, &["127.0.0.1:8000", "http://"]);
    check(&["--url", "ftp://h/"], 2, &["ftp://h"]);
    usage(&["--requests", "0"], &["--requests"]);
    usage(
        &["--requests", "5", "--duration", "5s"],
        &["cannot be used with", "--duration"],
    );
    usage(&["--concurrency", "0"], &["--concurrency"]);
    usage(&["--concurrency", "2", "--rate", "3"], &["cannot be used with"]);
    usage(&["--rate", "0"], &["0 is no rate"]);
    usage(&["--rate", "-1"], &["-1 is no rate"]);
    usage(&["--arrivals", "poisson"], &["give --rate"]);
    usage(
        &["--rate", "1", "--arrivals", "uniform"],
        &["constant, poisson, gamma:SHAPE"],
    );
    usage(
        &["--sweep", "batch=1,2"],
        &["`batch` cannot be swept; concurrency and rate can"],
    );
    usage(&["--sweep", "concurrency=1,0"], &["`0` is no concurrency"]);
    usage(&["--sweep", "concurrency=1", "--rate", "2"], &["cannot be used with"]);
    usage(&["--batch", "4", "--ramp", "1s"], &["cannot be used with"]);
    usage(&["--duration", "5"], &["unit"]);
    usage(
        &["--duration", "1s", "--ramp", "2s"],
        &["leaves nothing of the duration"],
    );
    usage(&["--ttft-timeout", "0s"], &["above 0"]);
    usage(&["--slo", "itl=5ms"], &["`itl` is no latency"]);
    usage(&["--header", "no-colon"], &["'Name: value'"]);
    usage(&["--header", "Host: x"], &["set by the instrument itself"]);
    usage(&["--turns", "2", "--endpoint", "completions"], &["--endpoint chat"]);
    usage(&["--format", "xml"], &["table, json, csv"]);
    usage(&["--prompts", "a", "--input-tokens", "5"], &["cannot be used with"]);
    usage(&["--replay", "a", "--rate", "5"], &["cannot be used with"]);
    // Nobody listens: said at once where the model must be asked for, a failure of every request where not.
    check(&url, 4, &[&nobody, "is the server running there?", "--model"]);
    let said = run(&nobody, &["--model", "m", "--requests", "2"]).exits(6);
    assert!(said.out.contains("2 × connect"), "{}", said.out);
    let files = Files::new();
    let server = Server::start(|_, _| answer());
    let said = run(&server.url, &["--traces", &files.text("no/such/folder/t")]).exits(4);
    assert!(said.err.contains("no/such/folder"), "{}", said.err);
    let said = run(&server.url, &["--traces", "/dev/full"]).exits(4);
    assert!(
        said.err.contains("No space left") && said.err.contains("another --traces"),
        "{}",
        said.err
    );
}
