//! Known answers: an engine that honours a flag, one that takes it and ignores it, and one that takes another value. What it
//! was told is the same every time; only what it shows differs.

use crate::support::{Project, engine};
use servelab_evidence::SealedRun;
use servelab_schema::{CheckResult, EngineRecord, GateName, Treatment, Validity, findings::TrialFindings};
use std::{collections::BTreeMap, fs};

const ARMS: &str = r#"
[load]
concurrency = 2

[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
[variant.args]
enforce-eager = false
enable-prefix-caching = false
enable-chunked-prefill = false
max-model-len = 8192
max-num-batched-tokens = 8192
max-num-seqs = 128
kv-cache-dtype = "auto"

[[variant]]
id = "EAGER"
factor = "eager"
hypothesis = "No graphs"
args = { enforce-eager = true }
expect = { effective = { enforce_eager = true }, non-default-args = { enforce_eager = true } }

[[variant]]
id = "KV"
factor = "kv-cache-dtype"
hypothesis = "Half the bytes"
args = { kv-cache-dtype = "fp8" }
expect = { effective = { kv_cache_dtype = "fp8" }, cache-config = { cache_dtype = "fp8" } }

[[variant]]
id = "CHUNKED"
factor = "chunked-prefill"
hypothesis = "Shared steps"
args = { enable-chunked-prefill = true }
expect = { effective = { enable_chunked_prefill = true }, log-contains = ["Chunked prefill is enabled"] }
"#;

/// Runs the four arms once on an engine with these hidden wishes, and gives engine.json and findings by variant.
fn run(project: &Project, name: &str, hidden: &[&str], code: i32) -> BTreeMap<String, (EngineRecord, TrialFindings)> {
    project.matrix(name, hidden, "blocks = 1", ARMS);
    let matrix = format!("matrix/{name}.toml");
    project.servelab(&["run", &matrix, "--run-id", name]).exits(code);
    by_variant(&project.run(name))
}

fn by_variant(sealed: &SealedRun) -> BTreeMap<String, (EngineRecord, TrialFindings)> {
    let found = sealed.findings().unwrap().trials.into_iter();
    found
        .map(|t| (t.variant.to_string(), (engine(sealed, &t.id), t)))
        .collect()
}

/// Void by the rule of treatments and by no other.
fn is_void(validity: &Validity) -> bool {
    matches!(validity, Validity::Invalid { gates } if gates.as_slice() == [GateName::Treatment])
}

#[test]
fn a_flag_that_is_honoured_is_confirmed() {
    let project = Project::new(1, 6);
    let found = run(&project, "honoured", &[], 0);
    for id in ["EAGER", "KV", "CHUNKED"] {
        let (_, trial) = &found[id];
        assert_eq!(trial.treatment, Treatment::Confirmed, "{id}: {:?}", trial.checks);
        assert!(trial.validity.is_valid(), "{id}: {:?}", trial.gates);
        assert!(
            trial
                .checks
                .iter()
                .all(|c| c.result == CheckResult::Found && c.found.is_some())
        );
    }
    let (base, _) = &found["C1"];
    let shows = |field: &str, value: &str| assert_eq!(base.effective[field].value, value, "{field}");
    shows("enforce_eager", "false");
    shows("kv_cache_dtype", "auto");
    shows("enable_chunked_prefill", "false");
    shows("engine_core", "V1");
    shows("cache_config.cache_dtype", "auto");
    assert!(base.effective["kv_cache_tokens"].value.parse::<u64>().unwrap() > 1000);
    assert!(
        base.effective
            .keys()
            .all(|k| !k.ends_with(".port") && !k.ends_with(".host"))
    );

    // What the engine counted of itself: 6 prompts and the two of the warm-up, each of 16 tokens at most.
    let metrics = base.metrics.as_ref().unwrap();
    let finished: u64 = metrics.finished.as_ref().unwrap().values().sum();
    assert!(finished >= 8, "{metrics:?}");
    let ttft = metrics.ttft.as_ref().unwrap();
    assert!(ttft.count >= 8 && ttft.sum_s > 0.0, "{ttft:?}");
    assert!(ttft.at_most.last().unwrap().1 <= ttft.count);
    assert!(metrics.generation_tokens.unwrap() >= 6 * 16, "{metrics:?}");
    assert_eq!(metrics.preemptions, Some(0));
    assert_eq!(metrics.speculation, None, "it does not speculate: unknown, not 0");
}

/// The engine makes bfloat16 of the `auto` that the baseline leaves it.
const VAIN: &str = r#"
[load]
concurrency = 2
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
[[variant]]
id = "DTYPE"
factor = "dtype"
hypothesis = "Another number format"
args = { dtype = "bfloat16" }
expect = { effective = { dtype = "torch.bfloat16" } }
"#;

/// One run of a vain flag: what each of the ways of asking says of it must be the same.
fn says_no_op_everywhere(name: &str, experiment: &str) -> (Project, SealedRun) {
    let project = Project::new(1, 3);
    project.matrix(name, &[], experiment, VAIN);
    let matrix = format!("matrix/{name}.toml");
    let said = project.servelab(&["run", &matrix, "--run-id", name]).exits(6);
    assert!(said.out.contains("NO-OP"), "the end of the run says it: {}", said.out);
    assert!(said.out.contains("no valid trial"), "{}", said.out);

    let run = project.run(name);
    let findings = run.findings().unwrap();
    let trial = findings.trials.iter().find(|t| t.variant.as_str() == "DTYPE").unwrap();
    assert_eq!(trial.treatment, Treatment::NoOp, "{:?}", trial.checks);
    assert!(is_void(&trial.validity), "{:?}", trial.validity);
    let last = trial.checks.last().unwrap();
    assert!(
        last.found.as_ref().unwrap().contains("in every start of both"),
        "{last:?}"
    );
    let variant = findings
        .variants
        .iter()
        .find(|v| v.variant.as_str() == "DTYPE")
        .unwrap();
    assert_eq!(
        (variant.void, variant.treatment()),
        (Some(Treatment::NoOp), Some(Treatment::NoOp))
    );
    // trial.json says nothing of it at all: it could not know.
    let text = fs::read_to_string(run.take(&trial.id).dir().join("trial.json")).unwrap();
    assert!(!text.contains("treatment") && !text.contains("validity"), "{text}");
    let manifest = run.trials().find(|t| t.id == trial.id).unwrap();
    assert_eq!(manifest.validity, trial.validity);

    project.servelab(&["ingest"]).exits(0);
    let db = rusqlite::Connection::open(project.path("servelab.db")).unwrap();
    let sql = "SELECT treatment, validity FROM trial WHERE variant = 'DTYPE'";
    let row: (String, String) = db.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    assert_eq!(row, ("NO-OP".to_owned(), "invalid".to_owned()));
    let sql = "SELECT count(verdict), max(verdict) FROM finding WHERE scope = 'comparison' AND variant = 'DTYPE' \
               AND is_primary";
    let row: (i64, String) = db.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    assert_eq!(row, (1, "not-comparable".to_owned()));

    let shown = project
        .servelab(&["results", "show", name, "--format", "json"])
        .exits(0)
        .out;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["findings"], serde_json::to_value(&findings).unwrap());
    project.servelab(&["report", name]).exits(0);
    let summary = fs::read_to_string(project.path("report/out/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let comparison = &summary["runs"][0]["comparisons"][0];
    assert_eq!(comparison["variant"], "DTYPE");
    assert_eq!(comparison["verdict"], "not-comparable", "{comparison:#}");
    assert_eq!(comparison["treatment"], "NO-OP", "{comparison:#}");
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(page.contains("in every start of both"), "the evidence is quoted");
    let of_dtype = page.split("<tr").filter(|row| row.contains("DTYPE"));
    let says = |word: &str| of_dtype.clone().any(|row| row.contains(&format!(">{word}<")));
    assert!(says("NO-OP") && !says("CONFIRMED"), "the row of the page says it too");
    assert!(!page.contains("CONFIRMED</"), "nothing on the page says otherwise");
    (project, run)
}

#[test]
fn a_vain_flag_before_its_control_gets_one_answer_everywhere() {
    // With this seed the variant comes first, so that its own trial cannot know.
    let (_project, run) = says_no_op_everywhere("first", "blocks = 1\nseed = 1");
    let order: Vec<String> = run.trials().map(|t| t.id.to_string()).collect();
    assert!(order[0].contains("DTYPE"), "{order:?}");
}

#[test]
fn a_vain_flag_after_its_control_gets_the_same_answer() {
    let (_project, run) = says_no_op_everywhere("same", "blocks = 1\norder = \"sequential\"");
    let note = run.environment().unwrap().model.unwrap().weights_note.unwrap();
    assert!(note.contains("simulated"), "{note}");
}

#[test]
fn a_flag_that_is_ignored_or_substituted_makes_its_cell_void() {
    let project = Project::new(1, 6);
    let hidden = [
        "--hidden-ignore-flag",
        "enforce-eager",
        "--hidden-substitute",
        "kv-cache-dtype=fp8_e5m2",
    ];
    let found = run(&project, "hidden", &hidden, 6);
    let (engine, eager) = &found["EAGER"];
    assert_eq!(eager.treatment, Treatment::NoOp, "{:?}", eager.checks);
    assert_eq!(engine.effective["argument.enforce_eager"].value, "true", "it was told");
    assert_eq!(engine.effective["enforce_eager"].value, "false", "and did not do it");
    assert!(is_void(&eager.validity), "{:?}", eager.validity);

    let (_, kv) = &found["KV"];
    assert_eq!(kv.treatment, Treatment::Substituted, "{:?}", kv.checks);
    let quoted: Vec<_> = kv.checks.iter().filter_map(|c| c.found.as_deref()).collect();
    assert_eq!(quoted, ["fp8_e5m2", "fp8_e5m2"], "the evidence is quoted");
    assert!(is_void(&kv.validity), "{:?}", kv.validity);

    let (_, chunked) = &found["CHUNKED"];
    assert_eq!(chunked.treatment, Treatment::Confirmed);
    assert!(chunked.validity.is_valid() && found["C1"].1.validity.is_valid());

    // The void cells are shown as what they are and never compared.
    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", "hidden"]).exits(0);
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(page.contains("NO-OP") && page.contains("SUBSTITUTED"));
}
