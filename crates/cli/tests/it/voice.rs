//! What is said, where and how loudly: answers that do not get out, logs of every level, errors for programs.

use crate::{
    bench_server::{Server, answer},
    support::{CommandOutput, Project, command_output},
};
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::pipe,
    process::{Command, Stdio},
};

const ARM: &str = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";

fn project() -> Project {
    let project = Project::new(1, 6);
    project.matrix("small", &[], "blocks = 1", ARM);
    // One that was cut off: a list has a row.
    fs::create_dir_all(project.path("runs/cut")).unwrap();
    fs::write(project.path("runs/cut/plan.json"), "{}").unwrap();
    project
}

fn bench<'w>(server: &'w Server, words: &[&'w str]) -> Vec<&'w str> {
    [&["bench", "--url", server.url.as_str(), "--requests", "2"], words].concat()
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let project = project();
    let server = Server::start(|_, _| answer());
    let (table, json) = (bench(&server, &[]), bench(&server, &["--format", "json"]));
    let commands: [&[&str]; 8] = [
        &table,
        &json,
        &["plan", "matrix/small.toml"],
        &["results", "list"],
        &["results", "list", "--format", "json"],
        &["doctor"],
        &["--help"],
        &["--version"],
    ];
    for words in commands {
        let mut command = project.command(words);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let said = command_output(&command.stdout(full).stderr(Stdio::piped()).output().unwrap()).exits(4);
        let wanted = "the answer could not be written to standard output: No space left on device";
        assert!(said.err.contains(wanted), "{words:?}: {}", said.err);
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let project = project();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = project.command(&["results", "list"]);
    let said = command_output(&command.stdout(writer).stderr(Stdio::piped()).output().unwrap()).exits(0);
    assert_eq!(said.err, "");
}

#[test]
fn bench_says_more_where_it_is_asked_to() {
    let project = Project::new(1, 1);
    let server = Server::start(|_, _| answer());
    let err = |words: &[&str]| {
        let said = command_output(&project.command(&bench(&server, words)).output().unwrap());
        assert!(!said.out.is_empty(), "{}", said.err);
        said.err
    };
    let usual = err(&[]);
    assert!(!usual.contains("a load begins"), "{usual}");
    let more = err(&["-v"]);
    for part in [
        "what it is and what it takes",
        "model=",
        "a load begins",
        "a load ended",
        "completed=2",
    ] {
        assert!(more.contains(part), "no {part:?} in\n{more}");
    }
    assert!(!more.contains("DEBUG"), "{more}");
    let all = err(&["-vv"]);
    assert!(all.contains("DEBUG") && all.contains("capabilities="), "{all}");
    let lines = err(&["-v", "--log-format", "json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "a load begins" && line["planned"] == 2)
    );
}

fn logging(project: &Project, value: &str) -> CommandOutput {
    let mut command: Command = project.command(&["results", "list"]);
    command_output(&command.env("SERVELAB_LOG", value).output().unwrap())
}

#[test]
fn a_level_that_there_is_not_is_an_error_that_names_its_variable() {
    let project = project();
    let said = logging(&project, "servelab=loud").exits(2);
    assert!(
        said.err.contains("SERVELAB_LOG") && said.err.contains("servelab=loud"),
        "{}",
        said.err
    );
    for good in ["", "info", "warn,servelab_run=debug"] {
        logging(&project, good).exits(0);
    }
}

#[test]
fn errors_of_the_command_line_fit_and_are_json_for_programs() {
    let project = Project::new(1, 1);
    let words = [
        "bench",
        "--url",
        "http://127.0.0.1:1",
        "--concurrency",
        "1",
        "--rate",
        "2",
        "--sweep",
        "concurrency=1,2",
        "--batch",
        "3",
    ];
    let mut command = project.command(&words);
    let said = command_output(&command.env("COLUMNS", "60").output().unwrap()).exits(2);
    assert!(said.err.starts_with("error: ") && said.out.is_empty(), "{}", said.err);
    for line in said.err.lines() {
        assert!(line.chars().count() <= 60, "{line:?} in\n{}", said.err);
    }
    let said = project
        .servelab(&[&words[..], &["--log-format", "json"]].concat())
        .exits(2);
    let error: Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(error["level"], "ERROR");
    assert!(
        error["message"].as_str().unwrap().contains("cannot be used with"),
        "{error}"
    );
}

#[test]
fn a_failure_of_a_run_is_said_once() {
    let project = Project::new(1, 6);
    project.matrix("never", &["--no-such-word"], "blocks = 1", ARM);
    let words = ["run", "matrix/never.toml", "--run-id", "r1", "--log-format", "json"];
    let said = project.servelab(&words).exits(6);
    let lines = said
        .err
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warned: Vec<Value> = lines.filter(|line| line["level"] != "INFO").collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0]["message"].as_str().unwrap().contains("is Invalid"),
        "{warned:?}"
    );
    // It did not die of a load that there was not.
    assert!(!said.out.contains("live through the load"), "{}", said.out);
    let text = project
        .servelab(&["run", "matrix/never.toml", "--run-id", "r2"])
        .exits(6);
    assert!(text.out.contains("before it was ready"), "{}", text.out);
}

#[test]
fn what_is_not_there_has_its_remedy() {
    let project = Project::new(1, 1);
    let file = project.path("file");
    fs::write(&file, "").unwrap();
    for root in [project.path("nowhere"), file] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_servelab"));
        command.arg("--project").arg(&root).args(["results", "list"]);
        let said = command_output(&command.output().unwrap()).exits(4);
        assert!(
            said.err.contains("--project") && said.err.contains("runs/"),
            "{}",
            said.err
        );
    }
    project.matrix("small", &[], "blocks = 1", ARM);
    let runs = project.path("file/runs").display().to_string();
    let said = project
        .servelab(&["run", "matrix/small.toml", "--runs", &runs])
        .exits(4);
    assert!(said.err.contains(&runs) && said.err.contains("--runs"), "{}", said.err);
    let said = project.servelab(&["ingest"]).exits(0);
    assert!(said.err.contains("servelab run MATRIX"), "{}", said.err);
    assert!(!project.path("servelab.db").exists());

    fs::write(
        project.path("servelab.db"),
        "no database at all, but long enough to be looked at",
    )
    .unwrap();
    let said = project.servelab(&["results", "list"]).exits(4);
    assert!(
        said.err.contains("delete it") && !said.err.contains("permissions"),
        "{}",
        said.err
    );
    assert_eq!(said.err.matches("not a database").count(), 1, "said once: {}", said.err);
}
