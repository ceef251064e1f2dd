//! `servelab traces`: the rows as they were written, and the same numbers in CSV and in Parquet, read by DuckDB and polars.

use crate::support::{CommandOutput, Project, command_output};
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const ARMS: &str = "[load]\nconcurrency = 2\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n\
                    [[variant]]\nid = \"C1b\"\nrole = \"aa\"\nhypothesis = \"x\"\n";

/// Two blocks of two arms, some of whose requests fail.
fn project() -> Project {
    let project = Project::new(2, 6);
    project.matrix("p", &[], "blocks = 2", ARMS);
    let done = project.servelab(&["run", "matrix/p.toml", "--run-id", "r"]);
    assert!([0, 6, 8].contains(&done.code), "{}\n{}", done.out, done.err);
    project
}

fn traces(project: &Project, words: &[&str]) -> CommandOutput {
    project.servelab(&[&["traces", "r"], words].concat())
}

/// The rows of the files themselves, in the order of the takes, for whoever asks for all of them.
fn rows_of_the_files(project: &Project) -> String {
    let run = project.run("r");
    let rows = run.trials().map(|trial| run.take(&trial.id).traces().unwrap());
    rows.flatten()
        .map(|row| serde_json::to_string(&row.unwrap()).unwrap() + "\n")
        .collect()
}

fn json_rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Python with DuckDB and polars from PyPI, installed once into the user's cache. What is missing fails the test that needs it.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let home = || PathBuf::from(env::var_os("HOME").unwrap()).join(".cache");
        let cache = env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
        // A new version of either is a new folder: one that is being made by another test program is not disturbed.
        let folder = cache.join("servelab/tables-duckdb-1.4.1-polars-1.34.0");
        let python = folder.join("bin/python");
        if !folder.join("ready").is_file() {
            let uv = |words: &[&str]| {
                let done = Command::new("uv").args(words).output();
                let done =
                    done.unwrap_or_else(|why| panic!("uv: {why}; `pip install uv`, or https://docs.astral.sh/uv/"));
                assert!(
                    done.status.success(),
                    "uv {words:?}: {}",
                    String::from_utf8_lossy(&done.stderr)
                );
            };
            uv(&["venv", "--quiet", "--clear", folder.to_str().unwrap()]);
            let into = ["pip", "install", "--quiet", "--python", python.to_str().unwrap()];
            uv(&[&into[..], &["duckdb==1.4.1", "polars==1.34.0"]].concat());
            fs::write(folder.join("ready"), "").unwrap();
        }
        python
    })
}

/// What a script prints, as JSON.
fn asked(script: &str, file: &Path) -> Value {
    let done = Command::new(python()).arg("-c").arg(script).arg(file).output().unwrap();
    let done = command_output(&done).exits(0);
    serde_json::from_str(&done.out).unwrap_or_else(|why| panic!("{why}: {}", done.out))
}

/// What is asked of every reader: rows, rows without a TTFT, sums of integers, and those of the lists.
const DUCKDB: &str = "
import duckdb, json, sys
ask = '''SELECT count(*)::BIGINT, count(*) FILTER (ttft_ns IS NULL)::BIGINT, sum(ttft_ns)::BIGINT, sum(e2e_ns)::BIGINT,
 sum(completion_tokens)::BIGINT, sum(chunks)::BIGINT, count(DISTINCT trial)::BIGINT, count(*) FILTER (measured)::BIGINT,
 sum(list_sum(chunk_gaps_ns))::BIGINT, sum(list_sum(chunk_tokens))::BIGINT FROM read_parquet(?)'''
print(json.dumps(duckdb.execute(ask, [sys.argv[1]]).fetchone()))";

const POLARS: &str = "
import polars, json, sys
t = polars.read_parquet(sys.argv[1])
print(json.dumps([t.height, t['ttft_ns'].null_count(), t['ttft_ns'].sum(), t['e2e_ns'].sum(), t['completion_tokens'].sum(),
 t['chunks'].sum(), t['trial'].n_unique(), int(t['measured'].sum()), int(t['chunk_gaps_ns'].list.sum().sum()),
 int(t['chunk_tokens'].list.sum().sum())]))";

const DUCKDB_CSV: &str = "
import duckdb, json, sys
ask = '''SELECT count(*)::BIGINT, count(*) FILTER (ttft_ns IS NULL)::BIGINT, sum(ttft_ns)::BIGINT, sum(e2e_ns)::BIGINT,
 sum(completion_tokens)::BIGINT, sum(chunks)::BIGINT, count(DISTINCT trial)::BIGINT, count(*) FILTER (measured)::BIGINT
 FROM read_csv(?, sample_size = -1)'''
print(json.dumps(duckdb.execute(ask, [sys.argv[1]]).fetchone()))";

/// The same of the rows of JSON lines.
fn expected(rows: &[Value], trials: usize) -> Vec<i64> {
    let done: Vec<&Value> = rows.iter().filter_map(|row| row["outcome"].get("completed")).collect();
    let sum = |key: &str| done.iter().filter_map(|c| c[key].as_i64()).sum();
    let chunks = |i: usize| -> i64 {
        let all = done.iter().flat_map(|c| c["chunks"].as_array().unwrap());
        all.map(|chunk| chunk[i].as_i64().unwrap()).sum()
    };
    let count = |n: usize| i64::try_from(n).unwrap();
    vec![
        count(rows.len()),
        count(rows.len() - done.len()),
        sum("ttft_ns"),
        sum("e2e_ns"),
        sum("completion_tokens"),
        done.iter().map(|c| count(c["chunks"].as_array().unwrap().len())).sum(),
        count(trials),
        count(rows.iter().filter(|row| row["measured"] == true).count()),
        chunks(0),
        chunks(1),
    ]
}

