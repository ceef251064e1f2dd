//! A run directory keeps what was written, seals only what came back, and opens only what was sealed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[path = "support/small_disk.rs"]
mod small_disk;

use servelab_evidence::{Disk, EvidenceError, FileLayer, RunWriter, SealedRun, names};
use servelab_schema::{ClockAnchor, RunId, Sha256Hex, WallNanos, canonical_json, examples};
use sha2::{Digest, Sha256};
use small_disk::SmallDisk;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

fn run_id() -> RunId {
    RunId::new("r1").unwrap()
}

fn end() -> ClockAnchor {
    ClockAnchor {
        utc: "2026-11-22T10:01:00Z".into(),
        monotonic_ns: WallNanos::from_secs(60),
    }
}

fn create(layer: Arc<dyn FileLayer>, runs: &Path) -> Result<RunWriter, EvidenceError> {
    RunWriter::create(layer, runs, &run_id(), &examples::plan(), &examples::environment())
}

/// One take with two traces, sealed.
fn write(layer: Arc<dyn FileLayer>, runs: &Path) -> Result<Sha256Hex, EvidenceError> {
    let run = create(layer, runs)?;
    let trial = run.trial(&examples::trial_id())?;
    let mut traces = trial.traces()?;
    traces.append(&examples::trace())?;
    traces.append(&examples::failed_trace())?;
    traces.finish()?;
    let mut telemetry = trial.telemetry()?;
    telemetry.append(&examples::telemetry())?;
    telemetry.finish()?;
    trial.engine(&examples::engine_record())?;
    trial.finish(&examples::trial_record())?;
    Ok(run.seal(end(), &examples::findings())?.fingerprint)
}

#[test]
fn what_is_written_comes_back() {
    let runs = tempfile::tempdir().unwrap();
    let fingerprint = write(Arc::new(Disk), runs.path()).unwrap();
    let run = SealedRun::open(&runs.path().join("r1")).unwrap();
    assert_eq!(run.fingerprint(), &fingerprint);
    assert_eq!(run.plan().unwrap(), examples::plan());
    assert_eq!(run.environment().unwrap(), examples::environment());
    let id = examples::trial_id();
    let take = run.take(&id);
    let traces: Result<Vec<_>, _> = take.traces().unwrap().collect();
    assert_eq!(traces.unwrap(), [examples::trace(), examples::failed_trace()]);
    let telemetry: Result<Vec<_>, _> = take.telemetry().unwrap().collect();
    assert_eq!(telemetry.unwrap(), [examples::telemetry()]);
    assert_eq!(take.engine().unwrap(), examples::engine_record());
    assert_eq!(take.record().unwrap(), examples::trial_record());
    assert_eq!(run.findings().unwrap(), examples::findings());
    // What the manifest says of trials and end is what the findings say.
    let trials: Vec<_> = run.trials().cloned().collect();
    assert_eq!(trials, examples::manifest().trials);
    assert_eq!(run.manifest().end, examples::findings().run.end);
    assert!(run.manifest().files.iter().any(|f| f.path == names::FINDINGS));
    assert_eq!(run.manifest().files.len(), 7);
}

