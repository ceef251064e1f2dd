//! Engines that servelab did not start, engines that tell secrets, and engines that die.

use crate::support::{Project, engine, trials};
use serde_json::Value;
use servelab_evidence::names;
use servelab_schema::{
    ConnectionUse, EngineKind, GateName, GateOutcome, Treatment, UsageReport, findings::TrialFindings,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    thread,
};

const LOAD: &str = "[load]\nconcurrency = 2\n";
const BARE: &str = r#"
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The server as it is"
[variant.expect]
log-contains = ["Enforce eager set"]

[[variant]]
id = "C1b"
role = "aa"
hypothesis = "The same again"
"#;

/// Writes a matrix with another provider than the simulator.
pub(crate) fn matrix_with(project: &Project, name: &str, provider: &str, arms: &str) {
    project.matrix(name, &[], "blocks = 1", &format!("{LOAD}{arms}"));
    let file = project.path(&format!("matrix/{name}.toml"));
    let text = fs::read_to_string(&file).unwrap();
    let (head, rest) = text.split_once("[engine.provider.sim]").unwrap();
    let (_, rest) = rest.split_once("[prompts]").unwrap();
    fs::write(&file, format!("{head}{provider}\n\n[prompts]{rest}")).unwrap();
}

/// The project's own tokenizer.
pub(crate) const TOKENIZER: &str = "datasets/tokenizers/mistral-7b-instruct-v0.3";

/// A simulated engine of this test, killed with it.
pub(crate) struct Sim {
    child: Child,
    pub(crate) port: u16,
}

impl Sim {
    pub(crate) fn start(project: &Project) -> Self {
        Self::with(project, "--no-enable-prefix-caching")
    }

    /// Twenty times faster than life, and every step takes so many times as long.
    pub(crate) fn slowed(project: &Project, factor: f64) -> Self {
        let factor = factor.to_string();
        let words = ["--hidden-slowdown", &factor];
        Self::asked(project, TOKENIZER, &words, "--no-enable-prefix-caching")
    }

    /// With the tokenizer in this folder of the project.
    pub(crate) fn of_tokenizer(project: &Project, folder: &str) -> Self {
        Self::asked(project, folder, &[], "--no-enable-prefix-caching")
    }

    /// With this flag of the engine.
    fn with(project: &Project, flag: &str) -> Self {
        Self::asked(project, TOKENIZER, &[], flag)
    }

    /// With these words of the simulator's own besides.
    fn asked(project: &Project, tokenizer: &str, words: &[&str], flag: &str) -> Self {
        let tokenizer = project.path(tokenizer);
        let mut child = project
            .command(&["sim", "--port", "0", "--served-model-name", "mistral"])
            .args(["--time-scale", "20", "--startup-seconds", "0.1", "--tokenizer-dir"])
            .arg(tokenizer)
            .args(words)
            .args(["--exit-with-parent", "--", flag])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Its log stands before the line that names its address, and goes on behind it.
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let said = lines.find(|line| line.contains("\"listening\"")).unwrap();
        let port = said
            .rsplit(':')
            .next()
            .unwrap()
            .trim_end_matches(['"', '}'])
            .parse()
            .unwrap();
        thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The pages on which the simulated engine names itself, as a real one has them.
const REAL: [(&str, &str); 2] = [
    ("GET /version", r#"{"version":"0.32.0"}"#),
    ("GET /v1/models", r#"{"object":"list","data":[]}"#),
];

/// A port that passes everything on to `to`, and names itself as a real engine would.
pub(crate) fn disguised(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || disguise(&listener, to));
    port
}

/// The same without a page of metrics.
pub(crate) fn silent(to: u16) -> u16 {
    in_front_of(to, &["GET /metrics"], &[])
}

/// The same, and it refuses `max_tokens`, as some of OpenAI's models do, and `seed`.
pub(crate) fn picky(to: u16) -> u16 {
    in_front_of(to, &[], &["max_tokens", "seed"])
}

fn in_front_of(to: u16, hidden: &'static [&str], refused: &'static [&str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || pass_on(&client, to, hidden, refused));
        }
    });
    port
}

/// The same on a port that is there already, for as long as this process lives.
pub(crate) fn disguise(listener: &TcpListener, to: u16) {
    for client in listener.incoming().flatten() {
        thread::spawn(move || pass_on(&client, to, &[], &[]));
    }
}

