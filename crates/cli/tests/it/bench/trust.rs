//! What a server says is not believed and not passed on as it is; what we send goes only where it may.

use super::*;
use std::os::unix::fs::PermissionsExt;

/// A simulated SGLang server, ended with this value.
struct Sglang(Child, String);

impl Sglang {
    fn start() -> Self {
        let mut child = servelab()
            .args([
                "sim",
                "--tokenizer-dir",
                TOKENIZER,
                "--dialect",
                "sglang",
                "--port",
                "0",
            ])
            .args(["--startup-seconds", "0", "--time-scale", "50", "--exit-with-parent"])
            .args(["--", "--served-model-name", "mistral"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let address = out.lines().map_while(Result::ok).find_map(|line| {
            let said: Value = serde_json::from_str(&line).ok()?;
            Some(said.get("listening")?.as_str()?.to_owned())
        });
        Self(child, format!("http://{}", address.unwrap()))
    }
}

impl Drop for Sglang {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_simulated_sglang_is_found_out_however_it_is_asked() {
    let server = Sglang::start();
    for words in [
        &["--model", "mistral"][..],
        &[],
        &["--endpoint", "completions", "--model", "mistral"],
    ] {
        let words = [&["--requests", "2", "--max-tokens", "2", "--concurrency", "1"], words].concat();
        let out = json(&server.1, &words);
        assert_eq!(out["engine_kind"], "simulated", "{words:?}");
        assert_eq!(out["engine_version"], "0.5.19", "{words:?}");
        let said = run(&server.1, &words);
        assert!(said.out.starts_with("SIMULATED: no GPU"), "{}", said.out);
    }
}

/// The words of a refusal that repeats whatever it was sent, and commands the terminal.
fn echoes(_: usize, request: &crate::bench_server::Request) -> Act {
    let sent: Vec<&str> = request
        .head
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.1))
        .collect();
    Act::Says(
        401,
        format!("\u{1b}[2J\u{9b}1m\u{7}bad key: third-secret {}", sent.join(" ")),
    )
}

#[test]
fn a_refusal_that_echoes_the_key_is_shown_and_kept_without_it() {
    let server = Server::start(echoes);
    let files = Files::new();
    for (format, file) in [("table", "a"), ("json", "b"), ("csv", "c")] {
        let mut command = servelab();
        command.args(["bench", "--url", &server.url, "--requests", "2", "--concurrency", "1"]);
        command.args([
            "--api-key-env",
            "BENCH_TEST_KEY",
            "--header",
            "X-Tenant-Key: other-secret",
        ]);
        command.args(["--format", format, "--traces", &files.text(file)]);
        command
            .env("BENCH_TEST_KEY", "hush-hush")
            .env("DB_PASS", "third-secret");
        let said = command_output(&command.output().unwrap()).exits(6);
        let kept = fs::read_to_string(files.path(file)).unwrap();
        assert!(kept.contains("bad key: ") && kept.contains("[redacted]"), "{kept}");
        for text in [&said.out, &said.err, &kept] {
            for secret in [
                "hush",
                "other-secret",
                "third-secret",
                "\u{1b}",
                "\\u001b",
                "\u{9b}",
                "\u{7}",
            ] {
                assert!(!text.contains(secret), "{secret:?} in {text}");
            }
        }
        assert_eq!(format == "csv", !said.out.contains("bad key: "), "{}", said.out);
    }
}

#[test]
fn traces_are_a_new_file_of_their_owner() {
    let server = Server::start(|_, _| answer());
    let files = Files::new();
    let words = ["--requests", "2", "--max-tokens", "1", "--traces", &files.text("t")];
    json(&server.url, &words);
    let mode = fs::metadata(files.path("t")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(files.path("t")).unwrap();
    let asked = server.requests().len();
    let said = run(&server.url, &words).exits(2);
    assert!(
        said.err.contains(&files.text("t")) && said.err.contains("give another name or remove it"),
        "{}",
        said.err
    );
    assert_eq!(fs::read(files.path("t")).unwrap(), before);
    assert_eq!(server.requests().len(), asked, "before anything was sent");
}

#[test]
fn a_key_leaves_this_machine_over_https_only() {
    let bench = |url: &str, more: &[&str]| {
        let mut command = servelab();
        command
            .args(["bench", "--url", url, "--model", "m", "--requests", "1"])
            .args(more);
        command_output(&command.env("BENCH_TEST_KEY", "hush-hush").output().unwrap())
    };
    let key = ["--api-key-env", "BENCH_TEST_KEY"];
    for more in [
        &key[..],
        &["--header", "Authorization: Bearer hush-hush"],
        &["--header", "X-Api-Key: hush-hush"],
        &["--header", "X-Forwarded-Access: Bearer hush-hush"],
        &["--header", "Cookie: session=hush-hush"],
    ] {
        let said = bench("http://example.invalid", more).exits(3);
        assert!(
            said.err.contains("http://example.invalid") && said.err.contains("use https://"),
            "{}",
            said.err
        );
        assert!(!said.err.contains("hush"), "{}", said.err);
    }
    // Without a key nothing is held back; with https it is the name that fails.
    assert!(!bench("http://example.invalid", &[]).err.contains("in the clear"));
    let said = bench("https://example.invalid", &key);
    assert!(said.err.contains("cannot be resolved"), "{}", said.err);
    // This machine, by every name that it has.
    let server = Server::start(|_, _| answer());
    let port = server.url.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "localhost"] {
        let said = bench(&format!("http://{host}:{port}"), &key);
        assert!(said.code == 0 || said.code == 6, "{host}: {}", said.err);
        assert!(said.out.contains("1 of 1 requests completed"), "{host}: {}", said.out);
    }
    let said = bench("http://[::1]:9", &key);
    assert!(!said.err.contains("in the clear"), "{}", said.err);
}

#[test]
fn no_cell_of_the_csv_is_a_formula() {
    let server = Server::start(|_, _| answer());
    let words = [
        "--model",
        "=HYPERLINK(\u{1b}[31mx)",
        "--requests",
        "1",
        "--format",
        "csv",
    ];
    let said = run(&server.url, &words);
    assert!(said.out.contains(",'=HYPERLINK([31mx),"), "{}", said.out);
}