#[test]
fn rows_are_compressed_at_the_seal_and_the_manifest_has_both_hashes() {
    let runs = tempfile::tempdir().unwrap();
    let run = create(Arc::new(Disk), runs.path()).unwrap();
    let trial = run.trial(&examples::trial_id()).unwrap();
    let mut traces = trial.traces().unwrap();
    (0..500).for_each(|_| traces.append(&examples::trace()).unwrap());
    traces.finish().unwrap();
    trial.telemetry().unwrap().finish().unwrap();
    trial.engine(&examples::engine_record()).unwrap();
    let dir = trial.dir().to_path_buf();
    trial.finish(&examples::trial_record()).unwrap();
    let plain = fs::read(dir.join(names::TRACES)).unwrap();
    let seal = run.seal(end(), &examples::findings()).unwrap();
    assert!(!dir.join(names::TRACES).exists() && !dir.join(names::TELEMETRY).exists());
    let run = SealedRun::open(&runs.path().join("r1")).unwrap();
    let traces = run
        .manifest()
        .files
        .iter()
        .find(|f| f.path.ends_with("traces.jsonl.zst"))
        .unwrap();
    let held = traces.unpacked.as_ref().unwrap();
    assert_eq!(held.bytes.0, u64::try_from(plain.len()).unwrap());
    assert_eq!(held.sha256, Sha256Hex::from_bytes(Sha256::digest(&plain).into()));
    assert!(traces.bytes.0 * 20 < held.bytes.0, "{traces:?}");
    assert_eq!(seal.packing.plain, held.bytes, "there was no telemetry");
    assert!(seal.packing.words().unwrap().contains("of traces and telemetry take"));
    let rows: Vec<_> = run
        .take(&examples::trial_id())
        .traces()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 500);
}

#[test]
fn the_same_rows_twice_are_refused() {
    let runs = tempfile::tempdir().unwrap();
    write(Arc::new(Disk), runs.path()).unwrap();
    let dir = runs.path().join("r1/trials").join(examples::trial_id().as_str());
    fs::write(dir.join(names::TRACES), b"").unwrap();
    let error = SealedRun::open(&runs.path().join("r1")).unwrap_err();
    assert!(matches!(error, EvidenceError::Unlisted(_)), "{error}");
}

#[test]
fn a_row_that_does_not_read_names_its_line_and_hides_no_other() {
    let runs = tempfile::tempdir().unwrap();
    let run = create(Arc::new(Disk), runs.path()).unwrap();
    let trial = run.trial(&examples::trial_id()).unwrap();
    let mut traces = trial.traces().unwrap();
    traces.append(&examples::trace()).unwrap();
    let path = trial.dir().join(names::TRACES);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"{\"v\":1}\n").unwrap();
    traces.append(&examples::failed_trace()).unwrap();
    let rows: Vec<_> = run.take(&examples::trial_id()).traces().unwrap().collect();
    let [first, bad, last] = <[_; 3]>::try_from(rows).unwrap();
    assert_eq!(first.unwrap(), examples::trace());
    assert!(bad.unwrap_err().to_string().contains("traces.jsonl:2"));
    assert_eq!(last.unwrap(), examples::failed_trace());
    // Half a row is one though it parses: `12` of `123`.
    let whole = serde_json::to_string(&examples::trace()).unwrap();
    std::io::Write::write_all(&mut file, whole.as_bytes()).unwrap();
    let torn = run.take(&examples::trial_id()).traces().unwrap().last().unwrap();
    assert!(matches!(torn, Err(EvidenceError::TornRow { line: 4, .. })), "{torn:?}");
    // An engine that never started leaves no such file.
    assert_eq!(run.take(&examples::trial_id()).telemetry().unwrap().count(), 0);
}

#[test]
fn what_a_child_wrote_can_be_cleaned_before_the_seal() {
    let runs = tempfile::tempdir().unwrap();
    let run = create(Arc::new(Disk), runs.path()).unwrap();
    let trial = run.trial(&examples::trial_id()).unwrap();
    let (mut file, path) = trial.child_output(names::SERVER_LOG).unwrap();
    std::io::Write::write_all(&mut file, b"key=abc \xff\n").unwrap();
    trial.edit_child_output(names::SERVER_LOG, str::to_owned).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        b"key=abc \xff\n",
        "nothing to do, nothing done"
    );
    trial
        .edit_child_output(names::SERVER_LOG, |text| text.replace("abc", "[redacted]"))
        .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "key=[redacted] \u{fffd}\n");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777,
        0o600
    );
    trial.engine(&examples::engine_record()).unwrap();
    trial.traces().unwrap().finish().unwrap();
    trial.telemetry().unwrap().finish().unwrap();
    trial.finish(&examples::trial_record()).unwrap();
    run.seal(end(), &examples::findings()).unwrap();
    let sealed = SealedRun::open(&runs.path().join("r1")).unwrap();
    assert!(sealed.manifest().files.iter().all(|f| !f.path.ends_with(".tmp")));
}

