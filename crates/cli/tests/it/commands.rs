//! What a newcomer meets: help, wrong input, and the first files.

use crate::support::Project;
use std::fs;

#[test]
fn formats_md_is_what_the_types_say() {
    let written = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/FORMATS.md")).unwrap();
    assert!(
        written == servelab_schema::formats::markdown(),
        "docs/FORMATS.md is old: run `make formats`"
    );
}

#[test]
fn every_verb_has_help() {
    let project = Project::new(1, 1);
    let help = project.servelab(&["--help"]).exits(0).out;
    for verb in [
        "dataset",
        "plan",
        "run",
        "seal",
        "ingest",
        "report",
        "results",
        "init",
        "sim",
        "calibrate",
    ] {
        assert!(help.contains(verb), "{help}");
        assert!(project.servelab(&[verb, "--help"]).exits(0).out.contains("Usage:"));
    }
    assert!(help.contains("Exit codes"), "{help}");
}

/// Wrong input gets an exit code and a remedy, and never a panic.
#[test]
fn wrong_input_is_answered_with_a_remedy() {
    let project = Project::new(1, 1);
    let check = |words: &[&str], code: i32, says: &[&str]| {
        let said = project.servelab(words).exits(code);
        for part in says {
            assert!(
                said.err.contains(part),
                "{words:?} does not say {part:?}:\n{}",
                said.err
            );
        }
        assert!(!said.err.contains("panicked"), "{}", said.err);
        assert!(
            said.err.matches("(os error").count() <= 1,
            "the cause is said twice: {}",
            said.err
        );
    };
    check(&["frobnicate"], 2, &["unrecognized subcommand"]);
    check(&["plan", "matrix/none.toml"], 3, &["matrix/none.toml"]);
    check(&["run", "matrix/none.toml"], 3, &["matrix/none.toml"]);
    check(&["run", "matrix/none.toml", "--run-id", "../x"], 2, &["no run id"]);
    check(
        &["report", "nothing"],
        4,
        &["there is no run `nothing`", "servelab results list"],
    );
    check(&["report"], 4, &["no sealed run", "servelab run"]);
    check(&["ingest", "nothing"], 4, &["there is no run `nothing`"]);
    check(&["results", "show", "nothing"], 4, &["nothing"]);
    check(&["dataset", "build", "datasets/none.toml"], 3, &["datasets/none.toml"]);
    check(&["dataset", "verify", "prompts/none.jsonl"], 3, &["prompts/none.jsonl"]);
    fs::write(project.path("bad.toml"), "name = \"x\"\nblocks == 3\n").unwrap();
    check(&["plan", "bad.toml"], 3, &["bad.toml:2:"]);
    fs::create_dir_all(project.path("runs/half")).unwrap();
    check(&["ingest", "half"], 4, &["unfinished run"]);
}

#[test]
fn init_writes_a_matrix_once() {
    let project = Project::new(1, 1);
    let said = project.servelab(&["init", "matrix/mine.toml"]).exits(0);
    assert!(said.out.trim().ends_with("matrix/mine.toml"));
    assert_eq!(
        fs::read_to_string(project.path("matrix/mine.toml")).unwrap(),
        servelab_matrix::starter()
    );
    assert!(
        project
            .servelab(&["init", "matrix/mine.toml"])
            .exits(4)
            .err
            .contains("is there already")
    );
}

#[test]
fn a_plan_is_the_same_bytes_twice_and_runs_nothing() {
    let project = Project::new(2, 3);
    let arms = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";
    project.matrix("p", &[], "blocks = 2", arms);
    let json = || {
        project
            .servelab(&["plan", "matrix/p.toml", "--format", "json"])
            .exits(0)
            .out
    };
    let first = json();
    assert_eq!(first, json());
    let plan: servelab_schema::Plan = serde_json::from_str(&first).unwrap();
    assert_eq!(plan.trial_count(), 2);
    assert!(!project.path("runs").exists());
    let table = project.servelab(&["plan", "matrix/p.toml", "--explain"]).exits(0).out;
    assert!(
        table.contains("C1") && table.contains("matrix/p.toml:") && table.contains("SIMULATED"),
        "{table}"
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let project = Project::new(1, 1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let tokenizer = project.path("datasets/tokenizers/mistral-7b-instruct-v0.3");
    let words = [
        "sim",
        "--port",
        &port,
        "--tokenizer-dir",
        tokenizer.to_str().unwrap(),
        "--startup-seconds",
        "0",
    ];
    let said = project.servelab(&words).exits(4);
    assert!(said.err.contains(&port) && said.err.contains("use"), "{}", said.err);
}

#[test]
fn what_costs_is_asked_for_and_limits_refuse() {
    let project = Project::new(1, 3);
    let arms = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";
    project.matrix("dear", &[], "blocks = 1", arms);
    let file = project.path("matrix/dear.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (head, rest) = text.split_once("[engine.provider.sim]").unwrap();
    let (_, rest) = rest.split_once("[prompts]").unwrap();
    let head = head.replace(
        "context-tokens = 8192",
        "context-tokens = 8192\nprice-usd-per-hour = \"0.85\"",
    );
    fs::write(
        &file,
        format!("{head}[engine.provider.process]\ncommand = [\"no-such-engine\"]\n\n[prompts]{rest}"),
    )
    .unwrap();
    let plan = project.servelab(&["plan", "matrix/dear.toml"]).exits(0);
    assert!(plan.out.contains("--confirm"), "{}", plan.out);
    let asked = project.servelab(&["run", "matrix/dear.toml"]).exits(4);
    assert!(
        asked.err.contains("not confirmed") && asked.err.contains("--confirm"),
        "{}",
        asked.err
    );
    assert!(!project.path("runs").exists(), "nothing was run");
    let confirmed = project.servelab(&["run", "matrix/dear.toml", "--confirm"]).exits(4);
    assert!(
        confirmed.err.contains("no-such-engine") && confirmed.err.contains("PATH"),
        "{}",
        confirmed.err
    );
    let limit = |words: &[&str], says: &str| {
        let said = project
            .servelab(&[&["plan", "matrix/dear.toml"], words].concat())
            .exits(3);
        assert!(said.err.contains(says), "{}", said.err);
    };
    limit(&["--max-cost", "0.01"], "limits.max-cost-usd");
    limit(&["--max-duration", "1ms"], "limits.max-duration");
}
