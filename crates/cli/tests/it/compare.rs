//! Two servers that are up already, compared without a matrix, a tokenizer or a clone.

use super::{
    bench::hints::{nobody, pages},
    engines::{Sim, TOKENIZER, disguised, picky, silent},
    support::{Project, command_output, engine, trials, until},
    tls::Certificate,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use servelab_schema::{MetricName, RunEnd, TokenLimit, Treatment};
use std::{
    collections::BTreeSet,
    fs,
    num::NonZeroU32,
    process::{Command, Stdio},
};

fn url(sim: &Sim) -> String {
    format!("http://127.0.0.1:{}", sim.port)
}

/// Compares two servers and gives the exit code and the answer.
fn compare(project: &Project, a: &Sim, b: &Sim, words: &[&str]) -> (i32, Value) {
    answered(&mut command(project, [&url(a), &url(b)], words))
}

fn command(project: &Project, [a, b]: [&str; 2], words: &[&str]) -> Command {
    let base = ["compare", "--url", a, "--url", b, "--format", "json", "--no-calibrate"];
    project.command(&[&base[..], words].concat())
}

fn answered(command: &mut Command) -> (i32, Value) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = serde_json::from_str(&text);
    let answer = answer.unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), answer)
}

#[test]
fn a_slower_server_is_found_and_no_prompt_comes_twice_to_one_server() {
    let project = Project::new(1, 3);
    let (a, b) = (Sim::slowed(&project, 1.0), Sim::slowed(&project, 1.5));
    let short = [
        "--blocks",
        "2",
        "--requests",
        "30",
        "--concurrency",
        "2",
        "--output-tokens",
        "64",
        "--seed",
        "7",
    ];
    let (code, answer) = compare(&project, &a, &b, &short);
    // Two blocks are a hint, on which no exit code rests; beside other tests the instrument may say that it was disturbed.
    assert!(matches!(code, 6 | 8), "{code}");
    assert_eq!(
        (&answer["engine_kind"], answer["servers"].as_array().unwrap().len()),
        (&"simulated".into(), 2)
    );
    let found = &answer["comparisons"][0];
    assert_eq!((&found["variant"], &found["indicative"]), (&"B".into(), &true.into()));
    assert_eq!(answer["aa"][0]["variant"], "A2");
    let again = answer["again"].as_str().unwrap();
    assert!(
        again.contains("--seed 7") && again.contains("--requests 30") && again.contains(&url(&b)),
        "{again}"
    );
    assert!(project.path("report/out/index.html").is_file());
    let run = project.run(answer["run_id"].as_str().unwrap());
    let plan = run.plan().unwrap();
    let mut sent: BTreeSet<(bool, Option<String>, String)> = BTreeSet::new();
    let mut prompts: BTreeSet<(bool, String)> = BTreeSet::new();
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for (trial, traces) in trials(&run) {
        let to_b = plan.engine.has_own_server(&trial.variant);
        let shown = engine(&run, &trial.id);
        let server = shown.server.unwrap();
        assert_eq!(server.url, if to_b { url(&b) } else { url(&a) });
        assert!(!server.processes.is_empty(), "it serves a port of this machine");
        if to_b {
            assert_eq!(trial.treatment, Treatment::Confirmed, "{:?}", trial.checks);
        }
        for trace in traces.iter().filter(|t| t.measured) {
            let prompt = trace.prompt_id.to_string();
            prompts.insert((to_b, prompt.clone()));
            assert!(
                sent.insert((to_b, shown.cache_salt.clone(), prompt)),
                "{} twice",
                trace.prompt_id
            );
        }
        let throughput = trial.metrics.unwrap().values[&MetricName::OutputThroughput].value;
        if to_b { &mut of_b } else { &mut of_a }.push(throughput);
    }
    assert_eq!(prompts.len(), 2 * 3 * 30, "a copy has prompts of its own");
    let mean = |of: &[f64]| of.iter().sum::<f64>() / f64::from(u32::try_from(of.len()).unwrap());
    let ratio = mean(&of_b) / mean(&of_a);
    assert!((0.5..0.85).contains(&ratio), "planted: a third less; {ratio}");
}

