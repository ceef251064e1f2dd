//! From a matrix to a report on the simulated engine, with effects that are known beforehand.

use crate::support::{Project, engine, plan, record, trials};
use serde_json::Value;
use servelab_evidence::{SealedRun, names};
use servelab_runner::evaluate_takes;
use servelab_schema::{GateName, Outcome, Reason, RunEnd, Treatment, Validity, canonical_json};
use servelab_store::Store;
use std::{collections::BTreeSet, fs};

const LOAD: &str = "[load]\nconcurrency = 4\n";

/// A baseline, its copy, and a variant that a hidden factor of the simulator slows.
const ARMS: &str = r#"
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
id = "C1b"
role = "aa"
hypothesis = "A copy of the reference"

[[variant]]
id = "SLOW"
factor = "max-num-seqs"
hypothesis = "Slower by the hidden factor, not by the flag"
args = { max-num-seqs = 64 }
expect = { non-default-args = { max_num_seqs = 64 } }
"#;

fn comparison<'a>(summary: &'a Value, variant: &str, metric: &str) -> &'a Value {
    let all = summary["runs"][0]["comparisons"].as_array().unwrap();
    let found = all.iter().find(|c| c["variant"] == variant && c["metric"] == metric);
    found.unwrap_or_else(|| panic!("no comparison of {variant} by {metric} in {summary:#}"))
}

#[test]
fn a_hidden_slowdown_is_found_and_two_equal_arms_are_not() {
    let project = Project::new(5, 12);
    let hidden = ["--hidden-slowdown", "1.5", "--hidden-slowdown-flag", "max-num-seqs"];
    project.matrix("known", &hidden, "blocks = 5", &format!("{LOAD}{ARMS}"));
    let said = project
        .servelab(&["run", "matrix/known.toml", "--run-id", "r1", "--format", "json"])
        .exits(0);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["engine_kind"], "simulated");
    assert_eq!(answer["findings"]["brief"]["valid"], 15, "{}", said.err);

    let run = project.run("r1");
    assert_eq!(run.fingerprint().as_str(), answer["fingerprint"]);
    for (record, traces) in trials(&run) {
        assert_eq!(record.validity, Validity::Valid, "{:?}", record.gates);
        assert_eq!(record.counts.completed, 12);
        assert_eq!(traces.iter().filter(|t| t.measured).count(), 12);
        assert!(traces.iter().any(|t| !t.measured), "fillers hold the load");
    }
    let prompts: BTreeSet<String> = plan(&run)
        .blocks
        .iter()
        .flat_map(|b| &b.prompts)
        .map(ToString::to_string)
        .collect();
    assert_eq!(prompts.len(), 60, "every prompt is measured once by every variant");

    project.servelab(&["ingest"]).exits(0);
    says_the_same_again(&project, &run);
    project.servelab(&["report", "r1"]).exits(0);
    let out = project.path("report/out");
    let summary: Value = serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    let slow = comparison(&summary, "SLOW", "tpot-mean");
    let percent = slow["effect_percent"].as_f64().unwrap();
    assert!(
        (40.0..60.0).contains(&percent),
        "a factor of 1.5 makes TPOT about 50 % longer, found {percent} %"
    );
    let primary = comparison(&summary, "SLOW", "output-throughput");
    assert_eq!(primary["verdict"], "worse", "{primary:#}");
    let aa = &summary["runs"][0]["aa"][0];
    assert_eq!(aa["variant"], "C1b");
    let copy = aa["effect_percent"].as_f64().unwrap();
    assert!(copy.abs() < 10.0, "two equal arms differ by {copy} %");
    for name in ["index.html", "summary.json", "summary.csv"] {
        let text = fs::read_to_string(out.join(name)).unwrap();
        assert!(text.to_lowercase().contains("simulated"), "{name} must say what it is");
    }

    let list = project.servelab(&["results", "list"]).exits(0).out;
    assert!(list.contains("r1") && list.contains("SIMULATED"), "{list}");
    let show = project.servelab(&["results", "show", "r1"]).exits(0).out;
    assert!(show.contains("SLOW") && show.contains("Worse"), "{show}");
}

/// What was sealed is what the run's files say later, and what the database says, byte for byte.
fn says_the_same_again(project: &Project, run: &SealedRun) {
    let sealed = fs::read_to_string(run.dir().join(names::FINDINGS)).unwrap();
    let (id, takes) = (&run.manifest().run_id, run.trials().map(|t| run.take(&t.id)));
    let takes: Vec<_> = takes.collect();
    let of_files = evaluate_takes(
        &plan(run),
        &run.environment().unwrap(),
        (id, &run.manifest().end),
        &takes,
    );
    assert_eq!(
        canonical_json(&of_files.unwrap()).unwrap(),
        sealed,
        "from the directory"
    );
    let of_store = Store::open(&project.path("servelab.db")).unwrap().evaluate_again(id);
    assert_eq!(canonical_json(&of_store.unwrap()).unwrap(), sealed, "from the database");
}

