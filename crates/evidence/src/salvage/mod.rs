//! Closing what was cut off: a take that an error ended, and a whole run directory that `kill -9` or a full disk left open.
//!
//! Nothing is dropped. Whole rows stay; half a row, and a document that was never finished, get a name that ends in `.torn`.
//! A take without `trial.json` gets one that says Aborted, and its engine's log is cleaned of secrets, as it would have been
//! at its end. What was killed while it closed a directory can be closed again.

mod plan;
mod record;

use crate::{
    EvidenceError, FileLayer, RunWriter, TakeFiles, TrialWriter,
    hold::Hold,
    names,
    walk::{files, parse, read},
    writer::{Ledger, replace_file},
};
use plan::{Extent, FoundTake, Step, steps, takes};
use servelab_schema::{
    ClockAnchor, EnvironmentRecord, Plan, PlannedBlock, PlannedTrial, RunEnd, RunId, Sha256Hex, Trace, TrialCounts,
    TrialId, WallNanos, findings::Findings,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
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
    let dir = runs_dir.join(run_id.as_str());
    let no_run = |path: &Path, why: &str| EvidenceError::NotARun {
        path: path.to_path_buf(),
        why: why.to_owned(),
    };
    // A link could lead out of the folder.
    let is_dir = fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir());
    if !is_dir {
        return Err(no_run(
            &dir,
            "there is no run directory of that name; --runs names another folder of runs",
        ));
    }
    if dir.join(names::MANIFEST).exists() {
        return Err(EvidenceError::Sealed(dir));
    }
    let hold = Hold::take(&dir)?;
    let (plan_path, environment_path) = (dir.join(names::PLAN), dir.join(names::ENVIRONMENT));
    if !plan_path.exists() || !environment_path.exists() {
        let why = "no plan.json and environment.json are in it: nothing was measured, the folder can be deleted";
        return Err(no_run(&dir, why));
    }
    let plan_text = read(&plan_path)?;
    let plan: Plan = parse(&plan_text, &plan_path)?;
    let environment: EnvironmentRecord = parse(&read(&environment_path)?, &environment_path)?;
    let last_write = last_write(&dir)?;
    let run = RunWriter::reopen(layer, dir.clone(), hold, (run_id, &plan, &plan_text, &environment));
    let torn = run.mend("")?;
    let folders = folders(&dir.join(names::TRIALS))?;
    let takes = takes(&plan, &folders).map_err(|stranger| {
        let path = dir.join(names::TRIALS).join(stranger);
        no_run(&path, "is no take of this run's plan; move it away, and seal again")
    })?;
    let (mut finished, mut cut_off) = (0_usize, Vec::new());
    for take in &takes {
        let path = run.begun_trial(&take.id).dir().join(names::TRIAL);
        if path.exists() {
            finished += 1;
        } else {
            run.record_cut_off(&plan, take, why, &|text| others.redact(&plan, text))?;
            cut_off.push(take.id.clone());
        }
    }
    let end = RunEnd::Aborted { why: why.to_owned() };
    let files: Vec<TakeFiles> = takes.iter().map(|take| run.take(&take.id)).collect();
    let findings = others.evaluate(&plan, &environment, (run_id, &end), &files)?;
    let fingerprint = run.seal(anchor(&environment, last_write), &findings)?;
    Ok(Closed {
        dir,
        fingerprint,
        end,
        finished,
        cut_off,
        torn,
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
            let found = FoundTake { id, block, trial, take };
            self.record_cut_off(plan, &found, why, redact)?;
        }
        Ok(Some(files))
    }

    /// Takes the steps that the files below this prefix need. Returns where the torn bytes are.
    fn mend(&self, prefix: &str) -> Result<Vec<String>, EvidenceError> {
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

    fn record_cut_off(
        &self,
        plan: &Plan,
        take: &FoundTake<'_>,
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
        let record = record::trial(plan, take, why, begun(&writer)?, counts(&dir.join(names::TRACES))?);
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

/// The clocks when a run wrote for the last time: its monotonic clock went with it, so that no drift can be seen.
fn anchor(environment: &EnvironmentRecord, last_write: SystemTime) -> ClockAnchor {
    let started = OffsetDateTime::parse(&environment.started.utc, &Rfc3339);
    let ran = started.ok().map(|started| OffsetDateTime::from(last_write) - started);
    let ran_ns = ran.and_then(|ran| u64::try_from(ran.whole_nanoseconds()).ok());
    ClockAnchor {
        utc: utc(last_write),
        monotonic_ns: WallNanos(ran_ns.unwrap_or(0)),
    }
}

fn last_write(dir: &Path) -> Result<SystemTime, EvidenceError> {
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
    if !path.exists() {
        return Ok(counts);
    }
    let rows = BufReader::new(File::open(path).map_err(EvidenceError::io("open", path))?);
    for line in rows.lines() {
        let line = line.map_err(EvidenceError::io("read", path))?;
        record::count(&mut counts, &parse::<Trace>(&line, path)?);
    }
    Ok(counts)
}
