//! However a run ends, what it measured is sealed or can be.

use crate::support::{CommandOutput, Project, command_output, hearing_hangups, trials, until};
use rustix::process::{Pid, Signal, kill_process};
use servelab_schema::{GateName, MachineHold, Outcome, Reason, RunEnd, RunEvent, Validity};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

const ARM: &str = "[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"The server as it is\"\n";
const FIRST: &str = "b01-01-C1-c2-t1";

/// A project with a run of one trial that takes some seconds, or with other settings of the experiment.
fn project(rest: &str) -> Project {
    let project = Project::new(1, 60);
    let load = "[load]\nconcurrency = 2\n";
    project.matrix("long", &[], "blocks = 1", &format!("{load}{rest}{ARM}"));
    project
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A run that takes half a minute where nobody ends it.
const SLOW: [&str; 6] = ["run", "matrix/long.toml", "--run-id", "r1", "--time-scale", "1"];

/// Starts that run and waits for its first trace.
fn under_load(project: &Project) -> Child {
    let mut child = start(hearing_hangups(&project.command(&SLOW)));
    let traces = project.path(&format!("runs/r1/trials/{FIRST}/traces.jsonl"));
    let ended = until("the first trace", || {
        let answered = fs::metadata(&traces).is_ok_and(|m| m.len() > 0);
        answered.then_some(false).or(child.try_wait().unwrap().map(|_| true))
    });
    assert!(!ended, "it ended: {}", end(child).err);
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn end(child: Child) -> CommandOutput {
    command_output(&child.wait_with_output().unwrap())
}

fn why(project: &Project) -> String {
    match project.run("r1").manifest().end.clone() {
        RunEnd::Aborted { why } => why,
        RunEnd::Complete => panic!("it is complete"),
    }
}

fn events(project: &Project) -> Vec<RunEvent> {
    let text = fs::read_to_string(project.path("runs/r1/events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_signal_ends_the_trial_and_seals_the_run() {
    for (one, name) in [
        (Signal::INT, "SIGINT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::HUP, "SIGHUP"),
    ] {
        let project = project("");
        let child = under_load(&project);
        signal(&child, one);
        let said = end(child).exits(5);
        assert!(said.err.contains(name), "{}", said.err);
        assert!(said.out.contains("(0 valid, 0 invalid, 1 aborted)"), "{}", said.out);
        assert!(
            !said.out.contains(" failed "),
            "nobody but the signal did it:\n{}",
            said.out
        );
        assert!(said.out.contains("no valid trial"), "{}", said.out);
        let list = project.servelab(&["results", "list", "--format", "json"]).exits(0).out;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(
            (&list[0]["state"], &list[0]["complete"]),
            (&"aborted".into(), &false.into())
        );
        assert!(
            list[0]["started_utc"].is_string() && list[0]["brief"].is_null(),
            "{list}"
        );
        assert!(why(&project).starts_with(name) && why(&project).ends_with("in trial 1 of 1"));
        let (record, traces) = trials(&project.run("r1")).remove(0);
        assert!(matches!(&record.validity, Validity::Aborted { why } if why.starts_with(name)));
        let cut = |o: &Outcome| matches!(o, Outcome::Failed(f) if f.reason == Reason::Cancelled);
        assert!(traces.iter().any(|t| cut(&t.outcome)), "requests in flight were cut");
        let events = events(&project);
        assert!(
            events
                .iter()
                .any(|e| e.what == "the run is to end" && e.fields["why"].starts_with(name))
        );
        project.servelab(&["ingest", "r1"]).exits(0);
    }
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let project = project("");
    let mut nohup = Command::new("nohup");
    let run = project.command(&["run", "matrix/long.toml", "--run-id", "r1"]);
    nohup.arg(run.get_program()).args(run.get_args());
    nohup.env(servelab_runner::FOLDER_VARIABLE, project.path("locks"));
    let child = start(nohup);
    let traces = project.path(&format!("runs/r1/trials/{FIRST}/traces.jsonl"));
    until("the first trace", || fs::metadata(&traces).ok().filter(|m| m.len() > 0));
    signal(&child, Signal::HUP);
    end(child).exits(0);
}

#[test]
fn a_second_signal_ends_at_once_and_the_run_can_be_sealed() {
    let project = project("");
    let child = under_load(&project);
    signal(&child, Signal::TERM);
    signal(&child, Signal::INT);
    let said = end(child).exits(5);
    assert!(said.err.contains("`servelab seal r1`"), "{}", said.err);
    project.servelab(&["ingest", "r1"]).exits(4);
    project.servelab(&["seal", "r1"]).exits(0);
    project.servelab(&["ingest", "r1"]).exits(0);
}

#[test]
fn a_killed_run_is_sealed_by_hand() {
    let project = project("");
    let mut child = under_load(&project);
    let listed = |word: &str| {
        let list = project.servelab(&["results", "list"]).exits(0).out;
        assert!(
            list.lines().any(|l| l.contains("r1") && l.contains(word)),
            "not {word}:\n{list}"
        );
    };
    listed("running");
    let running = project.servelab(&["seal", "r1"]).exits(4);
    assert!(running.err.contains("this run goes on"), "{}", running.err);
    child.kill().unwrap();
    child.wait().unwrap();
    listed("NOT SEALED");
    let before = fs::read_to_string(project.path(&format!("runs/r1/trials/{FIRST}/traces.jsonl"))).unwrap();
    let refused = project.servelab(&["ingest", "r1"]).exits(4);
    assert!(refused.err.contains("servelab seal"), "{}", refused.err);
    let sealed = project.servelab(&["seal", "r1"]).exits(0);
    assert!(sealed.out.contains(FIRST), "{}", sealed.out);
    assert_eq!(why(&project), "the runner was killed; sealed by `servelab seal`");
    let (record, traces) = trials(&project.run("r1")).remove(0);
    assert!(matches!(record.validity, Validity::Aborted { .. }));
    assert_eq!(traces.len(), before.lines().count(), "no row is lost");
    listed("ABORTED, not ingested");
    project.servelab(&["ingest", "r1"]).exits(0);
    listed("ABORTED");
    let again = project.servelab(&["seal", "r1"]).exits(4);
    assert!(again.err.contains("sealed already"), "{}", again.err);
    for name in ["../r1", "r1/trials", "/tmp", ".."] {
        project.servelab(&["seal", name]).exits(2);
    }
}

#[test]
fn a_limit_holds_while_the_run_goes_on() {
    let hopeful = "[predict]\nstartup = \"0s\"\nprefill-tokens-per-s = 4000000\ntime-per-output-token = \"1us\"\n\
                   wall-overhead-per-trial = \"0s\"\n[limits]\nmax-duration = \"8s\"\n";
    let project = project(hopeful);
    project.servelab(&SLOW).exits(5);
    assert_eq!(
        why(&project),
        "limits.max-duration of 8.00s was reached in trial 1 of 1"
    );
    let (record, _) = trials(&project.run("r1")).remove(0);
    assert!(matches!(record.validity, Validity::Aborted { .. }));
}

#[test]
fn a_baseline_that_keeps_failing_to_start_ends_the_run() {
    let project = Project::new(1, 6);
    let rest = format!("[load]\nconcurrency = 2\n{ARM}");
    project.matrix("never", &["--no-such-word"], "blocks = 3", &rest);
    project
        .servelab(&["run", "matrix/never.toml", "--run-id", "r1"])
        .exits(5);
    let why = why(&project);
    assert!(
        why.starts_with("the baseline C1 failed to start twice in a row, after 2 of 3 trials: ")
            && why.contains("--no-such-word"),
        "{why}"
    );
    let go_on = "blocks = 3\non-repeated-failure = \"go-on\"";
    project.matrix("never", &["--no-such-word"], go_on, &rest);
    project
        .servelab(&["run", "matrix/never.toml", "--run-id", "r2"])
        .exits(6);
    assert_eq!(project.run("r2").manifest().end, RunEnd::Complete);
}

#[test]
fn a_trial_whose_first_requests_all_fail_is_ended() {
    let project = Project::new(1, 60);
    let faults = project.path("faults.toml");
    // All but the first ones, which ask whether it is ready.
    let script = (4..100).map(|n| format!("[[fault]]\nrequest = {n}\nkind = \"http-status\"\nstatus = 500\n"));
    fs::write(&faults, script.collect::<String>()).unwrap();
    let rest = format!("[load]\nconcurrency = 2\n{ARM}");
    project.matrix("fails", &["--faults", faults.to_str().unwrap()], "blocks = 1", &rest);
    let said = project
        .servelab(&["run", "matrix/fails.toml", "--run-id", "r1"])
        .exits(6);
    let (trial, traces) = trials(&project.run("r1")).remove(0);
    let gates = vec![GateName::MinRequests, GateName::Failures];
    assert_eq!(trial.validity, Validity::Invalid { gates }, "an outcome, not an abort");
    assert!(
        traces.iter().filter(|t| t.measured).count() < 30,
        "not all 60 were sent"
    );
    assert!(said.out.contains("its first 20 requests all failed"), "{}", said.out);
}

#[test]
fn two_runs_do_not_measure_beside_each_other_unless_told() {
    let project = project("");
    let child = under_load(&project);
    let words = ["run", "matrix/long.toml", "--run-id", "r2", "--requests", "6"];
    let refused = project.servelab(&words).exits(4);
    let pid = child.id().to_string();
    assert!(
        refused.err.contains(&pid) && refused.err.contains("runs/r1"),
        "{}",
        refused.err
    );
    assert!(!project.path("runs/r2").exists());
    let told = [&words[..], &["--share-machine"]].concat();
    project.servelab(&told).exits(0);
    let held = project.run("r2").environment().unwrap().machine.unwrap();
    assert!(
        matches!(&held, MachineHold::Shared { with: Some(with), .. } if with.contains("runs/r1")),
        "{held:?}"
    );
    signal(&child, Signal::INT);
    end(child).exits(5);
    let held = project.run("r1").environment().unwrap().machine.unwrap();
    assert_eq!(
        held,
        MachineHold::Alone {
            held: vec!["machine".into()]
        }
    );
    project
        .servelab(&["run", "matrix/long.toml", "--run-id", "r3", "--requests", "6"])
        .exits(0);
}

#[test]
fn a_trial_that_the_instrument_lost_is_taken_again_and_both_are_kept() {
    let project = Project::new(1, 6);
    project.matrix("long", &[], "blocks = 1", &format!("[load]\nconcurrency = 2\n{ARM}"));
    // No thread of a client takes nothing.
    let file = project.path("matrix/long.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("client-thread-cpu-ratio = 8", "client-thread-cpu-ratio = 0.000001"),
    )
    .unwrap();
    let said = project
        .servelab(&["run", "matrix/long.toml", "--run-id", "r1"])
        .exits(6);
    assert!(
        said.err.contains("it is taken again at the end of its block"),
        "{}",
        said.err
    );
    assert!(said.out.contains("1 stay lost to the instrument"), "{}", said.out);
    let run = project.run("r1");
    let takes: Vec<_> = trials(&run).into_iter().map(|(record, _)| record).collect();
    let ids: Vec<_> = takes.iter().map(|t| (t.id.to_string(), t.take)).collect();
    assert_eq!(ids, [(FIRST.to_owned(), 1), ("b01-01-C1-c2-t2".to_owned(), 2)]);
    for take in &takes {
        let gates = vec![GateName::ClientCpu];
        assert_eq!(take.validity, Validity::Invalid { gates });
        assert_eq!(take.counts.completed, 6, "each is measured in full");
    }
    let events = events(&project);
    let said: Vec<_> = events.iter().map(|e| e.what.as_str()).collect();
    let take = ["a take begins", "its engine is ready", "a take ended: Invalid"];
    let (begin, end) = (
        ["the run begins", "the machine is held"],
        ["the run ends and is sealed"],
    );
    // While requests are in flight nothing is said.
    assert_eq!(said, [&begin[..], &take, &take, &end].concat());
    assert_eq!(events[5].fields["trial"], "b01-01-C1-c2-t2");
    project.servelab(&["ingest", "r1"]).exits(0);
    project.servelab(&["report", "r1"]).exits(0);
}