/// The kinds of fault that the simulator can script, the reason each must end in, and the trial that it happens in.
const FAULTS: &[(&str, Reason)] = &[
    ("kind = \"close-before-headers\"", Reason::Reset),
    ("kind = \"http-status\"\nstatus = 500", Reason::HttpStatus),
    ("kind = \"http-status\"\nstatus = 429", Reason::RateLimited),
    ("kind = \"context-overflow\"", Reason::ContextOverflow),
    ("kind = \"silent-after-headers\"", Reason::TtftTimeout),
    ("kind = \"stall\"\nafter_chunks = 2", Reason::Stalled),
    ("kind = \"reset\"\nafter_chunks = 2", Reason::Reset),
    ("kind = \"truncate\"\nafter_chunks = 2", Reason::Truncated),
    ("kind = \"end-without-done\"", Reason::Truncated),
    ("kind = \"done-without-usage\"", Reason::NoUsage),
    ("kind = \"error-event\"\nafter_chunks = 2", Reason::ErrorEvent),
    ("kind = \"oom-event\"\nafter_chunks = 2", Reason::EngineOom),
    ("kind = \"abort\"\nafter_chunks = 2", Reason::AbortedByEngine),
    ("kind = \"empty-completion\"", Reason::Empty),
    ("kind = \"wrong-prompt-tokens\"", Reason::PromptTokenMismatch),
    ("kind = \"short-output\"", Reason::ShortOutput),
    ("kind = \"malformed-json\"\nafter_chunks = 2", Reason::Malformed),
    ("kind = \"slow-drip\"", Reason::TtftTimeout),
];

const BASELINE: &str = r#"
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
[variant.args]
max-model-len = 8192
"#;

/// Requests that reach the engine before the first measured one: the readiness probe and the warm-up.
const BEFORE: usize = 3;

#[test]
fn every_scripted_fault_has_its_reason_and_none_is_a_success() {
    let n = FAULTS.len();
    let project = Project::new(1, u32::try_from(n).unwrap() + 6);
    // One request at a time, so that the order of the engine's requests is the plan's. The first fault closes a kept connection
    // without a byte of an answer: that request is sent once more, and closed once more.
    let again = FAULTS.first().into_iter().chain(FAULTS);
    let script: String = again
        .enumerate()
        .map(|(i, (fault, _))| format!("[[fault]]\nrequest = {}\n{fault}\n\n", BEFORE + 1 + i))
        .collect();
    let file = project.path("faults.toml");
    fs::write(&file, script).unwrap();
    let rest =
        format!("[load]\nconcurrency = 1\n[timeouts]\nttft = \"6s\"\nidle = \"4s\"\ntotal = \"20s\"\n{BASELINE}");
    let experiment = "blocks = 1\norder = \"sequential\"\ngive-up-after = 0";
    project.matrix("faults", &["--faults", file.to_str().unwrap()], experiment, &rest);
    project
        .servelab(&["run", "matrix/faults.toml", "--run-id", "r1"])
        .exits(6);
    let run = project.run("r1");
    let (record, traces) = trials(&run).remove(0);
    assert_eq!(
        record.validity,
        Validity::Invalid {
            gates: record_failed(&record)
        }
    );
    assert!(record_failed(&record).contains(&GateName::Failures));
    // A row is written when its attempt has ended; `seq` is the order of sending.
    let mut measured: Vec<_> = traces.iter().filter(|t| t.measured).collect();
    measured.sort_by_key(|t| t.seq);
    for (i, (fault, expected)) in FAULTS.iter().enumerate() {
        let Outcome::Failed(failure) = &measured[i].outcome else {
            panic!("{fault} counted as success")
        };
        assert_eq!(failure.reason, *expected, "{fault}: {}", failure.detail);
        assert_eq!(measured[i].attempt, if i == 0 { 2 } else { 1 }, "{fault}");
    }
    for trace in &measured[n..] {
        assert!(
            trace.completion().is_some(),
            "after the last fault all is well: {:?}",
            trace.outcome
        );
    }
}

