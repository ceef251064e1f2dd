//! A sealed run of made-up numbers: a closed loop over known arms, written through `evidence` like any other run.
//!
//! Known by construction: how much faster each arm is, which trials are invalid, which treatments are void, and which
//! requests failed in which words.

mod plan;
mod trial;

use servelab_evidence::{FileLayer, RunFile, RunWriter, SealedRun, TakeFiles};
use servelab_findings::{Prompts, Reducer, Trial, evaluate};
use servelab_schema::{
    CheckpointFacts, ClockAnchor, EnvironmentRecord, HostFacts, Plan, RunEnd, RunId, Sha256Hex, Treatment, V,
    WallNanos, WeightFile,
};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// One arm and what is true of it.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    pub(crate) id: &'static str,
    pub(crate) factor: Option<&'static str>,
    /// Rate of work against C1: 1.4 gives 40 % more tokens per second.
    pub(crate) speed: f64,
    pub(crate) treatment: Treatment,
    /// Tokens that arrive together.
    pub(crate) tokens_per_chunk: u32,
    pub(crate) hypothesis: String,
    /// Share of the questions that it answers, in a run that kept texts.
    pub(crate) right: f64,
    /// Length of its answers against the allowed one; only 1 under a fixed length.
    pub(crate) length: f64,
}

impl Arm {
    pub(crate) fn new(id: &'static str, factor: &'static str, speed: f64) -> Self {
        let hypothesis = format!("{factor} makes the engine {speed} times as fast");
        let treatment = Treatment::Confirmed;
        Self {
            id,
            factor: Some(factor),
            speed,
            treatment,
            tokens_per_chunk: 1,
            hypothesis,
            right: 0.9,
            length: 1.0,
        }
    }

    fn baseline(id: &'static str, speed: f64) -> Self {
        Self {
            factor: None,
            hypothesis: "the shipped configuration".to_owned(),
            ..Self::new(id, "", speed)
        }
    }
}

