//! Every verb, asked for what cannot be: it ends with an exit code that the README lists, names what is wrong and says what to do.

use crate::support::Project;
use std::{collections::BTreeSet, fs};

const README: &str = include_str!("../../../../README.md");

/// The codes of the README's table, by their first column.
fn documented() -> BTreeSet<i32> {
    let (_, table) = README.split_once("| exit code |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| "));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().parse().unwrap())
        .collect()
}

/// Words, the exit code, and what standard error must hold: the thing that is wrong, and the remedy.
type Case<'a> = (&'a [&'a str], i32, &'a [&'a str]);

const CASES: &[Case<'_>] = &[
    (&["dataset", "build", "none.toml"], 3, &["none.toml", "check the path"]),
    (
        &["dataset", "verify", "none.jsonl"],
        3,
        &["none.jsonl", "check the path"],
    ),
    (&["dataset", "pack"], 2, &["pack", "--help"]),
    (&["plan", "none.toml"], 3, &["none.toml", "servelab init"]),
    (&["plan", "bad.toml"], 3, &["bad.toml:1:", "correct"]),
    (
        &["plan", "matrix/p.toml", "--blocks", "0"],
        3,
        &["command line", "whole number"],
    ),
    (&["run", "none.toml"], 3, &["none.toml", "servelab init"]),
    (&["run", "matrix/p.toml", "--run-id", "../x"], 2, &["../x"]),
    (&["seal", "none"], 4, &["none", "--runs"]),
    (&["ingest", "none"], 4, &["`none`", "servelab results list"]),
    (&["report", "none"], 4, &["`none`", "servelab results list"]),
    (&["results", "show", "none"], 4, &["`none`", "servelab ingest"]),
    (&["run", "--resume", "none"], 4, &["none", "--runs"]),
    (&["verify", "none"], 4, &["`none`", "servelab results list"]),
    (
        &["sign", "none"],
        2,
        &["no key to sign with", "SERVELAB_SIGNING_KEY", "servelab sign --help"],
    ),
    (&["traces", "none"], 4, &["`none`", "servelab results list"]),
    (&["query", "--since", "x"], 2, &["'x'", "2026-11-01"]),
    (&["db", "check"], 4, &["no database", "servelab ingest"]),
    (&["pin", "none", "x"], 4, &["`none`", "servelab results list"]),
    (&["pin", "none", "../x"], 2, &["`../x`", "begin with a letter"]),
    (&["rerun", "none"], 4, &["`none`", "servelab pin RUN NAME"]),
    (&["bench", "--url", "ftp://none"], 2, &["ftp://none", "http://"]),
    (
        &["bench", "--url", "http://127.0.0.1:1"],
        4,
        &["http://127.0.0.1:1", "start the server"],
    ),
    (
        &["compare", "--url", "http://127.0.0.1:1"],
        2,
        &["one server alone", "second --url"],
    ),
    (&["doctor", "--format", "none"], 2, &["none", "possible values"]),
    (&["engine", "catalogue", "--command", "./none"], 4, &["./none", "PATH"]),
    (
        &[
            "engine",
            "catalogue",
            "--engine-version",
            "1.0.0",
            "--help-file",
            "none",
        ],
        4,
        &["none", "--help=all"],
    ),
    (&["init", "bad.toml"], 4, &["bad.toml", "another name"]),
    (&["init", "/proc/none/x.toml"], 4, &["/proc/none/x.toml", "may write"]),
    (&["sim", "--tokenizer-dir", "none"], 4, &["none", "--tokenizer-dir"]),
    (
        &["sim", "--tokenizer-dir", "none", "--profile", "h100"],
        2,
        &["h100", "use one of"],
    ),
    (
        &["sim", "--tokenizer-dir", "none", "--faults", "none.toml"],
        3,
        &["none.toml", "SIMULATOR.md"],
    ),
    (&["sim", "--tokenizer-dir", "none", "--", "--none"], 2, &["--none"]),
    (&["calibrate", "--concurrency", "none"], 2, &["none", "--help"]),
    (
        &["calibrate", "--plan", "none.toml"],
        3,
        &["none.toml", "servelab init"],
    ),
];

#[test]
fn every_verb_ends_with_a_documented_code() {
    let project = Project::new(1, 1);
    let arms = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";
    project.matrix("p", &[], "blocks = 1", arms);
    fs::write(project.path("bad.toml"), "name == 3\n").unwrap();
    let documented = documented();
    assert_eq!(documented, BTreeSet::from([0, 1, 2, 3, 4, 5, 6, 7, 8]));

    let help = project.servelab(&["--help"]).exits(0).out;
    let (_, verbs) = help.split_once("Commands:\n").unwrap();
    for line in verbs.lines().take_while(|line| line.starts_with("  ")) {
        // What is said of a verb may take more lines.
        if line.starts_with("   ") {
            continue;
        }
        let verb = line.split_whitespace().next().unwrap();
        let has_case = CASES.iter().any(|(words, ..)| words[0] == verb);
        assert!(has_case || verb == "help", "no case for {verb}");
    }

    for (words, code, says) in CASES {
        assert!(documented.contains(code), "{words:?}");
        let said = project.servelab(words).exits(*code);
        for part in *says {
            assert!(
                said.err.contains(part),
                "{words:?} does not say {part:?}:\n{}",
                said.err
            );
        }
        assert!(!said.err.contains("panicked"), "{words:?}: {}", said.err);
    }
}
