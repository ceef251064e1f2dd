//! `servelab plan --check-engine` with a real Python and a small stand-in for vLLM that has its import names.

use crate::support::{CommandOutput, Project, command_output};
use servelab_schema::{Preflight, PreflightOutcome, PreflightVariant, Treatment};
use std::{env, ffi::OsString, fs, path::Path};

/// A baseline and one treatment for every answer that there is.
const VARIANTS: &str = r#"
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "x"
[variant.args]
max-model-len = 1024
enable-chunked-prefill = true
async-scheduling = true
enforce-eager = false
kv-cache-dtype = "auto"

[[variant]]
id = "C1b"
role = "aa"
hypothesis = "x"

[[variant]]
id = "C3"
factor = "eager"
hypothesis = "x"
args = { enforce-eager = true }

[[variant]]
id = "C4"
factor = "frontend-workers"
hypothesis = "x"
args = { api-server-count = 2 }

[[variant]]
id = "C7"
factor = "speculation"
hypothesis = "x"
args = { speculative-config = '{"method":"ngram","num_speculative_tokens":4}' }
"#;

/// What the engine ignores, changes or refuses.
const TROUBLE: &str = r#"
[[variant]]
id = "C1s"
factor = "async-scheduling"
hypothesis = "x"
args = { async-scheduling = false }

[[variant]]
id = "C5"
factor = "kv-cache-dtype"
hypothesis = "x"
args = { kv-cache-dtype = "fp8" }

[[variant]]
id = "C6"
factor = "kv-offload"
hypothesis = "x"
args = { kv-offloading-size = 8 }

[[variant]]
id = "C8"
factor = "weights"
hypothesis = "x"
args = { quantization = "dies" }

[[variant]]
id = "C9"
factor = "max-num-batched-tokens"
hypothesis = "x"
args = { max-num-batched-tokens = 256 }
"#;

/// Python's path to the stand-in with its parts where `which` versions have them; what those parts do is in `both`.
fn engine(which: &str) -> OsString {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fake-engine");
    env::join_paths([folder.join(which), folder.join("both")]).unwrap()
}

fn project(variants: &str) -> Project {
    let project = Project::new(1, 3);
    project.matrix("check", &[], "blocks = 1\n\n[load]\nconcurrency = 2", variants);
    project
}

/// With the provider's table replaced.
fn with_command(project: &Project, command: &str) {
    let path = project.path("matrix/check.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once("[engine.provider.sim]").unwrap();
    let (_, rest) = rest.split_once("[prompts]").unwrap();
    let text = format!("{head}[engine.provider.process]\ncommand = {command}\n\n[prompts]{rest}");
    fs::write(&path, text).unwrap();
}

fn check(project: &Project, which: &str, words: &[&str]) -> CommandOutput {
    let mut all = vec!["plan", "matrix/check.toml", "--check-engine"];
    all.extend(words);
    let mut command = project.command(&all);
    command
        .env("PYTHONPATH", engine(which))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command_output(&command.output().unwrap())
}

fn preflight(project: &Project, which: &str, code: i32) -> Preflight {
    let found = check(project, which, &["--python", "python3", "--format", "json"]).exits(code);
    serde_json::from_str(&found.out).unwrap()
}

fn variant<'p>(preflight: &'p Preflight, id: &str) -> &'p PreflightVariant {
    preflight.variants.iter().find(|v| v.variant.as_str() == id).unwrap()
}

fn refusal<'p>(preflight: &'p Preflight, id: &str) -> &'p str {
    match &variant(preflight, id).outcome {
        PreflightOutcome::Refused { words } => words,
        PreflightOutcome::Accepted { .. } => panic!("{id} was accepted"),
    }
}

fn changed(preflight: &Preflight, id: &str) -> Vec<String> {
    let none = || "-".to_owned();
    let differs = &variant(preflight, id).differs;
    let words = differs.iter().map(|d| {
        let (from, to) = (
            d.control.clone().unwrap_or_else(none),
            d.variant.clone().unwrap_or_else(none),
        );
        format!("{} {from} {to}", d.field)
    });
    words.collect()
}

