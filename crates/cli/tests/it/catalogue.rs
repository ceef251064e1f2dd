//! `servelab engine catalogue`, and a plan that is checked with what it made.

use crate::support::{Project, command_output};
use std::{fs, process::Command};

const HELP: &str = include_str!("../../../engine/tests/data/argparse-help.txt");

/// A program that prints a version and a help. A child writes it: what this process holds open for writing cannot be run.
fn program(project: &Project, version: &str) -> String {
    fs::write(project.path("help.txt"), HELP).unwrap();
    let path = project.path("fake-vllm");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n--version) echo noise >&2; echo {version} ;;\n'serve --help=all') cat {} ;;\n*) exit 9 ;;\nesac\n",
        project.path("help.txt").display()
    );
    let write = "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    assert!(
        Command::new("sh")
            .args(["-c", write])
            .arg(&path)
            .arg(script)
            .status()
            .unwrap()
            .success()
    );
    path.display().to_string()
}

#[test]
fn a_command_and_its_recorded_help_give_the_same() {
    let project = Project::new(1, 1);
    let program = program(&project, "9.8.7+cpu");
    let asked = project
        .servelab(&["engine", "catalogue", "--command", &program])
        .exits(0)
        .out;
    assert!(
        asked.contains("matrix/engines/vllm/9.8.7.toml: 27 flags of vllm 9.8.7"),
        "{asked}"
    );
    let written = fs::read_to_string(project.path("matrix/engines/vllm/9.8.7.toml")).unwrap();
    assert!(
        written.starts_with("# Flags of vllm 9.8.7, read off the installed engine's own help on platform `cpu`."),
        "{written}"
    );

    let help = project.path("help.txt").display().to_string();
    let words = [
        "engine",
        "catalogue",
        "--engine-version",
        "9.8.7+cpu",
        "--help-file",
        &help,
        "--out",
        "-",
    ];
    let printed = project.servelab(&words).exits(0).out;
    let body = |text: &str| {
        text.lines()
            .filter(|l| !l.starts_with('#'))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(body(&printed), body(&written));
}

#[test]
fn a_plan_is_checked_with_the_catalogue_that_was_made() {
    let project = Project::new(1, 3);
    let program = program(&project, "9.8.7+cpu");
    project.matrix(
        "x",
        &[],
        "blocks = 1\n\n[load]\nconcurrency = 2",
        "[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\nargs = { level = \"low\" }\n\
         [[variant]]\nid = \"C2\"\nfactor = \"level\"\nhypothesis = \"x\"\nargs = { level = \"hihg\" }\n",
    );
    let plan = |code| {
        project
            .servelab(&["plan", "matrix/x.toml", "--engine-version", "9.8.7"])
            .exits(code)
    };
    let before = plan(0).out;
    assert!(
        before.contains("there is no catalogue of the flags of vllm 9.8.7"),
        "{before}"
    );
    project
        .servelab(&["engine", "catalogue", "--command", &program])
        .exits(0);
    let after = plan(3).err;
    assert!(
        after.contains("`hihg` is no value of `--level`; did you mean `high`?"),
        "{after}"
    );
}

#[test]
fn what_is_no_help_is_refused_with_a_remedy() {
    let project = Project::new(1, 1);
    let check = |words: &[&str], code: i32, says: &str| {
        let mut all = vec!["engine", "catalogue"];
        all.extend(words);
        let found = project.servelab(&all).exits(code);
        assert!(found.err.contains(says), "{}", found.err);
    };
    check(&[], 2, "--help-file");
    check(
        &["--command", "/nowhere/vllm"],
        4,
        "is the engine installed and on PATH?",
    );
    check(
        &["--help-file", "/nowhere/help", "--engine-version", "1.0"],
        4,
        "/nowhere/help: the help cannot be read",
    );
    let empty = project.path("empty");
    fs::write(&empty, "INFO starting\n").unwrap();
    let empty = empty.display().to_string();
    check(
        &["--help-file", &empty, "--engine-version", "1.0"],
        3,
        "vllm serve --help=all",
    );
    check(
        &["--help-file", &empty, "--engine-version", "1.0", "--dialect", "sglang"],
        3,
        "sglang.launch_server",
    );
}

/// `servelab plan --engine-version` needs no engine and says what each version would refuse.
#[test]
fn the_shipped_matrix_resolves_for_both_versions_and_says_what_is_deprecated() {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let plan = |version: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_servelab"));
        command.args([
            "--project",
            repository,
            "plan",
            "matrix/c1-c8.toml",
            "--engine-version",
            version,
        ]);
        command_output(&command.output().unwrap()).exits(0).out
    };
    let new = plan("0.32.0");
    assert!(!new.contains("note at"), "{new}");
    assert!(new.contains("C1s"));
    let old = plan("0.8.5.post2");
    assert!(
        old.contains("still takes `--tokenizer-pool-size` but says that it will go"),
        "{old}"
    );
}
