//! Real vLLM on this machine's CPU, for tests: started, watched from outside through `/proc` and its socket, and killed.

use crate::http::get;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use servelab_evidence::SealedRun;
use servelab_load::clock::monotonic;
use servelab_schema::{EngineRecord, Trace, findings::TrialFindings};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

pub(crate) const SERVED: &str = "smollm2-135m-instruct";
pub(crate) const PROMPTS: &str = "prompts/vllm-cpu-24.jsonl";
pub(crate) const FILLERS: &str = "prompts/vllm-cpu-filler-12.jsonl";
const SERVE: &str = "deploy/vllm-cpu/serve.sh";
pub(crate) const MODEL: &str = "deploy/vllm-cpu/smollm2-135m-instruct";

/// Nothing here takes longer, not even on a busy machine with an empty cache of compiled kernels.
const PATIENCE: Duration = Duration::from_secs(600);

/// The project: this repository, whose prompts `make` has built.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The program with these words, in this repository.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_servelab"));
    // Programs and folders of a matrix are relative to the project.
    command.current_dir(repository()).args(words);
    command
}

/// Runs the program to its end, which must be this exit code, and shows what it said.
pub(crate) fn servelab(words: &[&str], code: i32) -> Output {
    let output = command(words).output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("$ servelab {}\n{out}{err}", words.join(" "));
    assert_eq!(output.status.code(), Some(code), "servelab {}", words.join(" "));
    output
}

/// Asks until the answer is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = monotonic();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = Duration::from(monotonic().since(begin));
        assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The processes of this machine: process id to parent and command line.
fn processes() -> BTreeMap<i32, (i32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may hold anything; what follows it is the state and the parent.
        let mut after = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (after.next()?, after.next()?.parse().ok()?);
        let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&words).replace('\0', " ");
        (state != "Z").then_some((id, (parent, line)))
    })
    .collect()
}

/// Every process below one, with its command line.
pub(crate) fn below(root: i32) -> BTreeMap<i32, String> {
    let all = processes();
    let is_below = |mut id: i32| {
        while let Some((parent, _)) = all.get(&id) {
            if *parent == root {
                return true;
            }
            id = *parent;
        }
        false
    };
    let found = all.iter().filter(|(id, _)| is_below(**id));
    found.map(|(id, (_, line))| (*id, line.clone())).collect()
}

/// True where the process of that id and command line no longer runs: ids come again.
pub(crate) fn is_gone(id: i32, line: &str) -> bool {
    processes().get(&id).is_none_or(|(_, now)| now != line)
}

/// Ends a process at once.
pub(crate) fn kill(id: i32) {
    kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
}

/// The process below `root` whose title holds this text, once it is there.
pub(crate) fn titled(root: i32, title: &str) -> i32 {
    until(title, || {
        let found = below(root).into_iter().find(|(_, line)| line.contains(title));
        found.map(|(id, _)| id)
    })
}

/// One metric's value, summed over its series.
pub(crate) fn metric(port: u16, name: &str) -> Option<f64> {
    let page = get(port, "/metrics")?;
    let of_name = page.lines().filter(|l| {
        l.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    of_name
        .filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
        .reduce(|a, b| a + b)
}

/// A vLLM that the test itself started.
pub(crate) struct Vllm {
    child: Child,
    pub(crate) port: u16,
    base: String,
    log: PathBuf,
}

impl Vllm {
    /// Starts one with these flags besides the usual ones, its log in `folder`, and waits until it is healthy.
    pub(crate) fn start(folder: &Path, flags: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = folder.join("vllm.log");
        let out = File::create(&log).unwrap();
        let child = Command::new(repository().join(SERVE))
            .arg(repository().join(MODEL))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--served-model-name", SERVED, "--max-model-len", "2048"])
            .args(["--dtype", "float32", "--max-num-seqs", "16"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0)
            .spawn()
            .unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let mut vllm = Self { child, port, base, log };
        until("vLLM's /health", || {
            assert!(vllm.child.try_wait().unwrap().is_none(), "it ended:\n{}", vllm.log());
            get(port, "/health")
        });
        vllm
    }

    /// Its address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The leader of its processes.
    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Vllm {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.id()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Runs `matrix/NAME.toml` to `runs/NAME` and kills a process below it when the second trial, C1b, streams; gives the JSON
/// answer of the run, of which some variants must have no valid trial.
pub(crate) fn run_and_kill(name: &str, runs: &Path, victim: impl Fn(i32) -> i32) -> Value {
    let matrix = format!("matrix/{name}.toml");
    let mut run = command(&["run", &matrix, "--run-id", name, "--format", "json", "--runs"]);
    let run = run.arg(runs).stdout(Stdio::piped()).spawn().unwrap();
    let streaming = runs.join(name).join("trials/b01-02-C1b-c4-t1/traces.jsonl");
    // The first rows are those of warm-up requests, so others are on their way now.
    until("streams of the copy", || {
        fs::metadata(&streaming).ok().filter(|file| file.len() > 0)
    });
    kill(victim(i32::try_from(run.id()).unwrap()));
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert_eq!(output.status.code(), Some(6), "some variants have no valid trial");
    serde_json::from_str(&said).unwrap()
}

/// Runs a script with the Python that vLLM is installed for.
pub(crate) fn python(words: &[&OsStr]) {
    let installed = Command::new(repository().join("deploy/vllm-cpu/install.sh"))
        .output()
        .unwrap();
    let home = String::from_utf8(installed.stdout).unwrap();
    let done = Command::new(Path::new(home.trim()).join("venv/bin/python"))
        .args(words)
        .status()
        .unwrap();
    assert!(done.success(), "{words:?}");
}

/// The sealed run of that name below `runs`.
pub(crate) fn sealed(runs: &Path, id: &str) -> SealedRun {
    SealedRun::open(&runs.join(id)).unwrap()
}

/// What the findings say of each take of a run, with its engine and its traces.
pub(crate) fn takes(run: &SealedRun) -> Vec<(TrialFindings, EngineRecord, Vec<Trace>)> {
    let found = run.findings().unwrap().trials;
    let evidence = |trial: TrialFindings| {
        let take = run.take(&trial.id);
        let traces = take.traces().unwrap().collect::<Result<_, _>>().unwrap();
        (trial, take.engine().unwrap(), traces)
    };
    found.into_iter().map(evidence).collect()
}

/// Asserts that nobody accepts on the ports of the engines of a run, and that nothing of their command lines still runs.
pub(crate) fn assert_nothing_left(run: &SealedRun) {
    let running = processes();
    for trial in run.trials() {
        let record = run.take(&trial.id).engine().unwrap();
        let port = record.argv.iter().skip_while(|w| *w != "--port").nth(1).unwrap();
        let port: u16 = port.parse().unwrap();
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "{}: port {port} still accepts",
            trial.id
        );
        let word = format!("--port {port} ");
        let left: Vec<&String> = running.values().map(|(_, l)| l).filter(|l| l.contains(&word)).collect();
        assert!(left.is_empty(), "{}: {left:?}", trial.id);
    }
    let titles: Vec<&String> = running
        .values()
        .map(|(_, l)| l)
        .filter(|l| l.contains("VLLM::"))
        .collect();
    assert!(titles.is_empty(), "{titles:?}");
}
