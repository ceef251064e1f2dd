//! What somebody did to a run is found: with the seal as it was, and with every hash mended.

use crate::{
    made::sealed,
    mend::{SMALL, copy, document, manifest, mended, of_take, rows, seal_with},
};
use serde_json::{Value, json};
use servelab_evidence::names::{
    ENGINE, EVENTS, FINDINGS, FINGERPRINT, MANIFEST, PLAN, SERVER_LOG, TELEMETRY, TRACES, TRIAL,
};
use servelab_verify::{Asked, Break, Kind, Level, verify};
use std::{fs, os::unix::fs::symlink, path::Path};

const TAKE: &str = "b01-01-C1-c8-t1";
const OTHER: &str = "b02-01-C1-c8-t1";

/// A run, and copies of it to do things to.
struct Bench {
    folder: tempfile::TempDir,
    run: std::path::PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = sealed(folder.path(), "r1", SMALL).unwrap();
        Self { folder, run }
    }

    /// What is found wrong with a copy after this was done to it.
    fn after(&self, what: &str, done: impl FnOnce(&Path)) -> Vec<Break> {
        let dir = self.folder.path().join(what.replace([' ', '/'], "-")).join("r1");
        copy(&self.run, &dir);
        done(&dir);
        let verified = verify(&dir, &Asked::default());
        assert!(!verified.report.is_good(), "{what} is found");
        assert!(!verified.report.breaks.is_empty(), "{what} is named");
        verified.report.breaks
    }

    /// That this is found, as this, in this file; with the hashes as they were.
    fn finds(&self, what: &str, expected: (Level, Kind, &str), done: impl FnOnce(&Path)) {
        let found = self.after(what, done);
        let is_it = |b: &Break| (b.level, b.kind, b.file.as_str()) == expected;
        assert!(found.iter().any(is_it), "{what}: {found:#?}");
        let others = found.iter().filter(|b| !is_it(b)).count();
        assert!(
            found.iter().all(|b| b.level == expected.0) || others == 0,
            "{what}: {found:#?}"
        );
    }

    /// The same with the whole seal made anew.
    fn finds_mended(&self, what: &str, expected: (Kind, &str), done: impl FnOnce(&Path)) {
        let found = self.after(&format!("{what} and mended"), |dir| {
            done(dir);
            mended(dir);
        });
        let is_it = |b: &Break| (b.kind, b.file.as_str()) == expected;
        assert!(found.iter().any(is_it), "{what}: {found:#?}");
    }
}

fn relative(take: &str, name: &str) -> String {
    format!("trials/{take}/{name}")
}

#[test]
fn a_run_as_it_was_sealed_is_consistent() {
    let bench = Bench::new();
    let found = verify(&bench.run, &Asked::default());
    assert_eq!(found.report.breaks, []);
    assert_eq!(found.report.reached, Some(Level::Consistent));
    assert!(found.report.is_good() && found.derived.is_some());
}

/// Every file of the run is taken away, renamed, emptied, cut and doubled, each for itself.
#[test]
fn whatever_is_done_to_any_file_is_found() {
    let bench = Bench::new();
    let files = servelab_evidence::Listing::of(&bench.run).files;
    for (n, file) in files.iter().enumerate() {
        let path = file.path.as_str();
        let is_seal = path == MANIFEST || path == FINGERPRINT;
        let names_it = |found: &[Break]| found.iter().all(|b| b.file == path);
        let found = bench.after(&format!("remove {n}"), |dir| fs::remove_file(dir.join(path)).unwrap());
        assert!(names_it(&found), "{path}: {found:#?}");
        let found = bench.after(&format!("rename {n}"), |dir| {
            fs::rename(dir.join(path), dir.join(format!("{path}.old"))).unwrap();
        });
        if !is_seal {
            assert_eq!(found.len(), 1, "{found:#?}");
            assert_eq!((found[0].kind, found[0].file.as_str()), (Kind::Renamed, path));
            assert_eq!(found[0].found, Some(format!("{path}.old")));
        }
        let found = bench.after(&format!("empty {n}"), |dir| fs::write(dir.join(path), "").unwrap());
        assert!(names_it(&found), "{path}: {found:#?}");
        let found = bench.after(&format!("cut {n}"), |dir| {
            let bytes = fs::read(dir.join(path)).unwrap();
            fs::write(dir.join(path), &bytes[..bytes.len() - 1]).unwrap();
        });
        assert!(names_it(&found), "{path}: {found:#?}");
        let found = bench.after(&format!("link {n}"), |dir| {
            fs::remove_file(dir.join(path)).unwrap();
            symlink(bench.run.join(path), dir.join(path)).unwrap();
        });
        assert!(found.iter().any(|b| b.file == path), "{path}: {found:#?}");
    }
}

