//! Opening a sealed run. Nothing downstream takes anything else.

use crate::{
    EvidenceError, TakeFiles, names,
    packed::packed_name,
    sessions::plan_path,
    walk::{document, files, parse, read, sha256_file},
};
use servelab_schema::{
    EnvironmentRecord, Plan, RunManifest, Sha256Hex, TrialId, TrialSummary, canonical_json, findings::Findings,
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A run directory whose every byte is what its manifest says.
#[derive(Debug, Clone)]
pub struct SealedRun {
    dir: PathBuf,
    manifest: RunManifest,
    fingerprint: Sha256Hex,
}

impl SealedRun {
    /// Opens a run and hashes every file of it again.
    ///
    /// # Errors
    /// [`EvidenceError`] naming the first file that is missing, changed, unlisted or unreadable, or saying that the run is
    /// unfinished.
    pub fn open(dir: &Path) -> Result<Self, EvidenceError> {
        let path = dir.join(names::MANIFEST);
        if !path.exists() {
            return Err(EvidenceError::Unfinished(dir.to_path_buf()));
        }
        let text = read(&path)?;
        let fingerprint = Sha256Hex::from_bytes(Sha256::digest(&text).into());
        let noted_path = dir.join(names::FINGERPRINT);
        let noted = read(&noted_path)?;
        let noted = noted.split_whitespace().next().unwrap_or_default();
        if noted != fingerprint.as_str() {
            return Err(EvidenceError::Changed {
                path,
                expected: noted.to_owned(),
                found: fingerprint.to_string(),
            });
        }
        let manifest: RunManifest = parse(&text, &path)?;
        // A manifest in another spelling would be another fingerprint of the same run.
        if canonical_json(&manifest).ok().as_deref() != Some(text.as_str()) {
            let message = "not canonical JSON; it was not written by servelab".to_owned();
            return Err(EvidenceError::Format {
                path: path.display().to_string(),
                message,
            });
        }
        let run = Self {
            dir: dir.to_path_buf(),
            manifest,
            fingerprint,
        };
        run.check_files()?;
        Ok(run)
    }

    /// The fingerprint that a run directory notes of itself, without checking anything; none where there is no such directory or
    /// note.
    #[must_use]
    pub fn noted_fingerprint(dir: &Path) -> Option<Sha256Hex> {
        let noted = read(&dir.join(names::FINGERPRINT)).ok()?;
        Sha256Hex::new(noted.split_whitespace().next()?).ok()
    }

    fn check_files(&self) -> Result<(), EvidenceError> {
        let mut listed: BTreeMap<&str, _> = self.manifest.files.iter().map(|f| (f.path.as_str(), f)).collect();
        // Either would do for the rows of the other: which of them a reader took would be a matter of chance.
        let twice = listed
            .keys()
            .find(|path| listed.contains_key(packed_name(path).as_str()));
        if let Some(path) = twice {
            return Err(EvidenceError::Unlisted(self.dir.join(path)));
        }
        for (relative, path) in files(&self.dir)? {
            if relative == names::MANIFEST || relative == names::FINGERPRINT {
                continue;
            }
            let expected = listed
                .remove(relative.as_str())
                .ok_or_else(|| EvidenceError::Unlisted(path.clone()))?;
            let (_, found) = sha256_file(&path)?;
            if found != expected.sha256 {
                let expected = expected.sha256.to_string();
                return Err(EvidenceError::Changed {
                    path,
                    expected,
                    found: found.to_string(),
                });
            }
        }
        listed
            .keys()
            .next()
            .map_or(Ok(()), |gone| Err(EvidenceError::Missing(self.dir.join(gone))))
    }

    /// The run directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it holds.
    #[must_use]
    pub const fn manifest(&self) -> &RunManifest {
        &self.manifest
    }

    /// SHA-256 of the manifest.
    #[must_use]
    pub const fn fingerprint(&self) -> &Sha256Hex {
        &self.fingerprint
    }

    /// The takes in the order they were executed.
    pub fn trials(&self) -> impl Iterator<Item = &TrialSummary> {
        self.manifest.trials.iter()
    }

    /// The plan that was executed, with the blocks that were added to it.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn plan(&self) -> Result<Plan, EvidenceError> {
        document(&plan_path(&self.dir, &self.manifest.sessions))
    }

    /// The machine that executed it.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn environment(&self) -> Result<EnvironmentRecord, EvidenceError> {
        document(&self.dir.join(names::ENVIRONMENT))
    }

    /// Everything the run says, as it was decided at the seal.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn findings(&self) -> Result<Findings, EvidenceError> {
        document(&self.dir.join(names::FINDINGS))
    }

    /// The files of a take.
    #[must_use]
    pub fn take(&self, id: &TrialId) -> TakeFiles {
        TakeFiles::new(self.dir.join(names::TRIALS).join(id.as_str()))
    }
}
