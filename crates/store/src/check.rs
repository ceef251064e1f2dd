//! Whether a database is whole, and still says what the runs say.

use crate::{
    Store, StoreError,
    digest::{RowDigest, RunDigest, Table},
    ingest::finding_row,
    migrations::migrate,
    owned::guards,
};
use rusqlite::{Connection, OptionalExtension, params};
use servelab_evidence::SealedRun;
use servelab_schema::{RunId, Sha256Hex, canonical_json, findings::Findings};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

const DOING: &str = "checking the database";

/// What is wrong with a database or with a run in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// SQLite's own check of the file.
    #[error("the file is damaged: {0}")]
    Integrity(String),
    /// A row hangs on one that is not there.
    #[error("a row of table {0} hangs on one that is not there")]
    ForeignKey(String),
    /// The manifest is not that of the fingerprint.
    #[error("its manifest has the fingerprint {found}, not {expected}")]
    Manifest {
        /// The fingerprint that is stored.
        expected: Sha256Hex,
        /// That of the manifest that is stored.
        found: Sha256Hex,
    },
    /// The directory holds another run by now.
    #[error("{} holds a run with the fingerprint {found} by now", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What it notes.
        found: Sha256Hex,
    },
    /// Rows are not those that were read in.
    #[error("its rows are not those that were read in: {expected} of them, {found} are there, or other ones")]
    Rows {
        /// How many were read in.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The rows that `query` reads are not those of the findings.
    #[error("the rows of its findings, which `servelab query` reads, are not those of its findings")]
    FindingRows,
    /// What keeps evidence as it is was taken away or changed.
    #[error(
        "the triggers that refuse changes are gone or others: {0}; whoever took them away may have changed anything"
    )]
    Guards(String),
    /// What the requests say is not what the findings say.
    #[error("decided again from its requests, it says something else than its findings")]
    Findings,
    /// Something of it does not read.
    #[error("it does not read: {0}")]
    Unreadable(String),
}

/// What was found of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The run.
    pub run: RunId,
    /// True where its directory is no longer where it was read in; that is no trouble.
    pub directory_gone: bool,
    /// What is wrong with it.
    pub troubles: Vec<Trouble>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// What is wrong with the file.
    pub database: Vec<Trouble>,
    /// Each run, the latest first.
    pub runs: Vec<Checked>,
}

impl Check {
    /// How many troubles there are in all.
    #[must_use]
    pub fn troubles(&self) -> usize {
        let of_runs: usize = self.runs.iter().map(|run| run.troubles.len()).sum();
        self.database.len() + of_runs
    }
}

impl Store {
    /// Checks the file, and every run in it: its fingerprint, its rows, and, unless `quick`, whether its findings follow from its
    /// requests.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Corrupt`] where not even the list of runs can be read.
    pub fn check(&self, quick: bool) -> Result<Check, StoreError> {
        let mut check = Check {
            database: self.file_troubles()?,
            runs: Vec::new(),
        };
        for run in self.runs()? {
            let noted = SealedRun::noted_fingerprint(&run.dir);
            let mut troubles = self.run_troubles(&run.id, &run.fingerprint, quick);
            if let Some(found) = noted.as_ref().filter(|noted| **noted != run.fingerprint) {
                troubles.push(Trouble::Directory {
                    dir: run.dir.clone(),
                    found: found.clone(),
                });
            }
            check.runs.push(Checked {
                run: run.id,
                directory_gone: noted.is_none(),
                troubles,
            });
        }
        Ok(check)
    }

    fn file_troubles(&self) -> Result<Vec<Trouble>, StoreError> {
        let texts = |sql: &str, column: usize| -> Result<Vec<String>, StoreError> {
            let mut query = self.conn.prepare(sql).map_err(StoreError::sql(DOING))?;
            let rows = query
                .query_map([], |row| row.get(column))
                .map_err(StoreError::sql(DOING))?;
            rows.collect::<Result<_, _>>().map_err(StoreError::sql(DOING))
        };
        let integrity = texts("PRAGMA integrity_check", 0)?;
        let keys = texts("PRAGMA foreign_key_check", 0)?;
        let integrity = integrity
            .into_iter()
            .filter(|said| said != "ok")
            .map(Trouble::Integrity);
        let keys = keys.into_iter().map(Trouble::ForeignKey);
        Ok(integrity.chain(keys).chain(self.guards_trouble()?).collect())
    }

