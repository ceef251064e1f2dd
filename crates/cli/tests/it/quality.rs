//! What a faster engine must not lose: its answers. And what it cannot know: the time that passes outside it.

use crate::support::{CommandOutput, Project, trials};
use serde_json::Value;
use servelab_evidence::sha256_file;
use servelab_schema::{FinishReason, Stop, Trace};
use std::{collections::BTreeSet, fs};

const LOAD: &str = "[load]\nconcurrency = 4\n";

const ARMS: &str = r#"
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
[variant.args]
max-model-len = 8192
async-scheduling = false

[[variant]]
id = "C1b"
role = "aa"
hypothesis = "A copy of the reference"
"#;

const SPECULATIVE: &str = r#"
[[variant]]
id = "SPEC"
factor = "speculation"
hypothesis = "Drafts from the prompt are often right"
[variant.args]
speculative-config = '{"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}'
[variant.expect]
counters-move = ["vllm:spec_decode_num_drafts_total"]
"#;

/// Runs a matrix to its report and gives `summary.json`.
fn reported(project: &Project, name: &str) -> Value {
    let matrix = format!("matrix/{name}.toml");
    project.servelab(&["run", &matrix, "--run-id", name]).exits(0);
    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", name]).exits(0);
    let text = fs::read_to_string(project.path("report/out/summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn metric<'a>(summary: &'a Value, variant: &str, name: &str) -> &'a Value {
    let all = summary["runs"][0]["metrics"].as_array().unwrap();
    let found = all
        .iter()
        .find(|m| m["variant"] == variant && m["metric"] == name && m["task"].is_null());
    found.unwrap_or_else(|| panic!("no {name} of {variant} in {summary:#}"))
}

fn completed(traces: &[Trace]) -> impl Iterator<Item = &servelab_schema::Completion> {
    traces.iter().filter_map(Trace::completion)
}

#[test]
fn natural_answers_are_kept_checked_and_compared() {
    let project = Project::new(2, 12);
    let rest = format!("[output]\nstop = \"natural\"\n{LOAD}{ARMS}{SPECULATIVE}");
    project.matrix("natural", &[], "blocks = 2", &rest);
    let summary = reported(&project, "natural");
    let run = project.run("natural");
    assert_eq!(run.plan().unwrap().output.stop, Stop::Natural);
    let mut ends = BTreeSet::new();
    let mut questions = 0;
    for (record, traces) in trials(&run) {
        assert!(record.validity.is_valid(), "{:?}", record.gates);
        for done in completed(&traces) {
            let text = done.text().unwrap();
            let file = project.path("text");
            fs::write(&file, text).unwrap();
            assert_eq!(
                &sha256_file(&file).unwrap().1,
                done.text_sha256(),
                "the hash is that of the text: {text}"
            );
            ends.insert(done.finish_reason() == FinishReason::Stop);
        }
        let asked = |t: &&Trace| t.measured && record.variant.as_str() == "C1" && t.completion().is_some();
        questions += traces.iter().filter(asked).count() / 3;
    }
    assert!(ends.contains(&true), "no answer ended by itself");

    let found = metric(&summary, "C1", "answers-found");
    assert_eq!(found["n"], questions);
    assert!(found["interval"]["high"].as_f64() >= found["value"].as_f64());
    // The simulated model writes the same text to the same prompt, whatever the variant.
    for variant in ["C1b", "SPEC"] {
        assert_eq!(metric(&summary, variant, "same-text")["value"], 1.0, "{variant}");
        assert_eq!(
            metric(&summary, variant, "output-length-change")["value"],
            0.0,
            "{variant}"
        );
        assert_eq!(
            metric(&summary, variant, "answers-found-change")["value"],
            0.0,
            "{variant}"
        );
    }
    let accepted = metric(&summary, "SPEC", "engine-draft-acceptance")["value"]
        .as_f64()
        .unwrap();
    assert!(accepted > 0.0 && accepted < 1.0, "{accepted}");
    let html = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    for words in [
        "Does it still answer as well?",
        "writes words at random",
        "where the model stops",
        "texts kept",
    ] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("its effect is flattered"), "lengths are natural");
    let treatments = summary["runs"][0]["treatments"].as_array().unwrap();
    let speculative = treatments.iter().find(|t| t["variant"] == "SPEC").unwrap();
    assert_eq!(speculative["observed"][0]["treatment"], "CONFIRMED");
    assert_eq!(speculative["startup_s"]["n"], 2);
}

#[test]
fn texts_that_are_not_kept_are_not_judged() {
    let project = Project::new(1, 6);
    let rest = format!("[output]\nkeep-text = false\n{LOAD}{ARMS}{SPECULATIVE}");
    project.matrix("bare", &[], "blocks = 1", &rest);
    let summary = reported(&project, "bare");
    for (_, traces) in trials(&project.run("bare")) {
        assert!(completed(&traces).all(|done| done.text().is_none()));
    }
    let all = summary["runs"][0]["metrics"].as_array().unwrap();
    assert!(
        !all.iter().any(|m| m["metric"] == "answers-found"),
        "not known is not 0"
    );
    assert_eq!(metric(&summary, "C1b", "same-text")["n"], 6);
    let html = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(html.contains("only hashes of the texts kept") && html.contains("The run kept no texts"));
    assert!(
        html.contains("its effect is flattered"),
        "speculation under fixed lengths has its remark"
    );
}

#[test]
fn the_natural_matrix_of_the_project_is_a_plan() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_servelab"))
        .arg("--project")
        .arg(repository)
        .args(["plan", "matrix/natural.toml", "--format", "json"])
        .output()
        .unwrap();
    let CommandOutput { out, .. } = crate::support::command_output(&output).exits(0);
    let plan: Value = serde_json::from_str(&out).unwrap();
    let plan = plan.get("plan").unwrap_or(&plan);
    assert_eq!(plan["output"]["stop"], "natural");
    assert_eq!(plan["output"]["keep_text"], true);
    let ids: Vec<&str> = plan["variants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["C1", "C1b", "C1s", "C7"]);
}

/// Lowest mean time outside the engine of any trial, ms of engine time.
fn outside_ms(summary: &Value) -> f64 {
    let of = |variant| {
        let found = metric(summary, variant, "time-outside-engine");
        assert!(
            found["note"].as_str().unwrap().contains("both sides counted"),
            "{found}"
        );
        found["interval"]["low"].as_f64().unwrap() * 1e3
    };
    of("C1").min(of("C1b"))
}

#[test]
fn a_network_delay_is_found_outside_the_engine() {
    const DELAY_MS: f64 = 50.0;
    let project = Project::new(1, 8);
    let run = |name: &str, extra: &[&str]| {
        project.matrix(name, extra, "blocks = 1", &format!("{LOAD}{ARMS}"));
        // In real time the client's own lateness counts once and not several times.
        let file = project.path(&format!("matrix/{name}.toml"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("time-scale = 4", "time-scale = 1")).unwrap();
        outside_ms(&reported(&project, name))
    };
    let without = run("near", &[]);
    let with = run("far", &["--network-delay", "50"]);
    assert!(
        (with - without - DELAY_MS).abs() <= 5.0,
        "{with} ms with a delay of {DELAY_MS} ms, {without} ms without"
    );
}
