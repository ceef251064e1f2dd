//! SHA-256 over the rows of a run: of those that are handed to the database, and of those that it hands back.
//!
//! Each table has a hash of its own, since their rows are written in turns; the run's is over these.

use crate::StoreError;
use rusqlite::{
    Connection,
    types::{Value, ValueRef},
};
use servelab_schema::{RunId, Sha256Hex};
use sha2::{Digest as _, Sha256};

/// A table of a run, and how its rows are read back in the order in which they are written. `run.dir` and `trial.key` are of this
/// database alone and are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Run,
    Variant,
    Load,
    Prompt,
    Trial,
    Request,
    Telemetry,
    Finding,
}

impl Table {
    const ALL: [Self; 8] = [
        Self::Run,
        Self::Variant,
        Self::Load,
        Self::Prompt,
        Self::Trial,
        Self::Request,
        Self::Telemetry,
        Self::Finding,
    ];

    /// Answers for the run `?1`. The columns are those of the rows that `ingest` makes.
    const fn read_back(self) -> &'static str {
        match self {
            Self::Run => {
                "SELECT id, fingerprint, name, engine_kind, time_scale, method_version, servelab_version, started_utc, finished_utc, \
                 complete, manifest_json, plan_json, environment_json, findings_json, brief_json FROM run WHERE id = ?1"
            }
            Self::Variant => {
                "SELECT id, position, role, control, factor, hypothesis FROM variant WHERE run_id = ?1 ORDER BY position"
            }
            Self::Load => "SELECT id, position, load_json FROM load WHERE run_id = ?1 ORDER BY position",
            Self::Prompt => {
                "SELECT id, prompt_set, filler, task, bucket, prompt_tokens, max_new_tokens FROM prompt WHERE run_id = ?1 ORDER BY id"
            }
            Self::Trial => {
                "SELECT id, position, block, trial_order, variant, load, take, validity, treatment, started_utc, span_start_ns, \
                 span_end_ns, held_start_ns, held_end_ns, planned, completed, failed, record_json, engine_json FROM trial \
                 WHERE run_id = ?1 ORDER BY position"
            }
            Self::Request => {
                "SELECT request.* FROM trial CROSS JOIN request ON request.trial = trial.key WHERE trial.run_id = ?1 \
                 ORDER BY trial.position, request.position"
            }
            Self::Telemetry => {
                "SELECT telemetry.* FROM trial CROSS JOIN telemetry ON telemetry.trial = trial.key WHERE trial.run_id = ?1 \
                 ORDER BY trial.position, telemetry.position"
            }
            Self::Finding => "SELECT * FROM finding WHERE run_id = ?1 ORDER BY position",
        }
    }

    /// Columns that the answer begins with and that are none of the row's.
    const fn keys(self) -> usize {
        match self {
            Self::Request | Self::Telemetry | Self::Finding => 1,
            _ => 0,
        }
    }
}

/// The rows of one table so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowDigest {
    rows: u64,
    hasher: Sha256,
    buffer: Vec<u8>,
}

impl RowDigest {
    /// Takes a row that is written.
    pub(crate) fn written(&mut self, row: &[Value]) {
        self.row(row.iter().map(ValueRef::from));
    }

    /// Takes a row: of each value its kind, its length and its bytes.
    fn row<'v>(&mut self, row: impl Iterator<Item = ValueRef<'v>>) {
        self.buffer.clear();
        for value in row {
            let (kind, bytes): (u8, &[u8]) = match value {
                ValueRef::Null => (0, &[]),
                ValueRef::Integer(n) => (1, &n.to_le_bytes()),
                // SQLite keeps no sign of a zero.
                ValueRef::Real(x) => (2, &(x + 0.0).to_bits().to_le_bytes()),
                ValueRef::Text(text) => (3, text),
                ValueRef::Blob(blob) => (4, blob),
            };
            self.buffer.push(kind);
            self.buffer.extend_from_slice(&bytes.len().to_le_bytes());
            self.buffer.extend_from_slice(bytes);
        }
        self.rows = self.rows.saturating_add(1);
        self.hasher.update(&self.buffer);
    }
}

