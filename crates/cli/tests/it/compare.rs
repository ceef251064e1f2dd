//! Two servers that are up already, compared without a matrix, a tokenizer or a clone.

use super::{
    engines::Sim,
    support::{Project, engine, trials},
};
use serde_json::Value;
use servelab_schema::{MetricName, Treatment};
use std::collections::BTreeSet;

fn url(sim: &Sim) -> String {
    format!("http://127.0.0.1:{}", sim.port)
}

/// Compares two servers and gives the exit code and the answer.
fn compare(project: &Project, a: &Sim, b: &Sim, words: &[&str]) -> (i32, Value) {
    let (a, b) = (url(a), url(b));
    let base = [
        "compare",
        "--url",
        &a,
        "--url",
        &b,
        "--format",
        "json",
        "--no-calibrate",
    ];
    let output = project.command(&[&base[..], words].concat()).output().unwrap();
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

#[test]
fn what_cannot_be_compared_is_said_before_anything_is_sent() {
    let project = Project::new(1, 3);
    let a = Sim::start(&project);
    let base = url(&a);
    let by_name = format!("http://localhost:{}", a.port);
    for (words, expected) in [
        (vec!["--url", &base], "give a second --url"),
        (vec!["--url", &base, "--url", &base], "is given twice"),
        (vec!["--url", &base, "--url", &by_name], "are one server"),
        (
            vec!["--url", &base, "--url", "https://127.0.0.1:1"],
            "speaks no TLS yet",
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
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
    }
    assert!(!project.path("runs").exists(), "nothing was written");
}

/// `make torture-compare`.
#[cfg(feature = "torture")]
mod torture {
    use super::*;

    /// Verdict and exit code of each of five comparisons with this planted slowdown.
    #[expect(clippy::print_stderr, reason = "whoever runs this wants to see each of them")]
    fn five(slowdown: f64) -> Vec<(String, i32)> {
        let project = Project::new(1, 3);
        let (a, b) = (Sim::slowed(&project, 1.0), Sim::slowed(&project, slowdown));
        let words = [
            "--blocks",
            "8",
            "--requests",
            "40",
            "--concurrency",
            "4",
            "--output-tokens",
            "64",
        ];
        let one = |_| {
            let (code, answer) = compare(&project, &a, &b, &words);
            let found = &answer["comparisons"][0];
            let verdict = found["verdict"]
                .as_str()
                .map_or_else(|| found["verdict"].to_string(), str::to_owned);
            let effect = &found["estimate"]["effect_percent"];
            let interval = &found["estimate"]["interval_percent"];
            eprintln!("slowdown {slowdown}: {verdict} ({effect} %, {interval}), exit {code}");
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
        assert!(slower.iter().filter(|(_, code)| *code == 7).count() >= 4, "{slower:?}");
    }
}