/// A run to be made.
#[derive(Debug, Clone)]
pub(crate) struct Fixture {
    pub(crate) run_id: String,
    pub(crate) arms: Vec<Arm>,
    pub(crate) blocks: u32,
    /// Prompts per task, bucket and block.
    pub(crate) per_cell: u32,
    /// Speed of the A/A arm against C1; 1 where the run is sound.
    pub(crate) aa_speed: f64,
    /// `(block, arm)` of trials whose client was late.
    pub(crate) invalid: Vec<(u32, &'static str)>,
    /// `(block, arm)` of trials that were taken twice.
    pub(crate) again: Vec<(u32, &'static str)>,
    /// Words of failed requests; one request a trial of the second arm fails for each.
    pub(crate) failures: Vec<String>,
    pub(crate) aborted: bool,
    /// True for a run of C1 alone.
    pub(crate) baseline_only: bool,
    pub(crate) real_engine: bool,
    /// True for a machine with a GPU, which draws 60 W and is throttled in the second second of each trial.
    pub(crate) gpu: bool,
    /// True for servers whose tokens the tokenizer counts; that of the second arm lacks something besides.
    pub(crate) counted_here: bool,
    /// True for a run that kept its texts, of an engine that shows its configuration and its counters.
    pub(crate) full: bool,
    /// True where the model decides when to stop.
    pub(crate) natural: bool,
    /// What the engines of the treatments, and their checkpoints, say in every place in which they may say anything.
    pub(crate) words: Option<String>,
}

impl Fixture {
    /// C1, C1b and one arm that is a good deal faster, in four blocks of eighteen prompts.
    pub(crate) fn small(run_id: &str) -> Self {
        Self {
            run_id: run_id.to_owned(),
            arms: vec![Arm::new("C2", "chunked-prefill", 1.3)],
            blocks: 4,
            per_cell: 2,
            aa_speed: 1.0,
            invalid: Vec::new(),
            again: Vec::new(),
            failures: Vec::new(),
            aborted: false,
            baseline_only: false,
            real_engine: false,
            gpu: false,
            counted_here: false,
            full: false,
            natural: false,
            words: None,
        }
    }

    /// C1 to C8 with every kind of ending.
    pub(crate) fn study(run_id: &str) -> Self {
        let mut arms = vec![
            Arm::new("C2", "chunked-prefill", 1.12),
            Arm::new("C3", "cuda-graphs", 0.86),
            Arm::new("C4", "tokenizer-pool", 1.0),
            Arm::new("C5", "kv-cache-dtype", 1.21),
            Arm::new("C6", "host-memory-tier", 1.0),
            Arm::new("C7", "speculation", 1.41),
            Arm::new("C8", "quantization", 1.78),
        ];
        arms[2].treatment = Treatment::Rejected;
        arms[4].treatment = Treatment::NoOp;
        arms[5].tokens_per_chunk = 3;
        arms[6].treatment = Treatment::Unobservable;
        Self {
            arms,
            blocks: 10,
            invalid: vec![(3, "C2"), (7, "C1")],
            failures: vec!["EngineCore encountered an issue".to_owned()],
            ..Self::small(run_id)
        }
    }

    /// The baseline, its copy, then the treatments.
    pub(crate) fn all_arms(&self) -> Vec<Arm> {
        let mut all = vec![Arm::baseline("C1", 1.0), Arm::baseline("C1b", self.aa_speed)];
        all.truncate(if self.baseline_only { 1 } else { 2 });
        all.extend(self.arms.iter().cloned());
        all
    }

    /// Writes and seals the run; returns its directory.
    pub(crate) fn seal_into(&self, runs: &Path) -> PathBuf {
        let plan = plan::plan(self);
        let id = RunId::new(&*self.run_id).unwrap();
        let environment = environment(self);
        let run = RunWriter::create(Arc::new(NoSync), runs, &id, &plan, &environment).unwrap();
        let arms = self.all_arms();
        let mut takes = Vec::new();
        for block in &plan.blocks {
            for planned in &block.trials {
                if self.aborted && block.block == self.blocks && planned.order > 1 {
                    break;
                }
                let arm = arms.iter().find(|arm| arm.id == planned.variant.as_str()).unwrap();
                let twice = self.again.contains(&(block.block, arm.id));
                for take in 1..=1 + u32::from(twice) {
                    takes.push(run.take(&trial::write(&run, self, &plan, (block, take), planned, arm)));
                }
            }
        }
        let dir = run.dir().to_owned();
        let end = if self.aborted {
            RunEnd::Aborted {
                why: "stopped by Ctrl-C".to_owned(),
            }
        } else {
            RunEnd::Complete
        };
        let trials = reduce(&plan, &environment, &takes);
        let findings = evaluate(&plan, &environment, (&id, &end), trials);
        run.seal(anchor("2026-11-21T10:30:00Z", 1_800), &findings).unwrap();
        dir
    }

    /// The sealed run.
    pub(crate) fn sealed(&self, runs: &Path) -> SealedRun {
        SealedRun::open(&self.seal_into(runs)).unwrap()
    }
}

/// What is left of takes once their traces have gone by, as the runner does it.
fn reduce(plan: &Plan, environment: &EnvironmentRecord, takes: &[TakeFiles]) -> Vec<Trial> {
    let prompts = Prompts::of(plan);
    let of = |take: &TakeFiles| {
        let telemetry = take.telemetry().unwrap().map(Result::unwrap).collect();
        let (record, engine) = (take.record().unwrap(), take.engine().unwrap());
        let mut reducer = Reducer::new(&prompts, plan.slo, &environment.gpus, record, engine, telemetry);
        for trace in take.traces().unwrap().map(Result::unwrap) {
            reducer.add(&trace, prompts.answer_found(&trace));
        }
        reducer.finish()
    };
    takes.iter().map(of).collect()
}

fn anchor(utc: &str, seconds: u64) -> ClockAnchor {
    ClockAnchor {
        utc: utc.to_owned(),
        monotonic_ns: WallNanos::from_secs(seconds),
    }
}

fn environment(f: &Fixture) -> EnvironmentRecord {
    let gpu = f.gpu;
    EnvironmentRecord {
        v: V,
        servelab_version: "0.1.0".to_owned(),
        servelab_sha256: Some(digest(7)),
        git: Some("0123456789ab-dirty".to_owned()),
        host: HostFacts {
            cpu: Some("Example CPU 9000".to_owned()),
            cpus: 2,
            memory_bytes: Some(servelab_schema::Bytes(25_769_803_776)),
            kernel: Some("6.1.0".to_owned()),
            os: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
            open_files_limit: Some(20_000),
        },
        gpus: gpu.then(servelab_schema::examples::gpu_facts).into_iter().collect(),
        gpu_note: (!gpu).then(|| "no NVIDIA driver".to_owned()),
        instrument: Some(servelab_schema::examples::certificate()),
        cloud: None,
        model: f
            .full
            .then(servelab_schema::examples::environment)
            .and_then(|e| e.model),
        variant_models: f.words.iter().map(|words| checkpoint(words)).collect(),
        env_names: Vec::new(),
        machine: None,
        started: anchor("2026-11-21T10:00:00Z", 0),
    }
}

/// The checkpoint of a variant, with these words in every place.
fn checkpoint(words: &str) -> CheckpointFacts {
    CheckpointFacts {
        id: words.to_owned(),
        revision: Some(words.to_owned()),
        weights: vec![WeightFile {
            name: words.to_owned(),
            bytes: servelab_schema::Bytes(1),
            sha256: digest(9),
        }],
        weights_note: Some(words.to_owned()),
    }
}

/// A digest that is told apart by its bytes.
pub(crate) fn digest(byte: u8) -> Sha256Hex {
    Sha256Hex::from_bytes([byte; 32])
}

/// The small generator that the made-up numbers come from.
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal with mean 1 and the given relative spread.
    pub(crate) fn near_one(&mut self, spread: f64) -> f64 {
        let sum: f64 = (0..12)
            .map(|_| f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX))
            .sum();
        (sum - 6.0).mul_add(spread, 1.0).max(0.05)
    }
}

/// The disk without waiting for it: a test's files need not survive a power cut.
#[derive(Debug)]
struct NoSync;

struct NoSyncFile(File);

impl Write for NoSyncFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl RunFile for NoSyncFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileLayer for NoSync {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>> {
        Ok(Box::new(NoSyncFile(File::create_new(path)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        File::options().write(true).open(path)?.set_len(bytes)
    }
    fn sync(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