/// Passes on all but the pages that are hidden, and refuses requests with these members.
fn pass_on(mut client: &TcpStream, to: u16, hidden: &[&str], refused: &[&str]) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
    let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        // Either side may close first.
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 65536];
    while let Ok(length) = client.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap();
        if piece.is_empty() {
            break;
        }
        let has = |member: &&&str| String::from_utf8_lossy(piece).contains(&format!("\"{member}\":"));
        let sent = if let Some(member) = refused.iter().find(has) {
            assert!(piece.starts_with(b"POST"), "a request comes in one piece");
            let error = serde_json::json!({"error": {"message": "Unsupported parameter", "param": member}}).to_string();
            let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length";
            write!(client, "{head}: {}\r\n\r\n{error}", error.len())
        } else if hidden.iter().any(|page| piece.starts_with(page.as_bytes())) {
            write!(client, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        } else if let Some((_, body)) = REAL.iter().find(|(page, _)| piece.starts_with(page.as_bytes())) {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
            write!(client, "{head}: {}\r\n\r\n{body}", body.len())
        } else {
            server.write_all(piece)
        };
        if sent.is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn a_server_that_is_up_is_measured_and_left_running() {
    let project = Project::new(1, 6);
    let mut sim = Sim::start(&project);
    let base = format!("http://127.0.0.1:{}", disguised(sim.port));
    let provider = format!("[engine.provider.url]\nbase = \"{base}\"");
    matrix_with(&project, "up", &provider, BARE);
    let words = ["run", "matrix/up.toml", "--run-id", "up", "--format", "json"];
    let said = project.servelab(&words).exits(0);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["engine_kind"], "measured");
    assert_eq!(answer["findings"]["brief"]["valid"], 2, "{}", said.err);
    let run = project.run("up");
    for (record, _) in trials(&run) {
        assert_eq!(run.manifest().engine_kind, EngineKind::Measured);
        let engine = engine(&run, &record.id);
        assert!(engine.argv.is_empty() && engine.flags.is_empty(), "nothing was set");
        assert_eq!(engine.startup_ns, None);
        assert_eq!(engine.version.as_deref(), Some("0.32.0"));
        assert!(engine.ended.contains("left running"), "{}", engine.ended);
        let takes = engine.capabilities.map(|c| (c.usage, c.connections));
        assert_eq!(takes, Some((UsageReport::Continuous, ConnectionUse::Kept)));
        assert!(engine.capability_notes.is_empty(), "{:?}", engine.capability_notes);
        assert!(engine.restart_would_show, "it serves a port of this machine");
        assert!(!engine.cache_config.is_empty(), "its own pages tell of it");
        assert_eq!(record.treatment, Treatment::Unobservable, "its log is not there");
        let log = run
            .dir()
            .join(names::TRIALS)
            .join(record.id.as_str())
            .join(names::SERVER_LOG);
        assert!(!log.exists());
    }
    assert!(sim.child.try_wait().unwrap().is_none(), "the server is left running");
    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", "up"]).exits(0);
}

/// An address that is none of this machine's loopback, as servelab sees it, and no page of metrics: nothing tells a restart.
#[test]
fn a_restart_that_could_not_have_been_seen_is_said() {
    let project = Project::new(1, 6);
    let sim = Sim::start(&project);
    let provider = format!(
        "[engine.provider.url]\nbase = \"http://0.0.0.0:{}\"\naccept-unknown-cache = true",
        silent(sim.port)
    );
    matrix_with(&project, "unseen", &provider, BARE);
    project
        .servelab(&["run", "matrix/unseen.toml", "--run-id", "unseen"])
        .exits(0);
    let run = project.run("unseen");
    for (trial, _) in trials(&run) {
        assert!(!engine(&run, &trial.id).restart_would_show);
        let gate = trial.gates.iter().find(|g| g.gate == GateName::EngineAlive).unwrap();
        assert_eq!(gate.outcome, GateOutcome::Passed);
        assert_eq!(gate.observed, "alive throughout; a restart could not have been seen");
    }
}

/// Measures the server at `port` twice with these keys of the provider; gives for each trial whether its cache made it Invalid,
/// and whether its requests carried a salt.
fn caches(project: &Project, name: &str, port: u16, keys: &str) -> Vec<(bool, bool)> {
    let provider = format!("[engine.provider.url]\nbase = \"http://127.0.0.1:{port}\"\n{keys}");
    matrix_with(project, name, &provider, BARE);
    let matrix = format!("matrix/{name}.toml");
    let output = project.command(&["run", &matrix, "--run-id", name]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 6)), "{output:?}");
    let run = project.run(name);
    let of = |record: &TrialFindings| {
        let gate = record.gates.iter().find(|g| g.gate == GateName::CacheContamination);
        let salt = engine(&run, &record.id).cache_salt;
        (gate.unwrap().outcome == GateOutcome::Failed, salt.is_some())
    };
    trials(&run).iter().map(|(record, _)| of(record)).collect()
}

