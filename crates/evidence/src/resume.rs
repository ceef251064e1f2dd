//! A run that ended goes on: what it holds is read, and a session begins in it.
//!
//! A sealed run is opened first: its manifest gets another name, which is one step that either happened or did not, and then the seal
//! goes into the folder of the session that begins. The session has begun when its `session.json` is there; whatever was killed before
//! that is undone by [`undo`], and the run is sealed as it was.

use crate::{
    EvidenceError, FileLayer, RunWriter, SealedRun, TakeFiles,
    hold::Hold,
    names,
    salvage::{anchor, found_takes, last_write, run_dir},
    sessions::{OpenRun, earlier_dir, next_session, session_dir, sessions},
    writer::{Ledger, document, write_file},
};
use servelab_schema::{
    ClockAnchor, EnvironmentRecord, Plan, RunId, SessionRecord, Sha256Hex, TrialId, V, WallNanos, Wish,
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A take that is there already.
#[derive(Debug, Clone)]
pub struct EarlierTake {
    /// Its name.
    pub id: TrialId,
    /// Block, from 1.
    pub block: u32,
    /// Position in the block, from 1.
    pub order: u32,
    /// Take, from 1.
    pub take: u32,
    /// Its files; none where it was killed before its `trial.json`.
    pub files: Option<TakeFiles>,
}

/// A run that may go on. Nothing in it is changed until it [begins](Self::begin).
#[derive(Debug)]
pub struct Resumable {
    dir: PathBuf,
    run_id: RunId,
    open: OpenRun,
    /// Its seal, where it has one.
    sealed: Option<SealedRun>,
    before: WallNanos,
    earlier_ended: ClockAnchor,
    takes: Vec<EarlierTake>,
    hold: Hold,
    layer: Arc<dyn FileLayer>,
}

/// What begins with a session.
#[derive(Debug)]
pub struct Beginning<'a> {
    /// What was asked for.
    pub wish: &'a Wish,
    /// The plan, where blocks are added to it.
    pub plan: Option<&'a Plan>,
    /// The machine and the program now.
    pub environment: &'a EnvironmentRecord,
    /// Why takes that were killed did not end.
    pub why: &'a str,
}

impl Resumable {
    /// Looks at a run, sealed or cut off.
    ///
    /// # Errors
    /// [`EvidenceError`] where a sealed run is not what its manifest says, where another servelab writes to it, or where nothing was
    /// measured in it.
    pub fn open(layer: Arc<dyn FileLayer>, runs_dir: &Path, run_id: &RunId) -> Result<Self, EvidenceError> {
        let dir = run_dir(runs_dir, run_id)?;
        let hold = Hold::take(&dir)?;
        undo(&*layer, &dir)?;
        let sealed = dir.join(names::MANIFEST).exists().then(|| SealedRun::open(&dir));
        let sealed = sealed.transpose()?;
        let open = OpenRun::read(&dir)?;
        let takes = found_takes(&dir, &open.plan)?.into_iter().map(|take| {
            let folder = dir.join(names::TRIALS).join(take.id.as_str());
            let ended = folder.join(names::TRIAL).exists();
            EarlierTake {
                id: take.id,
                block: take.block.block,
                order: take.trial.order,
                take: take.take,
                files: ended.then(|| TakeFiles::new(folder)),
            }
        });
        let takes = takes.collect();
        let earlier_ended = match &sealed {
            Some(run) => run.manifest().finished.clone(),
            None => anchor(open.started(), last_write(&dir)?),
        };
        let earlier = open.sessions.last().map_or(0, |s| s.before_ns.0);
        Ok(Self {
            before: WallNanos(earlier.saturating_add(earlier_ended.monotonic_ns.0)),
            run_id: run_id.clone(),
            dir,
            open,
            sealed,
            earlier_ended,
            takes,
            hold,
            layer,
        })
    }