#[test]
fn what_was_added_swapped_or_linked_is_named() {
    let bench = Bench::new();
    let unlisted = |file| (Level::Complete, Kind::Unlisted, file);
    bench.finds("add a file", unlisted("notes.txt"), |dir| {
        fs::write(dir.join("notes.txt"), "x").unwrap()
    });
    let deep = relative(TAKE, "more.jsonl");
    bench.finds("add a file to a take", unlisted(&deep), |dir| {
        fs::write(dir.join(&deep), "x").unwrap()
    });
    bench.finds("add a folder", unlisted("trials/b09"), |dir| {
        fs::create_dir(dir.join("trials/b09")).unwrap()
    });
    bench.finds("link out", (Level::Complete, Kind::Link, "trials/out"), |dir| {
        symlink("/etc", dir.join("trials/out")).unwrap()
    });
    bench.finds("link a run into itself", (Level::Complete, Kind::Link, "self"), |dir| {
        symlink(".", dir.join("self")).unwrap()
    });

    let found = bench.after("swap", |dir| {
        let (a, b) = (of_take(dir, TAKE, TRIAL), of_take(dir, OTHER, TRIAL));
        let first = fs::read(&a).unwrap();
        fs::copy(&b, &a).unwrap();
        fs::write(&b, first).unwrap();
    });
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|f| f.kind == Kind::Swapped), "{found:#?}");

    // Compressed or not, which of the two a reader takes is chance.
    let found = bench.after("both forms", |dir| {
        let packed = of_take(dir, TAKE, TRACES);
        let plain = zstd::decode_all(fs::read(&packed).unwrap().as_slice()).unwrap();
        fs::write(packed.with_extension(""), plain).unwrap();
        mended(dir);
    });
    assert!(
        found.iter().any(|f| f.what.contains("plain and compressed")),
        "{found:#?}"
    );
}

#[test]
fn a_manifest_s_own_paths_stay_in_the_run() {
    let bench = Bench::new();
    for (n, path) in [
        "../r1/plan.json",
        "/etc/passwd",
        "trials//x",
        "./plan.json",
        "trials/../plan.json",
        MANIFEST,
        "a\\b",
    ]
    .into_iter()
    .enumerate()
    {
        let found = bench.after(&format!("path {n}"), |dir| {
            let mut manifest = serde_json::to_value(manifest(dir)).unwrap();
            let mut entry = manifest["files"][0].clone();
            entry["path"] = json!(path);
            manifest["files"].as_array_mut().unwrap().insert(0, entry);
            seal_with(dir, &servelab_schema::canonical_json(&manifest).unwrap());
        });
        let is_it = |b: &Break| (b.kind, b.file.as_str()) == (Kind::Path, MANIFEST);
        assert!(found.iter().any(is_it), "{path}: {found:#?}");
    }
    let found = bench.after("twice", |dir| {
        let mut manifest = serde_json::to_value(manifest(dir)).unwrap();
        let entry = manifest["files"][0].clone();
        manifest["files"].as_array_mut().unwrap().insert(0, entry);
        seal_with(dir, &servelab_schema::canonical_json(&manifest).unwrap());
    });
    assert!(found.iter().any(|b| b.what.contains("twice")), "{found:#?}");
}

