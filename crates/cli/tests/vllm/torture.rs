//! What takes longer: speculation, a variant that dies at start, a setting that does nothing, a killed API server, LoRA.

use crate::real_engine::{
    MODEL, PROMPTS, SERVED, Vllm, assert_nothing_left, below, python, repository, run_and_kill, sealed, servelab,
    takes, until,
};
use serde_json::Value;
use servelab_schema::{GateName, Outcome, Treatment, Validity};
use std::{collections::BTreeMap, fs, path::Path};

/// The process that the runner started: the API server of vLLM is the one that holds the port.
fn api_server(root: i32) -> i32 {
    until("the API server", || {
        let found = below(root)
            .into_iter()
            .find(|(_, line)| line.contains("vllm serve") || line.contains("bin/vllm"));
        found.map(|(id, _)| id)
    })
}

#[test]
fn speculation_a_death_at_start_a_vain_flag_and_a_killed_api_server() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    run_and_kill("vllm-cpu-torture", &runs, api_server);

    let run = sealed(&runs, "vllm-cpu-torture");
    let mut treatments = BTreeMap::new();
    for (record, engine, traces) in takes(&run) {
        println!(
            "{}: {} {:?} {:?}",
            record.id, record.treatment, engine.failure, record.checks
        );
        match record.variant.as_str() {
            "C1b" => {
                let Validity::Invalid { gates } = &record.validity else {
                    unreachable!("{record:?}")
                };
                assert!(gates.contains(&GateName::EngineAlive), "{gates:?}");
                assert!(record.counts.failures() > 0);
            }
            "C6" | "N1" => assert!(!record.validity.is_valid()),
            "C7" => {
                assert_eq!(record.validity, Validity::Valid, "{:?}", record.gates);
                let speculation = engine.metrics.unwrap().speculation.unwrap();
                assert!(speculation.drafts.unwrap() > 0, "{speculation:?}");
                assert!(speculation.accepted_tokens <= speculation.draft_tokens);
                assert_eq!(
                    speculation.accepted_per_position.len(),
                    4,
                    "one for each place of a draft"
                );
                let several = traces.iter().any(
                    |t| matches!(&t.outcome, Outcome::Completed(c) if c.chunks().iter().any(|chunk| chunk.tokens > 1)),
                );
                assert!(several, "an accepted draft comes as one chunk of several tokens");
            }
            _ => assert_eq!(record.validity, Validity::Valid, "{:?}", record.gates),
        }
        treatments.insert(record.variant.to_string(), record.treatment);
    }
    assert_eq!(treatments["C6"], Treatment::Rejected);
    assert_eq!(treatments["C7"], Treatment::Confirmed);
    assert_eq!(treatments["N1"], Treatment::NoOp);
    assert_nothing_left(&run);
    reported(folder.path());
}

/// What the report of the project in `folder` makes of them: an accepted flag that changed nothing is NO-OP and never compared.
fn reported(folder: &Path) {
    let project = folder.to_str().unwrap();
    servelab(&["--project", project, "ingest"], 0);
    servelab(&["--project", project, "report", "vllm-cpu-torture"], 0);
    let summary = fs::read_to_string(folder.join("report/out/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let run = &summary["runs"][0];
    assert_eq!(run["engine_kind"], "measured");
    let of = |id: &str| {
        let all = run["comparisons"].as_array().unwrap();
        let found = all.iter().find(|c| c["variant"] == id && c["primary"] == true);
        found.unwrap().clone()
    };
    assert_eq!(of("N1")["verdict"], "not-comparable", "{:#}", of("N1"));
    assert!(of("N1").to_string().contains("NO-OP"), "{:#}", of("N1"));
    assert_eq!(of("C6")["verdict"], "not-comparable");
}

/// An adapter is served under its own name, is loaded like any model, and changes the answers.
#[test]
fn an_adapter_answers_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    let script = repository().join("crates/cli/tests/vllm/lora.py");
    python(&[script.as_ref(), repository().join(MODEL).as_ref(), adapter.as_ref()]);
    let module = format!("a={}", adapter.display());
    let vllm = Vllm::start(
        folder.path(),
        &["--enforce-eager", "--enable-lora", "--lora-modules", &module],
    );
    let texts = |model: &str| {
        let traces = folder.path().join(format!("{model}.jsonl"));
        let load = [
            "--requests",
            "6",
            "--concurrency",
            "2",
            "--max-tokens",
            "16",
            "--ignore-eos",
        ];
        let mut words = vec!["bench", "--url", vllm.base(), "--prompts", PROMPTS, "--model", model];
        words.extend(load);
        words.extend(["--traces", traces.to_str().unwrap()]);
        servelab(&words, 0);
        let rows = fs::read_to_string(traces).unwrap();
        let rows = rows
            .lines()
            .map(|l| serde_json::from_str::<servelab_schema::Trace>(l).unwrap());
        rows.map(|t| {
            (
                t.prompt_id.to_string(),
                t.completion().unwrap().text_sha256().to_string(),
            )
        })
        .collect::<BTreeMap<_, _>>()
    };
    let (base, adapted) = (texts(SERVED), texts("a"));
    assert_eq!(base.len(), 6);
    assert!(
        base.iter().all(|(id, text)| adapted[id] != *text),
        "{base:?} {adapted:?}"
    );
}
