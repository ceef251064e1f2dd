//! Nothing of an engine is left, however its run ends: no process, no open port, no temporary file, no container.
//!
//! Whatever servelab starts inherits a variable that only this test sets, also where it leaves their process group: whoever has it is found.

use crate::{
    docker,
    engines::{Sim, disguise},
    support::{CommandOutput, Project, command_output, until},
};
use rustix::process::{Pid, Signal, kill_process};
use servelab_schema::RunEnd;
use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// Marks the processes of one test; its value is the test's own temporary folder.
const MARK: &str = "SERVELAB_LEAK_TEST";
/// Makes this program serve as an engine: the words that an engine is started with.
const SERVE: &str = "SERVELAB_TEST_ENGINE";

/// Makes this program pass requests on: its port and that of the server behind it.
const FRONT: &str = "SERVELAB_TEST_FRONT";

const ARM: &str =
    "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"The server as it is\"\n";

/// A project whose `servelab` is watched.
struct Watched {
    project: Project,
    temp: tempfile::TempDir,
}

impl Watched {
    fn new(per_block: u32) -> Self {
        Self {
            project: Project::new(1, per_block),
            temp: tempfile::tempdir().unwrap(),
        }
    }

    /// A matrix with one arm and this provider in place of the simulator; the simulator with these options where empty.
    fn matrix(&self, provider: &str, sim: &[&str]) {
        self.project.matrix("leak", sim, "blocks = 1", ARM);
        if provider.is_empty() {
            return;
        }
        let file = self.project.path("matrix/leak.toml");
        let text = fs::read_to_string(&file).unwrap();
        let (head, rest) = text.split_once("[engine.provider.sim]").unwrap();
        let (_, rest) = rest.split_once("[prompts]").unwrap();
        fs::write(&file, format!("{head}{provider}\n\n[prompts]{rest}")).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = self.project.command(&["run", "matrix/leak.toml", "--run-id", "leak"]);
        command.env(MARK, self.temp.path()).env("TMPDIR", self.temp.path());
        command
    }

    fn run(&self) -> CommandOutput {
        command_output(&self.command().output().unwrap())
    }

    /// Starts the run and waits for its first answer from the engine.
    fn under_load(&self) -> Child {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let trials = self.project.path("runs/leak/trials");
        let traces = || Some(fs::read_dir(&trials).ok()?.next()?.ok()?.path().join("traces.jsonl"));
        let ended = until("the first answer", || {
            let answered = traces().is_some_and(|file| fs::metadata(file).is_ok_and(|m| m.len() > 0));
            answered.then_some(false).or(child.try_wait().unwrap().map(|_| true))
        });
        assert!(
            !ended,
            "it ended: {}",
            command_output(&child.wait_with_output().unwrap()).err
        );
        child
    }