fn record_failed(record: &servelab_schema::findings::TrialFindings) -> Vec<GateName> {
    let failed = record
        .gates
        .iter()
        .filter(|g| g.outcome == servelab_schema::GateOutcome::Failed);
    failed.map(|g| g.gate).collect()
}

#[test]
fn an_engine_that_dies_gives_an_invalid_trial_and_a_sealed_run() {
    let project = Project::new(1, 12);
    let file = project.path("faults.toml");
    fs::write(
        &file,
        "[[fault]]\nrequest = 9\nkind = \"engine-dies\"\nafter_chunks = 2\n",
    )
    .unwrap();
    let rest = format!("{LOAD}{BASELINE}");
    project.matrix("dies", &["--faults", file.to_str().unwrap()], "blocks = 1", &rest);
    project
        .servelab(&["run", "matrix/dies.toml", "--run-id", "r1"])
        .exits(6);
    let run = project.run("r1");
    assert_eq!(run.manifest().end, RunEnd::Complete);
    let (record, traces) = trials(&run).remove(0);
    assert!(
        record_failed(&record).contains(&GateName::EngineAlive),
        "{:?}",
        record.gates
    );
    assert!(
        record.counts.failed.contains_key(&Reason::EngineExited),
        "{:?}",
        record.counts
    );
    let ended: usize = traces.iter().filter(|t| t.measured).count();
    assert!(ended > 0, "what had ended before is kept");
    assert!(engine(&run, &record.id).failure.is_some());
}

#[test]
fn a_refused_flag_is_rejected_in_the_engines_words() {
    let project = Project::new(1, 6);
    let refused = r#"
[[variant]]
id = "BAD"
factor = "kv-cache-dtype"
hypothesis = "Refused: the engine takes the word and cannot serve it"
args = { kv-cache-dtype = "nvfp4" }
"#;
    project.matrix(
        "refused",
        &[],
        "blocks = 1",
        &format!("{LOAD}{BASELINE}kv-cache-dtype = \"auto\"\n{refused}"),
    );
    project
        .servelab(&["run", "matrix/refused.toml", "--run-id", "r1"])
        .exits(6);
    let run = project.run("r1");
    for (record, _) in trials(&run) {
        let started = engine(&run, &record.id);
        if record.variant.as_str() == "BAD" {
            assert_eq!(record.treatment, Treatment::Rejected);
            let words = started.failure.unwrap();
            assert!(words.contains("nvfp4"), "{words}");
        } else {
            assert!(record.validity.is_valid(), "{:?}", record.gates);
        }
    }
}

#[test]
fn an_open_loop_never_waits_for_answers() {
    let project = Project::new(1, 24);
    let rest = format!("[load]\nrate-per-s = 6\narrivals = \"poisson\"\n{BASELINE}");
    project.matrix("open", &[], "blocks = 1", &rest);
    project
        .servelab(&["run", "matrix/open.toml", "--run-id", "r1"])
        .exits(0);
    let run = project.run("r1");
    let (trial, traces) = trials(&run).remove(0);
    assert_eq!(trial.counts.completed, 24);
    let mut measured: Vec<_> = traces.iter().filter(|t| t.measured).collect();
    measured.sort_by_key(|t| t.scheduled_ns);
    let overlapping = measured
        .windows(2)
        .any(|pair| pair[1].sent_ns.unwrap() < pair[0].finished_ns);
    assert!(overlapping, "the next request left before the one before had ended");
    assert!(record(&run, &trial.id).instrument.unwrap().achieved_rate_per_s.unwrap() > 0.0);
}

#[test]
fn sealed_evidence_holds_against_the_database() {
    let project = Project::new(1, 6);
    project.matrix("small", &[], "blocks = 1", &format!("{LOAD}{BASELINE}"));
    project
        .servelab(&["run", "matrix/small.toml", "--run-id", "r1"])
        .exits(0);
    let report = |project: &Project| {
        project.servelab(&["report", "r1"]).exits(0);
        fs::read_to_string(project.path("report/out/summary.json")).unwrap()
    };
    let first = report(&project);
    for name in ["servelab.db", "servelab.db-wal", "servelab.db-shm"] {
        let _ = fs::remove_file(project.path(name));
    }
    assert_eq!(report(&project), first, "the database is a cache");
    // One changed byte, and the run is refused with the file named.
    let plan = project.path("runs/r1/plan.json");
    let text = fs::read_to_string(&plan).unwrap().replacen("small", "smell", 1);
    fs::write(&plan, text).unwrap();
    let said = project.servelab(&["report", "r1"]).exits(4);
    assert!(
        said.err.contains("plan.json") && said.err.contains("changed"),
        "{}",
        said.err
    );
}