#[test]
fn a_run_is_never_overwritten() {
    let runs = tempfile::tempdir().unwrap();
    write(Arc::new(Disk), runs.path()).unwrap();
    assert!(matches!(
        create(Arc::new(Disk), runs.path()),
        Err(EvidenceError::Exists(_))
    ));
}

#[test]
fn without_a_manifest_it_is_unfinished() {
    let runs = tempfile::tempdir().unwrap();
    let run = create(Arc::new(Disk), runs.path()).unwrap();
    let dir = run.dir().to_path_buf();
    drop(run);
    assert!(matches!(SealedRun::open(&dir), Err(EvidenceError::Unfinished(_))));
}

/// Every single bit of every file, flipped one at a time in one byte of each kilobyte, is found and the file named.
#[test]
fn a_flipped_bit_names_its_file() {
    let runs = tempfile::tempdir().unwrap();
    write(Arc::new(Disk), runs.path()).unwrap();
    let dir = runs.path().join("r1");
    let manifest = SealedRun::open(&dir).unwrap().manifest().clone();
    let mut paths: Vec<PathBuf> = manifest.files.iter().map(|f| dir.join(&f.path)).collect();
    paths.push(dir.join(names::MANIFEST));
    for path in paths {
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(1024) {
            let mut bad = good.clone();
            *bad.get_mut(at).unwrap() ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let error = SealedRun::open(&dir).unwrap_err().to_string();
            assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
        }
        fs::write(&path, &good).unwrap();
    }
    SealedRun::open(&dir).unwrap();
}

#[test]
fn files_come_and_go_only_with_the_manifest() {
    let runs = tempfile::tempdir().unwrap();
    write(Arc::new(Disk), runs.path()).unwrap();
    let dir = runs.path().join("r1");
    let extra = dir.join("notes.txt");
    fs::write(&extra, "x").unwrap();
    assert!(matches!(SealedRun::open(&dir), Err(EvidenceError::Unlisted(p)) if p == extra));
    fs::remove_file(&extra).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &extra).unwrap();
    assert!(
        matches!(SealedRun::open(&dir), Err(EvidenceError::Unlisted(_))),
        "a link leaves the folder"
    );
    fs::remove_file(&extra).unwrap();
    let plan = dir.join(names::PLAN);
    fs::remove_file(&plan).unwrap();
    assert!(matches!(SealedRun::open(&dir), Err(EvidenceError::Missing(p)) if p == plan));
}

fn size_of_all() -> usize {
    let runs = tempfile::tempdir().unwrap();
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    write(
        Arc::new(SmallDisk {
            left: Arc::clone(&left),
            lose: false,
        }),
        runs.path(),
    )
    .unwrap();
    usize::MAX - left.load(Ordering::SeqCst)
}

/// Wherever the disk fills up, the run ends with that error, is not sealed, and the traces before it are whole.
#[test]
fn a_full_disk_seals_nothing() {
    let all = size_of_all();
    for left in (0..all).step_by(all / 40) {
        let runs = tempfile::tempdir().unwrap();
        let error = write(
            Arc::new(SmallDisk {
                left: Arc::new(AtomicUsize::new(left)),
                lose: false,
            }),
            runs.path(),
        );
        assert!(error.unwrap_err().is_disk_full(), "{left} of {all} bytes");
        let dir = runs.path().join("r1");
        assert!(SealedRun::open(&dir).is_err());
        let traces = dir
            .join(names::TRIALS)
            .join(examples::trial_id().as_str())
            .join(names::TRACES);
        let text = fs::read_to_string(traces).unwrap_or_default();
        let (whole, _cut) = text.rsplit_once('\n').unwrap_or_default();
        for line in whole.lines() {
            serde_json::from_str::<servelab_schema::Trace>(line).unwrap();
        }
    }
}

