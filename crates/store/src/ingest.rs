//! One sealed run into rows, in one transaction that ends only once the rows have been read back.

mod rows;
mod takes;

pub(crate) use rows::finding as finding_row;

use crate::{
    Store, StoreError,
    digest::{RowDigest, RunDigest, Written},
    owned::owned,
};
use rusqlite::{Connection, OptionalExtension, Statement, Transaction, params, params_from_iter, types::Value};
use servelab_evidence::SealedRun;
use servelab_findings::rows as finding_rows;
use servelab_schema::{Plan, RunId, Sha256Hex, findings::Findings};
use std::path::PathBuf;

const DOING: &str = "ingesting a run";

/// The values of a row in the order of its columns.
type Row = Vec<Value>;

/// What an ingest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingested {
    /// The run is in the database now.
    New,
    /// The very same run was there already; nothing was changed.
    Already,
}

impl Store {
    /// Writes a sealed run's rows and reads them back. Doing it twice is doing it once; a run that does not go in whole does not go
    /// in. A run of the same name whose directory is gone, or holds another run by now, makes room.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another run of that name is stored and still lies where it was read, [`StoreError::Evidence`]
    /// where a file of the run does not read, [`StoreError::ReadBack`] where the database hands back something else than was written,
    /// [`StoreError::Sql`] where it refuses.
    pub fn ingest(&mut self, run: &SealedRun) -> Result<Ingested, StoreError> {
        let (id, dir) = (&run.manifest().run_id, dir_text(run));
        let is_same = |stored: &Option<(Sha256Hex, PathBuf)>| {
            let stored = stored.as_ref();
            stored.is_some_and(|(fingerprint, at)| fingerprint == run.fingerprint() && at.to_string_lossy() == dir)
        };
        // Whoever has nothing to write takes no lock.
        if is_same(&stored(&self.conn, id)?) {
            return Ok(Ingested::Already);
        }
        owned(&mut self.conn, DOING, |tx| {
            if let Some((stored, at)) = stored(tx, id)? {
                if &stored == run.fingerprint() {
                    tx.execute("UPDATE run SET dir = ?2 WHERE id = ?1", params![id.as_str(), dir])
                        .map_err(StoreError::sql(DOING))?;
                    return Ok(Ingested::Already);
                }
                if SealedRun::noted_fingerprint(&at).as_ref() == Some(&stored) {
                    return Err(StoreError::Conflict {
                        run: id.clone(),
                        stored,
                        given: run.fingerprint().clone(),
                        dir: at,
                    });
                }
                delete(tx, id)?;
            }
            insert(tx, run, &dir)?;
            Ok(Ingested::New)
        })
    }

    /// Takes the rows of a run out of the database; returns whether there were any.
    ///
    /// # Errors
    /// [`StoreError::Sql`] where the database refuses.
    pub fn forget(&mut self, run: &RunId) -> Result<bool, StoreError> {
        if stored(&self.conn, run)?.is_none() {
            return Ok(false);
        }
        owned(&mut self.conn, "removing a run", |tx| delete(tx, run))
    }
}

/// The run and whatever hangs on it.
fn delete(tx: &Transaction<'_>, run: &RunId) -> Result<bool, StoreError> {
    let gone = tx.execute("DELETE FROM run WHERE id = ?1", [run.as_str()]);
    gone.map(|rows| rows > 0).map_err(StoreError::sql("removing a run"))
}

fn dir_text(run: &SealedRun) -> String {
    let dir = run.dir();
    dir.canonicalize()
        .unwrap_or_else(|_| dir.to_owned())
        .display()
        .to_string()
}

