//! What people see on a real terminal of 80 columns: lines that change, and above them lines that stay and fit.

use crate::{
    bench_server::{Act, Server, answer},
    support::{Project, until},
};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Read,
    os::unix::ffi::OsStrExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

const COLUMNS: u16 = 80;

/// Runs it with standard error on a terminal: what was written there, escape sequences and all.
fn on_terminal(command: Command) -> String {
    meanwhile(command, |_, _| {})
}

/// What was written so far.
type Said = Arc<Mutex<Vec<u8>>>;

fn text(said: &Said) -> String {
    String::from_utf8_lossy(&said.lock().unwrap()).into_owned()
}

/// The same, and does something while it runs.
fn meanwhile(mut command: Command, act: impl FnOnce(&Child, &Said)) -> String {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let mut terminal = OpenOptions::new();
    let terminal = terminal
        .read(true)
        .write(true)
        .open(OsStr::from_bytes(name.as_bytes()))
        .unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let mut child = command
        .env("TERM", "xterm")
        .env_remove("COLUMNS")
        .stdout(Stdio::null())
        .stderr(Stdio::from(terminal))
        .spawn()
        .unwrap();
    // Its copy of the terminal would keep the reader waiting.
    drop(command);
    let mut controller = File::from(controller);
    let said = Said::default();
    let heard = Arc::clone(&said);
    let reader = thread::spawn(move || {
        let mut piece = [0; 4096];
        // The end of the last writer is an error here.
        while let Ok(n @ 1..) = controller.read(&mut piece) {
            heard.lock().unwrap().extend_from_slice(&piece[..n]);
        }
    });
    act(&child, &said);
    child.wait().unwrap();
    reader.join().unwrap();
    text(&said)
}

/// The lines of the terminal, one after the other as they were written: what moves the cursor ends one, and so does the last
/// column, in the middle of a word too.
fn lines(said: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = said.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.find(char::is_ascii_alphabetic) != Some('m') {
                    text.push('\n');
                }
            }
            '\r' => text.push('\n'),
            c => text.push(c),
        }
    }
    let written: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let shown = written.iter().flat_map(|line| line.chunks(usize::from(COLUMNS)));
    shown
        .map(|line| line.iter().collect::<String>().trim_end().to_owned())
        .collect()
}

#[test]
fn what_stands_above_the_progress_fits_and_splits_no_word() {
    let project = Project::new(1, 6);
    let arm = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";
    project.matrix("lost", &[], "blocks = 1", arm);
    // No thread of a client takes nothing: each take is lost, and that is said.
    let file = project.path("matrix/lost.toml");
    let text = fs::read_to_string(&file).unwrap();
    let cpu = ["client-thread-cpu-ratio = 8", "client-thread-cpu-ratio = 0.000001"];
    fs::write(&file, text.replace(cpu[0], cpu[1])).unwrap();
    let said = on_terminal(project.command(&["run", "matrix/lost.toml", "--run-id", "r1"]));
    let lines = lines(&said);
    let joined = lines.join(" ");
    for words in [
        "b01-01-C1-c2-t1 is Invalid: client-cpu: ",
        " % of a core (allowed: busiest thread ≤ 0 %); the instrument is to blame, so it is taken again at the end of its block ",
    ] {
        assert!(
            joined.replace('\u{a0}', " ").contains(words),
            "no {words:?} in\n{}",
            lines.join("\n")
        );
    }
    assert!(lines.iter().any(|line| line.contains("trial 1 of ")), "drawn:\n{said}");
}

#[test]
fn what_is_said_meanwhile_stands_above_the_progress() {
    let project = Project::new(1, 60);
    let arm = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";
    project.matrix("long", &[], "blocks = 1", arm);
    let words = ["run", "matrix/long.toml", "--run-id", "r1", "--time-scale", "1", "-v"];
    let said = meanwhile(project.command(&words), |child, _| {
        let traces = project.path("runs/r1/trials/b01-01-C1-c2-t1/traces.jsonl");
        until("the first trace", || fs::metadata(&traces).ok().filter(|m| m.len() > 0));
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
    });
    for words in ["SIGINT (Ctrl-C): ending the trial", "b01-01-C1-c2-t1 was aborted"] {
        let (before, _) = said.split_once(words).unwrap();
        // The lines that change were taken away, and the cursor is where the first of them began.
        assert!(
            before.ends_with("\u{1b}[1A"),
            "{words:?} after {:?}",
            before.chars().rev().take(90).collect::<String>()
        );
    }
    let (before, _) = said.split_once("its engine is ready").unwrap();
    let line = before.rsplit("\u{1b}[1A").next().unwrap();
    assert!(
        !line.contains("trial 1 of 1"),
        "a log line after the lines that change: {line:?}"
    );
}

#[test]
fn a_sweep_says_which_of_its_loads_runs() {
    let project = Project::new(1, 1);
    // Its second load stands still until it is interrupted.
    let server = Server::start(|n, _| if n < 2 { answer() } else { Act::Silence(0) });
    let sweep = ["--requests", "2", "--warmup", "0", "--sweep", "concurrency=1,2,4"];
    let command = project.command(&[&["bench", "--url", server.url.as_str()][..], &sweep].concat());
    let said = meanwhile(command, |child, said| {
        until("the second load", || {
            text(said)
                .contains("load 2 of 3: closed loop, concurrency 2")
                .then_some(())
        });
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
    });
    assert!(!said.contains("load 3 of 3"), "{said}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    const COLOUR: &str = "\u{1b}[3";
    let log = |no_color: Option<&str>| {
        let project = Project::new(1, 1);
        let server = Server::start(|_, _| answer());
        // Quiet: nothing is drawn, and what is drawn moves the cursor in the same way.
        let mut command = project.command(&["bench", "--url", &server.url, "--requests", "2", "-q"]);
        command.env("SERVELAB_LOG", "info").env_remove("NO_COLOR");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let said = on_terminal(command);
        assert!(said.contains("a load begins"), "{said}");
        said
    };
    assert!(log(None).contains(COLOUR));
    assert!(log(Some("")).contains(COLOUR), "empty is not set");
    assert!(!log(Some("1")).contains('\u{1b}'));
}