/// Words as they are without the ends of lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_server_that_takes_less_is_compared_all_the_same() {
    let project = Project::new(1, 3);
    let (a, b) = (Sim::start(&project), Sim::start(&project));
    let urls = [disguised(a.port), picky(b.port)].map(|port| format!("http://127.0.0.1:{port}"));
    let short = "--model mistral --blocks 2 --requests 30 --concurrency 2 --output-tokens 8";
    let short: Vec<&str> = short.split(' ').collect();
    let (_, answer) = answered(&mut command(&project, [&urls[0], &urls[1]], &short));
    let takes = |n: usize| answer["servers"][n]["capabilities"]["token_limit"].clone();
    assert_eq!(
        (takes(0), takes(1)),
        ("max-tokens".into(), "max-completion-tokens".into())
    );
    let run = project.run(answer["run_id"].as_str().unwrap());
    let all = trials(&run);
    for (trial, _) in &all {
        let asked = engine(&run, &trial.id).capabilities.unwrap();
        assert!(!asked.seed.is_sent(), "all are asked alike: {asked:?}");
        assert!(asked.ignore_eos.is_sent() && asked.token_limit != TokenLimit::None);
    }
    let completed = |(_, traces): &(_, Vec<servelab_schema::Trace>)| {
        traces.iter().filter(|t| t.measured && t.completion().is_some()).count()
    };
    assert_eq!(all.iter().map(completed).collect::<Vec<_>>(), [30; 6]);
}

#[test]
fn a_signal_ends_a_comparison_and_seals_what_was_measured() {
    let project = Project::new(1, 3);
    let (a, b) = (Sim::start(&project), Sim::start(&project));
    let words = ["--blocks", "20", "--requests", "400", "--output-tokens", "64"];
    let mut asked = command(&project, [&url(&a), &url(&b)], &words);
    let child = asked.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = project.path("runs");
    let run = until("the run", || fs::read_dir(&runs).ok()?.next()?.ok());
    let first = until("the first trial", || {
        fs::read_dir(run.path().join("trials")).ok()?.next()?.ok()
    });
    until("the first trace", || {
        fs::metadata(first.path().join("traces.jsonl"))
            .ok()
            .filter(|m| m.len() > 0)
    });
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let said = command_output(&child.wait_with_output().unwrap()).exits(5);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let run = project.run(answer["run_id"].as_str().unwrap());
    assert!(matches!(&run.manifest().end, RunEnd::Aborted { why } if why.starts_with("SIGTERM")));
    assert!(project.path("report/out/index.html").is_file());
}

/// What people see: the servers side by side, what differs, and the answer, in 80 columns.
#[test]
fn a_comparison_is_told_in_eighty_columns() {
    let project = Project::new(1, 3);
    let a = Sim::start(&project);
    let b = Sim::of_tokenizer(&project, with_a_longer_template(&project));
    let urls = [silent(a.port), silent(b.port)].map(|port| format!("http://127.0.0.1:{port}"));
    let words = "compare --model mistral --blocks 2 --requests 30 --concurrency 2 --output-tokens 8 --input-tokens 24 --share-machine";
    let words: Vec<&str> = words
        .split(' ')
        .chain(["--no-calibrate", "--url", &urls[0], "--url", &urls[1]])
        .collect();
    let mut asked = project.command(&words);
    let said = command_output(&asked.env("COLUMNS", "80").output().unwrap());
    assert!(matches!(said.code, 6 | 8), "{}", said.err);
    let long = |line: &&str| line.chars().count() > 80 && !line.contains("http://127.0.0.1");
    assert_eq!(said.out.lines().find(long), None);
    let text = flat(&said.out.replace('│', " "));
    for part in [
        "≠ prompts 24 tokens 29 tokens",
        "counted by the server's /tokenize the server's /tokenize",
        "A and B show no settings.",
        "Weights, quantisation and machine: only what a server shows",
        "A/A",
        "B: a hint, no verdict: ",
        "these servers as they ran",
        "again servelab --project",
        "compare --url http://",
        "--input-tokens 24",
        "--min-duration 1",
        "--share-machine",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{}", said.out);
    }
    // This test passes both on, so that one process serves both; neither shows when it began.
    assert!(
        flat(&said.err).contains("one process of this machine serves"),
        "{}",
        said.err
    );
}

