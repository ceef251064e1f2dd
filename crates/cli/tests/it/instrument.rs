//! The load generator against the null server, its certificate in a run, and what becomes of a run whose client starves.

use crate::support::{Project, command_output, trials};
use servelab_schema::{GateName, GateOutcome, InstrumentCertificate, Load, Nanos, Validity};
use std::{fs, process::Stdio};

const BASELINE: &str = r#"
[[variant]]
id = "C1"
role = "baseline"
hypothesis = "The reference"
[variant.args]
max-model-len = 8192
"#;

/// A matrix of one cell with the load.
fn matrix(project: &Project, name: &str, load: &str) {
    let rest = format!("[load]\n{load}\n{BASELINE}");
    project.matrix(name, &[], "blocks = 1", &rest);
}

#[test]
fn calibrate_measures_this_machine() {
    let project = Project::new(1, 3);
    let words = [
        "calibrate",
        "--concurrency",
        "8",
        "--chunks",
        "4",
        "--itl",
        "2ms",
        "--ttft",
        "5ms",
        "--format",
        "json",
    ];
    let said = project.servelab(&words).exits(0);
    let certificate: InstrumentCertificate = serde_json::from_str(&said.out).unwrap();
    assert!(matches!(certificate.load, Load::Closed { concurrency } if concurrency.get() == 8));
    assert_eq!(
        (certificate.chunks, certificate.ttft_ns, certificate.itl_ns),
        (4, Nanos::from_millis(5), Nanos::from_millis(2))
    );
    assert!(certificate.highest_requests_per_s > 0 && certificate.highest_chunks_per_s > 0);
    assert!(certificate.requests >= 16, "{certificate:?}");
    assert!(certificate.ttft_error_p50_ns <= certificate.ttft_error_p99_ns);
    assert!(certificate.gap_error_p50_ns <= certificate.gap_error_p99_ns);
    let table = project
        .servelab(&["calibrate", "--rate", "50", "--chunks", "2", "--itl", "1ms"])
        .exits(0)
        .out;
    assert!(
        table.contains("50 requests/s, Poisson") && table.contains("measured − true"),
        "{table}"
    );
    assert!(
        project
            .servelab(&["calibrate", "--rate", "0"])
            .exits(2)
            .err
            .contains("--rate")
    );
}

#[test]
fn a_run_carries_the_certificate_of_its_instrument() {
    let project = Project::new(1, 6);
    matrix(&project, "small", "concurrency = 2");
    let mut command = project.bare_command(&["run", "matrix/small.toml", "--run-id", "r1"]);
    command_output(&command.output().unwrap()).exits(0);
    let run = project.run("r1");
    let certificate = run.environment().unwrap().instrument.unwrap();
    assert!(
        matches!(certificate.load, Load::Closed { concurrency } if concurrency.get() == 2),
        "the plan's own load"
    );
    // The plan's own requests and answers, and engine times that its scale has shortened.
    let scale = run.plan().unwrap().engine.time_scale().get();
    assert_eq!((certificate.time_scale, certificate.chunks), (scale, 16));
    assert_eq!(certificate.itl_ns.0 * u64::from(scale.get()), Nanos::from_millis(40).0);
    let (mean, max) = (
        certificate.request_bytes_mean.unwrap(),
        certificate.request_bytes_max.unwrap(),
    );
    assert!(mean > 300 && mean <= max && max < 2_000, "{mean} {max}");
    assert!(certificate.chunks_per_s.unwrap() > 0);
    let (record, _) = trials(&run).remove(0);
    let gate = record.gates.iter().find(|g| g.gate == GateName::Certificate).unwrap();
    assert_eq!(gate.outcome, GateOutcome::Passed, "{gate:?}");
    project.servelab(&["report", "r1"]).exits(0);
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    let rate = certificate.highest_requests_per_s % 1000;
    assert!(
        page.contains("Highest request rate") && page.contains(&format!("{rate:03} requests")),
        "{rate}"
    );

    project
        .servelab(&["run", "matrix/small.toml", "--run-id", "r2"])
        .exits(0);
    let run = project.run("r2");
    assert_eq!(run.environment().unwrap().instrument, None);
    let (record, _) = trials(&run).remove(0);
    let gate = record.gates.iter().find(|g| g.gate == GateName::Certificate).unwrap();
    assert_eq!(gate.outcome, GateOutcome::NotApplicable, "{gate:?}");
}

/// The extreme case: the client gets no processor again and again, while the engine goes on. Whatever it then measured is
/// the instrument's slowness, so the trial must be Invalid and name the gate; slower numbers as Valid would be a lie.
#[test]
fn a_starved_client_is_invalid_and_never_just_slower() {
    use rustix::process::{Pid, Signal, kill_process};
    let project = Project::new(1, 60);
    matrix(&project, "starved", "rate-per-s = 6\narrivals = \"poisson\"");
    let path = project.path("matrix/starved.toml");
    let text = fs::read_to_string(&path).unwrap();
    let strict = text.replace("lag-p99 = \"60s\"", "lag-p99 = \"40ms\"");
    assert_ne!(text, strict);
    fs::write(&path, strict).unwrap();
    let mut child = project
        .command(&["run", "matrix/starved.toml", "--run-id", "r1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let trials_dir = project.path("runs/r1/trials");
    let has_trace = |dir: fs::DirEntry| fs::metadata(dir.path().join("traces.jsonl")).is_ok_and(|m| m.len() > 0);
    while !fs::read_dir(&trials_dir).is_ok_and(|mut dirs| dirs.any(|dir| dir.is_ok_and(has_trace))) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first trace");
        std::thread::yield_now();
    }
    while child.try_wait().unwrap().is_none() {
        // While it stands still another program runs from start to end, many times over: tens of milliseconds at least.
        kill_process(pid, Signal::STOP).unwrap();
        for _ in 0..40 {
            project.servelab(&["--version"]).exits(0);
        }
        kill_process(pid, Signal::CONT).unwrap();
        project.servelab(&["--version"]).exits(0);
    }
    command_output(&child.wait_with_output().unwrap()).exits(6);
    let (record, _) = trials(&project.run("r1")).remove(0);
    let Validity::Invalid { gates } = &record.validity else {
        panic!("{:?} {:?}", record.validity, record.gates)
    };
    assert!(
        gates.contains(&GateName::ScheduleLag) || gates.contains(&GateName::EventLoopLag),
        "{:?}",
        record.gates
    );
}
