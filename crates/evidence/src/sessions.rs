//! A run that went on: its sessions, and the plan that the last of them executes.
//!
//! Format: the first session is the run itself. Session n ≥ 2 has `sessions/<n>/` with `session.json` (written last: without it the
//! session never began), its own `environment.json` and `events.jsonl`, the whole `plan.json` where it added blocks, and, where the run
//! had been sealed, that seal in `earlier/`: manifest, fingerprint and findings. What that manifest lists beside them is still there.

use crate::{
    EvidenceError, names,
    walk::{document, parse, read},
};
use servelab_schema::{ClockAnchor, EnvironmentRecord, Plan, SessionRecord};
use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

/// Folder of a session, from 2; the run's own for the first.
pub(crate) fn session_dir(run: &Path, session: NonZeroU32) -> PathBuf {
    if session == NonZeroU32::MIN {
        run.to_path_buf()
    } else {
        run.join(names::SESSIONS).join(session.to_string())
    }
}

/// Where a session keeps the seal before it.
pub(crate) fn earlier_dir(run: &Path, session: NonZeroU32) -> PathBuf {
    session_dir(run, session).join(names::EARLIER)
}

/// The number after that of the last of these.
pub(crate) fn next_session(sessions: &[SessionRecord]) -> NonZeroU32 {
    current_session(sessions).saturating_add(1)
}

/// The number of the last of these.
pub(crate) fn current_session(sessions: &[SessionRecord]) -> NonZeroU32 {
    sessions.last().map_or(NonZeroU32::MIN, |s| s.session)
}

/// The sessions that began, from the second.
///
/// # Errors
/// [`EvidenceError`] where one does not read, or says that it is another.
pub(crate) fn sessions(run: &Path) -> Result<Vec<SessionRecord>, EvidenceError> {
    let mut found: Vec<SessionRecord> = Vec::new();
    loop {
        let number = next_session(&found);
        let path = session_dir(run, number).join(names::SESSION);
        if !path.exists() {
            return Ok(found);
        }
        let record: SessionRecord = document(&path)?;
        if record.session != number {
            let why = format!("it says that it is session {}", record.session);
            return Err(EvidenceError::NotARun { path, why });
        }
        found.push(record);
    }
}

/// The file of the plan that is executed after these sessions.
pub(crate) fn plan_path(run: &Path, sessions: &[SessionRecord]) -> PathBuf {
    let own = sessions
        .iter()
        .rev()
        .map(|s| session_dir(run, s.session).join(names::PLAN));
    own.into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| run.join(names::PLAN))
}

/// What a run directory says of itself before it is sealed.
#[derive(Debug)]
pub(crate) struct OpenRun {
    pub(crate) plan: Plan,
    pub(crate) plan_text: String,
    pub(crate) environment: EnvironmentRecord,
    pub(crate) sessions: Vec<SessionRecord>,
}

impl OpenRun {
    /// Clock readings at the start of its last session.
    pub(crate) fn started(&self) -> &ClockAnchor {
        self.sessions.last().map_or(&self.environment.started, |s| &s.started)
    }

    /// Reads a directory, sealed or not.
    ///
    /// # Errors
    /// [`EvidenceError::NotARun`] where nothing was measured in it, and whatever does not read.
    pub(crate) fn read(dir: &Path) -> Result<Self, EvidenceError> {
        let environment_path = dir.join(names::ENVIRONMENT);
        if !dir.join(names::PLAN).exists() || !environment_path.exists() {
            let why = "no plan.json and environment.json are in it: nothing was measured, the folder can be deleted";
            return Err(EvidenceError::NotARun {
                path: dir.to_path_buf(),
                why: why.to_owned(),
            });
        }
        let sessions = sessions(dir)?;
        let plan_path = plan_path(dir, &sessions);
        let plan_text = read(&plan_path)?;
        Ok(Self {
            plan: parse(&plan_text, &plan_path)?,
            plan_text,
            environment: document(&environment_path)?,
            sessions,
        })
    }
}
