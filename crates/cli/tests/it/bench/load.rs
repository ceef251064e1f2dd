//! When it is sent: loops, batches, ramps, durations, sweeps, turns and replays.

use super::*;

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
        let name = words.concat();
        let file = files.text(&name);
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
        assert!(rates["achieved_per_s"].is_f64());
        // Twenty requests in a twentieth of a second, whatever the seed; a ramp makes it longer, and is said.
        let scheduled = rates["scheduled_per_s"].as_f64().unwrap();
        let notes = one(&out)["notes"].to_string();
        assert_eq!((scheduled - 400.0).abs() < 1e-6, ramp == Nanos::ZERO, "{scheduled}");
        assert_eq!(notes.contains("over the ramp"), ramp > Nanos::ZERO, "{notes}");
        let rate = Rate::new(400.0).unwrap();
        let expected = Schedule::new(arrivals, rate, 1, "measured")
            .ramped(ramp)
            .fill(20)
            .offsets;
        let expected: Vec<u64> = expected.iter().map(|at| at.0 - expected[0].0).collect();
        assert_eq!(offsets(&files.traces(&name)), expected, "{words:?}");
    };
    let none = Nanos::ZERO;
    check(&["--seed", "1"], Arrivals::Poisson, none);
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
    let first: Vec<TrialInstant> = files.traces("t")[..4].iter().map(|t| t.scheduled_ns).collect();
    assert!(
        first.iter().zip(0_u64..).all(|(at, slot)| at.0 >= slot * 10_000_000),
        "{first:?}"
    );
}

#[test]
fn time_ends_a_load() {
    for words in [["--concurrency", "2"], ["--rate", "100"], ["--batch", "2"]] {
        let files = Files::new();
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
    for words in [["--concurrency", "3"], ["--rate", "200"], ["--batch", "3"]] {
        let files = Files::new();
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
    assert_eq!(out["knee"]["found"], "too-few");
    // Each load counts or is left out, as the machine had it.
    let of = |name: &str| out["knee"][name].as_array().unwrap().len();
    assert_eq!(of("points") + of("left_out"), 2);
    assert_eq!(out["not_run"], Value::Array(Vec::new()));
    assert_eq!(out["asked"]["load"]["sweep"][1]["rate_per_s"], 400.0);
}

/// A line for each load as it ends, on standard error; table, chart and knee behind the figures.
#[test]
fn a_sweep_says_where_its_knee_is() {
    let server = Server::start(|_, _| answer());
    let words = ["--sweep", "concurrency=1,2,4", "--requests", "12", "--max-tokens", "2"];
    let said = run(&server.url, &words);
    assert!(said.code == 0 || said.code == 6, "{}", said.err);
    for n in [1, 2, 4] {
        assert_eq!(
            said.err.matches(&format!("concurrency {n}: ")).count(),
            1,
            "{}",
            said.err
        );
    }
    assert!(said.out.contains("knee") || said.out.contains("Knee: "), "{}", said.out);
}

#[test]
fn the_highest_load_is_searched_and_found() {
    let server = Server::start(|_, _| answer());
    // Nobody takes an hour: every load meets that, and the time ends the search.
    let words = [
        "--find-max",
        "concurrency",
        "--slo",
        "e2e=1h",
        "--max-minutes",
        "0.02",
        "--max-tokens",
        "1",
    ];
    let said = run(&server.url, &words);
    assert!(said.code == 0 || said.code == 6, "{}", said.err);
    let out = json(&server.url, &words);
    let search = &out["find_max"];
    assert_eq!(search["searched"], "concurrency");
    let probes = search["probes"].as_array().unwrap();
    // The machine may have spoilt every part; what was measured met the objective.
    assert!(probes.iter().all(|p| p["decision"] != "fails"), "{search:#}");
    // Every load meets it, so none is the highest.
    assert_ne!(search["verdict"], "highest", "{search:#}");
    if let Some(first) = probes.first() {
        assert_eq!(
            (&first["concurrency"], &first["objectives"][0]["objective"]),
            (&8.into(), &"e2e".into())
        );
        assert!(
            said.out.contains("concurrency") && said.out.contains("again"),
            "{}",
            said.out
        );
    }
    assert!(!out["results"].as_array().unwrap().is_empty());
    // A server that refuses everything is said at once.
    let server = Server::start(|_, _| Act::Status(500));
    let said = run(&server.url, &words).exits(4);
    assert!(
        said.err.contains("none of the first 32 requests") && said.err.contains("500"),
        "{}",
        said.err
    );
}

#[test]
fn a_search_refuses_what_it_does_not_have() {
    let check = |words: &[&str], says: &str| {
        let said = run("http://127.0.0.1:1", words).exits(2);
        assert!(said.err.contains(says), "{says}: {}", said.err);
    };
    check(&["--find-max", "rate"], "--slo");
    check(&["--find-max", "batch", "--slo", "ttft=1s"], "concurrency");
    check(
        &["--find-max", "rate", "--slo", "ttft=1s", "--rate", "3"],
        "cannot be used with",
    );
    check(
        &["--find-max", "rate", "--slo", "ttft=1s", "--requests", "3"],
        "cannot be used with",
    );
    check(
        &["--find-max", "rate", "--slo", "ttft=1s", "--slo-quantile", "p100"],
        "p95",
    );
    check(
        &["--find-max", "rate", "--slo", "ttft=1s", "--max-minutes", "0"],
        "minutes",
    );
    check(&["--slo-quantile", "p90", "--rate", "1"], "--find-max");
    check(&["--max-minutes", "5", "--rate", "1"], "--find-max");
    let words = ["--find-max", "concurrency", "--slo", "ttft=1s", "--arrivals", "poisson"];
    check(&words, "--arrivals is how requests of an open loop arrive");
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
        assert!(turns.values().all(|l| l["summary_s"]["n"] == 2));
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
        .map(|t| t.completion().unwrap().completion_tokens().unwrap().get())
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
            &files.text("m"),
        ],
    );
    assert_eq!(one(&out)["requests"]["completed"], 3, "{out:#}");
    let lengths: Vec<(u32, u32)> = files
        .traces("m")
        .iter()
        .map(|t| t.completion().unwrap())
        .map(|c| (c.prompt_tokens().unwrap().get(), c.completion_tokens().unwrap().get()))
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

    // Without a tokenizer the server counts, and counts the same.
    let out = json(sim(), &["--replay", &file, "--ignore-eos"]);
    assert_eq!(one(&out)["requests"]["completed"], 3, "{out:#}");
    assert_eq!(out["lengths"]["counted_by"], "server-tokenize");
    let file = files.write("bad.jsonl", "{\"timestamp\": 1}\n");
    assert!(run(sim(), &["--replay", &file]).exits(3).err.contains("line 1"));
}