    /// Holds the triggers against those of a database that was made just now.
    fn guards_trouble(&self) -> Result<Option<Trouble>, StoreError> {
        let mut fresh = Connection::open_in_memory().map_err(StoreError::sql(DOING))?;
        migrate(&mut fresh, &self.path)?;
        let expected = guards(&fresh).map_err(StoreError::sql(DOING))?;
        let found = guards(&self.conn).map_err(StoreError::sql(DOING))?;
        let differ = expected.iter().filter(|guard| !found.contains(guard));
        let added = found.iter().filter(|guard| !expected.contains(guard));
        let names: Vec<&str> = differ.chain(added).map(|(name, _)| name.as_str()).collect();
        Ok((!names.is_empty()).then(|| Trouble::Guards(names.join(", "))))
    }

    /// True where the rows that `query` reads are those of these findings.
    ///
    /// # Errors
    /// [`StoreError::Sql`] where they do not read.
    pub fn has_rows_of(&self, run: &RunId, findings: &Findings) -> Result<bool, StoreError> {
        let mut written = RowDigest::default();
        for (position, row) in (0_u32..).zip(servelab_findings::rows(findings)) {
            written.written(&finding_row(position, &row)?);
        }
        Ok(written.is_same(&RowDigest::stored(&self.conn, run, Table::Finding)?))
    }

    fn finding_rows_trouble(&self, run: &RunId) -> Result<Option<Trouble>, StoreError> {
        let findings = self.load_run(run)?.findings;
        Ok((!self.has_rows_of(run, &findings)?).then_some(Trouble::FindingRows))
    }

    fn run_troubles(&self, run: &RunId, fingerprint: &Sha256Hex, quick: bool) -> Vec<Trouble> {
        let unreadable = |why: StoreError| Some(Trouble::Unreadable(why.to_string()));
        let manifest = self.manifest_trouble(run, fingerprint);
        let rows = self.row_trouble(run);
        let read = self.finding_rows_trouble(run);
        let findings = if quick { Ok(None) } else { self.findings_trouble(run) };
        [manifest, rows, read, findings]
            .into_iter()
            .filter_map(|found| found.unwrap_or_else(unreadable))
            .collect()
    }

    fn manifest_trouble(&self, run: &RunId, expected: &Sha256Hex) -> Result<Option<Trouble>, StoreError> {
        let manifest = self.load_run(run)?.manifest;
        let text = canonical_json(&manifest).map_err(|why| StoreError::corrupt("run.manifest_json", why))?;
        let found = Sha256Hex::from_bytes(Sha256::digest(text).into());
        Ok((&found != expected).then(|| Trouble::Manifest {
            expected: expected.clone(),
            found,
        }))
    }

    /// None too where an earlier servelab read the run in: it kept no digest.
    fn row_trouble(&self, run: &RunId) -> Result<Option<Trouble>, StoreError> {
        let kept: Option<(i64, String)> = self
            .conn
            .query_row(
                "SELECT row_count, sha256 FROM run_digest WHERE run_id = ?1",
                params![run.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(StoreError::sql(DOING))?;
        let Some((rows, sha256)) = kept else {
            return Ok(None);
        };
        let found = RunDigest::stored(&self.conn, run)?;
        let expected = u64::try_from(rows).unwrap_or_default();
        Ok(
            (found.rows != expected || found.sha256.as_str() != sha256).then_some(Trouble::Rows {
                expected,
                found: found.rows,
            }),
        )
    }

    fn findings_trouble(&self, run: &RunId) -> Result<Option<Trouble>, StoreError> {
        let text = |findings| canonical_json(findings).map_err(|why| StoreError::corrupt("run.findings_json", why));
        let (said, again) = (self.load_run(run)?.findings, self.evaluate_again(run)?);
        Ok((text(&said)? != text(&again)?).then_some(Trouble::Findings))
    }
}