/// Fingerprint and directory of the stored run of that name.
fn stored(conn: &Connection, run: &RunId) -> Result<Option<(Sha256Hex, PathBuf)>, StoreError> {
    let found: Option<(String, String)> = conn
        .query_row(
            "SELECT fingerprint, dir FROM run WHERE id = ?1",
            [run.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(StoreError::sql(DOING))?;
    let read = |(text, dir): (String, String)| {
        let fingerprint = Sha256Hex::new(text).map_err(|why| StoreError::corrupt("run.fingerprint", why))?;
        Ok((fingerprint, PathBuf::from(dir)))
    };
    found.map(read).transpose()
}

/// Writes the rows of a run, and reads them back.
fn insert(tx: &Transaction<'_>, run: &SealedRun, dir: &str) -> Result<(), StoreError> {
    let (plan, findings) = (run.plan()?, run.findings()?);
    let id = &run.manifest().run_id;
    let mut written = Written::default();
    insert_run(tx, (run, dir), (&plan, &findings), &mut written.run)?;
    let of_run = |table: &str, columns: usize| Insert::new(tx, table, columns + 1);
    let key = Value::from(id.as_str().to_owned());
    let mut variants = of_run("variant", 6)?;
    for row in rows::variants(&plan)? {
        variants.row(Some(&key), &row, &mut written.variant)?;
    }
    let mut loads = of_run("load", 3)?;
    for row in rows::loads(&plan)? {
        loads.row(Some(&key), &row, &mut written.load)?;
    }
    let mut prompts = of_run("prompt", 7)?;
    for row in rows::prompts(&plan).into_values() {
        prompts.row(Some(&key), &row, &mut written.prompt)?;
    }
    written.takes = takes::insert(tx, run, &plan, &findings)?;
    let mut found = of_run("finding", 30)?;
    for (position, row) in (0..).zip(finding_rows(&findings)) {
        found.row(Some(&key), &rows::finding(position, &row)?, &mut written.finding)?;
    }
    read_back(tx, id, &written.digest()?)
}

/// The run's own row. Where its directory lies is no part of what it says.
fn insert_run(
    tx: &Transaction<'_>,
    (run, dir): (&SealedRun, &str),
    (plan, findings): (&Plan, &Findings),
    written: &mut RowDigest,
) -> Result<(), StoreError> {
    let row = rows::run(run, plan, findings)?;
    let dir = Value::from(dir.to_owned());
    tx.execute(
        "INSERT INTO run (id, fingerprint, name, engine_kind, time_scale, method_version, servelab_version, started_utc, \
         finished_utc, complete, manifest_json, plan_json, environment_json, findings_json, brief_json, dir) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        params_from_iter(row.iter().chain([&dir])),
    )
    .map_err(StoreError::sql(DOING))?;
    written.written(&row);
    Ok(())
}

/// Compares what the database hands back with what was handed to it, and keeps the digest for `db check`.
fn read_back(tx: &Transaction<'_>, run: &RunId, written: &RunDigest) -> Result<(), StoreError> {
    let found = RunDigest::stored(tx, run)?;
    if &found != written {
        return Err(StoreError::ReadBack {
            run: run.clone(),
            written: written.rows,
            found: found.rows,
        });
    }
    let rows = i64::try_from(found.rows).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO run_digest VALUES (?1, ?2, ?3)",
        params![run.as_str(), rows, found.sha256.as_str()],
    )
    .map_err(StoreError::sql(DOING))?;
    Ok(())
}

/// Rows into one table.
struct Insert<'t> {
    statement: Statement<'t>,
}

impl<'t> Insert<'t> {
    /// For rows of so many columns, the keys included.
    fn new(tx: &'t Transaction<'_>, table: &str, columns: usize) -> Result<Self, StoreError> {
        let places = vec!["?"; columns].join(", ");
        Self::prepared(tx, &format!("INSERT INTO {table} VALUES ({places})"))
    }

    fn prepared(tx: &'t Transaction<'_>, sql: &str) -> Result<Self, StoreError> {
        let statement = tx.prepare(sql).map_err(StoreError::sql(DOING))?;
        Ok(Self { statement })
    }

    /// Writes a row behind its key, which is no part of the digest.
    fn row(&mut self, key: Option<&Value>, row: &[Value], written: &mut RowDigest) -> Result<(), StoreError> {
        written.written(row);
        self.keyed(key, row)
    }

    /// The same where somebody else has the row in a digest.
    fn keyed(&mut self, key: Option<&Value>, row: &[Value]) -> Result<(), StoreError> {
        let values = params_from_iter(key.into_iter().chain(row));
        self.statement.execute(values).map_err(StoreError::sql(DOING))?;
        Ok(())
    }
}
