//! Runs whose directories were deleted or damaged: the database still has a deleted one, says so, and lets its name be used
//! again; a damaged one hinders nothing else.

use crate::support::Project;
use std::fs;

const ARMS: &str = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";

/// The line of `results list` that begins with that run; none where it is not listed. Panics where there are two.
fn listed(project: &Project, run: &str) -> Option<String> {
    let list = project.servelab(&["results", "list"]).exits(0).out;
    let of_run = |line: &&str| {
        line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .any(|word| word == run)
    };
    let mut lines = list.lines().filter(of_run);
    let line = lines.next().map(str::to_owned);
    assert_eq!(lines.next(), None, "{run} is listed twice:\n{list}");
    line
}

#[test]
fn a_deleted_run_is_listed_as_gone_and_its_name_is_free() {
    let project = Project::new(1, 3);
    project.matrix("p", &[], "blocks = 1", ARMS);
    let run = || {
        project
            .servelab(&["run", "matrix/p.toml", "--run-id", "again"])
            .exits(0)
    };
    run();
    project.servelab(&["ingest", "again"]).exits(0);
    let first = project.run("again").fingerprint().to_string();
    let line = listed(&project, "again").unwrap();
    assert!(!line.contains("directory gone"), "{line}");

    fs::remove_dir_all(project.path("runs/again")).unwrap();
    let line = listed(&project, "again").unwrap();
    assert!(line.contains("directory gone"), "{line}");
    // A report needs the evidence. It must not send its reader to a list that shows the run as if it were there.
    let said = project.servelab(&["report", "again"]).exits(4);
    assert!(
        said.err.contains("directory") && said.err.contains("gone"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("there is no run"), "{}", said.err);
    // What is gone hinders nothing else.
    project.servelab(&["ingest"]).exits(0);

    // The name is free: the new run supersedes the rows of the one whose directory is no more.
    run();
    project.servelab(&["ingest", "again"]).exits(0);
    let second = project.run("again").fingerprint().to_string();
    assert_ne!(first, second, "another run");
    let line = listed(&project, "again").unwrap();
    assert!(!line.contains("directory gone"), "{line}");
    let shown = project.servelab(&["results", "show", "again"]).exits(0).out;
    assert!(shown.contains(&second) && !shown.contains(&first), "{shown}");
    project.servelab(&["report", "again"]).exits(0);

    // A run whose directory is still there is not replaced by another that bears its name.
    let elsewhere = project.path("elsewhere");
    let words = [
        "run",
        "matrix/p.toml",
        "--run-id",
        "again",
        "--runs",
        elsewhere.to_str().unwrap(),
    ];
    project.servelab(&words).exits(0);
    let said = project
        .servelab(&["ingest", elsewhere.join("again").to_str().unwrap()])
        .exits(4);
    assert!(
        said.err.contains("again") && said.err.contains("runs/again"),
        "{}",
        said.err
    );
}

#[test]
fn damaged_older_runs_do_not_hinder_the_report_of_the_newest() {
    let project = Project::new(1, 3);
    project.matrix("p", &[], "blocks = 1", ARMS);
    // By name the newest comes first.
    for id in ["torn", "tampered", "robbed", "a-newest"] {
        project.servelab(&["run", "matrix/p.toml", "--run-id", id]).exits(0);
    }
    let file = |run: &str, name: &str| project.path(&format!("runs/{run}/{name}"));
    fs::write(file("torn", "run_manifest.json"), "{").unwrap();
    let plan = fs::read_to_string(file("tampered", "plan.json")).unwrap();
    fs::write(file("tampered", "plan.json"), format!("{plan} ")).unwrap();
    fs::remove_file(file("robbed", "findings.json")).unwrap();
    for damaged in ["torn", "tampered", "robbed"] {
        project.servelab(&["report", damaged]).exits(4);
    }
    let said = project.servelab(&["report"]).exits(0);
    assert!(
        said.err.contains("torn") && said.err.contains("passed over"),
        "{}",
        said.err
    );
    let summary = fs::read_to_string(project.path("report/out/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let runs = summary["runs"].as_array().unwrap();
    let ids: Vec<&str> = runs.iter().filter_map(|r| r["run"]["id"].as_str()).collect();
    assert_eq!(ids, ["a-newest"]);
}
