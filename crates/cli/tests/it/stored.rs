//! What was measured, kept and asked for: `query`, `db`, `results correct`, `rm` and `du`, as somebody at a terminal gives them.

use crate::support::{CommandOutput, Project};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    process::{Child, Stdio},
};

const ARMS: &str = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";

/// A project with these runs, ingested.
fn project(runs: &[&str]) -> Project {
    let project = Project::new(1, 4);
    project.matrix("p", &[], "blocks = 1", ARMS);
    for run in runs {
        project.servelab(&["run", "matrix/p.toml", "--run-id", run]).exits(0);
    }
    project.servelab(&["ingest"]).exits(0);
    project
}

fn json(said: &CommandOutput) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {}", said.out))
}

/// The rows that a query answers.
fn asked(project: &Project, words: &[&str]) -> Vec<Value> {
    let words = [&["query", "--format", "json"], words].concat();
    json(&project.servelab(&words).exits(0)).as_array().unwrap().clone()
}

#[test]
fn findings_are_asked_for_by_whatever_they_are_about() {
    let project = project(&["a", "b"]);
    let all = asked(&project, &[]);
    let numbers: Vec<String> = all
        .iter()
        .map(|r| format!("{} {} {}", r["run"], r["metric"], r["statistic"]))
        .collect();
    assert_eq!(all.len(), 8, "four numbers of the cell of each run: {numbers:?}");
    assert_eq!(all[0]["run"], "b", "the latest first");
    let row = &all[0];
    assert_eq!(
        (&row["kind"], &row["engine"], &row["engine_version"]),
        (&"simulated".into(), &"vllm".into(), &"0.32.0".into())
    );
    assert!(
        row["model"].as_str().unwrap().contains("Mistral") && row["gpu"] == "NVIDIA L4",
        "{row}"
    );
    // Each option alone keeps everything or nothing; together they all must hold.
    let load = row["load"].as_str().unwrap();
    let kept: [&[&str]; 9] = [
        &["--model", "mistral-7b"],
        &["--engine", "vllm"],
        &["--engine-version", "0.32"],
        &["--gpu", "l4"],
        &["--variant", "C1"],
        &["--load", load],
        &["--kind", "simulated"],
        &["--since", "2020-01-01", "--until", "2099-01-01"],
        &["--scope", "cell"],
    ];
    let left_out: [&[&str]; 9] = [
        &["--model", "llama"],
        &["--engine", "sglang"],
        &["--engine-version", "0.3"],
        &["--gpu", "h100"],
        &["--variant", "C9"],
        &["--load", "c99"],
        &["--kind", "measured"],
        &["--until", "2020-01-01"],
        &["--factor", "quantization"],
    ];
    for words in kept {
        assert!(asked(&project, words).len() >= 8, "{words:?}");
    }
    assert!(asked(&project, &kept.concat()).len() >= 8);
    for words in left_out {
        assert_eq!(asked(&project, words), Vec::<Value>::new(), "{words:?}");
    }
    let one = asked(&project, &["--run", "a", "--metric", "ttft", "--statistic", "p50"]);
    assert_eq!(one.len(), 1, "{one:?}");
    // For people: the rest is counted.
    let table = project.servelab(&["query", "--limit", "3"]).exits(0);
    assert!(table.err.contains("5 rows more"), "{}", table.err);
    assert!(
        table.out.contains("output-throughput mean") && table.out.contains("SIMULATED"),
        "{}",
        table.out
    );
    let csv = project.servelab(&["query", "--format", "csv"]).exits(0).out;
    assert_eq!(csv.lines().count(), 9, "{csv}");
    for words in [&["query", "--since", "yesterday"][..], &["query", "--output", "x.csv"]] {
        project.servelab(words).exits(2);
    }
    let history = [
        "query",
        "--history",
        "--metric",
        "output-throughput",
        "--statistic",
        "mean",
        "--format",
        "json",
    ];
    let history = json(&project.servelab(&history).exits(0));
    assert_eq!(history.as_array().unwrap().len(), 1);
    let points: Vec<&str> = history[0]["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["run"].as_str().unwrap())
        .collect();
    assert_eq!(points, ["a", "b"], "the earliest first");
    let table = project.servelab(&["query", "--history"]).exits(0);
    assert!(table.err.contains("no verdict"), "{}", table.err);
}

#[test]
fn who_has_no_database_is_told_so_and_gets_none() {
    let project = Project::new(1, 4);
    let said = project.servelab(&["query"]).exits(0);
    assert!(
        said.out.is_empty() && said.err.contains("servelab ingest"),
        "{}",
        said.err
    );
    assert_eq!(project.servelab(&["query", "--format", "json"]).exits(0).out, "[]\n");
    project.servelab(&["db", "check"]).exits(4);
    project.servelab(&["db", "backup", "x.db"]).exits(4);
    assert!(!project.path("servelab.db").exists());
}

#[test]
fn a_correction_is_a_file_that_every_list_knows() {
    let project = project(&["bad", "good"]);
    let correct = |words: &[&str]| project.servelab(&[&["results", "correct"], words].concat());
    for (words, part) in [
        (&["bad", "--reason", " ", "--who", "ada"][..], "--reason is empty"),
        (
            &["bad", "--reason", "x", "--who", "ada", "--by", "bad"],
            "the run itself",
        ),
        (
            &[
                "bad",
                "--reason",
                "x",
                "--who",
                "ada",
                "--variant",
                "C9",
                "--load",
                "c2",
            ],
            "C1",
        ),
        (
            &["bad", "--reason", "x", "--who", "ada", "--trial", "b09"],
            "no trial `b09`",
        ),
        (&["../bad", "--reason", "x"], "is no run id"),
    ] {
        let said = correct(words).exits(2).err;
        assert!(said.contains(part), "{said}");
    }
    correct(&["none", "--reason", "x", "--who", "ada"]).exits(4);
    assert!(!project.path("runs/corrections").exists(), "nothing was written");
    let words = ["bad", "--reason", "the fan was off", "--by", "good", "--who", "ada"];
    let said = correct(&words).exits(0);
    assert!(said.out.contains("corrections/1.json"), "{}", said.out);
    // Lists, the run itself and queries say it.
    let list = project.servelab(&["results", "list"]).exits(0).out;
    let line = list.lines().find(|line| line.contains("bad")).unwrap();
    assert!(line.contains("SUPERSEDED"), "{list}");
    let shown = project.servelab(&["results", "show", "bad"]).exits(0).out;
    for part in ["SUPERSEDED", "the fan was off", "`good`", "ada"] {
        assert!(shown.contains(part), "{shown}");
    }
    let left = asked(&project, &[]);
    assert!(
        left.iter().all(|row| row["run"] == "good") && left.len() == 4,
        "{left:?}"
    );
    let said = project.servelab(&["query"]).exits(0);
    assert!(said.err.contains("4 rows superseded"), "{}", said.err);
    let all = asked(&project, &["--superseded"]);
    assert_eq!(all.iter().filter(|row| row["superseded_by"] == 1).count(), 4);
    // Made again, the database says the same; without the file it says otherwise.
    for name in ["servelab.db", "servelab.db-wal", "servelab.db-shm"] {
        let _ = fs::remove_file(project.path(name));
    }
    project.servelab(&["ingest"]).exits(0);
    assert_eq!(asked(&project, &[]), left);
    // What counts in another's place stays.
    let said = project.servelab(&["results", "rm", "good", "--yes"]).exits(2).err;
    assert!(said.contains("1.json"), "{said}");
    fs::remove_file(project.path("runs/corrections/1.json")).unwrap();
    project.servelab(&["ingest"]).exits(0);
    assert_eq!(asked(&project, &[]).len(), 8);
}

#[test]
fn a_run_is_removed_once_it_is_wanted_and_a_pinned_one_stays() {
    let project = project(&["a", "b", "c"]);
    let run = |name: &str| project.path(&format!("runs/{name}"));
    let remove = |words: &[&str]| project.servelab(&[&["results", "rm"], words].concat());
    let fingerprint = project.run("a").fingerprint().to_string();
    fs::create_dir_all(run("pinned")).unwrap();
    let pin = run("pinned/study.json");
    fs::write(
        &pin,
        format!(r#"{{"v":1,"run_id":"a","fingerprint":"{fingerprint}","more":{{}}}}"#),
    )
    .unwrap();
    let said = remove(&["a", "--yes"]).exits(2).err;
    assert!(said.contains("study.json"), "{said}");
    fs::write(&pin, "{").unwrap();
    let said = remove(&["b", "--yes"]).exits(4).err;
    assert!(
        said.contains("study.json"),
        "a pin that does not read may be of any run: {said}"
    );
    fs::remove_file(&pin).unwrap();
    // Nobody can be asked.
    let said = remove(&["a"]).exits(5).err;
    assert!(said.contains("--yes"), "{said}");
    assert!(run("a").is_dir());
    for name in ["../a", ".removing-a", "/etc"] {
        remove(&[name, "--yes"]).exits(2);
    }
    symlink(project.path("matrix"), run("link")).unwrap();
    remove(&["link", "--yes"]).exits(2);
    assert!(project.path("matrix/p.toml").is_file());
    remove(&["nothing", "--yes"]).exits(4);
    // With its signature, and with what an earlier removal left.
    fs::write(run("a.intoto.json"), "{}").unwrap();
    fs::create_dir(run(".removing-x")).unwrap();
    remove(&["a", "--yes"]).exits(0);
    for gone in ["a", "a.intoto.json", ".removing-x"] {
        assert!(!run(gone).exists(), "{gone}");
    }
    let list = project.servelab(&["results", "list", "--format", "json"]).exits(0);
    let names: Vec<String> = json(&list)
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["run_id"].to_string())
        .collect();
    assert_eq!(names, ["\"c\"", "\"b\""]);
    // Cut off after its directory was gone: the rows go with the next removal.
    fs::remove_dir_all(run("b")).unwrap();
    let said = remove(&["b", "--yes"]).exits(0).out;
    assert!(said.contains("its directory was gone"), "{said}");
    assert_eq!(asked(&project, &["--run", "b"]), Vec::<Value>::new());
    // What is left is whole.
    project.servelab(&["db", "check"]).exits(0);
}

#[test]
fn what_runs_take_is_said_in_bytes_that_add_up() {
    let project = project(&["a", "b"]);
    let used = json(&project.servelab(&["results", "du", "--format", "json"]).exits(0));
    let runs = used["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    let n = |value: &Value, key: &str| value[key].as_u64().unwrap();
    for run in runs {
        let parts = ["traces_bytes", "telemetry_bytes", "logs_bytes", "other_bytes"].map(|key| n(run, key));
        assert!(parts.iter().all(|bytes| *bytes > 0), "{run}");
        assert_eq!(parts.iter().sum::<u64>(), n(run, "bytes"), "{run}");
        let manifest = project.run(run["run_id"].as_str().unwrap()).manifest().clone();
        let traces = manifest.files.iter().filter(|f| f.path.contains("/traces.jsonl"));
        assert_eq!(traces.map(|f| f.bytes.0).sum::<u64>(), n(run, "traces_bytes"));
        assert!(n(run, "unpacked_bytes") > n(run, "compressed_bytes"), "{run}");
    }
    let total: u64 = runs.iter().map(|run| n(run, "disk_bytes")).sum();
    assert_eq!(n(&used, "total_disk_bytes"), total);
    let table = project.servelab(&["results", "du"]).exits(0).out;
    assert!(table.contains("in 2 runs"), "{table}");
}

/// Changes rows of findings as somebody would who takes the triggers away first.
fn forge(project: &Project, put_back: bool) {
    let conn = rusqlite::Connection::open(project.path("servelab.db")).unwrap();
    let mut query = conn
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap();
    let guards = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    let guards: Vec<_> = guards.unwrap().map(Result::unwrap).collect();
    drop(query);
    for (name, _) in &guards {
        conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    let changed = conn
        .execute("UPDATE finding SET value = value * 2 WHERE value IS NOT NULL", [])
        .unwrap();
    assert!(changed > 0);
    conn.execute("DELETE FROM run_digest", []).unwrap();
    for (_, sql) in guards.iter().filter(|_| put_back) {
        conn.execute_batch(sql).unwrap();
    }
}

#[test]
fn forged_findings_are_found_though_their_digest_is_gone() {
    for put_back in [true, false] {
        let project = project(&["a"]);
        project.servelab(&["db", "check"]).exits(0);
        project.servelab(&["verify", "a"]).exits(0);
        forge(&project, put_back);
        let checked = project.servelab(&["db", "check"]).exits(4);
        let said = format!("{}{}", checked.out, checked.err);
        assert!(said.contains("the rows of its findings"), "{said}");
        assert_eq!(said.contains("triggers"), !put_back, "{said}");
        let verified = project.servelab(&["verify", "a"]).exits(4);
        assert!(verified.out.contains("servelab.db at /finding"), "{}", verified.out);
    }
}

#[test]
fn another_seal_in_the_project_s_database_is_said_and_proves_nothing() {
    let project = project(&["a"]);
    project
        .servelab(&["run", "--resume", "a", "--more-blocks", "1"])
        .exits(0);
    let said = project.servelab(&["verify", "a"]).exits(0);
    assert!(said.err.contains("does not hold this seal"), "{}", said.err);
    let db = project.path("servelab.db");
    project
        .servelab(&["verify", "a", "--db", db.to_str().unwrap()])
        .exits(4);
}

#[test]
fn links_and_what_is_half_removed_are_no_runs() {
    let project = project(&["a"]);
    symlink(project.path("runs/a"), project.path("runs/linked")).unwrap();
    fs::rename(project.path("runs/a"), project.path("runs/.removing-a")).unwrap();
    fs::remove_file(project.path("servelab.db")).unwrap();
    let said = project.servelab(&["ingest"]).exits(0);
    assert!(said.out.is_empty(), "{}", said.out);
    let list = project.servelab(&["results", "list"]).exits(0).out;
    assert!(!list.contains("removing") && !list.contains("linked"), "{list}");
    fs::rename(project.path("runs/.removing-a"), project.path("runs/a")).unwrap();
    for words in [&["ingest", "linked"], &["verify", "linked"], &["traces", "linked"]] {
        let said = project.servelab(words).exits(4);
        assert!(said.err.contains("is a link"), "{}", said.err);
    }
}

#[test]
fn what_hides_the_pins_stops_a_removal() {
    let project = project(&["a"]);
    fs::write(project.path("runs/pinned"), "no folder").unwrap();
    let said = project.servelab(&["results", "rm", "a", "--yes"]).exits(4);
    assert!(
        said.err.contains("whether the run is pinned cannot be told"),
        "{}",
        said.err
    );
    fs::remove_file(project.path("runs/pinned")).unwrap();
    fs::create_dir(project.path("runs/pinned")).unwrap();
    let pipe = project.path("runs/pinned/x.json");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let said = project.servelab(&["results", "rm", "a", "--yes"]).exits(4);
    assert!(said.err.contains("x.json: the pin does not read"), "{}", said.err);
    project.run("a");
}

#[test]
fn nothing_is_written_into_a_run() {
    let project = project(&["a"]);
    let inside = |name: &str| project.path("runs/a").join(name).display().to_string();
    let check = |words: &[&str]| {
        let said = project.servelab(words).exits(2);
        assert!(said.err.contains("lies in the run"), "{words:?}: {}", said.err);
        project.run("a");
    };
    check(&["query", "--format", "csv", "--output", &inside("q.csv")]);
    check(&["traces", "a", "--format", "csv", "--output", &inside("trials/x.csv")]);
    check(&["db", "backup", &inside("b.db")]);
}

#[test]
fn a_reason_is_one_line() {
    let project = project(&["a"]);
    project
        .servelab(&[
            "results",
            "correct",
            "a",
            "--reason",
            "bad\nend complete",
            "--who",
            "me",
        ])
        .exits(0);
    let shown = project.servelab(&["results", "show", "a"]).exits(0).out;
    assert!(shown.contains("bad\\nend complete"), "{shown}");
}

/// Whoever reads is never refused while others read runs in: real processes, at once.
#[test]
fn readers_and_writers_of_other_processes_get_on() {
    let project = project(&["a", "b", "c"]);
    for name in ["servelab.db", "servelab.db-wal", "servelab.db-shm"] {
        let _ = fs::remove_file(project.path(name));
    }
    let start = |words: &[&str]| -> Child {
        let mut command = project.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let writers = ["a", "b", "c"].map(|run| start(&["ingest", run]));
    let readers: Vec<Child> = (0..6)
        .map(|i| {
            if i % 2 == 0 {
                start(&["query"])
            } else {
                start(&["results", "list"])
            }
        })
        .collect();
    for child in writers.into_iter().chain(readers) {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(asked(&project, &[]).len(), 12);
    let copy = project.path("copy.db");
    let copy = copy.to_str().unwrap();
    project.servelab(&["db", "backup", copy]).exits(0);
    project.servelab(&["db", "backup", copy]).exits(2);
    project.servelab(&["db", "check", "--format", "json"]).exits(0);
}