#[test]
fn rows_that_were_moved_repeated_dropped_or_edited_are_found_though_every_hash_is_mended() {
    let bench = Bench::new();
    let own = of_take(&bench.run, TAKE, TRACES);
    let own = own.strip_prefix(&bench.run).unwrap().to_str().unwrap().to_owned();
    let row = (Kind::Row, own.as_str());
    let edit = |dir: &Path, edit: &dyn Fn(&mut Vec<String>)| rows(&of_take(dir, TAKE, TRACES), |rows| edit(rows));
    bench.finds_mended("traces of another take", row, |dir| {
        fs::copy(of_take(dir, OTHER, TRACES), of_take(dir, TAKE, TRACES))
            .map(drop)
            .unwrap();
    });
    bench.finds_mended("a row of another take", row, |dir| {
        let mut other = Vec::new();
        rows(&of_take(dir, OTHER, TRACES), |rows| other.clone_from(rows));
        edit(dir, &|rows| rows[5] = other[5].clone());
    });
    bench.finds_mended("a row twice", row, |dir| edit(dir, &|rows| rows.push(rows[6].clone())));
    bench.finds_mended("a row dropped", row, |dir| edit(dir, &|rows| drop(rows.remove(6))));
    bench.finds_mended("half a row", row, |dir| {
        edit(dir, &|rows| rows[6].truncate(40));
    });
    let set = |pointer: &'static str, value: Value| {
        move |dir: &Path| {
            rows(&of_take(dir, TAKE, TRACES), |rows| {
                let mut row: Value = serde_json::from_str(&rows[6]).unwrap();
                *row.pointer_mut(pointer).unwrap() = value;
                rows[6] = row.to_string();
            });
        }
    };
    bench.finds_mended(
        "a request under another name",
        row,
        set("/request_id", json!("b01-C1-0099-a1")),
    );
    bench.finds_mended("another prompt", row, set("/prompt_id", json!("p-000011")));
    bench.finds_mended("other expected tokens", row, set("/expected_prompt_tokens", json!(138)));
    bench.finds_mended(
        "sent before it was scheduled",
        row,
        set("/scheduled_ns", json!(999_999_999_999_u64)),
    );
    bench.finds_mended(
        "a head after the end",
        row,
        set("/headers_ns", json!(999_999_999_999_u64)),
    );
    bench.finds_mended("a faster end", row, set("/outcome/completed/e2e_ns", json!(1)));
    let trial = relative(TAKE, TRIAL);
    bench.finds_mended("measured no more", (Kind::Row, &own), set("/measured", json!(false)));
    // Times that keep every rule of a row are those of another span.
    bench.finds_mended("a whole take earlier", (Kind::Contradiction, &trial), |dir| {
        edit(dir, &|rows| {
            for row in rows {
                let mut value: Value = serde_json::from_str(row).unwrap();
                for name in ["scheduled_ns", "sent_ns", "headers_ns", "finished_ns"] {
                    value[name] = json!(value[name].as_u64().unwrap() + 1);
                }
                *row = value.to_string();
            }
        });
    });
    let telemetry = of_take(&bench.run, TAKE, TELEMETRY);
    let telemetry = telemetry.strip_prefix(&bench.run).unwrap().to_str().unwrap().to_owned();
    bench.finds_mended("telemetry turned round", (Kind::Row, &telemetry), |dir| {
        rows(&of_take(dir, TAKE, TELEMETRY), |rows| rows.reverse());
    });
    bench.finds_mended("telemetry of a busier engine", (Kind::Recomputed, FINDINGS), |dir| {
        rows(&of_take(dir, TAKE, TELEMETRY), |rows| {
            rows[0] = rows[0].replace("0.31", "0.93")
        });
    });
    bench.finds_mended("events turned round", (Kind::Row, EVENTS), |dir| {
        rows(&dir.join(EVENTS), |rows| rows.reverse())
    });
}

