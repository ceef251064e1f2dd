//! A run that was killed goes on where it stopped.

use crate::support::{Project, traces, until};
use servelab_evidence::SealedRun;
use servelab_schema::{RequestId, RunEnd, TrialEnd, TrialId, findings::Findings};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
};

const ARMS: &str = "[load]\nconcurrency = 2\n\
    [[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"The server as it is\"\n\
    [[variant]]\nid = \"C1b\"\nrole = \"aa\"\nhypothesis = \"The same again\"\n\
    [[variant]]\nid = \"C3\"\nfactor = \"eager\"\nhypothesis = \"No graphs\"\nargs = { enforce-eager = true }\n";

/// Three arms in two blocks.
const TAKES: usize = 6;

fn project() -> Project {
    let project = Project::new(2, 6);
    project.matrix("small", &[], "blocks = 2", ARMS);
    project
}

const RUN: [&str; 4] = ["run", "matrix/small.toml", "--run-id", "r1"];

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// Once this part of the bytes that an undisturbed run writes is there.
    Written(f64),
    /// Once it begins to seal.
    Sealing,
    /// Once it has begun to compress.
    Compressing,
}

/// Bytes below a folder, and the names of its files.
fn below(folder: &Path) -> (u64, Vec<String>) {
    let (mut bytes, mut names) = (0, Vec::new());
    let mut todo = vec![folder.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(m) if m.is_dir() => todo.push(entry.path()),
                Ok(m) => {
                    bytes += m.len();
                    names.push(entry.file_name().to_string_lossy().into_owned());
                }
                Err(_) => {}
            }
        }
    }
    (bytes, names)
}

/// Starts the command and kills it at the point. False where it ended before.
fn killed(mut command: Command, dir: &Path, point: Point, whole: u64) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ended = until("the point to kill at", || {
        let (bytes, names) = below(dir);
        #[expect(clippy::as_conversions, reason = "some 100 kB")]
        let there = match point {
            Point::Written(part) => bytes as f64 >= part * whole as f64,
            Point::Sealing => names.iter().any(|n| n.starts_with("findings.json")),
            Point::Compressing => names.iter().any(|n| n.contains(".zst")),
        };
        there
            .then_some(false)
            .or_else(|| child.try_wait().unwrap().map(|_| true))
    });
    child.kill().ok();
    child.wait().unwrap();
    !ended
}

/// The requests of every take whose rows are whole on the disk, sealed or not.
fn on_disk(dir: &Path) -> BTreeMap<String, Vec<RequestId>> {
    let mut found = BTreeMap::new();
    for take in fs::read_dir(dir.join("trials")).into_iter().flatten().flatten() {
        let files = servelab_evidence::TakeFiles::new(take.path());
        // What is torn at the end is no row yet.
        let rows = files.traces().unwrap().map_while(Result::ok).map(|row| row.request_id);
        found.insert(take.file_name().to_string_lossy().into_owned(), rows.collect());
    }
    found
}

/// What a run says that a kill must not change.
fn said(findings: &Findings) -> Vec<String> {
    let stands = findings.trials.iter().filter(|t| t.stands);
    let mut said: Vec<String> = stands
        .map(|t| format!("{} {} {:?} {:?}", t.block, t.variant, t.validity, t.counts))
        .collect();
    said.sort();
    let compared = findings
        .study
        .comparisons
        .iter()
        .map(|c| format!("{} {} {}", c.variant, c.metric, c.blocks.len()));
    said.extend(compared);
    said.push(format!(
        "{} of {}",
        findings.run.prompts_served, findings.run.prompts_planned
    ));
    said
}

/// What became of one kill.
#[derive(Debug, Default, Clone, Copy)]
struct Kill {
    /// Takes that had ended, rows that were there, takes that were cut off, and takes of the later session.
    ended: usize,
    rows: usize,
    cut: usize,
    later: usize,
}

