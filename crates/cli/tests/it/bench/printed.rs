//! What is printed: it fits 80 columns, and says what to do next in the user's own words.

use super::*;

/// What a bench prints where the terminal has 80 columns; what it says beside is on standard error.
fn narrow(url: &str, words: &[&str]) -> CommandOutput {
    let mut command = servelab();
    command.args(["bench", "--url", url]).args(words).env("COLUMNS", "80");
    command_output(&command.output().unwrap())
}

/// Every line fits, but for a word that is longer; and no command is broken without the sign by which a shell goes on.
fn fits(said: &CommandOutput) {
    for line in said.out.lines().chain(said.err.lines()) {
        let is_one_word = !line.trim().contains(' ');
        assert!(
            line.chars().count() <= 80 || is_one_word,
            "{line:?} in\n{}\n{}",
            said.out,
            said.err
        );
    }
}

/// The command that is printed last, as a shell joins it.
fn printed_command(text: &str) -> String {
    let begins = text.rfind("  servelab ").unwrap();
    let mut command = String::new();
    for line in text[begins..].lines() {
        match line.strip_suffix('\\') {
            Some(line) => command.push_str(line.trim_start()),
            None => return command + line.trim_start(),
        }
    }
    command
}

#[test]
fn figures_fit_80_columns_and_explain_themselves_when_asked() {
    let server = Server::start(|_, _| answer());
    for words in [
        &[][..],
        &["--rate", "50"],
        &["--explain"],
        &["--explain", "--rate", "50"],
    ] {
        let said = narrow(
            &server.url,
            &[&["--requests", "4", "--max-tokens", "2"], words].concat(),
        );
        fits(&said);
        let formula = "first token chunk − sent";
        assert_eq!(said.out.contains(formula), words.contains(&"--explain"), "{}", said.out);
        assert!(
            said.out.contains("next") && said.out.contains(&server.url),
            "{}",
            said.out
        );
    }
}

#[test]
fn a_sweep_fits_80_columns_and_says_one_line_a_load() {
    let server = Server::start(|_, _| answer());
    for sweep in ["concurrency=1,2,4", "rate=333.333,444.444,555.555"] {
        let said = narrow(
            &server.url,
            &["--sweep", sweep, "--requests", "12", "--max-tokens", "2"],
        );
        fits(&said);
        let told = said.err.lines().filter(|line| line.contains(" req/s"));
        assert_eq!(told.count(), 3, "{}", said.err);
        assert_eq!(
            said.err
                .lines()
                .filter(|l| l.starts_with("concurrency ") || l.starts_with("rate "))
                .count(),
            3,
            "{}",
            said.err
        );
    }
}

#[test]
fn a_search_fits_80_columns_and_its_command_can_be_copied() {
    let server = Server::start(|_, _| answer());
    let words = [
        "--find-max",
        "concurrency",
        "--slo",
        "ttft=1h,tpot=1h,e2e=1h",
        "--slo-quantile",
        "p90",
        "--max-minutes",
        "0.01",
        "--max-tokens",
        "2",
    ];
    let said = narrow(&server.url, &words);
    fits(&said);
    let expected = format!("servelab bench --url {} {}", server.url, words.join(" "));
    assert_eq!(printed_command(&said.out), expected, "{}", said.out);
}

/// What to do next is the command that was given, with the change.
#[test]
fn next_is_the_command_that_was_given() {
    let server = Server::start(|_, _| answer());
    let files = Files::new();
    let words = [
        "--model",
        "m",
        "--endpoint",
        "completions",
        "--header",
        "X-Team: s3cret",
        "--requests",
        "4",
        "--max-tokens",
        "2",
        "--traces",
    ];
    let said = narrow(&server.url, &[&words[..], &[files.text("t").as_str()]].concat());
    let command = printed_command(&said.out);
    let own = format!(
        "servelab bench --url {} --model m --endpoint completions --header 'X-Team: …' --requests 4 --max-tokens 2",
        server.url
    );
    // A machine that is busy makes it invalid; then it is the same again.
    let more = if said.code == 0 {
        " --sweep concurrency=1,4,16,64"
    } else {
        ""
    };
    assert_eq!(command, format!("{own}{more}"), "{}", said.out);
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("; put the values of headers back; --traces takes a new file:"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("s3cret"));

    let broken = Server::start(|_, _| Act::Status(503));
    let said = narrow(&broken.url, &["--model", "m", "--requests", "3"]).exits(6).out;
    assert!(said.contains("mend that, then the same again"), "{said}");
    assert_eq!(
        printed_command(&said),
        format!("servelab bench --url {} --model m --requests 3", broken.url)
    );
}

/// After a signal nothing is wrong: the rest is measured by the same command.
#[test]
fn after_a_signal_the_rest_is_what_is_next() {
    let ended = |words: &[&str]| {
        let server = Server::start(|n, _| if n < 3 { answer() } else { Act::Silence(0) });
        let mut command = servelab();
        command
            .args(["bench", "--url", &server.url])
            .args(words)
            .env("COLUMNS", "80");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        server.wait_for(|s| s.in_flight >= 1 && s.answered == 3);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        let said = command_output(&child.wait_with_output().unwrap()).exits(5);
        (said, server.url.clone())
    };
    let sweep = ["--sweep", "concurrency=1,2,4", "--requests", "2", "--max-tokens", "2"];
    let (said, url) = ended(&sweep);
    fits(&said);
    assert!(
        said.out.contains("nothing is to mend; this measures the rest"),
        "{}",
        said.out
    );
    assert_eq!(
        printed_command(&said.out),
        format!("servelab bench --url {url} --requests 2 --max-tokens 2 --sweep concurrency=2,4")
    );
    assert!(said.out.contains("Not run: 4."), "{}", said.out);
    let one = ["--concurrency", "1", "--requests", "9"];
    let (said, url) = ended(&one);
    let said = said.out;
    assert!(said.contains("the same command measures all of it"), "{said}");
    assert_eq!(
        printed_command(&said),
        format!("servelab bench --url {url} --concurrency 1 --requests 9")
    );
}

/// A word that is no UTF-8 costs nothing after the load.
#[test]
fn an_argument_that_is_no_text_is_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let server = Server::start(|_, _| answer());
    let files = Files::new();
    let name = std::ffi::OsStr::from_bytes(b"t\xff.jsonl");
    let mut command = servelab();
    command.args([
        "bench",
        "--url",
        &server.url,
        "--requests",
        "4",
        "--max-tokens",
        "2",
        "--format",
        "json",
    ]);
    command.arg("--traces").arg(files.path("x").with_file_name(name));
    let said = command_output(&command.output().unwrap());
    assert!(said.code == 0 || said.code == 6, "{}", said.err);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert!(
        answer["command"].as_str().unwrap().contains("t\u{fffd}.jsonl"),
        "{}",
        answer["command"]
    );
}
