//! Writing a run directory.

use crate::{
    EvidenceError, FileLayer, RunFile, TakeFiles,
    hold::Hold,
    layer::create_new,
    names,
    packed::{self, Packing, is_to_be_packed, pack, packed_name, with_ending},
    sessions::{OpenRun, current_session, session_dir},
    walk::{files, seal_entry},
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Serialize;
use servelab_schema::{
    ClockAnchor, EngineRecord, EnvironmentRecord, Plan, RunEnd, RunEvent, RunId, RunManifest, SealedFile,
    SessionRecord, Sha256Hex, TelemetrySample, Trace, TrialId, TrialRecord, TrialSummary, Versions, canonical_json,
    findings::Findings,
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::ErrorKind,
    marker::PhantomData,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// What was handed to the disk for one file, to be compared with what comes back.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    path: PathBuf,
    bytes: u64,
    sha256: Sha256Hex,
}

pub(crate) type Ledger = Arc<Mutex<Vec<Written>>>;

/// An unsealed run directory.
#[derive(Debug)]
pub struct RunWriter {
    dir: PathBuf,
    pub(crate) layer: Arc<dyn FileLayer>,
    pub(crate) ledger: Ledger,
    /// As it is to be sealed; its sessions end with the one that writes now.
    manifest: RunManifest,
    _hold: Hold,
}

/// What a seal made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// SHA-256 of the manifest.
    pub fingerprint: Sha256Hex,
    /// What compressing the rows saved.
    pub packing: Packing,
}

pub(crate) fn document<T: Serialize>(value: &T, path: &Path) -> Result<String, EvidenceError> {
    canonical_json(value).map_err(|e| EvidenceError::Format {
        path: path.display().to_string(),
        message: e.to_string(),
    })
}

/// The name that a document has until it is whole.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(names::UNFINISHED);
    path.with_file_name(name)
}

/// Writes a document that is there whole or not at all.
pub(crate) fn write_file(layer: &dyn FileLayer, ledger: &Ledger, path: &Path, text: &str) -> Result<(), EvidenceError> {
    if path.exists() {
        return Err(EvidenceError::io("create", path)(ErrorKind::AlreadyExists.into()));
    }
    replace_file(layer, ledger, path, text.as_bytes())
}

/// The same, in place of what is there.
pub(crate) fn replace_file(
    layer: &dyn FileLayer,
    ledger: &Ledger,
    path: &Path,
    bytes: &[u8],
) -> Result<(), EvidenceError> {
    let temporary = unfinished(path);
    let mut file = layer
        .create_new(&temporary)
        .map_err(EvidenceError::io("create", &temporary))?;
    file.write_all(bytes).map_err(EvidenceError::io("write", path))?;
    file.sync().map_err(EvidenceError::io("sync", path))?;
    layer
        .rename(&temporary, path)
        .map_err(EvidenceError::io("rename to", path))?;
    // Until then a power cut could take the new name away again.
    if let Some(folder) = path.parent() {
        layer.sync(folder).map_err(EvidenceError::io("sync", folder))?;
    }
    note(ledger, path, bytes.len(), Sha256::digest(bytes).into());
    Ok(())
}

fn note(ledger: &Ledger, path: &Path, bytes: usize, digest: [u8; 32]) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let written = Written {
        path: path.to_path_buf(),
        bytes,
        sha256: Sha256Hex::from_bytes(digest),
    };
    ledger.lock().unwrap_or_else(PoisonError::into_inner).push(written);
}

/// The manifest of a run that is not sealed yet.
fn unsealed(run_id: &RunId, run: &OpenRun) -> RunManifest {
    let OpenRun { plan, environment, .. } = run;
    RunManifest {
        v: Versions::LATEST,
        run_id: run_id.clone(),
        name: plan.name.clone(),
        engine_kind: plan.engine_kind,
        time_scale: plan.engine.time_scale().get(),
        method_version: plan.method_version,
        servelab_version: environment.servelab_version.clone(),
        plan_sha256: Sha256Hex::from_bytes(Sha256::digest(&run.plan_text).into()),
        prompts_sha256: plan.prompts.sha256.clone(),
        started: environment.started.clone(),
        finished: environment.started.clone(),
        end: RunEnd::Complete,
        sessions: run.sessions.clone(),
        trials: Vec::new(),
        files: Vec::new(),
    }
}