/// Kills a run at the point, resumes it, and holds what is there against an undisturbed run. None where there was nothing to resume.
fn resumed(undisturbed: &(SealedRun, u64), point: Point) -> Option<Kill> {
    let (calm, whole) = undisturbed;
    let project = project();
    let dir = project.path("runs/r1");
    if !killed(project.command(&RUN), &dir, point, *whole) {
        return None;
    }
    let before = on_disk(&dir);
    if !dir.join("environment.json").exists() {
        // It was killed before there was a run; what there is can be thrown away, as it says.
        project.servelab(&["run", "--resume", "r1"]).exits(4);
        assert!(before.is_empty());
        return Some(Kill::default());
    }
    project.servelab(&["run", "--resume", "r1"]).exits(0);
    let run = project.run("r1");
    let findings = run.findings().unwrap();
    assert_eq!(run.manifest().end, RunEnd::Complete);
    assert_eq!(said(&findings), said(&calm.findings().unwrap()), "{point:?}");
    for (take, rows) in &before {
        let after: Vec<RequestId> = traces(&run, &TrialId::new(take.as_str()).unwrap())
            .into_iter()
            .map(|t| t.request_id)
            .collect();
        assert!(after.starts_with(rows), "{point:?}: {take} lost rows");
    }
    let mut kill = Kill {
        rows: before.values().map(Vec::len).sum(),
        ..Kill::default()
    };
    for trial in run.trials() {
        let record = run.take(&trial.id).record().unwrap();
        let rows = traces(&run, &trial.id);
        let different: BTreeSet<_> = rows.iter().map(|t| &t.request_id).collect();
        assert_eq!(
            different.len(),
            rows.len(),
            "{point:?}: {} has a request twice",
            trial.id
        );
        let measured = rows.iter().filter(|t| t.measured).count();
        match record.end {
            TrialEnd::Finished => assert_eq!(
                measured,
                usize::try_from(record.counts.planned).unwrap(),
                "{}",
                trial.id
            ),
            TrialEnd::Interrupted { .. } => kill.cut += 1,
        }
        let first = record.session.get() == 1;
        kill.later += usize::from(!first);
        kill.ended += usize::from(first && record.end == TrialEnd::Finished);
    }
    assert_eq!(
        kill.ended + kill.later,
        TAKES,
        "{point:?}: nothing is taken twice that had ended"
    );
    Some(kill)
}

/// The undisturbed run, and the bytes that it had written before its seal.
fn undisturbed() -> (SealedRun, u64, Project) {
    let project = project();
    project.servelab(&RUN).exits(0);
    let run = project.run("r1");
    let plain = |f: &servelab_schema::SealedFile| f.unpacked.as_ref().map_or(f.bytes.0, |held| held.bytes.0);
    let findings = |f: &&servelab_schema::SealedFile| f.path != "findings.json";
    let whole = run.manifest().files.iter().filter(findings).map(plain).sum();
    (run, whole, project)
}

#[test]
fn a_killed_run_goes_on_where_it_stopped() {
    let (run, whole, _project) = undisturbed();
    let calm = (run, whole);
    let kills: Vec<Kill> = [Point::Written(0.4), Point::Sealing, Point::Compressing]
        .into_iter()
        .filter_map(|point| resumed(&calm, point))
        .collect();
    assert!(
        kills.iter().any(|k| k.later > 0 && k.ended > 0 && k.rows > 0),
        "{kills:?}"
    );
}

