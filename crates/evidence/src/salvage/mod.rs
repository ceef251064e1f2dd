//! Closing what was cut off: a take that an error ended, and a whole run directory that `kill -9` or a full disk left open.
//!
//! Nothing is dropped. Whole rows stay; half a row, and a document that was never finished, get a name that ends in `.torn`.
//! A take without `trial.json` gets one that says Aborted, and its engine's log is cleaned of secrets, as it would have been
//! at its end. What was killed while it closed a directory can be closed again.

mod plan;
mod record;

use crate::{
    EvidenceError, FileLayer, Packing, RunWriter, Seal, TakeFiles, TrialWriter,
    hold::Hold,
    names,
    resume::undo,
    sessions::OpenRun,
    take::Rows,
    walk::files,
    writer::{Ledger, replace_file},
};
pub(crate) use plan::Found;
use plan::{Extent, Step, steps, takes};
use servelab_schema::{
    ClockAnchor, EnvironmentRecord, Plan, PlannedBlock, PlannedTrial, RunEnd, RunId, Sha256Hex, Trace, TrialCounts,
    TrialId, WallNanos, findings::Findings,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A run directory that was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its directory.
    pub dir: PathBuf,
    /// SHA-256 of its manifest.
    pub fingerprint: Sha256Hex,
    /// What compressing its rows saved.
    pub packing: Packing,
    /// How it is sealed.
    pub end: RunEnd,
    /// Takes that had run to their end.
    pub finished: usize,
    /// Takes that had not, and are Aborted now.
    pub cut_off: Vec<TrialId>,
    /// Files that hold what was torn, relative to the run.
    pub torn: Vec<String>,
}

/// A take that an error ended.
#[derive(Debug, Clone, Copy)]
pub struct CutOff<'p> {
    /// Its block.
    pub block: &'p PlannedBlock,
    /// Its trial.
    pub trial: &'p PlannedTrial,
    /// Take, from 1.
    pub take: u32,
    /// What ended it.
    pub why: &'p str,
}

/// What closing a directory needs of others: evidence knows bytes, not what they mean.
pub trait Closing {
    /// Takes the secrets out of an engine's words.
    fn redact(&self, plan: &Plan, text: &str) -> String;

    /// What the takes say, all of which have their `trial.json` by then.
    ///
    /// # Errors
    /// [`EvidenceError`] where a file of a take does not read.
    fn evaluate(
        &self,
        plan: &Plan,
        environment: &EnvironmentRecord,
        identity: (&RunId, &RunEnd),
        takes: &[TakeFiles],
    ) -> Result<Findings, EvidenceError>;
}

/// Closes a run directory that was left open, as Aborted.
///
/// # Errors
/// [`EvidenceError::Sealed`], [`EvidenceError::Running`], [`EvidenceError::NotARun`] where it cannot be closed;
/// [`EvidenceError::Io`] otherwise. The directory can then be closed again.
pub fn close(
    layer: Arc<dyn FileLayer>,
    runs_dir: &Path,
    run_id: &RunId,
    why: &str,
    others: &impl Closing,
) -> Result<Closed, EvidenceError> {
    let dir = run_dir(runs_dir, run_id)?;
    if dir.join(names::MANIFEST).exists() {
        return Err(EvidenceError::Sealed(dir));
    }
    let hold = Hold::take(&dir)?;
    undo(&*layer, &dir)?;
    if dir.join(names::MANIFEST).exists() {
        return Err(EvidenceError::Sealed(dir));
    }
    let open = OpenRun::read(&dir)?;
    let last_write = last_write(&dir)?;
    let run = RunWriter::over(layer, Ledger::default(), dir.clone(), hold, (run_id, &open));
    let (plan, environment) = (&open.plan, &open.environment);
    let torn = run.mend("")?;
    let takes = found_takes(&dir, plan)?;
    let (mut finished, mut cut_off) = (0_usize, Vec::new());
    for take in &takes {
        let path = run.begun_trial(&take.id).dir().join(names::TRIAL);
        if path.exists() {
            finished += 1;
        } else {
            run.record_cut_off(plan, take, why, &|text| others.redact(plan, text))?;
            cut_off.push(take.id.clone());
        }
    }
    let end = RunEnd::Aborted { why: why.to_owned() };
    let files: Vec<TakeFiles> = takes.iter().map(|take| run.take(&take.id)).collect();
    let findings = others.evaluate(plan, environment, (run_id, &end), &files)?;
    let Seal { fingerprint, packing } = run.seal(anchor(open.started(), last_write), &findings)?;
    Ok(Closed {
        dir,
        fingerprint,
        packing,
        end,
        finished,
        cut_off,
        torn,
    })
}