fn jsonl<T: Serialize>(
    layer: &Arc<dyn FileLayer>,
    ledger: &Ledger,
    path: PathBuf,
) -> Result<JsonlWriter<T>, EvidenceError> {
    let file = layer.create_new(&path).map_err(EvidenceError::io("create", &path))?;
    Ok(JsonlWriter {
        layer: Arc::clone(layer),
        file,
        path,
        ledger: Arc::clone(ledger),
        hasher: Sha256::new(),
        bytes: 0,
        buffer: Vec::new(),
        row: PhantomData,
    })
}

impl RunWriter {
    /// Makes `runs_dir/run_id` with the plan and the environment in it.
    ///
    /// # Errors
    /// [`EvidenceError::Exists`] where a run of that name is there already, [`EvidenceError::NoFolder`] where its directory cannot
    /// be made; [`EvidenceError::Io`] otherwise.
    pub fn create(
        layer: Arc<dyn FileLayer>,
        runs_dir: &Path,
        run_id: &RunId,
        plan: &Plan,
        environment: &EnvironmentRecord,
    ) -> Result<Self, EvidenceError> {
        let dir = runs_dir.join(run_id.as_str());
        let new_folder = !runs_dir.exists();
        layer
            .create_dirs(runs_dir)
            .map_err(EvidenceError::no_folder(runs_dir))?;
        layer.create_dir(&dir).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => EvidenceError::Exists(dir.clone()),
            _ => EvidenceError::no_folder(&dir)(e),
        })?;
        let hold = Hold::take(&dir)?;
        let trials = dir.join(names::TRIALS);
        layer
            .create_dir(&trials)
            .map_err(EvidenceError::io("create", &trials))?;
        let ledger = Ledger::default();
        let plan_path = dir.join(names::PLAN);
        let plan_text = document(plan, &plan_path)?;
        write_file(&*layer, &ledger, &plan_path, &plan_text)?;
        let environment_path = dir.join(names::ENVIRONMENT);
        let environment_text = document(environment, &environment_path)?;
        write_file(&*layer, &ledger, &environment_path, &environment_text)?;
        let above = runs_dir.parent().filter(|above| new_folder && above.is_dir());
        for folder in [Some(&*dir), Some(runs_dir), above].into_iter().flatten() {
            layer.sync(folder).map_err(EvidenceError::io("sync", folder))?;
        }
        let run = OpenRun {
            plan: plan.clone(),
            plan_text,
            environment: environment.clone(),
            sessions: Vec::new(),
        };
        Ok(Self::over(layer, ledger, dir, hold, (run_id, &run)))
    }

    /// A run directory that is there already.
    pub(crate) fn over(
        layer: Arc<dyn FileLayer>,
        ledger: Ledger,
        dir: PathBuf,
        hold: Hold,
        (run_id, run): (&RunId, &OpenRun),
    ) -> Self {
        Self {
            manifest: unsealed(run_id, run),
            dir,
            layer,
            ledger,
            _hold: hold,
        }
    }

    /// The same in a session that begins now.
    pub(crate) fn in_session(mut self, session: SessionRecord) -> Self {
        self.manifest.plan_sha256 = session.plan_sha256.clone();
        self.manifest.sessions.push(session);
        self
    }

    /// The session of the run that writes, from 1.
    #[must_use]
    pub fn session(&self) -> NonZeroU32 {
        current_session(&self.manifest.sessions)
    }

    /// The session's `events.jsonl`.
    ///
    /// # Errors
    /// [`EvidenceError::Io`], also where it is there already.
    pub fn events(&self) -> Result<JsonlWriter<RunEvent>, EvidenceError> {
        let folder = session_dir(&self.dir, self.session());
        jsonl(&self.layer, &self.ledger, folder.join(names::EVENTS))
    }

    /// The run directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins a take of a trial.
    ///
    /// # Errors
    /// [`EvidenceError::Io`], also where that take is there already.
    pub fn trial(&self, id: &TrialId) -> Result<TrialWriter, EvidenceError> {
        let dir = self.dir.join(names::TRIALS).join(id.as_str());
        self.layer.create_dir(&dir).map_err(EvidenceError::io("create", &dir))?;
        let trials = self.dir.join(names::TRIALS);
        self.layer.sync(&trials).map_err(EvidenceError::io("sync", &trials))?;
        Ok(self.begun_trial(id))
    }

    /// A take whose directory is there.
    pub(crate) fn begun_trial(&self, id: &TrialId) -> TrialWriter {
        TrialWriter {
            dir: self.dir.join(names::TRIALS).join(id.as_str()),
            layer: Arc::clone(&self.layer),
            ledger: Arc::clone(&self.ledger),
        }
    }

    /// The files of a take that was finished.
    #[must_use]
    pub fn take(&self, id: &TrialId) -> TakeFiles {
        TakeFiles::new(self.dir.join(names::TRIALS).join(id.as_str()))
    }

    /// Writes `findings.json`, reads everything back, compares it with what was written, compresses the rows, and writes the
    /// manifest last.
    ///
    /// # Errors
    /// [`EvidenceError::LostWrite`] where the disk returns something else; [`EvidenceError::Io`] otherwise. The directory
    /// then stays unsealed and nothing in it is lost.
    pub fn seal(mut self, finished: ClockAnchor, findings: &Findings) -> Result<Seal, EvidenceError> {
        // A seal that failed may have left findings behind: of the same takes, but perhaps of another end.
        let path = self.dir.join(names::FINDINGS);
        replace_file(&*self.layer, &self.ledger, &path, document(findings, &path)?.as_bytes())?;
        let sealed = sealed_files(&*self.layer, &self.dir)?;
        self.check_written(&sealed)?;
        self.drop_plain(&sealed)?;
        let packing = Packing::of(&sealed);
        self.manifest.files = sealed;
        self.manifest.end = findings.run.end.clone();
        self.manifest.trials = findings
            .trials
            .iter()
            .map(|t| TrialSummary {
                id: t.id.clone(),
                validity: t.validity.clone(),
            })
            .collect();
        self.manifest.finished = finished;
        let path = self.dir.join(names::MANIFEST);
        let text = document(&self.manifest, &path)?;
        let fingerprint = Sha256Hex::from_bytes(Sha256::digest(&text).into());
        let unlisted = Ledger::default();
        let line = format!("{fingerprint}  {}\n", names::MANIFEST);
        write_file(&*self.layer, &unlisted, &self.dir.join(names::FINGERPRINT), &line)?;
        write_file(&*self.layer, &unlisted, &path, &text)?;
        let above = self.dir.parent().map(Path::to_path_buf);
        for folder in [Some(self.dir.join(names::TRIALS)), above].into_iter().flatten() {
            self.layer.sync(&folder).map_err(EvidenceError::io("sync", &folder))?;
        }
        Ok(Seal { fingerprint, packing })
    }

    /// Holds what came back against what was handed to the disk.
    fn check_written(&self, sealed: &[SealedFile]) -> Result<(), EvidenceError> {
        let by_path: BTreeMap<&str, &SealedFile> = sealed.iter().map(|f| (f.path.as_str(), f)).collect();
        for written in self.ledger.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let relative = written.path.strip_prefix(&self.dir).unwrap_or(&written.path);
            let relative = relative.to_string_lossy();
            let plain = by_path.get(&*relative).map(|f| (f.bytes, &f.sha256));
            let packed = || by_path.get(&*packed_name(&relative))?.unpacked.as_ref();
            let back = plain.or_else(|| packed().map(|held| (held.bytes, &held.sha256)));
            if back.is_none_or(|(_, sha256)| sha256 != &written.sha256) {
                return Err(EvidenceError::LostWrite {
                    path: written.path.clone(),
                    written: written.bytes,
                    found: back.map_or(0, |(bytes, _)| bytes.0),
                });
            }
        }
        Ok(())
    }

    /// Takes away what is compressed, once its compressed form cannot get lost.
    fn drop_plain(&self, sealed: &[SealedFile]) -> Result<(), EvidenceError> {
        let plain = sealed.iter().filter(|f| f.unpacked.is_some());
        let plain = plain.filter_map(|f| Some(self.dir.join(f.path.strip_suffix(packed::ENDING)?)));
        let plain: Vec<PathBuf> = plain.filter(|path| path.exists()).collect();
        let folders: BTreeSet<&Path> = plain.iter().filter_map(|path| path.parent()).collect();
        let sync = |folder: &Path| self.layer.sync(folder).map_err(EvidenceError::io("sync", folder));
        folders.iter().copied().try_for_each(sync)?;
        for path in &plain {
            self.layer.remove(path).map_err(EvidenceError::io("remove", path))?;
        }
        folders.into_iter().try_for_each(sync)
    }
}

