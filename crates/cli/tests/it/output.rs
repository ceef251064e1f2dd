//! What people and programs read: lines that fit 80 columns with every word whole, a run that ends with its answer, logs as JSON.

use crate::support::{CommandOutput, Project, command_output};
use serde_json::Value;
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

const ARMS: &str = r#"
[load]
concurrency = 2

[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"

[[variant]]
id = "C1b"
role = "aa"
hypothesis = "A copy of the reference"

[[variant]]
id = "WIDE"
factor = "max-num-seqs"
hypothesis = "More slots than the load fills: no difference"
args = { max-num-seqs = 64 }
expect = { non-default-args = { max_num_seqs = 64 } }
"#;

/// Columns of the narrowest terminal that people use.
const COLUMNS: usize = 80;

fn project() -> Project {
    let project = Project::new(2, 6);
    project.matrix("small", &[], "blocks = 2", ARMS);
    project
}

/// The program in a terminal of 80 columns, as far as it can tell.
fn narrow(project: &Project, words: &[&str]) -> CommandOutput {
    let mut command = project.bare_command(words);
    if words.first() == Some(&"run") {
        command.arg("--no-calibrate");
    }
    command_output(&command.env("COLUMNS", COLUMNS.to_string()).output().unwrap())
}

/// Every line fits, but for one that is a single word: nobody can break a path.
fn fits(text: &str, what: &str) {
    for line in text.lines() {
        let bare = line.trim_matches(|c: char| c == '│' || c == '║' || c.is_whitespace());
        let is_one_word = !bare.contains(' ');
        assert!(
            line.chars().count() <= COLUMNS || is_one_word,
            "{what}: {line:?} in\n{text}"
        );
    }
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| c.is_whitespace() || c == '│')
        .filter(|w| !w.is_empty())
        .collect()
}

/// What is said in 80 columns, and that it is what is said without any: no word is split or lost.
fn same_words(project: &Project, command: &[&str]) -> String {
    let narrow = narrow(project, command).exits(0).out;
    let what = command.join(" ");
    fits(&narrow, &what);
    let wide = command_output(&project.bare_command(command).env_remove("COLUMNS").output().unwrap())
        .exits(0)
        .out;
    let lost: Vec<&str> = words(&wide)
        .difference(&words(&narrow))
        .copied()
        .filter(|w| w.chars().any(char::is_alphanumeric))
        .collect();
    assert!(lost.is_empty(), "{what} splits {lost:?}:\n{narrow}");
    narrow
}

