//! What is sent, and how the answer is labelled.

use super::*;

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
        let quantiles = result[latency]["quantiles"].as_array().unwrap();
        let of: Vec<f64> = quantiles.iter().map(|q| q["p"].as_f64().unwrap()).collect();
        assert_eq!(of, [0.5, 0.9, 0.95, 0.99]);
        // 12 certify a median and nothing beyond it.
        let (median, last) = (&quantiles[0], &quantiles[3]);
        assert!(
            median["certified"] == true && median["certified_bound_s"].is_f64(),
            "{latency}"
        );
        assert_eq!(
            (&last["certified"], &last["certified_needs"], &last["certified_bound_s"]),
            (&false.into(), &662.into(), &Value::Null)
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
        gates.starts_with(&["schedule-lag", "event-loop-lag", "starvation"]),
        "{gates:?}"
    );
}

#[test]
fn tables_and_csv_say_the_same() {
    let words = ["--requests", "6", "--max-tokens", "3", "--sweep", "concurrency=1,2"];
    let table = run(sim(), &[&words[..], &["--explain"]].concat()).out;
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
        ("simulated", "1", "2")
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
        command_output(&command.output().unwrap())
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
    let said = run(sim(), &["--input-tokens", "9", "--tokenizer", "/no/such"]).exits(3);
    assert!(said.err.contains("/no/such"), "{}", said.err);
    let said = run(sim(), &["--input-tokens", "9", "--tokenizer", "owner/name"]).exits(3);
    assert!(
        said.err.contains("models--owner--name") && said.err.contains("nothing is downloaded"),
        "{}",
        said.err
    );
}

/// Without a tokenizer the server counts.
#[test]
fn lengths_need_no_tokenizer() {
    let words = [
        "--input-tokens",
        "100..300",
        "--output-tokens",
        "2..5",
        "--shared-prefix",
        "32",
        "--requests",
        "8",
    ];
    let out = json(sim(), &words);
    assert_eq!(one(&out)["requests"]["completed"], 8, "{out:#}");
    let said = &out["lengths"];
    assert_eq!(
        (
            &said["counted_by"],
            &said["input_tokens_least"],
            &said["output_tokens_most"],
            &said["text"]
        ),
        (
            &serde_json::json!("server-tokenize"),
            &serde_json::json!(100),
            &serde_json::json!(5),
            &serde_json::json!("sentences")
        )
    );
    let said = run(sim(), &[&words[..], &["--max-tokens", "3"]].concat()).exits(2);
    assert!(said.err.contains("cannot be used with"), "{}", said.err);
    let said = run(sim(), &["--input-tokens", "9..3"]).exits(2);
    assert!(said.err.contains("smaller number first"), "{}", said.err);
    let said = run(sim(), &["--shared-prefix", "9"]).exits(2);
    assert!(said.err.contains("--input-tokens"), "{}", said.err);
}
