//! Engines that answer, refuse, die and take too long: shells below this test, whose ports the test itself serves.

use super::*;
use crate::{
    Log,
    child::tests::shell,
    url::{Url, Urls},
};
use servelab_schema::{ArgValue, examples};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU64, Ordering},
};

/// Answers every request on a port of its own: `/health` with 200, completions with `status`.
fn serve(status: &'static str, body: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let (mut first, mut length) = (String::new(), 0_u64);
            let _ = reader.read_line(&mut first);
            loop {
                let mut line = String::new();
                let _ = reader.read_line(&mut line);
                if let Some((_, n)) = line.to_ascii_lowercase().split_once("content-length: ") {
                    length = n.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let _ = std::io::copy(&mut reader.take(length), &mut std::io::sink());
            let (status, body) = if first.starts_with("GET /health ") {
                ("200 OK", "")
            } else {
                (status, body)
            };
            let n = body.len();
            let _ = write!(
                &stream,
                "HTTP/1.1 {status}\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    port
}

/// An arm that changes the KV cache's type.
fn arm() -> PlannedVariant {
    let mut variant = examples::plan().variants.remove(0);
    let mut field = variant.flags.first_entry().unwrap().remove();
    field.value = ArgValue::Text("fp8".to_owned());
    variant.flags.insert("kv-cache-dtype".to_owned(), field);
    variant.differs_in = vec!["kv-cache-dtype".to_owned()];
    variant
}

/// Waits for one engine, for so many looks at the time: a second flies by between two.
async fn waited(engine: Box<dyn Running>, place: &dyn Place, looks: u64) -> Result<Ready, Failed> {
    let seconds = AtomicU64::new(0);
    let now = || WallInstant(seconds.fetch_add(1, Ordering::Relaxed) * 1_000_000_000);
    let variant = arm();
    let wait = Wait {
        model: "m",
        dialect: Dialect::Vllm,
        key: None,
        startup: WallNanos(looks * 1_000_000_000),
        may_be_simulated: true,
        variant: &variant,
        control: None,
        now: &now,
        stop: &|| false,
    };
    wait_ready(engine, &wait, place).await.unwrap()
}

/// A place that waits as one does that starts its engines.
fn local() -> Box<dyn Place> {
    let plan = examples::plan();
    crate::of(&plan.engine, &plan.profile, &crate::Host::new("s".into(), ".".into()))
}

async fn failed(script: &str, port: u16, log: &str, looks: u64) -> Failed {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), log).unwrap();
    let log = Log {
        file: File::options().append(true).open(file.path()).unwrap(),
        path: file.path().to_path_buf(),
    };
    // The port is served by this test, which outlives the engine: an orphan, were it looked for.
    let engine = Box::new(NoPort(shell(script, port, Some(log))));
    waited(engine, local().as_ref(), looks).await.unwrap_err()
}

/// A child whose port is somebody else's.
#[derive(Debug)]
struct NoPort(crate::child::ChildEngine);

impl Running for NoPort {
    fn endpoints(&self) -> &[String] {
        self.0.endpoints()
    }
    fn is_ours(&self) -> bool {
        true
    }
    fn log(&self) -> Option<String> {
        self.0.log()
    }
    fn exited(&mut self) -> Option<Exit> {
        self.0.exited()
    }
    fn facts(&self) -> crate::Task<'_, Identity> {
        self.0.facts()
    }
    fn group(&self) -> Option<i32> {
        None
    }
    fn kill_handle(&self) -> Option<crate::KillHandle> {
        None
    }
    fn stop(self: Box<Self>, _: Duration) -> crate::Task<'static, Result<Ended, ProviderError>> {
        Box::pin(async {
            Ok(Ended {
                how: String::new(),
                was_alive: true,
            })
        })
    }
}

async fn never_answers(status: &'static str, body: &'static str, log: &str) -> Failed {
    failed("sleep 60", serve(status, body), log, 20).await
}