#[test]
fn a_run_ends_with_its_answer_and_fits_80_columns() {
    let project = project();
    let said = narrow(&project, &["run", "matrix/small.toml", "--run-id", "r1"]).exits(0);
    fits(&said.out, "run");
    let page = project.path("report/out/index.html");
    assert!(page.is_file());
    for part in [
        "page",
        "report/out/index.html",
        "next",
        "servelab results show r1",
        "WIDE",
        "complete",
    ] {
        assert!(said.out.contains(part), "no {part:?} in\n{}", said.out);
    }
    assert!(
        said.out.trim_end().lines().last().unwrap().starts_with("next"),
        "{}",
        said.out
    );
    let trials: Vec<&str> = said.err.lines().filter(|l| l.contains(" of 6: ")).collect();
    assert_eq!(
        trials.len(),
        6,
        "a line a trial where there is no terminal:\n{}",
        said.err
    );
    assert!(
        trials[0].starts_with("trial 1 of 6: b01-01-") && trials[0].contains("about"),
        "{}",
        said.err
    );
    assert!(
        !said.err.contains(" 0s left") && !trials[5].contains("left"),
        "{}",
        said.err
    );

    // It is in the database: doing that again is doing it once.
    let again = project.servelab(&["ingest"]).exits(0).out;
    assert!(again.contains("already there"), "{again}");
    let list = same_words(&project, &["results", "list"]);
    assert!(list.contains("complete") && list.contains("SIMULATED"), "{list}");
    same_words(&project, &["results", "show", "r1"]);
    same_words(&project, &["plan", "matrix/small.toml"]);
    same_words(&project, &["plan", "matrix/small.toml", "--explain"]);

    // What an earlier report left goes when another one is written there; what is somebody else's stays.
    let out = project.path("report/out");
    let svgs = |prefix: &str| {
        let names = fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.contains(prefix) && n.ends_with(".svg")).count()
    };
    fs::write(out.join("mine.svg"), "").unwrap();
    assert!(svgs("r1") > 0);
    let words = [
        "run",
        "matrix/small.toml",
        "--run-id",
        "r2",
        "--requests",
        "3",
        "--blocks",
        "1",
    ];
    narrow(&project, &words).exits(0);
    assert!(svgs("r2") > 0 && svgs("mine") == 1);
    assert_eq!(svgs("r1"), 0, "of the earlier report");

    let site = project.path("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("index.html"), "mine").unwrap();
    let refused = project.servelab(&["report", "r1", "--out", "site"]).exits(2);
    assert!(
        refused.err.contains("--out") && refused.err.contains("site/index.html"),
        "{}",
        refused.err
    );
    assert_eq!(fs::read_to_string(site.join("index.html")).unwrap(), "mine");

    let own = |run: &str| mode(&project.path(&format!("runs/{run}/plan.json")));
    assert_eq!(own("r1"), 0o600, "only its owner reads it");
    let shared = [&words[..3], &["r3"], &words[4..], &["--share", "--no-report"]].concat();
    let said = narrow(&project, &shared).exits(0);
    assert!(own("r3") & 0o044 != 0, "as the umask says: {:o}", own("r3"));
    assert!(
        said.out.contains("servelab report ") && svgs("r2") > 0,
        "no report of it:\n{}",
        said.out
    );
    let list = project.servelab(&["results", "list"]).exits(0).out;
    assert!(
        list.lines().any(|l| l.contains("r3") && l.contains("not ingested")),
        "{list}"
    );
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn help_fits_80_columns() {
    let project = project();
    let help = |words: &[&str]| narrow(&project, &[words, &["--help"]].concat()).exits(0).out;
    let top = help(&[]);
    fits(&top, "--help");
    let (_, verbs) = top.split_once("Commands:\n").unwrap();
    let verbs = verbs
        .lines()
        .take_while(|l| l.starts_with("  "))
        .filter(|l| !l.starts_with("   "));
    let verbs: Vec<&str> = verbs
        .filter_map(|l| l.split_whitespace().next())
        .filter(|v| *v != "help")
        .collect();
    assert!(verbs.len() >= 12, "{verbs:?}");
    for verb in verbs {
        fits(&help(&[verb]), verb);
    }
    for words in [
        ["results", "list"],
        ["results", "show"],
        ["dataset", "build"],
        ["dataset", "verify"],
        ["engine", "catalogue"],
    ] {
        fits(&help(&words), &words.join(" "));
    }
}

#[test]
fn what_looks_at_the_machine_and_at_prompts_fits_80_columns() {
    let project = project();
    let commands: [&[&str]; 4] = [
        &["doctor"],
        &["calibrate"],
        &["dataset", "verify", "prompts/test.jsonl"],
        &["dataset", "build", "datasets/none.toml"],
    ];
    for words in commands {
        let said = narrow(&project, words);
        let what = words.join(" ");
        fits(&said.out, &what);
        fits(&said.err, &what);
        assert!(!said.out.is_empty() || !said.err.is_empty(), "{what} says nothing");
    }
}

#[test]
fn who_only_looks_makes_nothing() {
    let project = Project::new(1, 1);
    let before = entries(&project);
    let said = project.servelab(&["results", "list"]).exits(0);
    assert!(said.out.is_empty() && said.err.contains("servelab run"), "{}", said.err);
    project.servelab(&["results", "list", "--format", "json"]).exits(0);
    project.servelab(&["results", "show", "none"]).exits(4);
    project.servelab(&["report", "none"]).exits(4);
    // `report` without a name opens the database only when there is a run.
    assert_eq!(entries(&project), before);
}

fn entries(project: &Project) -> BTreeSet<String> {
    let entries = fs::read_dir(project.path("")).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn logs_are_quiet_or_json_as_asked() {
    let project = project();
    let words = [
        "run",
        "matrix/small.toml",
        "--requests",
        "3",
        "--blocks",
        "1",
        "--run-id",
    ];
    let said = project
        .servelab(&[&words[..], &["r1", "--log-format", "json"]].concat())
        .exits(0);
    let lines: Vec<Value> = said
        .err
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let has = |part: &str| {
        lines
            .iter()
            .any(|l| l["message"].as_str().is_some_and(|m| m.contains(part)))
    };
    assert!(has("trial 1 of 3") && has("a take begins"), "{}", said.err);
    assert!(
        lines
            .iter()
            .all(|l| l["timestamp"].is_string() && l["level"].is_string()),
        "{}",
        said.err
    );
    // Notes are no part of the run's own events.
    let events = fs::read_to_string(project.path("runs/r1/events.jsonl")).unwrap();
    assert!(!events.contains("trial 1 of 3"), "{events}");

    let said = project.servelab(&[&words[..], &["r2", "-q"]].concat()).exits(0);
    assert_eq!(said.err, "", "nothing to warn of");
    let said = project.servelab(&["run", "none.toml", "--log-format", "json"]).exits(3);
    let error: Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(error["level"], "ERROR");
    project.servelab(&["results", "list", "-q", "-v"]).exits(2);
}