#[test]
fn every_field_that_a_flag_changes_is_shown() {
    for (which, version) in [("new", "0.32.0+cpu"), ("old", "0.8.5.post2")] {
        let found = preflight(&project(VARIANTS), which, 0);
        assert_eq!(
            (found.engine_version.as_str(), found.platform.as_str()),
            (version, "cpu")
        );
        assert_eq!(changed(&found, "C1"), [""; 0]);
        assert_eq!(changed(&found, "C1b"), [""; 0]);
        assert_eq!(
            changed(&found, "C3"),
            ["compilation.mode COMPILED NONE", "model.enforce_eager False True"]
        );
        assert_eq!(changed(&found, "C4"), ["frontend.api_server_count None 2"]);
        assert_eq!(
            changed(&found, "C7"),
            ["speculative.method - ngram", "speculative.num_speculative_tokens - 4"]
        );
        let planned: Vec<Option<Treatment>> = found.variants.iter().map(|v| v.planned).collect();
        let confirmed = Some(Treatment::Confirmed);
        assert_eq!(planned, [None, None, confirmed, confirmed, confirmed]);
        assert_eq!(variant(&found, "C3").warnings, ["said to all", "eager it is"]);
        let PreflightOutcome::Accepted { fields } = &variant(&found, "C1").outcome else {
            panic!()
        };
        assert_eq!(fields["model.model"], "mistralai/Mistral-7B-Instruct-v0.3");
        assert!(
            !fields.keys().any(|name| name.contains("token") && name.contains("hf")),
            "{fields:?}"
        );
        assert!(!fields.contains_key("frontend.api_key"));
    }
}

#[test]
fn what_is_ignored_changed_or_refused_is_exit_code_3_and_printed() {
    let project = project(&format!("{VARIANTS}{TROUBLE}"));
    let found = preflight(&project, "new", 3);
    let planned = |id| variant(&found, id).planned.unwrap();
    assert_eq!(planned("C1s"), Treatment::NoOp, "the engine has it off in both");
    assert_eq!(planned("C5"), Treatment::Substituted);
    assert_eq!(changed(&found, "C5"), ["cache.cache_dtype auto fp8_e5m2"]);
    for id in ["C6", "C8"] {
        assert_eq!(planned(id), Treatment::Rejected);
    }
    assert_eq!(refusal(&found, "C6"), "unrecognized arguments: --kv-offloading-size");
    assert!(
        refusal(&found, "C8").starts_with("it died"),
        "{}",
        refusal(&found, "C8")
    );
    assert_eq!(
        planned("C9"),
        Treatment::Confirmed,
        "the ones after it are asked all the same"
    );

    let printed = check(&project, "new", &["--python", "python3"]).exits(3).out;
    for row in [
        "C6        C1        REFUSED      REJECTED      unrecognized arguments: --kv-offloading-size",
        "C5        C1        accepted     SUBSTITUTED   cache.cache_dtype: auto → fp8_e5m2",
        "warning (C3): eager it is",
    ] {
        assert!(printed.contains(row), "no {row:?} in\n{printed}");
    }
    assert!(
        printed.contains("nothing started") && !printed.contains("noise"),
        "{printed}"
    );
}

#[test]
fn the_first_cause_is_quoted() {
    let project = project(
        "[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\nargs = { max-model-len = 1024 }\n[[variant]]\n\
         id = \"C2\"\nfactor = \"chunked-prefill\"\nhypothesis = \"x\"\nargs = { enable-chunked-prefill = false }\n",
    );
    with_command(
        &project,
        "[\"vllm\", \"serve\", \"{model}\", \"--max-num-batched-tokens\", \"256\"]",
    );
    let found = preflight(&project, "new", 3);
    assert_eq!(refusal(&found, "C2"), "ValueError: too few tokens");
    let PreflightOutcome::Accepted { fields } = &variant(&found, "C1").outcome else {
        panic!()
    };
    assert_eq!(
        fields["scheduler.max_num_batched_tokens"], "256",
        "words of the provider's command count"
    );
}