#[test]
fn an_edited_aggregate_is_found_though_every_hash_is_mended() {
    let bench = Bench::new();
    let trial = relative(TAKE, TRIAL);
    let at = |pointer: &'static str, value: Value| {
        move |document: &mut Value| *document.pointer_mut(pointer).unwrap() = value
    };
    for (pointer, value) in [
        ("/counts/completed", json!(999)),
        ("/held/end_ns", json!(1)),
        ("/span/start_ns", json!(0)),
        ("/instrument/schedule_lag_p99_ns", json!(5)),
        ("/instrument/schedule_lag_max_ns", json!(5)),
        ("/instrument/stale_connections", json!(3)),
        ("/instrument/event_loop_lag_p99_ns", json!(90_000_000_000_u64)),
        ("/variant", json!("C2")),
        ("/block", json!(2)),
        ("/order", json!(2)),
        ("/take", json!(2)),
        ("/time_scale", json!(1)),
        ("/engine_kind", json!("measured")),
        ("/id", json!(OTHER)),
    ] {
        bench.finds_mended(&format!("trial {pointer}"), (Kind::Contradiction, &trial), |dir| {
            document(&of_take(dir, TAKE, TRIAL), |d| {
                // Absent where it is 0.
                if pointer.ends_with("stale_connections") {
                    d["instrument"]["stale_connections"] = json!(0);
                }
                at(pointer, value)(d);
            });
        });
    }
    // What no row determines still decides what the run says.
    bench.finds_mended("a gate's figure", (Kind::Recomputed, FINDINGS), |dir| {
        document(
            &of_take(dir, TAKE, TRIAL),
            at("/instrument/event_loop_lag_max_ns", json!(90_000_000_000_u64)),
        );
    });
    bench.finds_mended(
        "an engine's trial",
        (Kind::Contradiction, &relative(TAKE, ENGINE)),
        |dir| {
            document(&of_take(dir, TAKE, ENGINE), at("/trial", json!(OTHER)));
        },
    );
    let found = bench.after("a verdict", |dir| {
        document(&dir.join(FINDINGS), |d| d["brief"]["valid"] = json!(5_000));
        mended(dir);
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].kind, found[0].file.as_str()), (Kind::Recomputed, FINDINGS));
    assert_eq!(found[0].pointer.as_deref(), Some("/brief/valid"));
    assert_eq!(found[0].found.as_deref(), Some("5000"));
    bench.finds_mended("a plan", (Kind::Contradiction, MANIFEST), |dir| {
        document(&dir.join(PLAN), |d| d["name"] = json!("another"));
    });
    bench.finds_mended("another spelling", (Kind::Spelling, FINDINGS), |dir| {
        let text = fs::read_to_string(dir.join(FINDINGS)).unwrap();
        fs::write(dir.join(FINDINGS), text.replacen(':', ": ", 1)).unwrap();
    });
    bench.finds_mended("a file of nobody", (Kind::Stranger, "notes.txt"), |dir| {
        fs::write(dir.join("notes.txt"), "x").unwrap()
    });
    let stranger = relative("b07-01-C1-c8-t1", SERVER_LOG);
    let found = bench.after("a take of nobody", |dir| {
        fs::create_dir(dir.join("trials/b07-01-C1-c8-t1")).unwrap();
        fs::write(dir.join(&stranger), "x").unwrap();
        mended(dir);
    });
    assert!(found.iter().any(|b| b.file == MANIFEST), "{found:#?}");
    let found = bench.after("a validity", |dir| {
        let mut manifest = serde_json::to_value(manifest(dir)).unwrap();
        let own = manifest["trials"][0]["validity"].clone();
        let other = if own == json!("valid") {
            json!({"invalid": {"gates": ["clock"]}})
        } else {
            json!("valid")
        };
        manifest["trials"][0]["validity"] = other;
        seal_with(dir, &servelab_schema::canonical_json(&manifest).unwrap());
    });
    assert!(
        found
            .iter()
            .any(|b| b.pointer.as_deref().is_some_and(|p| p.starts_with("/trials/0"))),
        "{found:#?}"
    );
}

#[test]
fn a_fingerprint_from_outside_tells_what_a_run_cannot() {
    let bench = Bench::new();
    let own = manifest_fingerprint(&bench.run);
    let asked = |fingerprint| Asked {
        fingerprints: vec![fingerprint],
        ..Asked::default()
    };
    assert!(verify(&bench.run, &asked(own.clone())).report.is_good());
    // A forger who does everything right: another end, sealed anew, is consistent with itself.
    let dir = bench.folder.path().join("forged/r1");
    copy(&bench.run, &dir);
    let mut manifest = manifest(&dir);
    manifest.finished.monotonic_ns = servelab_schema::WallNanos::from_secs(60);
    seal_with(&dir, &servelab_schema::canonical_json(&manifest).unwrap());
    assert!(verify(&dir, &Asked::default()).report.is_good());
    let found = verify(&dir, &asked(own)).report;
    assert!(!found.is_good());
    assert_eq!(
        (found.breaks[0].kind, found.breaks[0].file.as_str()),
        (Kind::Fingerprint, MANIFEST)
    );
}

fn manifest_fingerprint(dir: &Path) -> servelab_schema::Sha256Hex {
    servelab_evidence::sha256_file(&dir.join(MANIFEST)).unwrap().1
}
