//! SGLang's flags, pages, metrics and log, from a matrix to a report. The engine is the simulator in its SGLang mode: no real
//! one was at hand.

use crate::support::{Project, command_output, engine, telemetry, trials};
use servelab_schema::{Ratio, Treatment};
use std::fs;

const ARMS: &str = r#"
[load]
concurrency = 2

[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
[variant.args]
enable-metrics = true
disable-radix-cache = true
disable-cuda-graph = false
kv-cache-dtype = "auto"
chunked-prefill-size = 2048
max-running-requests = 128
[variant.expect]
effective = { disable_radix_cache = true, chunked_prefill_size = 2048 }

[[variant]]
id = "EAGER"
factor = "eager"
hypothesis = "Every kernel is launched one by one"
args = { disable-cuda-graph = true }
expect = { effective = { disable_cuda_graph = true } }

[[variant]]
id = "KV"
factor = "kv-cache-dtype"
hypothesis = "Half the bytes"
args = { kv-cache-dtype = "fp8_e5m2" }
expect = { effective = { kv_cache_dtype = "fp8_e5m2" } }
"#;

#[test]
fn a_matrix_in_sglang_s_words_runs_to_a_report() {
    let project = Project::new(1, 6);
    project.matrix(
        "sg",
        &["--hidden-ignore-flag", "disable-cuda-graph"],
        "blocks = 1",
        ARMS,
    );
    let file = project.path("matrix/sg.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace(
        "dialect = \"vllm\"\nversion = \"0.32.0\"",
        "dialect = \"sglang\"\nversion = \"0.5.19\"",
    );
    fs::write(&file, text).unwrap();
    // One arm is void, so the run has a cell without a valid trial.
    project.servelab(&["run", "matrix/sg.toml", "--run-id", "sg"]).exits(6);
    let sealed = project.run("sg");
    for (record, traces) in trials(&sealed) {
        let engine = engine(&sealed, &record.id);
        let expected = match record.variant.as_str() {
            "EAGER" => Treatment::NoOp,
            _ => Treatment::Confirmed,
        };
        assert_eq!(record.treatment, expected, "{}: {:?}", record.variant, record.checks);
        assert_eq!(
            record.validity.is_valid(),
            expected == Treatment::Confirmed,
            "{:?}",
            record.gates
        );
        assert_eq!(engine.version.as_deref(), Some("0.5.19"), "from its page of the server");
        assert_eq!(engine.effective["disable_radix_cache"].value, "true");
        assert!(engine.effective["kv_cache_tokens"].value.parse::<u64>().unwrap() > 1000);
        assert!(!engine.effective.contains_key("port"));
        assert!(engine.argv.iter().any(|w| w == "--enable-metrics"));
        assert!(
            engine.argv.iter().all(|w| !w.starts_with("--no-")),
            "SGLang has no such flags"
        );

        let done = traces.iter().filter(|t| t.completion().is_some()).count();
        let done = u64::try_from(done).unwrap();
        let metrics = engine.metrics.unwrap();
        assert!(metrics.finished.unwrap()["any"] >= done);
        assert!(metrics.ttft.unwrap().count >= done);
        assert!(metrics.prompt_tokens.unwrap() > 0 && metrics.generation_tokens.unwrap() > 0);
        let hits = metrics.prefix_cache_hit_ratio;
        assert!(
            hits.is_none_or(|r| r <= Ratio::default()),
            "the radix cache is off: {hits:?}"
        );
        let telemetry = telemetry(&sealed, &record.id);
        assert!(
            telemetry
                .iter()
                .any(|s| s.engine_running.is_some() && s.kv_cache_used_ratio.is_some())
        );
    }
    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", "sg"]).exits(0);
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(page.contains("sglang") && page.contains("NO-OP"));
}

#[test]
fn a_key_that_every_list_of_processes_would_show_is_refused() {
    let project = Project::new(1, 3);
    project.matrix("key", &[], "blocks = 1", ARMS);
    let file = project.path("matrix/key.toml");
    let text = fs::read_to_string(&file).unwrap();
    let ours = "dialect = \"sglang\"\nversion = \"0.5.19\"\napi-key-env = \"SG_KEY\"";
    fs::write(&file, text.replace("dialect = \"vllm\"\nversion = \"0.32.0\"", ours)).unwrap();
    let mut command = project.command(&["run", "matrix/key.toml", "--run-id", "key"]);
    let refused = command_output(&command.env("SG_KEY", "a-secret-of-the-test").output().unwrap()).exits(4);
    assert!(refused.err.contains("takes its key as a flag only"), "{}", refused.err);
    assert!(!refused.err.contains("a-secret-of-the-test"));
    assert!(!project.path("runs/key").exists(), "before anything was written");
}
