//! Known answers: an engine that honours a flag, one that takes it and ignores it, and one that takes another value. What it
//! was told is the same every time; only what it shows differs.

use crate::support::{Project, trials};
use servelab_evidence::SealedRun;
use servelab_schema::{CheckResult, EngineRecord, GateName, Treatment, Validity};
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

/// Runs the four arms once on an engine with these hidden wishes, and gives engine.json and validity by variant.
fn run(project: &Project, name: &str, hidden: &[&str], code: i32) -> BTreeMap<String, (EngineRecord, Validity)> {
    project.matrix(name, hidden, "blocks = 1", ARMS);
    let matrix = format!("matrix/{name}.toml");
    project.servelab(&["run", &matrix, "--run-id", name]).exits(code);
    by_variant(&project.run(name))
}

fn by_variant(sealed: &SealedRun) -> BTreeMap<String, (EngineRecord, Validity)> {
    let of = |(record, _): (servelab_schema::TrialRecord, _)| {
        let engine = sealed.engine_record(&record.id).unwrap();
        assert_eq!(engine.treatment, record.treatment);
        (record.variant.to_string(), (engine, record.validity))
    };
    trials(sealed).into_iter().map(of).collect()
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
        let (engine, validity) = &found[id];
        assert_eq!(engine.treatment, Treatment::Confirmed, "{id}: {:?}", engine.checks);
        assert!(validity.is_valid(), "{id}: {validity:?}");
        assert!(
            engine
                .checks
                .iter()
                .all(|c| c.result == CheckResult::Found && c.found.is_some())
        );
    }
    let (base, _) = &found["C1"];
    let shows = |field: &str, value: &str| assert_eq!(base.effective[field], value, "{field}");
    shows("enforce_eager", "False");
    shows("kv_cache_dtype", "auto");
    shows("enable_chunked_prefill", "False");
    shows("engine_core", "V1");
    shows("cache_config.cache_dtype", "auto");
    assert!(base.effective["kv_cache_tokens"].parse::<u64>().unwrap() > 1000);
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

#[test]
fn a_vain_flag_before_its_control_is_found_out_by_the_whole_run() {
    let project = Project::new(1, 3);
    // With this seed the variant comes first, so that its own trial cannot know.
    project.matrix("first", &[], "blocks = 1\nseed = 1", VAIN);
    project
        .servelab(&["run", "matrix/first.toml", "--run-id", "first"])
        .exits(0);
    let run = project.run("first");
    let order: Vec<String> = run.trials().map(|t| t.id.to_string()).collect();
    assert!(order[0].contains("DTYPE"), "{order:?}");
    assert_eq!(by_variant(&run)["DTYPE"].0.treatment, Treatment::Confirmed);

    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", "first"]).exits(0);
    let summary = fs::read_to_string(project.path("report/out/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let comparison = &summary["runs"][0]["comparisons"][0];
    assert_eq!(comparison["variant"], "DTYPE");
    assert_eq!(comparison["verdict"], "not-comparable", "{comparison:#}");
    assert_eq!(comparison["treatment"], "NO-OP", "{comparison:#}");
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(page.contains("in every start of both"), "the evidence is quoted");
}

#[test]
fn a_flag_that_says_what_is_so_anyway_is_no_op() {
    let project = Project::new(1, 3);
    project.matrix("same", &[], "blocks = 1\norder = \"sequential\"", VAIN);
    project
        .servelab(&["run", "matrix/same.toml", "--run-id", "same"])
        .exits(6);
    let (engine, validity) = by_variant(&project.run("same")).remove("DTYPE").unwrap();
    assert_eq!(engine.treatment, Treatment::NoOp, "{:?}", engine.checks);
    assert!(is_void(&validity), "{validity:?}");
    let last = engine.checks.last().unwrap();
    assert!(last.expected.contains("differs from the control's"), "{last:?}");
    let environment = project.run("same").environment().unwrap();
    let note = environment.model.unwrap().weights_note.unwrap();
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
    let (eager, validity) = &found["EAGER"];
    assert_eq!(eager.treatment, Treatment::NoOp, "{:?}", eager.checks);
    assert_eq!(eager.effective["argument.enforce_eager"], "True", "it was told");
    assert_eq!(eager.effective["enforce_eager"], "False", "and did not do it");
    assert!(is_void(validity), "{validity:?}");

    let (kv, validity) = &found["KV"];
    assert_eq!(kv.treatment, Treatment::Substituted, "{:?}", kv.checks);
    let quoted: Vec<_> = kv.checks.iter().filter_map(|c| c.found.as_deref()).collect();
    assert_eq!(quoted, ["fp8_e5m2", "fp8_e5m2"], "the evidence is quoted");
    assert!(is_void(validity), "{validity:?}");

    let (chunked, validity) = &found["CHUNKED"];
    assert_eq!(chunked.treatment, Treatment::Confirmed);
    assert!(validity.is_valid() && found["C1"].1.is_valid());

    // The void cells are shown as what they are and never compared.
    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", "hidden"]).exits(0);
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(page.contains("NO-OP") && page.contains("SUBSTITUTED"));
}