    /// Processes that servelab started and that live, by id; zombies have no environment.
    fn alive(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}\0", self.temp.path().display());
        let marked = |folder: &Path| {
            let environment = fs::read(folder.join("environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|w| w == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter(|e| marked(&e.path()))
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect()
    }

    fn kill(&self, pids: &[i32]) {
        for pid in pids {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
        self.all_end();
    }

    fn all_end(&self) {
        until("every process to end", || self.alive().is_empty().then_some(()));
    }

    /// Ports that the run's engines were given, from their records and commands.
    fn ports(&self) -> Vec<u16> {
        let trials = fs::read_dir(self.project.path("runs/leak/trials"));
        let records = trials.into_iter().flatten().flatten();
        let texts = records.filter_map(|t| fs::read_to_string(t.path().join("engine.json")).ok());
        texts
            .filter_map(|text| {
                let record: serde_json::Value = serde_json::from_str(&text).unwrap();
                let argv: Vec<String> = serde_json::from_value(record["argv"].clone()).unwrap();
                let at = argv.iter().position(|word| word == "--port")?;
                argv.get(at + 1)?.parse().ok()
            })
            .collect()
    }

    fn nothing_is_left(&self) {
        let alive = self.alive();
        let names = alive
            .iter()
            .map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default());
        assert!(alive.is_empty(), "{:?}", names.collect::<Vec<_>>());
        for port in self.ports() {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{port} is served");
        }
        let files: Vec<_> = fs::read_dir(self.temp.path()).unwrap().flatten().collect();
        assert!(files.is_empty(), "{files:?}");
    }
}

/// A provider that starts this very program as an engine, through a shell in front of it.
fn engine_of_several_processes(before: &str) -> String {
    // By its process and not by its name, which a build may give to another file while this runs.
    let program = format!("/proc/{}/exe", std::process::id());
    let script = format!("{SERVE}=\"$*\" {before} {program} --exact leaks::serves_when_asked --nocapture & wait $!");
    format!("[engine.provider.process]\ncommand = [\"sh\", \"-c\", {script:?}, \"engine\"]")
}

/// No test but the engine of the tests here: a front end with the simulator behind it, on the port it is given.
#[test]
fn serves_when_asked() {
    let Ok(words) = env::var(SERVE) else { return };
    let words: Vec<&str> = words.split(' ').collect();
    let value = |flag: &str| words[words.iter().position(|w| *w == flag).unwrap() + 1];
    let listener = TcpListener::bind(("127.0.0.1", value("--port").parse::<u16>().unwrap())).unwrap();
    let tokenizer = "datasets/tokenizers/mistral-7b-instruct-v0.3";
    let mut engine = Command::new(env!("CARGO_BIN_EXE_servelab"))
        .args([
            "sim",
            "--port",
            "0",
            "--served-model-name",
            value("--served-model-name"),
        ])
        .args(["--time-scale", "20", "--startup-seconds", "0.1", "--exit-with-parent"])
        .arg("--tokenizer-dir")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(tokenizer))
        .args(["--", "--no-enable-prefix-caching"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(engine.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let said = lines.find(|line| line.contains("\"listening\"")).unwrap();
    let (_, port) = said.trim_end_matches(['"', '}']).rsplit_once(':').unwrap();
    let port = port.parse().unwrap();
    thread::spawn(move || lines.for_each(drop));
    disguise(&listener, port);
    engine.wait().unwrap();
}

#[test]
fn after_a_complete_run() {
    let simulated = Watched::new(6);
    simulated.matrix("", &[]);
    simulated.run().exits(0);
    assert_eq!(simulated.ports().len(), 1);
    simulated.nothing_is_left();

    let process = Watched::new(6);
    process.matrix(&engine_of_several_processes(""), &[]);
    process.run().exits(0);
    assert_eq!(process.ports().len(), 1);
    process.nothing_is_left();
}

#[test]
fn after_a_failed_start() {
    // The leader dies and its children would live on for a quarter of an hour, one that cannot be asked to end among them.
    let script = "(trap '' TERM; sleep 900) & sleep 900 & echo 'ValueError: no such model'; exit 1";
    let watched = Watched::new(3);
    watched.matrix(
        &format!("[engine.provider.process]\ncommand = [\"sh\", \"-c\", {script:?}]"),
        &[],
    );
    watched.run().exits(6);
    let record = fs::read_to_string(watched.project.path("runs/leak/trials/b01-01-C1-c2-t1/engine.json")).unwrap();
    assert!(record.contains("ValueError: no such model"), "{record}");
    watched.nothing_is_left();
}

/// The front end of a server that goes on behind it: [`starts_itself_again`]'s engine.
#[test]
fn fronts_when_asked() {
    let Ok(words) = env::var(FRONT) else { return };
    let (port, behind) = words.split_once(' ').unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
    disguise(&listener, behind.parse().unwrap());
}

#[test]
fn an_engine_that_starts_itself_again_is_not_alive_throughout() {
    let watched = Watched::new(60);
    let sim = Sim::start(&watched.project);
    let program = format!("/proc/{}/exe", std::process::id());
    let front = format!(
        "{FRONT}=\"$4 {}\" {program} --exact leaks::fronts_when_asked --nocapture",
        sim.port
    );
    let script = format!("while :; do {front} & wait $!; done");
    watched.matrix(
        &format!("[engine.provider.process]\ncommand = [\"sh\", \"-c\", {script:?}, \"engine\"]"),
        &[],
    );
    // An open loop goes on while nobody answers.
    let file = watched.project.path("matrix/leak.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("concurrency = 2", "rate-per-s = 10\narrivals = \"constant\""),
    )
    .unwrap();
    let child = watched.under_load();
    let is_front = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|b| *b == 0).nth(2) == Some(b"leaks::fronts_when_asked")
    };
    let fronts: Vec<i32> = watched.alive().into_iter().filter(is_front).collect();
    assert_eq!(fronts.len(), 1);
    kill_process(Pid::from_raw(fronts[0]).unwrap(), Signal::KILL).unwrap();
    command_output(&child.wait_with_output().unwrap()).exits(6);
    let trial = fs::read_dir(watched.project.path("runs/leak/trials"))
        .unwrap()
        .next()
        .unwrap();
    let record = fs::read_to_string(trial.unwrap().path().join("engine.json")).unwrap();
    let expected = "it was restarted during the trial: process ";
    assert!(record.contains(expected) && record.contains("in place of"), "{record}");
    watched.nothing_is_left();
}

#[test]
fn after_ctrl_c() {
    for provider in [String::new(), engine_of_several_processes("")] {
        let watched = Watched::new(60);
        watched.matrix(&provider, &[]);
        let child = watched.under_load();
        assert!(watched.alive().len() >= 2, "servelab and its engine");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        command_output(&child.wait_with_output().unwrap()).exits(5);
        watched.nothing_is_left();
    }
}

#[test]
fn after_servelab_itself_was_killed() {
    for provider in [String::new(), engine_of_several_processes("")] {
        let watched = Watched::new(60);
        watched.matrix(&provider, &[]);
        let mut child = watched.under_load();
        child.kill().unwrap();
        child.wait().unwrap();
        // The guard ends the engine, and then itself.
        watched.all_end();
        watched.nothing_is_left();
    }
}

#[test]
fn after_the_guard_was_killed() {
    let watched = Watched::new(60);
    watched.matrix("", &[]);
    let child = watched.under_load();
    let is_guard = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|b| *b == 0).nth(1) == Some(b"guard")
    };
    let guards: Vec<i32> = watched.alive().into_iter().filter(is_guard).collect();
    assert_eq!(guards.len(), 1, "one guard for one engine");
    kill_process(Pid::from_raw(guards[0]).unwrap(), Signal::KILL).unwrap();
    // The run goes on without it, and ends its engine itself.
    command_output(&child.wait_with_output().unwrap()).exits(0);
    watched.nothing_is_left();
}