/// Every file of a directory as its manifest is to list it, rows compressed. Where there is no room for that, they stay as they are.
fn sealed_files(layer: &dyn FileLayer, dir: &Path) -> Result<Vec<SealedFile>, EvidenceError> {
    let found = files(dir)?;
    // What a seal that was cut off had compressed, wholly or half, is compressed again.
    let plain = found.iter().filter(|(relative, _)| is_to_be_packed(relative));
    let packed = plain.map(|(relative, _)| packed_name(relative));
    let again: BTreeSet<String> = packed
        .flat_map(|name| [format!("{name}{}", names::UNFINISHED), name])
        .collect();
    let found: Vec<_> = found
        .into_iter()
        .filter(|(relative, _)| !again.contains(relative))
        .collect();
    let sealed = found.into_par_iter().map(|(relative, path)| {
        if !is_to_be_packed(&relative) {
            return seal_entry(relative, &path);
        }
        match pack(layer, &relative, &path) {
            Err(error) if error.is_disk_full() => {
                let packed = with_ending(&path);
                for half in [unfinished(&packed), packed] {
                    layer.remove(&half).map_err(EvidenceError::io("remove", &half))?;
                }
                seal_entry(relative, &path)
            }
            done => done,
        }
    });
    let mut sealed: Vec<SealedFile> = sealed.collect::<Result<_, _>>()?;
    sealed.sort();
    Ok(sealed)
}

