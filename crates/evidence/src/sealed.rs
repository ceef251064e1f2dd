//! Opening a sealed run. Nothing downstream takes anything else.

use crate::{
    EvidenceError, names,
    walk::{files, parse, read, sha256_file},
};
use serde::de::DeserializeOwned;
use servelab_schema::{
    EngineRecord, EnvironmentRecord, Plan, RunManifest, Sha256Hex, TelemetrySample, Trace, TrialId, TrialRecord,
    TrialSummary, canonical_json,
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

    fn check_files(&self) -> Result<(), EvidenceError> {
        let mut listed: BTreeMap<&str, _> = self.manifest.files.iter().map(|f| (f.path.as_str(), f)).collect();
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

    /// The plan that was executed.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn plan(&self) -> Result<Plan, EvidenceError> {
        self.document(&self.dir.join(names::PLAN))
    }

    /// The machine that executed it.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn environment(&self) -> Result<EnvironmentRecord, EvidenceError> {
        self.document(&self.dir.join(names::ENVIRONMENT))
    }

    /// Counts, gates and validity of a take.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn trial_record(&self, id: &TrialId) -> Result<TrialRecord, EvidenceError> {
        self.document(&self.trial_file(id, names::TRIAL))
    }

    /// What was started for a take.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn engine_record(&self, id: &TrialId) -> Result<EngineRecord, EvidenceError> {
        self.document(&self.trial_file(id, names::ENGINE))
    }

    /// The traces of a take, in the order they ended; empty where the engine never started.
    ///
    /// # Errors
    /// [`EvidenceError`] naming the line that cannot be read.
    pub fn traces(&self, id: &TrialId) -> Result<Vec<Trace>, EvidenceError> {
        self.rows(&self.trial_file(id, names::TRACES))
    }

    /// The telemetry of a take; empty where the engine never started.
    ///
    /// # Errors
    /// [`EvidenceError`] naming the line that cannot be read.
    pub fn telemetry(&self, id: &TrialId) -> Result<Vec<TelemetrySample>, EvidenceError> {
        self.rows(&self.trial_file(id, names::TELEMETRY))
    }

    fn trial_file(&self, id: &TrialId, name: &str) -> PathBuf {
        self.dir.join(names::TRIALS).join(id.as_str()).join(name)
    }

    #[expect(clippy::unused_self, reason = "only a run that was checked may be read")]
    fn document<T: DeserializeOwned>(&self, path: &Path) -> Result<T, EvidenceError> {
        parse(&read(path)?, path)
    }

    #[expect(clippy::unused_self, reason = "only a run that was checked may be read")]
    fn rows<T: DeserializeOwned>(&self, path: &Path) -> Result<Vec<T>, EvidenceError> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = read(path)?;
        let mut rows = Vec::new();
        for (i, line) in text.lines().enumerate() {
            rows.push(serde_json::from_str(line).map_err(|e| EvidenceError::Format {
                path: format!("{}:{}", path.display(), i.saturating_add(1)),
                message: e.to_string(),
            })?);
        }
        Ok(rows)
    }
}