#[test]
fn a_warm_cache_is_kept_apart_or_found_or_the_trial_is_invalid() {
    let project = Project::new(1, 6);
    let warm = || Sim::with(&project, "--enable-prefix-caching");
    let (clean, contaminated) = ((false, true), (true, false));
    // Its page of metrics tells what came from the cache.
    let sim = warm();
    let port = disguised(sim.port);
    assert_eq!(caches(&project, "salted", port, ""), [clean, clean]);
    let bare = caches(&project, "bare", port, "cache-salt = false");
    assert_eq!(
        bare,
        [(false, false), contaminated],
        "the second arm finds the first one's prompts"
    );
    // It tells nothing.
    let port = silent(sim.port);
    assert_eq!(caches(&project, "silent-salted", port, ""), [clean, clean]);
    let unknown = caches(&project, "silent", port, "cache-salt = false");
    assert_eq!(unknown, [contaminated, contaminated]);
    let accepted = caches(
        &project,
        "accepted",
        port,
        "cache-salt = false\naccept-unknown-cache = true",
    );
    assert_eq!(accepted, [(false, false), (false, false)]);
}

#[test]
fn the_simulator_is_never_labelled_measured() {
    let project = Project::new(1, 3);
    let sim = Sim::start(&project);
    let provider = format!("[engine.provider.url]\nbase = \"http://127.0.0.1:{}\"", sim.port);
    matrix_with(&project, "mask", &provider, BARE);
    let said = project.servelab(&["run", "matrix/mask.toml"]).exits(4);
    assert!(
        said.err.contains("simulated engine") && said.err.contains("[engine.provider.sim]"),
        "{}",
        said.err
    );
    assert!(!project.path("runs").exists(), "nothing was written");
}

#[test]
fn a_server_that_is_not_up_is_named_before_anything_is_written() {
    let project = Project::new(1, 3);
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let base = format!("http://127.0.0.1:{port}");
    matrix_with(
        &project,
        "down",
        &format!("[engine.provider.url]\nbase = \"{base}\""),
        BARE,
    );
    let said = project.servelab(&["run", "matrix/down.toml"]).exits(4);
    assert!(
        said.err.contains(&base) && said.err.contains("start it first"),
        "{}",
        said.err
    );
    assert!(!project.path("runs").exists(), "nothing was written");
}

pub(crate) const PLANTED: [(&str, &str); 4] = [
    ("SERVED_API_KEY", "sk-planted-0001"),
    ("SOME_PASSWORD", "planted'pass\\word\"2"),
    ("HF_TOKEN", "hf_PlantedPlantedPlanted3"),
    ("AWS_SECRET_ACCESS", "planted/4+secret=="),
];

/// Every file below a folder that holds one of the planted secrets, or a part that would be enough.
pub(crate) fn telling(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            telling(&path, found);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if text.to_lowercase().contains("planted") {
            let line = text.lines().find(|l| l.to_lowercase().contains("planted"));
            found.push(format!("{}: {:.300}", path.display(), line.unwrap_or_default()));
        }
    }
}

#[test]
fn no_secret_reaches_a_file() {
    let project = Project::new(1, 3);
    // An engine that says everything it knows, and dies of something that it names together with its key.
    let script = project.path("engine.sh");
    let tells = r#"env
echo "non-default args: {'api_key': ['$VLLM_API_KEY', 'planted-in-log'], 'port': 1}"
echo "curl -H 'Authorization: Bearer planted-bearer' --api-key planted-flag"
echo "ValueError: cannot serve with $VLLM_API_KEY and $HF_TOKEN"
exit 1
"#;
    fs::write(&script, tells).unwrap();
    let provider =
        format!("api-key-env = \"SERVED_API_KEY\"\n[engine.provider.process]\ncommand = [\"sh\", {script:?}]");
    matrix_with(&project, "tells", &provider, BARE);
    project.matrix("quiet", &[], "blocks = 1", &format!("{LOAD}{BARE}"));
    let quiet = project.path("matrix/quiet.toml");
    let text = fs::read_to_string(&quiet).unwrap();
    let text = text.replace("served-model", "api-key-env = \"SERVED_API_KEY\"\nserved-model");
    fs::write(&quiet, text).unwrap();
    let servelab = |words: &[&str], code: i32| {
        let output = project.command(words).envs(PLANTED).output().unwrap();
        crate::support::command_output(&output).exits(code)
    };
    let said = servelab(&["run", "matrix/tells.toml", "--run-id", "tells"], 6);
    assert!(!said.err.to_lowercase().contains("planted"), "{}", said.err);
    servelab(&["run", "matrix/quiet.toml", "--run-id", "quiet"], 0);
    servelab(&["ingest"], 0);
    servelab(&["report", "tells", "quiet"], 0);
    let mut found = Vec::new();
    telling(&project.path("runs"), &mut found);
    telling(&project.path("report"), &mut found);
    let database = fs::read(project.path("servelab.db")).unwrap();
    assert!(!String::from_utf8_lossy(&database).to_lowercase().contains("planted"));
    assert!(found.is_empty(), "{}", found.join("\n"));

    let run = project.run("tells");
    for (record, _) in trials(&run) {
        let engine = engine(&run, &record.id);
        assert_eq!(engine.env["VLLM_API_KEY"], "[redacted]");
        let failure = engine.failure.unwrap();
        assert!(
            failure.contains("ValueError: cannot serve with [redacted] and [redacted]"),
            "the rest of the cause stays: {failure}"
        );
        let folder = run.dir().join(names::TRIALS).join(record.id.as_str());
        let log = fs::read_to_string(folder.join(names::SERVER_LOG)).unwrap();
        assert!(log.contains("VLLM_API_KEY=[redacted]"), "{log}");
        assert!(log.contains("PATH="), "what is no secret stays");
    }
}