fn no_run(path: &Path, why: &str) -> EvidenceError {
    EvidenceError::NotARun {
        path: path.to_path_buf(),
        why: why.to_owned(),
    }
}

/// The directory of a run.
pub(crate) fn run_dir(runs_dir: &Path, run_id: &RunId) -> Result<PathBuf, EvidenceError> {
    let dir = runs_dir.join(run_id.as_str());
    // A link could lead out of the folder.
    let is_dir = fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir());
    let why = "there is no run directory of that name; --runs names another folder of runs";
    is_dir.then_some(()).ok_or_else(|| no_run(&dir, why))?;
    Ok(dir)
}

/// The takes of a run's folder, in the order they were executed.
pub(crate) fn found_takes<'p>(dir: &Path, plan: &'p Plan) -> Result<Vec<Found<'p>>, EvidenceError> {
    let trials = dir.join(names::TRIALS);
    takes(plan, &folders(&trials)?).map_err(|stranger| {
        let why = "is no take of this run's plan; move it away, and try again";
        no_run(&trials.join(stranger), why)
    })
}

impl RunWriter {
    /// Ends a take that an error cut off, so that the run can be sealed: its files, or none where it has no folder.
    ///
    /// # Errors
    /// [`EvidenceError::Io`]: the run cannot be sealed now.
    pub fn cut_short(
        &self,
        plan: &Plan,
        cut: CutOff<'_>,
        redact: &dyn Fn(&str) -> String,
    ) -> Result<Option<TakeFiles>, EvidenceError> {
        let CutOff {
            block,
            trial,
            take,
            why,
        } = cut;
        let Ok(id) = trial.take_id(block.block, take) else {
            return Ok(None);
        };
        let files = self.take(&id);
        if !files.dir().is_dir() {
            return Ok(None);
        }
        self.mend(&format!("{}/{id}/", names::TRIALS))?;
        // It may have been whole when the error came.
        if !files.dir().join(names::TRIAL).exists() {
            let found = Found { id, block, trial, take };
            self.record_cut_off(plan, &found, why, redact)?;
        }
        Ok(Some(files))
    }

    /// Takes the steps that the files below this prefix need. Returns where the torn bytes are.
    pub(crate) fn mend(&self, prefix: &str) -> Result<Vec<String>, EvidenceError> {
        let mut found = BTreeMap::new();
        for (relative, path) in files(self.dir())? {
            if relative.starts_with(prefix) {
                found.insert(relative, extent(&path)?);
            }
        }
        let steps = steps(&found);
        for step in &steps {
            self.obey(step)?;
        }
        Ok(steps.iter().map(|step| step.to().to_owned()).collect())
    }

    fn obey(&self, step: &Step) -> Result<(), EvidenceError> {
        match step {
            Step::SetAside { from, to } => {
                let to = self.dir().join(to);
                let moved = self.layer.rename(&self.dir().join(from), &to);
                moved.map_err(EvidenceError::io("rename to", &to))
            }
            Step::CutTail { file, whole, to } => {
                let path = self.dir().join(file);
                let tail = tail(&path, *whole)?;
                replace_file(&*self.layer, &Ledger::default(), &self.dir().join(to), &tail)?;
                let cut = self.layer.truncate(&path, *whole);
                cut.map_err(EvidenceError::io("cut the torn row off", &path))
            }
        }
    }