#[test]
fn the_python_is_that_of_the_engines_own_program() {
    let project = project(VARIANTS);
    let python = command_output(
        &std::process::Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .unwrap(),
    );
    fs::create_dir_all(project.path("bin")).unwrap();
    fs::write(
        project.path("bin/vllm"),
        format!("#!{}\nraise SystemExit('must not be started')\n", python.out.trim()),
    )
    .unwrap();
    let program = project.path("bin/vllm");
    with_command(&project, &format!("[{program:?}, \"serve\", \"{{model}}\"]"));
    let found = check(&project, "new", &["--model", "a/small-one", "--format", "json"]).exits(0);
    let found: Preflight = serde_json::from_str(&found.out).unwrap();
    let PreflightOutcome::Accepted { fields } = &variant(&found, "C1").outcome else {
        panic!()
    };
    assert_eq!(fields["model.model"], "a/small-one");
}

#[test]
fn an_engine_that_cannot_be_asked_is_an_error_with_a_remedy() {
    let project = project(VARIANTS);
    let says = |found: CommandOutput, code: i32, parts: &[&str]| {
        let found = found.exits(code);
        for part in parts {
            assert!(found.err.contains(part), "no {part:?} in {}", found.err);
        }
        assert_eq!(found.out, "");
    };
    says(
        check(&project, "new", &["--python", "/nowhere/python"]),
        4,
        &["/nowhere/python", "--python PATH"],
    );
    // A Python without vLLM.
    says(
        check(&project, "none", &["--python", "python3"]),
        4,
        &["cannot import vLLM", "No module named", "--python PATH"],
    );
    says(
        check(&project, "new", &["--python", "false"]),
        4,
        &["ended after 0 of 5 variants"],
    );
    with_command(&project, "[\"no-such-vllm\", \"serve\", \"org/model\"]");
    says(
        check(&project, "new", &[]),
        4,
        &["no program `no-such-vllm`", "--python PATH"],
    );
    says(
        check(&project, "new", &["--python", "python3", "--model", "m"]),
        3,
        &["{model}"],
    );

    let path = project.path("matrix/check.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once("[[variant]]").unwrap();
    let baseline = "[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";
    fs::write(
        &path,
        format!("{head}{baseline}").replace("\"vllm\"\nversion", "\"sglang\"\nversion"),
    )
    .unwrap();
    says(
        check(&project, "new", &["--python", "python3"]),
        3,
        &["for vllm only, not for sglang"],
    );

    says(
        command_output(
            &project
                .command(&["plan", "matrix/check.toml", "--python", "python3"])
                .output()
                .unwrap(),
        ),
        2,
        &["--check-engine"],
    );
}

#[test]
fn an_engine_that_hangs_is_given_up() {
    let project = project(&format!(
        "{VARIANTS}\n[[variant]]\nid = \"C8\"\nfactor = \"weights\"\nhypothesis = \"x\"\nargs = {{ quantization = \"hangs\" }}\n"
    ));
    let found = check(&project, "new", &["--python", "python3", "--deadline", "3"]).exits(4);
    assert!(
        found.err.contains("did not answer within 3 s; raise --deadline"),
        "{}",
        found.err
    );
}

#[test]
fn no_secret_of_the_environment_is_shown() {
    let project = project(&format!(
        "{VARIANTS}\n[[variant]]\nid = \"C8\"\nfactor = \"weights\"\nhypothesis = \"x\"\nargs = {{ quantization = \"tells\" }}\n"
    ));
    for format in ["json", "table"] {
        let words = [
            "plan",
            "matrix/check.toml",
            "--check-engine",
            "--python",
            "python3",
            "--format",
            format,
        ];
        let mut command = project.command(&words);
        command
            .env("PYTHONPATH", engine("new"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PLANTED_API_KEY", "sk-planted-0123456789");
        let found = command_output(&command.output().unwrap()).exits(3);
        assert!(found.out.contains("the key is [redacted]"), "{}", found.out);
        assert!(
            !found.out.contains("sk-planted") && !found.err.contains("sk-planted"),
            "{}",
            found.out
        );
    }
}