    /// The plan that the run executed so far.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.open.plan
    }

    /// The machine that began it.
    #[must_use]
    pub const fn environment(&self) -> &EnvironmentRecord {
        &self.open.environment
    }

    /// Its takes, in the order they were executed.
    #[must_use]
    pub fn takes(&self) -> &[EarlierTake] {
        &self.takes
    }

    /// True where it is sealed; false where it was cut off before.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Wall time that it took so far, without the gaps between its sessions.
    #[must_use]
    pub const fn before(&self) -> WallNanos {
        self.before
    }

    /// The number of the session that is to begin.
    #[must_use]
    pub fn next_session(&self) -> NonZeroU32 {
        next_session(&self.open.sessions)
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins a session: opens the seal, closes what was cut off, and says so on the disk. Takes that were cut off are Interrupted now.
    ///
    /// # Errors
    /// [`EvidenceError::Io`]; the run can then be resumed or sealed again.
    pub fn begin(self, beginning: &Beginning<'_>, redact: &dyn Fn(&str) -> String) -> Result<RunWriter, EvidenceError> {
        let session = self.next_session();
        let (layer, dir) = (Arc::clone(&self.layer), self.dir.clone());
        let earlier = self.sealed.as_ref().map(|run| run.fingerprint().clone());
        if self.sealed.is_some() {
            unseal(&*layer, &dir, session)?;
        }
        let writer = RunWriter::over(
            Arc::clone(&layer),
            Ledger::default(),
            dir.clone(),
            self.hold,
            (&self.run_id, &self.open),
        );
        writer.mend("")?;
        for found in found_takes(&dir, &self.open.plan)? {
            if !writer.take(&found.id).dir().join(names::TRIAL).exists() {
                writer.record_cut_off(&self.open.plan, &found, beginning.why, redact)?;
            }
        }
        let folder = session_dir(&dir, session);
        layer
            .create_dirs(&folder)
            .map_err(EvidenceError::io("create", &folder))?;
        let write = |name: &str, text: String| write_file(&*layer, &writer.ledger, &folder.join(name), &text);
        let at = |name: &str| folder.join(name);
        write(
            names::ENVIRONMENT,
            document(beginning.environment, &at(names::ENVIRONMENT))?,
        )?;
        let mut plan_sha256 = Sha256Hex::from_bytes(Sha256::digest(&self.open.plan_text).into());
        if let Some(plan) = beginning.plan {
            let text = document(plan, &at(names::PLAN))?;
            plan_sha256 = Sha256Hex::from_bytes(Sha256::digest(&text).into());
            write(names::PLAN, text)?;
        }
        let record = SessionRecord {
            v: V,
            session,
            earlier,
            wish: beginning.wish.clone(),
            plan_sha256,
            before_ns: self.before,
            earlier_ended_utc: self.earlier_ended.utc,
            started: beginning.environment.started.clone(),
        };
        write(names::SESSION, document(&record, &at(names::SESSION))?)?;
        for folder in [dir.join(names::SESSIONS), dir] {
            layer.sync(&folder).map_err(EvidenceError::io("sync", &folder))?;
        }
        Ok(writer.in_session(record))
    }
}

/// What goes with a manifest: it lists the findings, and the fingerprint is of it.
const WITH_IT: [&str; 2] = [names::FINGERPRINT, names::FINDINGS];

/// Takes the seal off a run, into the folder of the session that is to begin.
fn unseal(layer: &dyn FileLayer, dir: &Path, session: NonZeroU32) -> Result<(), EvidenceError> {
    let rename = |from: &Path, to: &Path| layer.rename(from, to).map_err(EvidenceError::io("rename to", to));
    let opened = dir.join(names::UNSEALED);
    rename(&dir.join(names::MANIFEST), &opened)?;
    layer.sync(dir).map_err(EvidenceError::io("sync", dir))?;
    let earlier = earlier_dir(dir, session);
    layer
        .create_dirs(&earlier)
        .map_err(EvidenceError::io("create", &earlier))?;
    rename(&opened, &earlier.join(names::MANIFEST))?;
    for name in WITH_IT {
        rename(&dir.join(name), &earlier.join(name))?;
    }
    layer.sync(&earlier).map_err(EvidenceError::io("sync", &earlier))
}

/// Undoes a session that never began. Where the run was sealed before, it is sealed again, by the same seal.
///
/// # Errors
/// [`EvidenceError::Io`]; it can be tried again.
pub(crate) fn undo(layer: &dyn FileLayer, dir: &Path) -> Result<(), EvidenceError> {
    let session = next_session(&sessions(dir)?);
    let (folder, earlier) = (session_dir(dir, session), earlier_dir(dir, session));
    let opened = dir.join(names::UNSEALED);
    if !folder.exists() && !opened.exists() {
        return Ok(());
    }
    let remove = |path: &Path| layer.remove(path).map_err(EvidenceError::io("remove", path));
    if folder.exists() {
        // Only what a session writes before it begins: none of it was measured.
        for name in [names::ENVIRONMENT, names::PLAN, names::SESSION] {
            remove(&folder.join(name))?;
            remove(&folder.join(format!("{name}{}", names::UNFINISHED)))?;
        }
    }
    let back = |from: PathBuf, to: &str| -> Result<(), EvidenceError> {
        let to = dir.join(to);
        if from.exists() && !to.exists() {
            layer.rename(&from, &to).map_err(EvidenceError::io("rename to", &to))?;
        }
        Ok(())
    };
    let was_sealed = opened.exists() || earlier.join(names::MANIFEST).exists();
    if was_sealed {
        for name in WITH_IT {
            back(earlier.join(name), name)?;
        }
        let manifest = earlier.join(names::MANIFEST);
        if manifest.exists() {
            // Back by the way it went: the folders must be gone before the run is sealed again.
            layer
                .rename(&manifest, &opened)
                .map_err(EvidenceError::io("rename to", &opened))?;
        }
    }
    for empty in [&earlier, &folder] {
        layer.remove_dir(empty).map_err(EvidenceError::io("remove", empty))?;
    }
    let all = dir.join(names::SESSIONS);
    if session.get() == 2 && fs::read_dir(&all).is_ok_and(|mut entries| entries.next().is_none()) {
        layer.remove_dir(&all).map_err(EvidenceError::io("remove", &all))?;
    }
    back(opened, names::MANIFEST)?;
    layer.sync(dir).map_err(EvidenceError::io("sync", dir))
}