/// The same tokenizer with a longer template: every prompt has more tokens there.
fn with_a_longer_template(project: &Project) -> &'static str {
    const FOLDER: &str = "datasets/tokenizers/longer";
    fs::create_dir(project.path(FOLDER)).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(
            project.path(&format!("{TOKENIZER}/{file}")),
            project.path(&format!("{FOLDER}/{file}")),
        )
        .unwrap();
    }
    let template = fs::read_to_string(project.path(&format!("{TOKENIZER}/chat_template.jinja"))).unwrap();
    let longer = template.replace("{{- bos_token -}}", "{{- bos_token ~ \"[INST] Be brief.[/INST]\" -}}");
    assert_ne!(longer, template);
    fs::write(project.path(&format!("{FOLDER}/chat_template.jinja")), longer).unwrap();
    FOLDER
}

#[test]
fn lengths_are_exact_on_servers_whose_templates_differ() {
    let project = Project::new(1, 3);
    let (a, b) = (
        Sim::start(&project),
        Sim::of_tokenizer(&project, with_a_longer_template(&project)),
    );
    let words = "--input-tokens 40..90 --shared-prefix 12 --output-tokens 4..9 --blocks 2 --requests 30 --seed 7";
    let (_, answer) = compare(&project, &a, &b, &words.split(' ').collect::<Vec<_>>());
    let again = answer["again"].as_str().unwrap();
    let asked = "--input-tokens 40..90 --output-tokens 4..9 --shared-prefix 12";
    assert!(again.replace("'", "").contains(asked), "{again}");
    let counted = |n: usize| answer["servers"][n]["prompt_tokens"].clone();
    let least = |n| counted(n)["least"].as_u64().unwrap();
    assert_eq!((least(0), counted(0)["most"].as_u64()), (40, Some(90)));
    let more = u32::try_from(least(1) - 40).unwrap();
    assert!((4..12).contains(&more), "{:?}", counted(1));
    assert_eq!(counted(1)["by"], "server-tokenize");
    let run = project.run(answer["run_id"].as_str().unwrap());
    let plan = run.plan().unwrap();
    let (mut lengths, mut answers) = (BTreeSet::new(), BTreeSet::new());
    for (trial, traces) in trials(&run) {
        let more = if plan.engine.has_own_server(&trial.variant) {
            more
        } else {
            0
        };
        for trace in traces.iter().filter(|t| t.measured) {
            let prompt = plan.prompts.prompts.iter().find(|p| p.id == trace.prompt_id).unwrap();
            let planned = prompt.prompt_tokens.unwrap();
            assert_eq!(trace.expected_prompt_tokens, planned.checked_add(more));
            let completion = trace.completion().unwrap_or_else(|| panic!("{trace:?}"));
            assert_eq!(completion.prompt_tokens(), trace.expected_prompt_tokens);
            assert_eq!(completion.completion_tokens(), Some(prompt.max_new_tokens));
            lengths.insert(planned);
            answers.insert(prompt.max_new_tokens.get());
        }
    }
    let most = NonZeroU32::new(90).unwrap();
    assert!(
        lengths.len() > 15 && lengths.iter().all(|n| (40..=90).contains(&n.get()) && *n <= most),
        "{lengths:?}"
    );
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn lengths_that_no_prompt_can_have_are_refused() {
    let project = Project::new(1, 3);
    let (a, b) = (Sim::start(&project), Sim::start(&project));
    for (words, expected) in [
        ("--input-tokens 2", "2 prompt tokens cannot be made"),
        (
            "--input-tokens 40 --shared-prefix 40",
            "shared prefix of 40 tokens does not fit",
        ),
        ("--shared-prefix 4", "--input-tokens"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = command(&project, [&url(&a), &url(&b)], &words).output().unwrap();
        let said = flat(&String::from_utf8_lossy(&output.stderr));
        assert!(
            said.contains(expected) && output.status.code() == Some(2),
            "{words:?}: {said}"
        );
    }
    assert!(!project.path("runs").exists(), "nothing was written");
}

#[test]
fn servers_behind_tls_are_compared_and_their_certificates_checked() {
    let project = Project::new(1, 3);
    let (a, b) = (Sim::start(&project), Sim::start(&project));
    let certificate = Certificate::of("localhost");
    let urls = [&a, &b].map(|sim| format!("https://localhost:{}", certificate.in_front_of(sim.port).port()));
    let short = [
        "--blocks",
        "2",
        "--requests",
        "30",
        "--concurrency",
        "2",
        "--output-tokens",
        "8",
    ];
    let mut untrusted = command(&project, [&urls[0], &urls[1]], &short);
    let output = untrusted.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(4) && said.contains("SSL_CERT_FILE"),
        "{said}"
    );
    assert!(!project.path("runs").exists(), "nothing was written");
    let ca = project.path("ca.pem");
    fs::write(&ca, &certificate.pem).unwrap();
    let mut trusted = command(&project, [&urls[0], &urls[1]], &short);
    let (_, answer) = answered(trusted.env("SSL_CERT_FILE", ca));
    assert_eq!(answer["servers"][1]["url"], urls[1].as_str());
    let run = project.run(answer["run_id"].as_str().unwrap());
    let counts = trials(&run)
        .into_iter()
        .map(|(_, traces)| traces.into_iter().filter(|t| t.measured).count());
    assert_eq!(counts.sum::<usize>(), 2 * 3 * 30);
}

#[test]
fn what_cannot_be_compared_is_said_before_anything_is_sent() {
    let project = Project::new(1, 3);
    let a = Sim::start(&project);
    let base = url(&a);
    let by_name = format!("http://localhost:{}", a.port);
    let twice = [(); 2].map(|()| format!("http://127.0.0.1:{}", disguised(a.port)));
    let gone = format!("http://{}", nobody());
    for (words, expected) in [
        (vec!["--url", &base], "give a second --url"),
        (vec!["--url", &base, "--url", &base], "is given twice"),
        (vec!["--url", &base, "--url", &by_name], "is given twice"),
        (
            vec!["--url", &twice[0], "--url", &twice[1], "--model", "mistral"],
            "are one server",
        ),
        (
            vec!["--url", &base, "--url", &twice[0], "--model", "mistral"],
            "is simulated and the others are not",
        ),
        (
            vec!["--url", &base, "--url", &gone, "--requests", "29"],
            "give 30 or more",
        ),
        (
            vec!["--url", &base, "--url", &gone, "--blocks", "0"],
            "give a whole number from 1",
        ),
        (
            vec!["--url", &base, "--url", &gone, "--max-minutes", "0"],
            "minutes above 0",
        ),
        (
            vec![
                "--url",
                &base,
                "--url",
                "http://example.invalid",
                "--api-key-env",
                "PATH",
            ],
            "in the clear",
        ),
        (
            vec![
                "--url", &base, "--url", &by_name, "--model", "a", "--model", "b", "--model", "c",
            ],
            "--model is given 3 times for 2 servers",
        ),
    ] {
        let said = project.servelab(&[&["compare"], &words[..]].concat()).exits(2);
        assert!(flat(&said.err).contains(expected), "{words:?}: {}", said.err);
    }
    let many: Vec<String> = (1..=27).map(|n| format!("--url=http://127.0.0.1:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let said = project.servelab(&[&["compare"], &many[..]].concat()).exits(2);
    assert!(said.err.contains("compare at most 26 at once"), "{}", said.err);
    let wants_key = pages(&[("GET", "401 Unauthorized", "{\"error\": \"who are you?\"}")]);
    let web = pages(&[("GET", "200 OK", "<!doctype html><title>Open WebUI</title>")]);
    let proxy = pages(&[(
        "GET",
        "407 Proxy Authentication Required",
        "<html><title>Squid</title></html>",
    )]);
    for (other, expected) in [
        (&gone, "nothing listens there: start the server"),
        (
            &wants_key,
            "who are you?; it wants a key: put it into a variable of the environment",
        ),
        (&web, "that is no OpenAI API"),
        (&proxy, "a proxy stands before the server"),
    ] {
        let said = project.servelab(&["compare", "--url", &base, "--url", other]).exits(4);
        assert!(flat(&said.err).contains(expected), "{other}: {}", said.err);
    }
    assert!(!project.path("runs").exists(), "nothing was written");
}

/// `make torture-compare`.
#[cfg(feature = "torture")]
mod torture {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        process::Child,
    };

    /// A server that computes nothing and keeps to its times, until it is dropped.
    struct Null {
        child: Child,
        url: String,
    }

    impl Null {
        /// A first token after 20 ms and each further one 2 ms later, times this.
        fn start(project: &Project, factor: f64) -> Self {
            let us = |us: f64| format!("{:.0}", us * factor);
            let words = [
                "null",
                "--chunks-from-request",
                "--no-stamps",
                "--ttft-us",
                &us(20_000.0),
                "--itl-us",
                &us(2000.0),
            ];
            let mut child = project.command(&words).stdout(Stdio::piped()).spawn().unwrap();
            let mut first = String::new();
            BufReader::new(child.stdout.take().unwrap())
                .read_line(&mut first)
                .unwrap();
            let url = first.trim().to_owned();
            assert!(url.starts_with("http://127.0.0.1:"), "{first}");
            Self { child, url }
        }
    }

    impl Drop for Null {
        fn drop(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }

    /// Verdict and exit code of each of five comparisons with this planted slowdown.
    #[expect(clippy::print_stderr, reason = "whoever runs this wants to see each of them")]
    fn five(slowdown: f64) -> Vec<(String, i32)> {
        let project = Project::new(1, 3);
        let (a, b) = (Null::start(&project, 1.0), Null::start(&project, slowdown));
        let words = "--blocks 8 --concurrency 4 --output-tokens 64 --requests 60";
        let words: Vec<&str> = words.split(' ').collect();
        let one = |_| {
            let (code, answer) = answered(&mut command(&project, [&a.url, &b.url], &words));
            let found = &answer["comparisons"][0];
            let verdict = found["verdict"]
                .as_str()
                .map_or_else(|| found["verdict"].to_string(), str::to_owned);
            let effect = &found["estimate"]["effect_percent"];
            let interval = &found["estimate"]["interval_percent"];
            eprintln!(
                "slowdown {slowdown}: {verdict} ({effect} %, {interval}), {} blocks, exit {code}",
                found["k"]
            );
            (verdict, code)
        };
        (0..5).map(one).collect()
    }

    #[test]
    fn equal_servers_are_not_told_apart_and_a_tenth_is_found() {
        let equal = five(1.0);
        let told_apart = |(verdict, _): &&(String, i32)| verdict == "better" || verdict.contains("worse");
        assert_eq!(equal.iter().filter(told_apart).count(), 0, "{equal:?}");
        let slower = five(1.1);
        assert_eq!(slower.iter().filter(|(_, code)| *code == 7).count(), 5, "{slower:?}");
    }
}
