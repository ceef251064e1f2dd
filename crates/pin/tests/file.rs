//! The file of a pin: small, whole or not there, and never outside its folder.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by panicking"
)]

use rustix::process::{Pid, Signal, getpid, kill_process};
use servelab_evidence::{FileLayer, RunFile, SharedDisk};
use servelab_pin::{DriftError, PinError, file};
use servelab_random::SplitMix64;
use servelab_schema::{
    ArgValue, FieldValue, MetricName, Origin, Pin, PinName, PinnedInput, PromptId, VariantId, canonical_json, examples,
};
use std::{
    env, fs,
    io::{self, Write},
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Kills its own process before the n-th operation, or in the middle of it where it is a write.
#[derive(Debug, Clone)]
struct Deadly(Arc<AtomicU32>);

impl Deadly {
    fn step(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            let own: Pid = getpid();
            kill_process(own, Signal::KILL).unwrap();
        }
    }
}

struct DeadlyFile(Box<dyn RunFile>, Deadly);

impl Write for DeadlyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // In pieces, so that it can be killed with a part on the disk.
        let part = bytes.len().min(256);
        self.1.step();
        self.0.write(&bytes[..part])
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl RunFile for DeadlyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.1.step();
        self.0.sync()
    }
}

impl FileLayer for Deadly {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        self.step();
        SharedDisk.create_dirs(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>> {
        self.step();
        Ok(Box::new(DeadlyFile(SharedDisk.create_new(path)?, self.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step();
        SharedDisk.rename(from, to)
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step();
        SharedDisk.sync(path)
    }
}

const STEP: &str = "SERVELAB_TEST_PIN_STEP";
const FOLDER: &str = "SERVELAB_TEST_PIN_FOLDER";

/// The one who is killed; without its variables it does nothing.
#[test]
fn victim() {
    let (Ok(step), Ok(folder)) = (env::var(STEP), env::var(FOLDER)) else {
        return;
    };
    let layer = Deadly(Arc::new(AtomicU32::new(step.parse().unwrap())));
    file::write(&layer, Path::new(&folder), &newer(), true).unwrap();
}

fn newer() -> Pin {
    Pin {
        servelab_version: "9.9.9".into(),
        ..examples::pin()
    }
}

/// Kills `pin` at its n-th step; true where it was killed and did not end by itself.
fn killed(folder: &Path, step: u32) -> bool {
    let mut victim = Command::new(env::current_exe().unwrap());
    victim
        .args(["--exact", "victim"])
        .env(STEP, step.to_string())
        .env(FOLDER, folder);
    let status = victim.output().unwrap().status;
    assert!(status.signal() == Some(9) || status.success(), "step {step}: {status}");
    !status.success()
}

#[test]
fn killed_anywhere_it_leaves_the_old_pin_or_the_new_one() {
    let text = canonical_json(&newer()).unwrap();
    let steps = u32::try_from(text.len().div_ceil(256)).unwrap() + 5;
    // Every point at the ends, and in the middle a sample unless all are asked for.
    let all = cfg!(feature = "torture");
    let points: Vec<u32> = (0..steps)
        .filter(|n| all || *n < 4 || *n + 6 > steps || n % 7 == 0)
        .collect();
    for replaces in [false, true] {
        let mut kills = 0;
        for step in points.iter().copied().chain([u32::MAX]) {
            let dir = tempfile::tempdir().unwrap();
            let (runs, old) = (dir.path(), examples::pin());
            let path = file::path(runs, &old.name);
            if replaces {
                file::write(&SharedDisk, runs, &old, false).unwrap();
            }
            let died = killed(runs, step);
            kills += u32::from(died);
            assert_eq!(died, step != u32::MAX, "step {step} of {steps}");
            match file::read(&path) {
                Ok(pin) => assert!(pin == newer() || (replaces && pin == old), "step {step}"),
                Err(PinError::Io { source, .. }) => {
                    assert!(
                        !replaces && source.kind() == io::ErrorKind::NotFound,
                        "step {step}: {source}"
                    );
                }
                Err(other) => panic!("step {step}: half a pin: {other}"),
            }
            // Whatever was left, the next one is written.
            file::write(&SharedDisk, runs, &newer(), true).unwrap();
            let names: Vec<String> = fs::read_dir(runs.join(file::FOLDER))
                .unwrap()
                .map(|f| f.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(names, ["ci.json"], "step {step}");
        }
        eprintln!("{kills} kills of `pin`, replacing: {replaces}");
        assert_eq!(usize::try_from(kills).unwrap(), points.len());
    }
}

#[test]
fn a_pin_is_replaced_only_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let pin = examples::pin();
    let (path, bytes) = file::write(&SharedDisk, dir.path(), &pin, false).unwrap();
    assert_eq!(path, dir.path().join("pinned/ci.json"));
    assert_eq!(u64::try_from(bytes).unwrap(), fs::metadata(&path).unwrap().len());
    assert_eq!(file::read(&path).unwrap(), pin);
    let refused = file::write(&SharedDisk, dir.path(), &newer(), false).unwrap_err();
    assert!(matches!(&refused, PinError::Exists(there) if *there == path) && refused.to_string().contains("--replace"));
    assert_eq!(file::read(&path).unwrap(), pin);
    for (text, words) in [
        ("{}", "no pin that servelab wrote"),
        ("{\"a\":1,\"v\":7}", "format version 7"),
        ("", "no pin"),
    ] {
        fs::write(&path, text).unwrap();
        let error = file::read(&path).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("ci.json"), "{error}");
    }
}

#[test]
fn names_and_paths_stay_in_their_folders() {
    for name in ["../x", "a/b", "/etc/passwd", "", ".hidden", "a\u{0}b"] {
        assert!(PinName::new(name).is_err(), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let (project, outside) = (dir.path().join("project"), dir.path().join("outside.jsonl"));
    fs::create_dir_all(project.join("prompts")).unwrap();
    fs::write(&outside, "x").unwrap();
    symlink(&outside, project.join("prompts/link.jsonl")).unwrap();
    symlink(dir.path(), project.join("linked")).unwrap();
    for path in [
        "../outside.jsonl",
        "/etc/passwd",
        "prompts/../../outside.jsonl",
        "prompts/link.jsonl",
        "linked/outside.jsonl",
        "",
    ] {
        let mut pin = examples::pin();
        let input = PinnedInput {
            path: path.into(),
            ..pin.inputs[0].clone()
        };
        pin.inputs = vec![input];
        let error = servelab_pin::plan(&pin, &project).unwrap_err();
        assert!(
            matches!(&error, DriftError::Outside(named) if named == path),
            "{path}: {error}"
        );
    }
    // What the plan reads and the pin does not list is not read either.
    let mut pin = examples::pin();
    pin.inputs.clear();
    let error = servelab_pin::plan(&pin, &project).unwrap_err().to_string();
    assert!(error.contains("prompts/l4-1800.jsonl (measured prompts)"), "{error}");
}

/// The study: ten variants of 22 flags, ten blocks of 180 prompts, every metric with all its digits.
#[test]
fn the_pin_of_the_whole_study_is_small() {
    let mut pin = examples::pin();
    let mut rng = SplitMix64::new(9);
    let origin = Origin {
        file: "matrix/c1-c8.toml".into(),
        line: 66,
        key: "variant[C1].args.max-num-batched-tokens".into(),
    };
    let value = FieldValue {
        value: ArgValue::Integer(8192),
        origin,
    };
    let ids: Vec<VariantId> = (0..10).map(|n| VariantId::new(format!("C{n}b")).unwrap()).collect();
    let mut template = pin.plan.variants[2].clone();
    template.flags = (0..20)
        .map(|n| (format!("enable-something-{n}"), value.clone()))
        .collect();
    pin.plan.variants = ids
        .iter()
        .map(|id| servelab_schema::PlannedVariant {
            id: id.clone(),
            ..template.clone()
        })
        .collect();
    let block = pin.plan.blocks[0].clone();
    pin.plan.blocks = (0..10)
        .map(|b| {
            let mut block = block.clone();
            block.seed = 6_728_143_794_655_029;
            block.prompts = (0..180)
                .map(|n| PromptId::new(format!("summarisation-M-{:04}", b * 180 + n)).unwrap())
                .collect();
            block.trials = ids
                .iter()
                .map(|id| servelab_schema::PlannedTrial {
                    variant: id.clone(),
                    ..block.trials[0].clone()
                })
                .collect();
            block
        })
        .collect();
    let mut draws = || (1..=10).map(|_| rng.normal().abs() * 100.0 + 0.1).collect::<Vec<f64>>();
    let (cell, effect) = (pin.expected.cells[0].clone(), pin.expected.effects[0].clone());
    let metrics: Vec<MetricName> = MetricName::ALL.into_iter().filter(|m| !m.is_pooled()).collect();
    let mut values = cell.metrics[&MetricName::OutputThroughput].clone();
    values.blocks = (1..=10).collect();
    pin.expected.cells.clear();
    pin.expected.effects.clear();
    for id in &ids {
        let mut cell = cell.clone();
        cell.variant = id.clone();
        for metric in &metrics {
            values.values = draws();
            cell.metrics.insert(*metric, values.clone());
            let mut effect = effect.clone();
            effect.variant = id.clone();
            effect.metric = *metric;
            effect.blocks = (1..=10).collect();
            effect.log_ratios = draws().into_iter().map(|x| -x / 1000.0).collect();
            pin.expected.effects.push(effect);
        }
        pin.expected.cells.push(cell);
    }
    // Eight of the ten are treatments.
    pin.expected.effects.truncate(8 * metrics.len());
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes) = file::write(&SharedDisk, dir.path(), &pin, false).unwrap();
    eprintln!("the pin of the study has {bytes} bytes");
    assert!(bytes <= file::MOST_BYTES && bytes > 100_000, "{bytes}");
    // Twice the loads are refused, with the limit.
    pin.expected.cells = [pin.expected.cells.clone(), pin.expected.cells].concat();
    let refused = file::write(&SharedDisk, dir.path(), &pin, true)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("200000 are the most"), "{refused}");
}