/// The rows of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunDigest {
    /// How many there are in all tables.
    pub(crate) rows: u64,
    /// SHA-256 of the hashes of the tables.
    pub(crate) sha256: Sha256Hex,
}

impl RunDigest {
    /// Of the rows of each table, which are asked for in turn.
    fn of(mut each: impl FnMut(Table) -> Result<RowDigest, StoreError>) -> Result<Self, StoreError> {
        let (mut rows, mut hasher) = (0_u64, Sha256::new());
        for table in Table::ALL {
            let digest = each(table)?;
            rows = rows.saturating_add(digest.rows);
            hasher.update(digest.hasher.finalize());
        }
        let sha256 = Sha256Hex::from_bytes(hasher.finalize().into());
        Ok(Self { rows, sha256 })
    }

    /// Of the rows that the database has of a run.
    pub(crate) fn stored(conn: &Connection, run: &RunId) -> Result<Self, StoreError> {
        Self::of(|table| RowDigest::stored(conn, run, table))
    }
}

impl RowDigest {
    /// Of the rows that the database has of a run in one table.
    pub(crate) fn stored(conn: &Connection, run: &RunId, table: Table) -> Result<Self, StoreError> {
        let doing = "reading the rows of a run back";
        let mut digest = Self::default();
        let mut query = conn.prepare(table.read_back()).map_err(StoreError::sql(doing))?;
        let columns = query.column_count();
        let mut rows = query.query([run.as_str()]).map_err(StoreError::sql(doing))?;
        while let Some(row) = rows.next().map_err(StoreError::sql(doing))? {
            let values = (table.keys()..columns).map(|i| row.get_ref(i).unwrap_or(ValueRef::Null));
            digest.row(values);
        }
        Ok(digest)
    }

    /// True where both are of the same rows.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let digest = |of: &Self| (of.rows, of.hasher.clone().finalize());
        digest(self) == digest(other)
    }
}

/// The rows of a run that were written, table by table.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) run: RowDigest,
    pub(crate) variant: RowDigest,
    pub(crate) load: RowDigest,
    pub(crate) prompt: RowDigest,
    pub(crate) finding: RowDigest,
    pub(crate) takes: WrittenTakes,
}

/// The same of the takes, which another thread makes.
#[derive(Debug, Default)]
pub(crate) struct WrittenTakes {
    pub(crate) trial: RowDigest,
    pub(crate) request: RowDigest,
    pub(crate) telemetry: RowDigest,
}

impl Written {
    /// Of all of them.
    pub(crate) fn digest(self) -> Result<RunDigest, StoreError> {
        RunDigest::of(|table| {
            Ok(match table {
                Table::Run => self.run.clone(),
                Table::Variant => self.variant.clone(),
                Table::Load => self.load.clone(),
                Table::Prompt => self.prompt.clone(),
                Table::Trial => self.takes.trial.clone(),
                Table::Request => self.takes.request.clone(),
                Table::Telemetry => self.takes.telemetry.clone(),
                Table::Finding => self.finding.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[&[Value]]) -> [u8; 32] {
        let mut digest = RowDigest::default();
        rows.iter().for_each(|row| digest.written(row));
        digest.hasher.finalize().into()
    }

    #[test]
    fn rows_that_differ_in_kind_place_or_length_have_other_digests() {
        let text = |t: &str| Value::Text(t.to_owned());
        let rows: [&[&[Value]]; 8] = [
            &[&[text("ab"), text("c")]],
            &[&[text("a"), text("bc")]],
            &[&[text("1")]],
            &[&[Value::Integer(1)]],
            &[&[Value::Real(1.0)]],
            &[&[Value::Blob(b"1".to_vec())]],
            &[&[Value::Null, Value::Integer(1)]],
            &[&[Value::Integer(1), Value::Null]],
        ];
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                assert_eq!(digest(a) == digest(b), i == j, "{a:?} and {b:?}");
            }
        }
    }
}