#[test]
fn a_secret_in_a_command_is_refused_before_it_is_written() {
    let project = Project::new(1, 3);
    let provider = "[engine.provider.process]\ncommand = [\"true\", \"serve\", \"sk-planted-0001\"]";
    matrix_with(&project, "argv", provider, BARE);
    let mut command = project.command(&["run", "matrix/argv.toml"]);
    let said = crate::support::command_output(&command.envs(PLANTED).output().unwrap()).exits(4);
    assert!(said.err.contains("engine.api-key-env"), "{}", said.err);
    assert!(!project.path("runs").exists());
    let provider = "api-key-env = \"NO_SUCH_VARIABLE\"\n[engine.provider.process]\ncommand = [\"true\"]";
    matrix_with(&project, "unset", provider, BARE);
    let said = project.servelab(&["run", "matrix/unset.toml"]).exits(4);
    assert!(said.err.contains("`NO_SUCH_VARIABLE`"), "{}", said.err);
}

const EAGER: &str = r#"
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
args = { enforce-eager = false }

[[variant]]
id = "C3"
factor = "eager"
hypothesis = "No graphs"
args = { enforce-eager = true }
expect = { effective = { enforce_eager = true } }
"#;

/// Runs both arms once on a shell script that does not serve; gives the treatment and failure of the second, of which the
/// baseline's differ in nothing but the refusal.
fn dies(script: &str) -> (Treatment, String) {
    let project = Project::new(1, 3);
    let provider = format!("[engine.provider.process]\ncommand = [\"sh\", \"-c\", {script:?}]");
    matrix_with(&project, "dies", &provider, EAGER);
    let words = ["run", "matrix/dies.toml", "--run-id", "dies"];
    project.servelab(&words).exits(6);
    let run = project.run("dies");
    let of = |name: &str| {
        let mut all = trials(&run).into_iter();
        let (trial, _) = all.find(|(t, _)| t.variant.as_str() == name).unwrap();
        (trial.treatment, engine(&run, &trial.id).failure.unwrap())
    };
    let (baseline, failure) = of("C1");
    assert_eq!(baseline, Treatment::Unobservable, "a baseline has no setting to refuse");
    assert_eq!(of("C3").1, failure);
    of("C3")
}

#[test]
fn memory_that_ran_out_is_named() {
    let (treatment, failure) = dies("echo loading; kill -9 $$");
    assert!(
        failure.contains("killed by SIGKILL") && failure.contains("out of host memory?"),
        "{failure}"
    );
    assert_eq!(treatment, Treatment::Unobservable, "not a refusal of the setting");
    let (treatment, failure) = dies(
        "echo 'ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB'; \
         echo 'RuntimeError: Engine core initialization failed'; exit 1",
    );
    assert!(
        failure.contains("out of GPU memory: torch.OutOfMemoryError: CUDA out of memory"),
        "{failure}"
    );
    assert_eq!(treatment, Treatment::Unobservable);
}

#[test]
fn only_words_about_the_setting_reject_it() {
    let (treatment, failure) = dies("echo 'vllm serve: error: unrecognized arguments: --enforce-eager'; exit 2");
    assert!(failure.contains("unrecognized arguments"), "{failure}");
    assert_eq!(treatment, Treatment::Rejected);
    for words in [
        "OSError: [Errno 98] Address already in use",
        "OSError: [Errno 28] No space left on device",
        "vllm serve: error: unrecognized arguments: --swap-space 4",
    ] {
        let (treatment, failure) = dies(&format!("echo '{words}'; exit 1"));
        assert!(failure.contains(words.trim_start_matches("vllm serve: ")), "{failure}");
        assert_eq!(treatment, Treatment::Unobservable, "{words}");
    }
}
