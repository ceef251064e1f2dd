//! A real server: started by its script in `deploy/test-servers`, loaded, and compared with the row that its scripted
//! imitation has in `crates/bench/tests/data/servers`.

use crate::http::get;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use servelab_load::clock::monotonic;
use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Nothing here takes longer, not even where it has to be installed first.
const PATIENCE: Duration = Duration::from_secs(900);

/// Requests of each load.
const REQUESTS: &str = "40";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A server that runs; it ends with this value, and with it whatever it started.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// The folder that an install script prints, once it has installed what it is for.
pub(crate) fn installed(script: &str) -> String {
    let path = repository().join("deploy/test-servers").join(script);
    let output = Command::new(path).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Server {
    /// Starts `deploy/test-servers/SCRIPT PORT WORDS…` and waits until `ready` answers 200.
    pub(crate) fn start(script: &str, ready: &str, words: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("server.log");
        let out = File::create(&log).unwrap();
        let child = Command::new(repository().join("deploy/test-servers").join(script))
            .arg(port.to_string())
            .args(words)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            port,
            log,
            _folder: folder,
        };
        let begin = monotonic();
        while get(port, ready).is_none() {
            let said = || fs::read_to_string(&server.log).unwrap_or_default();
            assert!(
                server.child.try_wait().unwrap().is_none(),
                "{script} ended:\n{}",
                said()
            );
            let waited = Duration::from(monotonic().since(begin));
            assert!(
                waited < PATIENCE,
                "{script} {ready}: not within {PATIENCE:?}\n{}",
                said()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        println!(
            "{script} is ready after {} s",
            monotonic().since(begin).0 / 1_000_000_000
        );
        server
    }

    /// The answer of `servelab bench` with forty requests and these words. That the machine is calm is not asked.
    pub(crate) fn bench(&self, words: &[&str]) -> Value {
        let url = format!("http://127.0.0.1:{}", self.port);
        let load = [
            "--requests",
            REQUESTS,
            "--concurrency",
            "4",
            "--max-tokens",
            "8",
            "--format",
            "json",
        ];
        let output = Command::new(env!("CARGO_BIN_EXE_servelab"))
            .args(["bench", "--url", &url])
            .args(load)
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        assert!(code == Some(0) || code == Some(6), "{words:?} exits {code:?}\n{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// What the scripted imitation `name` of a server comes to with its stream `stream`.
fn expected(name: &str, stream: &str) -> toml::Value {
    let path = repository().join(format!("crates/bench/tests/data/servers/{name}/profile.toml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let profile: toml::Value = toml::from_str(&text).unwrap();
    let cases = profile["case"].as_array().unwrap();
    let case = cases.iter().find(|c| c["stream"].as_str() == Some(stream)).unwrap();
    case["expect"].clone()
}

/// All forty completed, and servelab found of the real server what it finds of the scripted one.
pub(crate) fn as_scripted(answer: &Value, name: &str, stream: &str) {
    let result = &answer["results"][0];
    println!("{name} {stream}: {} {:#}", result["requests"], answer["capabilities"]);
    assert_eq!(result["requests"]["completed"], 40, "{:#}", result["requests"]);
    assert_eq!(result["requests"]["failed"], 0, "{:#}", result["requests"]);
    let expected = expected(name, stream);
    assert_eq!(
        result["ttft_kind"].as_str(),
        expected["ttft"].as_str(),
        "{name} {stream}"
    );
    assert_eq!(
        result["token_source"].as_str(),
        expected.get("counted-by").and_then(toml::Value::as_str)
    );
    let finds = expected
        .get("finds")
        .and_then(toml::Value::as_table)
        .cloned()
        .unwrap_or_default();
    for (field, value) in finds {
        assert_eq!(
            answer["capabilities"][&field].as_str(),
            value.as_str(),
            "{name} {stream}: {field}"
        );
    }
}