#[test]
fn an_engine_that_leaves_its_group_and_serves_on_is_named() {
    let watched = Watched::new(3);
    watched.matrix(&engine_of_several_processes("setsid"), &[]);
    let said = watched.run();
    let left = watched.alive();
    watched.kill(&left);
    let said = said.exits(4);
    assert!(!left.is_empty(), "it does leave its group");
    assert!(
        said.err.contains("is still served after the engine") && said.err.contains("ss -ltnp"),
        "{}",
        said.err
    );
    let end = watched.project.run("leak").manifest().end.clone();
    assert!(
        matches!(&end, RunEnd::Aborted { why } if why.contains("error in trial 1 of 1") && why.contains("ss -ltnp")),
        "what was measured is sealed: {end:?}"
    );
}

#[test]
fn after_a_container() {
    let watched = Watched::new(3);
    docker::install(&watched.project);
    let image = format!(
        "[engine.provider.docker]\nimage = \"{}\"\ngpus = \"none\"",
        docker::IMAGE
    );
    watched.matrix(&image, &[]);
    let bin = watched.project.path("bin");
    let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
    // The shim serves the simulator, which is found out when it answers: the container must go all the same.
    let output = watched.command().env("PATH", path).output().unwrap();
    let said = command_output(&output).exits(4);
    assert!(said.err.contains("is the simulated engine"), "{}", said.err);
    watched.nothing_is_left();
    let containers = fs::read_dir(watched.project.path("containers")).unwrap();
    assert_eq!(containers.count(), 0);
}