#[test]
fn a_lost_write_is_noticed_at_the_seal() {
    let all = size_of_all();
    let manifest_and_more = 4_000;
    for left in (0..all - manifest_and_more).step_by(all / 20) {
        let runs = tempfile::tempdir().unwrap();
        let layer = SmallDisk {
            left: Arc::new(AtomicUsize::new(left)),
            lose: true,
        };
        let error = write(Arc::new(layer), runs.path()).unwrap_err();
        assert!(
            matches!(error, EvidenceError::LostWrite { .. }),
            "{left} of {all}: {error}"
        );
    }
}

/// Makes of a run of today what servelab wrote when manifests had version 1: plain rows, and no word of compression.
fn as_version_1(dir: &Path) {
    let path = dir.join(names::MANIFEST);
    let mut manifest: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    manifest["v"] = 1.into();
    for file in manifest["files"].as_array_mut().unwrap() {
        let Some(held) = file.as_object_mut().unwrap().remove("unpacked") else {
            continue;
        };
        let packed = file["path"].as_str().unwrap().to_owned();
        let plain = packed.strip_suffix(".zst").unwrap();
        let rows = zstd::stream::decode_all(fs::File::open(dir.join(&packed)).unwrap()).unwrap();
        fs::write(dir.join(plain), rows).unwrap();
        fs::remove_file(dir.join(&packed)).unwrap();
        file["path"] = plain.into();
        file["bytes"] = held["bytes"].clone();
        file["sha256"] = held["sha256"].clone();
    }
    manifest["files"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|f| f["path"].as_str().unwrap().to_owned());
    seal_again(dir, &manifest);
}

/// Writes the manifest and a fingerprint that fits it.
fn seal_again(dir: &Path, manifest: &serde_json::Value) {
    let text = canonical_json(manifest).unwrap();
    let fingerprint = Sha256Hex::from_bytes(Sha256::digest(&text).into());
    fs::write(dir.join(names::MANIFEST), &text).unwrap();
    fs::write(
        dir.join(names::FINGERPRINT),
        format!("{fingerprint}  {}\n", names::MANIFEST),
    )
    .unwrap();
}

#[test]
fn a_run_of_the_first_version_is_still_read_and_one_of_a_later_version_is_said_to_be_later() {
    let runs = tempfile::tempdir().unwrap();
    write(Arc::new(Disk), runs.path()).unwrap();
    let dir = runs.path().join("r1");
    let rows = |run: &SealedRun| -> Vec<_> {
        let take = run.take(&examples::trial_id());
        take.traces().unwrap().map(Result::unwrap).collect()
    };
    let today = SealedRun::open(&dir).unwrap();
    let expected = rows(&today);
    as_version_1(&dir);
    let first = SealedRun::open(&dir).unwrap();
    assert_eq!(first.manifest().v.get(), 1);
    assert!(first.manifest().sessions.is_empty());
    assert!(first.manifest().files.iter().all(|f| f.unpacked.is_none()));
    assert_eq!(rows(&first), expected);
    assert_ne!(first.fingerprint(), today.fingerprint());
    // A later one has keys that nobody knows yet, and its number is what is said of it.
    let mut manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(dir.join(names::MANIFEST)).unwrap()).unwrap();
    manifest["v"] = 3.into();
    manifest["a_key_of_later"] = 1.into();
    seal_again(&dir, &manifest);
    let error = SealedRun::open(&dir).unwrap_err().to_string();
    assert!(
        error.contains("format version 3, but this servelab reads version 1 to 2"),
        "{error}"
    );
    assert!(!error.contains("a_key_of_later"), "{error}");
}
