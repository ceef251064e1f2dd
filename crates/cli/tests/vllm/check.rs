//! What CI runs: a run with a killed core and a refused variant, and the engine's own count of every prompt.

use crate::real_engine::{
    FILLERS, PROMPTS, SERVED, Vllm, assert_nothing_left, below, command, is_gone, kill, metric, repository,
    run_and_kill, sealed, servelab, takes, titled, until,
};
use servelab_schema::{
    EngineKind, EngineRecord, GateName, Outcome, Prompt, Reason, Trace, Treatment, Validity, findings::TrialFindings,
};
use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

/// C1, C3 and a variant that the engine refuses, from matrix to sealed run. The core of C1's copy is killed while it
/// streams: its trial is Invalid, the one after it begins clean, and nothing is left of any engine.
#[test]
fn a_run_with_a_killed_core_and_a_refused_variant() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let answer = run_and_kill("vllm-cpu-check", &runs, |root| titled(root, "VLLM::EngineCore"));
    assert_eq!(answer["engine_kind"], "measured");
    assert_eq!(answer["findings"]["brief"]["valid"], 2);

    let run = sealed(&runs, "vllm-cpu-check");
    assert_eq!(run.plan().unwrap().engine_kind, EngineKind::Measured);
    let takes = takes(&run);
    let variants: Vec<&str> = takes.iter().map(|(trial, ..)| trial.variant.as_str()).collect();
    assert_eq!(variants, ["C1", "C1b", "C3", "R1"]);
    for (trial, engine, traces) in &takes {
        match trial.variant.as_str() {
            "C1" | "C3" => served(trial, engine, traces),
            "C1b" => killed(trial, engine, traces),
            _ => refused(trial, engine, traces),
        }
    }
    assert_nothing_left(&run);
}

/// A short answer to each prompt of a file: `usage.prompt_tokens` is the packed count every time.
fn every_usage_is_as_packed(vllm: &Vllm, prompts: &str, folder: &Path) {
    let traces = folder.join(Path::new(prompts).file_name().unwrap());
    let mut words = vec![
        "bench",
        "--url",
        vllm.base(),
        "--prompts",
        prompts,
        "--concurrency",
        "4",
    ];
    words.extend([
        "--max-tokens",
        "2",
        "--ignore-eos",
        "--traces",
        traces.to_str().unwrap(),
    ]);
    servelab(&words, 0);
    let packed = fs::read_to_string(repository().join(prompts)).unwrap();
    let packed: Vec<Prompt> = packed.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let rows = fs::read_to_string(&traces).unwrap();
    let rows: Vec<Trace> = rows.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), packed.len());
    for prompt in &packed {
        let row = rows.iter().find(|row| row.prompt_id == prompt.id).unwrap();
        assert_eq!(
            row.completion().unwrap().prompt_tokens(),
            Some(prompt.prompt_tokens),
            "{}",
            prompt.id
        );
    }
}

fn served(record: &TrialFindings, engine: &EngineRecord, traces: &[Trace]) {
    assert_eq!(record.validity, Validity::Valid, "{:?}", record.gates);
    assert_eq!(record.counts.completed, record.counts.planned);
    assert_eq!(engine.version.as_deref(), Some("0.32.0"));
    assert_eq!(engine.served_model.as_deref(), Some(SERVED));
    let eager = record.variant.as_str() == "C3";
    let expected = if eager {
        Treatment::Confirmed
    } else {
        Treatment::Unobservable
    };
    assert_eq!(record.treatment, expected, "{:?}", record.checks);
    let shown = if eager { "true" } else { "false" };
    assert_eq!(engine.effective["enforce_eager"].value, shown);
    for trace in traces {
        let completion = trace.completion().unwrap();
        assert_eq!(completion.prompt_tokens(), trace.expected_prompt_tokens);
        assert_eq!(completion.completion_tokens().unwrap().get(), 24);
    }
    let tokens = traces
        .iter()
        .filter_map(Trace::completion)
        .map(|c| u64::from(c.completion_tokens().unwrap().get()));
    let counted = engine.metrics.as_ref().and_then(|m| m.generation_tokens);
    assert_eq!(counted, Some(tokens.sum()), "engine and client count the same tokens");
}

fn killed(record: &TrialFindings, engine: &EngineRecord, traces: &[Trace]) {
    let Validity::Invalid { gates } = &record.validity else {
        unreachable!("{record:?}")
    };
    assert!(gates.contains(&GateName::EngineAlive), "{gates:?}");
    assert!(engine.failure.is_some());
    assert!(record.counts.completed < record.counts.planned);
    let failed = traces
        .iter()
        .filter(|t| matches!(t.outcome, Outcome::Failed(_)))
        .count();
    assert!(failed > 0, "{engine:?}");
}

fn refused(record: &TrialFindings, engine: &EngineRecord, traces: &[Trace]) {
    assert_eq!(record.treatment, Treatment::Rejected);
    let words = engine.failure.as_deref().unwrap();
    assert!(words.contains("awq"), "the engine's own words: {words}");
    assert!(traces.is_empty() && !record.validity.is_valid());
}

/// Packer and engine count every prompt alike; a kill -9 of the engine's core in the middle of streams is no success.
#[test]
fn prompts_are_counted_alike_and_a_killed_core_fails_every_stream() {
    let folder = tempfile::tempdir().unwrap();
    let vllm = Vllm::start(folder.path(), &["--enforce-eager"]);
    for (prompts, count) in [(PROMPTS, "all 24"), (FILLERS, "all 12")] {
        let verified = servelab(&["dataset", "verify", prompts, "--engine", vllm.base()], 0);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(said.contains(&format!("counts the same tokens in {count}")), "{said}");
        every_usage_is_as_packed(&vllm, prompts, folder.path());
    }

    let traces = folder.path().join("traces.jsonl");
    let load = [
        "--concurrency",
        "4",
        "--requests",
        "8",
        "--max-tokens",
        "600",
        "--ignore-eos",
        "--format",
        "json",
    ];
    let mut bench = command(&["bench", "--url", vllm.base(), "--prompts", PROMPTS]);
    let bench = bench.args(load).arg("--traces").arg(&traces);
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let before = metric(vllm.port, "vllm:generation_tokens_total").unwrap_or(0.0);
    until("tokens of four streams", || {
        let running = metric(vllm.port, "vllm:num_requests_running")? >= 4.0;
        (running && metric(vllm.port, "vllm:generation_tokens_total")? > before + 40.0).then_some(())
    });
    let core = titled(vllm.id(), "VLLM::EngineCore");
    let processes = below(vllm.id());
    kill(core);
    let output = bench.wait_with_output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert_ne!(output.status.code(), Some(0), "no request can have completed");

    let rows = fs::read_to_string(&traces).unwrap();
    let rows: Vec<Trace> = rows.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), 8, "every request has a row");
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    for row in &rows {
        let Outcome::Failed(failure) = &row.outcome else {
            unreachable!("600 tokens cannot have come: {row:?}")
        };
        *reasons.entry(failure.reason).or_default() += 1;
    }
    println!("{reasons:?}");
    assert!(
        reasons.contains_key(&Reason::ErrorEvent),
        "vLLM ends such streams with an error event and [DONE]"
    );
    drop(vllm);
    until("the engine's processes to be gone", || {
        processes.iter().all(|(id, line)| is_gone(*id, line)).then_some(())
    });
}
