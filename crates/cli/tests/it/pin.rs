//! Pinned runs: what is kept, what is refused, and whether a slowdown that was planted is found.

use crate::support::{CommandOutput, Project, plan};
use serde_json::{Value, json};
use servelab_pin::{file, plan_sha256};
use servelab_schema::{PinName, Provider};
use std::fs;

/// A baseline and a variant that a hidden factor of the simulator can slow.
const ARMS: &str = r#"
[load]
concurrency = 4

[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
[variant.args]
enforce-eager = false
max-model-len = 8192
max-num-batched-tokens = 8192
enable-chunked-prefill = false
enable-prefix-caching = false
async-scheduling = false

[[variant]]
id = "SEQS"
factor = "max-num-seqs"
hypothesis = "Another limit that no load of four reaches"
args = { max-num-seqs = 64 }
expect = { non-default-args = { max_num_seqs = 64 } }
"#;

const SLOWER: [&str; 4] = ["--hidden-slowdown", "1.15", "--hidden-slowdown-flag", "max-num-seqs"];

/// A project with the sealed run `r1`, pinned as `ci`.
fn pinned() -> Project {
    let project = Project::new(6, 12);
    project.matrix("small", &[], "blocks = 6\ndelta = 0.05", ARMS);
    project
        .servelab(&["run", "matrix/small.toml", "--run-id", "r1"])
        .exits(0);
    project.servelab(&["pin", "r1", "ci"]).exits(0);
    project
}

/// The same pin for an engine whose variant is slower than it was: nothing else of it changes.
fn plant(project: &Project, words: &[&str]) {
    let name = PinName::new("planted").unwrap();
    let mut pin = file::read(&project.path("runs/pinned/ci.json")).unwrap();
    let mut whole = plan(&project.run("r1"));
    for plan in [&mut whole, &mut pin.plan] {
        let Provider::Sim { extra_args, .. } = &mut plan.engine.provider else {
            panic!("the engine is simulated")
        };
        extra_args.extend(words.iter().map(|word| (*word).to_owned()));
    }
    pin.plan_sha256 = plan_sha256(&whole);
    pin.name = name;
    file::write(&servelab_evidence::SharedDisk, &project.path("runs"), &pin, true).unwrap();
}

fn rerun(project: &Project, words: &[&str]) -> CommandOutput {
    project.servelab(&[&["rerun", "--no-calibrate"], words].concat())
}

fn answers(said: &CommandOutput) -> Vec<(String, String, String, bool)> {
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let one = |q: &Value| {
        let first = &q["first"];
        (
            text(&first["variant"]),
            text(&first["of"]),
            text(&q["answer"]),
            q["again"].is_object(),
        )
    };
    report["questions"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn a_pin_is_kept_checked_and_run_again() {
    let project = pinned();
    let path = project.path("runs/pinned/ci.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.len() < 40_000, "{} bytes", text.len());
    let machine = [
        project.path("").display().to_string(),
        hostname(),
        "/root".into(),
        "/home".into(),
    ];
    for word in machine.iter().filter(|word| word.len() > 3) {
        assert!(!text.contains(word.trim_end_matches('/')), "the pin holds {word}");
    }
    let pin: Value = serde_json::from_str(&text).unwrap();
    let run = project.run("r1");
    assert_eq!(
        (pin["run_id"].as_str(), pin["fingerprint"].as_str()),
        (Some("r1"), Some(run.fingerprint().as_str()))
    );
    assert_eq!(
        (&pin["machine"], &pin["engine_versions"]),
        (&Value::Null, &json!(["0.32.0"]))
    );
    let again = servelab_pin::plan(&file::read(&path).unwrap(), &project.path("")).unwrap();
    assert_eq!(
        (&again, plan_sha256(&again)),
        (&plan(&run), run.manifest().plan_sha256.clone())
    );

    // Names, and what is there already.
    let there = project.servelab(&["pin", "r1", "ci"]).exits(2);
    assert!(there.err.contains("--replace") && there.out.is_empty(), "{}", there.err);
    project
        .servelab(&["pin", "r1", "ci", "--replace", "--allow-engine-version", "0.33.0"])
        .exits(0);
    assert!(fs::read_to_string(&path).unwrap().contains("\"0.33.0\""));
    for name in ["../ci", "a/b", "/tmp/x", ""] {
        let refused = project.servelab(&["pin", "r1", name]).exits(2);
        assert!(refused.err.contains("name of a pin"), "{}", refused.err);
    }
    let none = project.servelab(&["rerun", "other"]).exits(4);
    assert!(none.err.contains("servelab pin RUN NAME"), "{}", none.err);

    // Equal engines: never worse.
    let (markdown, junit) = (project.path("answer.md"), project.path("answer.xml"));
    let words = [
        "ci",
        "--fail-on",
        "worse",
        "--markdown",
        markdown.to_str().unwrap(),
        "--junit",
        junit.to_str().unwrap(),
    ];
    let said = rerun(&project, &words).exits(0);
    for text in [
        said.out,
        fs::read_to_string(markdown).unwrap(),
        fs::read_to_string(junit).unwrap(),
    ] {
        assert!(
            text.contains("SIMULATED") && text.contains("SEQS") && text.contains("relative"),
            "{text}"
        );
    }

    // What drifted is named, before anything runs.
    let drifted = |path: &str, what: &str| {
        let file = project.path(path);
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{before}\n")).unwrap();
        let said = rerun(&project, &["runs/pinned/ci.json"]).exits(3);
        assert!(
            said.err.contains(&format!("{path} ({what}): expected sha256 ")),
            "{}",
            said.err
        );
        fs::write(&file, before).unwrap();
    };
    drifted("prompts/test.jsonl", "measured prompts");
    drifted("prompts/filler.jsonl", "filler prompts");
    drifted("matrix/small.toml", "matrix");
    drifted(
        "datasets/tokenizers/mistral-7b-instruct-v0.3/chat_template.jinja",
        "chat template",
    );
    let edited = fs::read_to_string(&path)
        .unwrap()
        .replacen("\"retakes\":1", "\"retakes\":9", 1);
    fs::write(project.path("edited.json"), edited).unwrap();
    assert!(
        rerun(&project, &["edited.json"])
            .exits(3)
            .err
            .contains("the pin was edited")
    );

    // Only what is sealed and unchanged is pinned.
    fs::write(run.dir().join("added"), "x").unwrap();
    let changed = project.servelab(&["pin", "r1", "other"]).exits(4);
    assert!(
        changed.err.contains("only a sealed, unchanged run can be pinned"),
        "{}",
        changed.err
    );
    fs::remove_file(run.dir().join("added")).unwrap();
    fs::remove_file(run.dir().join("run_manifest.json")).unwrap();
    let open = project.servelab(&["pin", "r1", "other"]).exits(4);
    assert!(open.err.contains("only a sealed"), "{}", open.err);
    assert!(!project.path("runs/pinned/other.json").exists());
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn a_planted_slowdown_of_fifteen_per_cent_is_worse_and_only_where_it_was_planted() {
    let project = pinned();
    plant(&project, &SLOWER);
    let said = rerun(&project, &["planted", "--json"]).exits(7);
    let answers = answers(&said);
    let of = |variant: &str, of: &str| answers.iter().find(|a| a.0 == variant && a.1 == of).unwrap();
    let (absolute, relative) = (of("SEQS", "absolute"), of("SEQS", "relative"));
    assert_eq!((relative.2.as_str(), relative.3), ("worse", true), "{answers:?}");
    assert_eq!((absolute.2.as_str(), absolute.3), ("worse", true), "{answers:?}");
    assert_ne!(of("C1", "absolute").2, "worse", "{answers:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (report["answer"].as_str(), report["engine_kind"].as_str()),
        (Some("worse"), Some("simulated"))
    );
    // Two sealed runs stand behind it: the re-run, and the suspects in six blocks of their own.
    for (key, blocks) in [("run", 6), ("again", 6)] {
        let run = project.run(report[key]["run_id"].as_str().unwrap());
        assert_eq!(report[key]["fingerprint"].as_str(), Some(run.fingerprint().as_str()));
        assert_eq!(plan(&run).blocks.len(), blocks);
    }
}

#[cfg(feature = "torture")]
#[expect(clippy::print_stderr, reason = "the table is what is wanted")]
mod torture {
    use super::*;

    const REPETITIONS: usize = 10;

    /// Ten re-runs of an engine that is as it was, and ten of one whose variant is 15 % slower.
    #[test]
    fn ten_of_ten_are_found_and_none_without_a_cause() {
        let project = pinned();
        eprintln!(
            "| planted | repetition | answer | SEQS absolute | SEQS relative | C1 absolute |\n| --- | --- | --- | --- | --- | --- |"
        );
        let mut found = [0_usize; 2];
        for (planted, words) in [("nothing", &[][..]), ("15 %", &SLOWER[..])] {
            plant(&project, words);
            for n in 1..=REPETITIONS {
                let said = rerun(&project, &["planted", "--json"]);
                let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.err));
                let settled = report["questions"].as_array().unwrap();
                let shown = |variant: &str, of: &str| {
                    let is = |q: &&Value| q["first"]["variant"] == variant && q["first"]["of"] == of;
                    let q = settled.iter().find(is).unwrap();
                    let change = if q["again"].is_object() {
                        &q["again"]
                    } else {
                        &q["first"]
                    };
                    let percent = change["estimate"]["change_percent"].as_f64().unwrap_or(f64::NAN);
                    format!("{} ({percent:+.1} %)", q["answer"].as_str().unwrap())
                };
                let answer = report["answer"].as_str().unwrap();
                let cells = [
                    shown("SEQS", "absolute"),
                    shown("SEQS", "relative"),
                    shown("C1", "absolute"),
                ];
                eprintln!(
                    "| {planted} | {n} | {answer} (exit {}) | {} |",
                    said.code,
                    cells.join(" | ")
                );
                found[usize::from(planted != "nothing")] += usize::from(said.code == 7);
            }
        }
        eprintln!(
            "worse: {} of {REPETITIONS} without a cause, {} of {REPETITIONS} planted",
            found[0], found[1]
        );
        assert_eq!(found, [0, REPETITIONS]);
    }
}