#[test]
fn what_changed_is_named_and_nothing_is_touched() {
    let project = project();
    project.servelab(&[&RUN[..], &["--only", "b1"]].concat()).exits(0);
    let fingerprint = project.run("r1").fingerprint().clone();
    let refused = |words: &[&str], code: i32, expected: &[&str]| {
        let said = project.servelab(&[&["run"], words].concat()).exits(code);
        for words in expected {
            assert!(said.err.contains(words), "no {words:?} in:\n{}", said.err);
        }
        assert_eq!(project.run("r1").fingerprint(), &fingerprint);
    };
    let prompts = project.path("prompts/test.jsonl");
    let text = fs::read_to_string(&prompts).unwrap();
    fs::write(&prompts, text.replace("river", "rover")).unwrap();
    refused(&["--resume", "r1"], 3, &["test.jsonl: changed since the plan was made"]);
    fs::write(&prompts, text).unwrap();
    project.matrix(
        "other",
        &[],
        "blocks = 2\nseed = 9",
        &ARMS.replace("No graphs", "Other words"),
    );
    refused(
        &["matrix/other.toml", "--resume", "r1"],
        3,
        &[
            "run r1 cannot go on",
            "seed: ",
            "variants.C3.hypothesis: \"No graphs\" became \"Other words\"",
        ],
    );
    refused(
        &["--resume", "r1", "--only", "C9"],
        2,
        &["`C9` names no trial of this plan", "C1, C1b, C3"],
    );
    refused(&["--resume", "../r1"], 4, &["no run directory of that name"]);
    refused(&["--resume", "none"], 4, &["none", "no run directory of that name"]);
    refused(
        &["--resume", "r1", "--blocks", "3"],
        2,
        &["needs one: give it beside --resume"],
    );
    refused(&[], 2, &["MATRIX.toml"]);
    refused(&["matrix/small.toml", "--retry-invalid"], 2, &["--resume"]);
    // What is left is taken, then nothing is; more blocks are.
    let said = project.servelab(&["run", "--resume", "r1"]).exits(0);
    assert!(said.err.contains("3 takes are there, 3 are left"), "{}", said.err);
    let done = project.run("r1").fingerprint().clone();
    let said = project.servelab(&["run", "--resume", "r1"]).exits(0);
    assert!(said.err.contains("nothing of run r1 is left"), "{}", said.err);
    assert_eq!(project.run("r1").fingerprint(), &done);
    let path = project.path("runs/r1").display().to_string();
    project
        .servelab(&["run", "--resume", &path, "--more-blocks", "1", "--skip", "C3"])
        .exits(0);
    let run = project.run("r1");
    assert_eq!(run.plan().unwrap().blocks.len(), 3);
    assert_eq!(run.trials().count(), 8);
    assert_eq!(run.manifest().sessions.len(), 2);
    let wish = &run.manifest().sessions[1].wish;
    assert_eq!((wish.more_blocks, wish.skip.as_slice()), (1, &["C3".to_owned()][..]));
    let RunEnd::Aborted { why } = &run.manifest().end else {
        panic!("C3 is left out")
    };
    assert!(why.contains("--skip C3") && why.contains("1 more"), "{why}");
    // The page shows the sessions and the gaps between them.
    project.servelab(&["report", "r1"]).exits(0);
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(page.contains("Sessions of this run") && page.contains("--more-blocks 1"));
    assert!(page.contains("The run was resumed: it has 3 sessions"));
}

/// `make torture-resume`.
#[cfg(feature = "torture")]
mod torture {
    use super::*;

    const KILLS: u32 = 200;

    #[test]
    #[expect(clippy::print_stderr, reason = "whoever runs this wants to see it")]
    fn killed_at_two_hundred_points() {
        let (run, whole, _project) = undisturbed();
        let calm = (run, whole);
        let (mut table, mut points) = (BTreeMap::<&str, (usize, Kill)>::new(), 0);
        for n in 0..KILLS {
            // Over the whole length of a run, and some beyond it, where it is sealed.
            let jitter = servelab_random::split(7, &format!("kill {n}")) % 1000;
            let part = (f64::from(n) + f64::from(u32::try_from(jitter).unwrap()) / 1000.0) / f64::from(KILLS);
            let point = match n % 10 {
                8 => Point::Sealing,
                9 => Point::Compressing,
                _ => Point::Written(part),
            };
            let name = match point {
                Point::Sealing => "while it began to seal",
                Point::Compressing => "while it compressed",
                Point::Written(part) if part < 0.33 => "in its first third",
                Point::Written(part) if part < 0.67 => "in its second third",
                Point::Written(_) => "in its last third",
            };
            let Some(kill) = resumed(&calm, point) else { continue };
            points += 1;
            let (count, sum) = table.entry(name).or_default();
            *count += 1;
            sum.ended += kill.ended;
            sum.rows += kill.rows;
            sum.cut += kill.cut;
            sum.later += kill.later;
        }
        eprintln!(
            "| killed | runs | rows there, all kept | takes that had ended, kept | cut off, kept | taken after |"
        );
        for (name, (count, kill)) in &table {
            eprintln!(
                "| {name} | {count} | {} | {} | {} | {} |",
                kill.rows, kill.ended, kill.cut, kill.later
            );
        }
        eprintln!("{points} of {KILLS} were killed before they had ended; no row lost, none doubled");
        assert!(points >= KILLS * 9 / 10, "{points}");
    }
}
