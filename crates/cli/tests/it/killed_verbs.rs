//! `kill -9` of a verb that writes: what it wrote is whole or not there, and the same command then does its work.

use crate::support::{Project, until};
use servelab_load::clock::monotonic;
use servelab_schema::WallNanos;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const ARMS: &str = "[load]\nconcurrency = 2\n\
    [[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"The server as it is\"\n\
    [[variant]]\nid = \"C1b\"\nrole = \"aa\"\nhypothesis = \"The same again\"\n";

fn run() -> Project {
    let project = Project::new(1, 12);
    project.matrix("small", &[], "blocks = 1", ARMS);
    project
        .servelab(&["run", "matrix/small.toml", "--run-id", "r1"])
        .exits(0);
    project
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How long the command takes when nobody kills it.
fn length(command: &mut Command) -> WallNanos {
    let begin = monotonic();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    monotonic().since(begin)
}

/// Kills the command after this part of its length.
fn killed(command: &mut Command, length: WallNanos, part: u64, of: u64) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = monotonic();
    let due = length.0 / of * part;
    until("the moment to kill", || {
        let over = monotonic().since(begin).0 >= due;
        (over || child.try_wait().unwrap().is_some()).then_some(())
    });
    child.kill().ok();
    child.wait().unwrap();
}

/// Every file of a folder with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Kills `words` at so many moments; after each, `words` must do its work and `check` hold.
fn kill_everywhere(made: &Project, words: &[&str], kills: u64, check: impl Fn(&Project)) {
    let fresh = || {
        let project = Project::new(1, 1);
        fs::remove_dir_all(project.path("prompts")).unwrap();
        copy(&made.path(""), &project.path(""));
        project
    };
    let project = fresh();
    let length = length(&mut project.command(words));
    check(&project);
    for part in 0..kills {
        let project = fresh();
        killed(&mut project.command(words), length, part, kills);
        let again = project.servelab(words);
        // A seal that was finished just before the kill is one.
        let sealed = again.code == 4 && again.err.contains("sealed already");
        assert!(
            sealed || again.code == 0,
            "{words:?}, killed at {part} of {kills}: {}",
            again.err
        );
        check(&project);
    }
}

fn ingest_and_report(kills: u64) {
    let made = run();
    let listed = |project: &Project| {
        let list = project.servelab(&["results", "list"]).exits(0).out;
        assert_eq!(list.lines().filter(|line| line.contains("r1")).count(), 1, "{list}");
        project.servelab(&["results", "show", "r1"]).exits(0);
    };
    kill_everywhere(&made, &["ingest", "r1"], kills, listed);
    made.servelab(&["report", "r1"]).exits(0);
    let page = |project: &Project| {
        contents(&project.path("report/out"))
            .into_iter()
            .map(|(_, bytes)| bytes)
            .collect::<Vec<_>>()
    };
    let expected = page(&made);
    fs::remove_dir_all(made.path("report/out")).unwrap();
    kill_everywhere(&made, &["report", "r1"], kills, |project| {
        assert!(
            page(project) == expected,
            "the page differs from that of an undisturbed report"
        );
    });
}

fn seal(kills: u64) {
    let made = run();
    let dir = made.path("runs/r1");
    // As a kill just before the seal leaves it.
    for name in ["run_manifest.json", "run_manifest.sha256", "findings.json"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for take in fs::read_dir(dir.join("trials")).unwrap() {
        for name in ["traces.jsonl", "telemetry.jsonl"] {
            let packed = take.as_ref().unwrap().path().join(format!("{name}.zst"));
            let rows = zstd::stream::decode_all(fs::File::open(&packed).unwrap()).unwrap();
            fs::write(packed.with_extension(""), rows).unwrap();
            fs::remove_file(packed).unwrap();
        }
    }
    let rows = |project: &Project| {
        let takes = fs::read_dir(project.path("runs/r1/trials")).unwrap();
        let takes = takes.map(|take| servelab_evidence::TakeFiles::new(take.unwrap().path()));
        takes
            .map(|take| take.traces().unwrap().map(Result::unwrap).count())
            .sum::<usize>()
    };
    let whole = rows(&made);
    assert!(whole > 24);
    kill_everywhere(&made, &["seal", "r1"], kills, |project| {
        project.run("r1");
        assert_eq!(rows(project), whole);
    });
}

#[test]
fn ingest_and_report_are_killed() {
    ingest_and_report(4);
}

#[test]
fn seal_is_killed() {
    seal(6);
}

/// `make torture-kill`.
#[cfg(feature = "torture")]
mod torture {
    #[test]
    #[expect(clippy::print_stderr, reason = "whoever runs this wants to see it")]
    fn ingest_report_and_seal_are_killed_at_many_moments() {
        const KILLS: u64 = 100;
        super::ingest_and_report(KILLS);
        super::seal(KILLS);
        eprintln!("{KILLS} kills each of ingest, report and seal: each then did its work, with the same content");
    }
}
