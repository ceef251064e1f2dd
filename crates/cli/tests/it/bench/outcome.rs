//! How it ends: timeouts, failures, objectives, Ctrl-C, and every way to be wrong.

use super::*;

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
        "10 failed as ∞",
        "Invalid",
    ] {
        assert!(said.out.contains(part), "no {part:?} in\n{}", said.out);
    }
    let out = json(&server.url, &words);
    let result = one(&out);
    let with = |i: usize| &result["ttft"]["quantiles"][i];
    assert!(
        with(0)["with_failures_s"].is_f64()
            && with(0)["with_failures_is_infinite"] == false
            && with(3)["with_failures_s"].is_null()
            && with(3)["with_failures_is_infinite"] == true,
        "{}",
        result["ttft"]
    );
    assert_eq!(
        (&result["ttft"]["summary_s"]["n"], &result["ttft"]["failed"]),
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
fn a_signal_prints_what_has_ended_and_keeps_its_traces() {
    use rustix::process::Signal;
    for (signal, name) in [
        (Signal::INT, "SIGINT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::HUP, "SIGHUP"),
    ] {
        let server = Server::start(|n, _| if n < 3 { answer() } else { Act::Silence(0) });
        let files = Files::new();
        let mut command = servelab();
        command.args(["bench", "--url", &server.url, "--requests", "50", "--concurrency", "2"]);
        command.args(["--format", "json", "--traces", &files.text("t.jsonl")]);
        let mut command = hearing_hangups(&command);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        server.wait_for(|s| s.in_flight == 2 && s.answered == 3);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let said = command_output(&child.wait_with_output().unwrap()).exits(5);
        let answer: Value = serde_json::from_str(&said.out).unwrap();
        let result = one(&answer);
        let seen = ["planned", "completed", "failed", "cut_off", "never_sent"]
            .map(|k| result["requests"][k].as_u64().unwrap());
        assert_eq!(seen, [50, 3, 0, 2, 45]);
        assert_eq!(result["end"], "interrupted");
        assert!(
            said.err.contains(name) && said.err.contains("interrupted"),
            "{}",
            said.err
        );
        let completed = files
            .traces("t.jsonl")
            .iter()
            .filter(|t| t.completion().is_some())
            .count();
        assert_eq!(completed, 3, "what had ended is kept");
    }
}

/// While the server is asked what it takes there is nothing to lose.
#[test]
fn a_signal_before_the_load_ends_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut command = servelab();
    command.args(["bench", "--url", &url, "--model", "m"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = listener.accept().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let said = command_output(&child.wait_with_output().unwrap()).exits(5);
    assert!(said.err.contains("SIGTERM: nothing was measured yet"), "{}", said.err);
    assert!(said.out.is_empty(), "{}", said.out);
    drop(asked);
}

#[test]
fn a_load_whose_first_requests_all_fail_is_ended_and_says_what_helps() {
    let server = Server::start(|_, _| Act::Status(401));
    let words = ["--model", "m", "--requests", "400", "--concurrency", "4"];
    let said = run(&server.url, &[&words[..], &["--format", "json"]].concat()).exits(6);
    let given_up: Value = serde_json::from_str(&said.out).unwrap();
    let (result, requests) = (one(&given_up), &one(&given_up)["requests"]);
    assert_eq!(
        (&result["end"], &requests["gave_up_after"]),
        (&"gave-up".into(), &20.into())
    );
    let failed = requests["failed"].as_u64().unwrap();
    // How many more leave before the load hears of it is the scheduler's.
    assert!(
        (20..200).contains(&failed) && requests["never_sent"].as_u64().unwrap() > 200,
        "most of 400 were not sent: {requests}"
    );
    assert_eq!(requests["completed"], 0);

    let said = run(&server.url, &words).exits(6).out;
    for part in [
        "Aborted: the first 20 requests all failed",
        "HTTP 401",
        "What helps: ",
        "--api-key-env",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let sweep = [
        "--model",
        "m",
        "--requests",
        "8",
        "--sweep",
        "concurrency=1,2",
        "--give-up-after",
        "5",
    ];
    let swept = json(&server.url, &sweep);
    assert_eq!(
        one(&swept)["requests"]["gave_up_after"],
        5,
        "the second load is not begun"
    );
    let never = json(
        &server.url,
        &["--model", "m", "--requests", "30", "--give-up-after", "0"],
    );
    assert_eq!(one(&never)["requests"]["failed"], 30);
    assert_eq!(one(&never)["end"], "complete");

    // One that completes is enough to go on.
    let server = Server::start(|n, _| if n == 3 { answer() } else { Act::Status(503) });
    let out = json(
        &server.url,
        &["--requests", "40", "--concurrency", "1", "--max-tokens", "2"],
    );
    assert_eq!(one(&out)["end"], "complete");
}

#[test]
fn wrong_input_is_answered_with_a_remedy() {
    let check = |words: &[&str], code: i32, says: &[&str]| {
        let said = command_output(&servelab().arg("bench").args(words).output().unwrap()).exits(code);
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
    check(&["--url", "127.0.0.1:port"], 2, &["127.0.0.1:port", "no number"]);
    check(&["--url", "ftp://h/"], 2, &["ftp://h"]);
    for option in ["--requests", "--concurrency", "--batch", "--turns", "--max-tokens"] {
        for value in ["0", "-1", "x", "1.5", ""] {
            usage(&[option, value], &[option, "give a whole number from 1 to 4294967295"]);
        }
    }
    usage(&["--warmup", "-1"], &["--warmup", "from 0 to 4294967295"]);
    usage(&["--give-up-after", "x"], &["--give-up-after", "from 0 to 4294967295"]);
    usage(&["--seed", "x"], &["--seed", "give a whole number from 0"]);
    usage(
        &["--extra-headers", "{\"Host\": \"x\"}"],
        &["--extra-headers: ", "set by the instrument itself"],
    );
    usage(
        &["--extra-headers", "[]"],
        &["--extra-headers: ", "JSON object of texts"],
    );
    usage(
        &["--requests", "5", "--duration", "5s"],
        &["cannot be used with", "--duration"],
    );
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