#[test]
fn parquet_and_csv_have_the_numbers_of_the_rows_for_duckdb_and_polars() {
    let project = project();
    let rows = json_rows(&traces(&project, &[]).exits(0).out);
    let expected = serde_json::to_value(expected(&rows, 4)).unwrap();
    let path = |name: &str| project.path(name).to_str().unwrap().to_owned();
    let (parquet, csv) = (path("t.parquet"), path("t.csv"));
    traces(&project, &["--format", "parquet", "--output", &parquet]).exits(0);
    traces(&project, &["--format", "csv", "--output", &csv]).exits(0);
    assert_eq!(asked(DUCKDB, Path::new(&parquet)), expected, "DuckDB, Parquet");
    assert_eq!(asked(POLARS, Path::new(&parquet)), expected, "polars, Parquet");
    let of_csv = expected.as_array().unwrap()[..8].to_vec();
    assert_eq!(asked(DUCKDB_CSV, Path::new(&csv)), Value::from(of_csv), "DuckDB, CSV");
}

#[test]
fn rows_are_those_of_the_run_and_filters_leave_out() {
    let project = project();
    let all = rows_of_the_files(&project);
    assert_eq!(traces(&project, &[]).exits(0).out, all, "byte for byte");
    let by_path = project
        .servelab(&["traces", project.path("runs/r").to_str().unwrap()])
        .exits(0);
    assert_eq!(by_path.out, all);
    let rows = json_rows(&all);
    let check = |words: &[&str], keep: &dyn Fn(&Value) -> bool| {
        let found = json_rows(&traces(&project, words).exits(0).out);
        let expected: Vec<Value> = rows.iter().filter(|row| keep(row)).cloned().collect();
        assert!(!found.is_empty() && found.len() < rows.len(), "{words:?}");
        assert_eq!(found, expected, "{words:?}");
    };
    check(&["--variant", "C1b"], &|row| row["variant"] == "C1b");
    check(&["--block", "2", "--variant", "C1"], &|row| {
        row["block"] == 2 && row["variant"] == "C1"
    });
    check(&["--measured"], &|row| row["measured"] == true);
    let load = project.run("r").plan().unwrap().loads[0].id.to_string();
    assert_eq!(traces(&project, &["--load", &load]).exits(0).out, all);
    for (words, part) in [
        (&["--variant", "C9"][..], "C1, C1b"),
        (&["--block", "7"], "1, 2"),
        (&["--load", "c99"], load.as_str()),
    ] {
        let said = traces(&project, words).exits(2).err;
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn nothing_is_written_over_and_a_changed_run_gives_no_file() {
    let project = project();
    let file = project.path("t.csv");
    let words = ["--format", "csv", "--output", file.to_str().unwrap()];
    fs::write(&file, "mine").unwrap();
    let said = traces(&project, &words).exits(2).err;
    assert!(said.contains("nothing is written over"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    fs::remove_file(&file).unwrap();
    let plan = project.path("runs/r/plan.json");
    fs::write(&plan, fs::read_to_string(&plan).unwrap() + " ").unwrap();
    let said = traces(&project, &words).exits(4).err;
    assert!(said.contains("plan.json") && said.contains("changed"), "{said}");
    let left = fs::read_dir(project.path("")).unwrap();
    let left: Vec<String> = left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("t.csv")), "{left:?}");
}

#[test]
fn a_run_that_was_cut_off_gives_its_whole_rows() {
    let project = project();
    let sealed = rows_of_the_files(&project);
    // Cut off within the last row of the last take, before anything of it was decided.
    let run = project.path("runs/r");
    let last = project.run("r").trials().last().unwrap().id.clone();
    let rows = project.run("r").take(&last).traces().unwrap();
    let text: String = rows
        .map(|row| serde_json::to_string(&row.unwrap()).unwrap() + "\n")
        .collect();
    let last = last.to_string();
    for file in ["run_manifest.json", "run_manifest.sha256", "findings.json"] {
        fs::remove_file(run.join(file)).unwrap();
    }
    let take = run.join("trials").join(last);
    fs::remove_file(take.join("trial.json")).unwrap();
    // The rows of a run that is open are not compressed.
    fs::remove_file(take.join("traces.jsonl.zst")).unwrap();
    fs::write(take.join("traces.jsonl"), &text[..text.len() - 20]).unwrap();
    let said = traces(&project, &[]).exits(0);
    let whole = sealed[..sealed.len() - 1].rfind('\n').unwrap() + 1;
    assert_eq!(said.out, sealed[..whole]);
    assert!(
        said.err.contains("was not sealed") && said.err.contains("not whole"),
        "{}",
        said.err
    );
    // The take without a trial.json has its place from the plan.
    let csv = traces(&project, &["--format", "csv", "--variant", "C1", "--variant", "C1b"])
        .exits(0)
        .out;
    assert_eq!(csv.lines().count(), said.out.lines().count() + 1);
    // What leads out of the run is not followed.
    fs::remove_file(take.join("traces.jsonl")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", take.join("traces.jsonl")).unwrap();
    let said = traces(&project, &[]).exits(4).err;
    assert!(said.contains("a link"), "{said}");
}