/// The directory of one take.
#[derive(Debug)]
pub struct TrialWriter {
    dir: PathBuf,
    layer: Arc<dyn FileLayer>,
    ledger: Ledger,
}

impl TrialWriter {
    /// The take's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn jsonl<T: Serialize>(&self, name: &str) -> Result<JsonlWriter<T>, EvidenceError> {
        jsonl(&self.layer, &self.ledger, self.dir.join(name))
    }

    /// The take's `traces.jsonl`.
    ///
    /// # Errors
    /// [`EvidenceError::Io`], also where it is there already.
    pub fn traces(&self) -> Result<JsonlWriter<Trace>, EvidenceError> {
        self.jsonl(names::TRACES)
    }

    /// The take's `telemetry.jsonl`.
    ///
    /// # Errors
    /// [`EvidenceError::Io`], also where it is there already.
    pub fn telemetry(&self) -> Result<JsonlWriter<TelemetrySample>, EvidenceError> {
        self.jsonl(names::TELEMETRY)
    }

    /// A file that a child process writes to, such as `server.log`. Its bytes cannot be compared at the seal.
    ///
    /// # Errors
    /// [`EvidenceError::Io`], also where it is there already.
    pub fn child_output(&self, name: &str) -> Result<(File, PathBuf), EvidenceError> {
        let path = self.dir.join(name);
        let file = create_new(&path, self.layer.mode()).map_err(EvidenceError::io("create", &path))?;
        Ok((file, path))
    }

    /// Replaces what a child process wrote by what `edit` makes of it, once that process has ended: secrets must go before
    /// the seal. Bytes that are not UTF-8 are replaced too where anything is; where nothing is, the file stays as it is.
    ///
    /// # Errors
    /// [`EvidenceError::Io`]; the file is then as it was.
    pub fn edit_child_output(&self, name: &str, edit: impl FnOnce(&str) -> String) -> Result<(), EvidenceError> {
        let path = self.dir.join(name);
        let bytes = fs::read(&path).map_err(EvidenceError::io("read", &path))?;
        let text = String::from_utf8_lossy(&bytes);
        let edited = edit(&text);
        if edited == text {
            return self.layer.sync(&path).map_err(EvidenceError::io("sync", &path));
        }
        replace_file(&*self.layer, &self.ledger, &path, edited.as_bytes())
    }

    /// The same where that process may live on and write: what it writes from now on goes nowhere.
    pub(crate) fn detach_child_output(
        &self,
        name: &str,
        edit: impl FnOnce(&str) -> String,
    ) -> Result<(), EvidenceError> {
        let path = self.dir.join(name);
        let bytes = fs::read(&path).map_err(EvidenceError::io("read", &path))?;
        let text = String::from_utf8_lossy(&bytes);
        let edited = edit(&text);
        let bytes = if edited == text { &bytes } else { edited.as_bytes() };
        replace_file(&*self.layer, &self.ledger, &path, bytes)
    }

    /// Writes a whole text file, such as a `/metrics` snapshot.
    ///
    /// # Errors
    /// [`EvidenceError::Io`], also where it is there already.
    pub fn text(&self, name: &str, text: &str) -> Result<(), EvidenceError> {
        write_file(&*self.layer, &self.ledger, &self.dir.join(name), text)
    }

    /// Writes `engine.json`.
    ///
    /// # Errors
    /// [`EvidenceError::Io`].
    pub fn engine(&self, record: &EngineRecord) -> Result<(), EvidenceError> {
        let path = self.dir.join(names::ENGINE);
        write_file(&*self.layer, &self.ledger, &path, &document(record, &path)?)
    }

    /// Writes `trial.json`: the take is finished.
    ///
    /// # Errors
    /// [`EvidenceError::Io`].
    pub fn finish(self, record: &TrialRecord) -> Result<(), EvidenceError> {
        let path = self.dir.join(names::TRIAL);
        write_file(&*self.layer, &self.ledger, &path, &document(record, &path)?)?;
        self.layer.sync(&self.dir).map_err(EvidenceError::io("sync", &self.dir))
    }
}