#[tokio::test]
async fn an_engine_that_is_ready_and_answers_nothing_is_broken() {
    const FAULT: &str = "500 Internal Server Error";
    const READY: &str = "the engine says that it is ready and answers no request: ";
    let module = "INFO up\nERROR ModuleNotFoundError: No module named 'intel_extension_for_pytorch'\n";
    let fp8 = "ERROR NotImplementedError: FP8 KV cache on CPU requires x86 with AVX-512 or AMX.\n";
    let memory = "torch.OutOfMemoryError: CUDA out of memory for the fp8 cache.\n";
    for (status, body, log, words, refused, memory) in [
        (FAULT, "oops", module, "ModuleNotFoundError", false, false),
        (FAULT, "oops", fp8, "NotImplementedError: FP8", true, false),
        (FAULT, "oops", memory, "out of GPU memory", false, true),
        (FAULT, "oops", "", "HTTP 500", false, false),
        (
            "400 Bad Request",
            "no chat template",
            fp8,
            "no chat template",
            false,
            false,
        ),
        (
            "503 Service Unavailable",
            "",
            fp8,
            "NotImplementedError: FP8",
            true,
            false,
        ),
    ] {
        let failed = never_answers(status, body, log).await;
        assert!(
            failed.words.starts_with(READY) && failed.words.contains(words),
            "{failed}"
        );
        assert_eq!((failed.refusal.is_some(), failed.memory), (refused, memory), "{failed}");
        assert_eq!(failed.status, "killed");
    }
    let failed = never_answers("503 Service Unavailable", "", "INFO warming up\n").await;
    assert!(
        failed.words.contains("INFO warming up; raise timeouts.startup"),
        "{failed}"
    );
}

#[tokio::test]
async fn a_death_is_a_refusal_only_by_its_words() {
    /// However late the shell is.
    const FOR_EVER: u64 = 1_000_000;
    let port = serve("503 Service Unavailable", "");
    let died = |words: &'static str| failed("exit 2", port, words, FOR_EVER);
    let refused = died("vllm serve: error: argument --kv-cache-dtype: invalid choice: 'fp9'\n").await;
    let words = "error: argument --kv-cache-dtype: invalid choice: 'fp9'";
    assert_eq!(refused.refusal.as_deref(), Some(words));
    assert_eq!(refused.status, "exit status: 2");
    assert!(
        refused.words.contains("ended before it was ready (exit status: 2)"),
        "{refused}"
    );
    let port_taken = died("OSError: [Errno 98] Address already in use\n").await;
    assert_eq!((port_taken.refusal, port_taken.memory), (None, false));
    let killed = failed("kill -9 $$", port, "ValueError: fp8\n", FOR_EVER).await;
    assert_eq!((killed.refusal, killed.memory), (None, true));
}

#[tokio::test]
async fn one_that_should_be_up_is_not_waited_for_long() {
    let base = format!("http://127.0.0.1:{}", serve("503 Service Unavailable", "warming"));
    let url = Url::new(&base);
    let place = |base: &str| Urls::new(base, &BTreeMap::new());
    let failed = waited(Box::new(url.clone()), &place(&base), 20).await.unwrap_err();
    assert_eq!(failed.status, "not started by servelab");
    assert!(
        failed.words.contains(&base) && failed.words.contains("start it first"),
        "{failed}"
    );
    assert!(failed.words.contains("503"), "what it said last: {failed}");
    let answer = "{\"usage\": {\"completion_tokens\": 1}}";
    let base = format!("http://127.0.0.1:{}", serve("200 OK", answer));
    let mut ready = waited(Box::new(Url::new(&base)), &place(&base), 20).await.unwrap();
    assert!(!ready.is_ours());
    let salvage = ready.salvage();
    assert_eq!((salvage.exit, salvage.log), (None, None));
    let ended = ready.stop(Duration::ZERO).await.unwrap();
    assert!(ended.how.contains("left running"));
}

#[tokio::test]
async fn one_that_should_be_up_may_take_other_requests() {
    let place = |base: &str| Urls::new(base, &BTreeMap::new());
    let refusal = "{\"error\": {\"message\": \"Unsupported parameter: 'max_tokens'\"}}";
    let uncounted = "{\"choices\": [{\"message\": {\"content\": \"Hi\"}}]}";
    for (status, body, is_up) in [
        ("400 Bad Request", refusal, true),
        ("422 Unprocessable Entity", refusal, true),
        ("200 OK", uncounted, true),
        ("200 OK", "<html>", false),
        ("400 Bad Request", "<html>", false),
        ("404 Not Found", refusal, false),
    ] {
        let base = format!("http://127.0.0.1:{}", serve(status, body));
        let waited = waited(Box::new(Url::new(&base)), &place(&base), 20).await;
        assert_eq!(waited.is_ok(), is_up, "{status} {body}");
    }
    // Of an engine of ours it is known what it takes.
    never_answers("400 Bad Request", refusal, "").await;
    never_answers("200 OK", uncounted, "").await;
}