    pub(crate) fn record_cut_off(
        &self,
        plan: &Plan,
        take: &Found<'_>,
        why: &str,
        redact: &dyn Fn(&str) -> String,
    ) -> Result<(), EvidenceError> {
        let writer = self.begun_trial(&take.id);
        let dir = writer.dir().to_path_buf();
        if dir.join(names::SERVER_LOG).exists() {
            writer.detach_child_output(names::SERVER_LOG, redact)?;
        }
        if !dir.join(names::ENGINE).exists() {
            writer.engine(&record::engine(plan, take, why))?;
        }
        let record = record::trial(
            plan,
            take,
            why,
            (begun(&writer)?, self.session()),
            counts(&dir.join(names::TRACES))?,
        );
        writer.finish(&record)
    }
}

/// When a take's folder was made, or what is known of it.
fn begun(writer: &TrialWriter) -> Result<String, EvidenceError> {
    let metadata = fs::metadata(writer.dir()).map_err(EvidenceError::io("look at", writer.dir()))?;
    // Not every file system knows when something was made.
    let made = metadata.created().or_else(|_| metadata.modified());
    Ok(utc(made.map_err(EvidenceError::io("look at", writer.dir()))?))
}

fn utc(at: SystemTime) -> String {
    // RFC 3339 has years 0 to 9999.
    let text = OffsetDateTime::from(at).format(&Rfc3339);
    text.unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// The clocks when a session wrote for the last time: its monotonic clock went with it, so that no drift can be seen. Where the wall
/// clock was set back meanwhile, nobody knows how long it took, and it is 0.
pub(crate) fn anchor(started: &ClockAnchor, last_write: SystemTime) -> ClockAnchor {
    let started = OffsetDateTime::parse(&started.utc, &Rfc3339);
    let ran = started.ok().map(|started| OffsetDateTime::from(last_write) - started);
    let ran_ns = ran.and_then(|ran| u64::try_from(ran.whole_nanoseconds()).ok());
    ClockAnchor {
        utc: utc(last_write),
        monotonic_ns: WallNanos(ran_ns.unwrap_or(0)),
    }
}

pub(crate) fn last_write(dir: &Path) -> Result<SystemTime, EvidenceError> {
    let mut last = SystemTime::UNIX_EPOCH;
    for (_, path) in files(dir)? {
        let written = fs::metadata(&path).and_then(|m| m.modified());
        last = last.max(written.map_err(EvidenceError::io("look at", &path))?);
    }
    Ok(last)
}

fn folders(trials: &Path) -> Result<Vec<String>, EvidenceError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(trials).map_err(EvidenceError::io("list", trials))? {
        let entry = entry.map_err(EvidenceError::io("list", trials))?;
        found.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(found)
}

/// Length of a file, and up to where its rows are whole.
fn extent(path: &Path) -> Result<Extent, EvidenceError> {
    const STEP: u64 = 1 << 16;
    let mut file = File::open(path).map_err(EvidenceError::io("open", path))?;
    let bytes = file.metadata().map_err(EvidenceError::io("look at", path))?.len();
    let has_rows = path.extension().is_some_and(|e| e == "jsonl");
    let mut end = bytes;
    while has_rows && end > 0 {
        let begin = end.saturating_sub(STEP);
        let part = read_part(&mut file, begin, end).map_err(EvidenceError::io("read", path))?;
        if let Some(at) = part.iter().rposition(|b| *b == b'\n') {
            let at = u64::try_from(at).unwrap_or(0);
            let whole = begin.saturating_add(at).saturating_add(1);
            return Ok(Extent { bytes, whole });
        }
        end = begin;
    }
    Ok(Extent {
        bytes,
        whole: if has_rows { 0 } else { bytes },
    })
}

fn read_part(file: &mut File, begin: u64, end: u64) -> std::io::Result<Vec<u8>> {
    let mut part = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.take(end.saturating_sub(begin)).read_to_end(&mut part)?;
    Ok(part)
}

fn tail(path: &Path, whole: u64) -> Result<Vec<u8>, EvidenceError> {
    let mut file = File::open(path).map_err(EvidenceError::io("open", path))?;
    read_part(&mut file, whole, u64::MAX).map_err(EvidenceError::io("read", path))
}

/// How many rows of a take's traces ended how.
fn counts(path: &Path) -> Result<TrialCounts, EvidenceError> {
    let mut counts = TrialCounts::default();
    for row in Rows::<Trace>::open(path.to_path_buf())? {
        record::count(&mut counts, &row?);
    }
    Ok(counts)
}