/// Rows of one JSONL file. A row is with the operating system when [`append`](Self::append) returns, so that killing
/// servelab loses none.
pub struct JsonlWriter<T> {
    layer: Arc<dyn FileLayer>,
    file: Box<dyn RunFile>,
    path: PathBuf,
    ledger: Ledger,
    hasher: Sha256,
    bytes: usize,
    buffer: Vec<u8>,
    row: PhantomData<fn(&T)>,
}

impl<T: Serialize> JsonlWriter<T> {
    /// Appends one row.
    ///
    /// # Errors
    /// [`EvidenceError::Io`]; rows before it stay whole.
    pub fn append(&mut self, row: &T) -> Result<(), EvidenceError> {
        self.append_all(std::slice::from_ref(row))
    }

    /// Appends rows with one write.
    ///
    /// # Errors
    /// [`EvidenceError::Io`]; rows before them stay whole.
    pub fn append_all(&mut self, rows: &[T]) -> Result<(), EvidenceError> {
        self.buffer.clear();
        for row in rows {
            serde_json::to_writer(&mut self.buffer, row).map_err(|e| EvidenceError::Format {
                path: self.path.display().to_string(),
                message: format!("a row cannot be written as JSON: {e}"),
            })?;
            self.buffer.push(b'\n');
        }
        self.file
            .write_all(&self.buffer)
            .map_err(EvidenceError::io("append to", &self.path))?;
        self.hasher.update(&self.buffer);
        self.bytes = self.bytes.saturating_add(self.buffer.len());
        Ok(())
    }

    /// Waits until the rows are on the disk and notes what must come back.
    ///
    /// # Errors
    /// [`EvidenceError::Io`].
    pub fn finish(mut self) -> Result<(), EvidenceError> {
        self.file.sync().map_err(EvidenceError::io("sync", &self.path))?;
        if let Some(folder) = self.path.parent() {
            self.layer.sync(folder).map_err(EvidenceError::io("sync", folder))?;
        }
        note(&self.ledger, &self.path, self.bytes, self.hasher.finalize().into());
        Ok(())
    }
}
