//! Sealed runs in, SQLite rows out.
//!
//! Parts: [`Store`] opens the file and brings its schema up to date (`migrations`), `ingest` writes one sealed run in one
//! transaction, `read` gives it back as the types of `schema` and can have `findings` decide it again, `chunks` packs a token
//! timeline into one blob.
//!
//! Format: one SQLite file in WAL mode; readers never wait for the writer. Every row hangs on its run by foreign keys, so
//! that a run comes and goes as a whole.
//!
//! Traps: the database is a cache. Whatever it holds comes from `runs/` and can be made again by `ingest`; this room must
//! never become the only place of a fact. Per-token data never becomes rows: the chunks of a request are one blob. This
//! room judges nothing: what a run says comes with it as findings.json, and `finding` has its metrics and tests one number a row.

mod backup;
mod check;
mod chunks;
mod corrections;
mod digest;
mod error;
mod flat;
mod history;
mod ingest;
mod migrations;
mod owned;
mod query;
mod read;
mod sql_value;

pub use check::{Check, Checked, Trouble};
pub use chunks::{ChunkBlobError, decode_chunks, encode_chunks};
pub use corrections::{About, Corrections};
pub use error::StoreError;
pub use flat::{TakeOf, Timeline, trace_cells, trace_columns};
pub use history::{Series, SeriesKey};
pub use ingest::Ingested;
pub use query::{Found, LeftOut, Question};
pub use read::{RunData, RunSummary, TakeRow};

use rusqlite::{Connection, ErrorCode};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a writer waits for another writer before it gives up. Readers never wait.
const BUSY: Duration = Duration::from_secs(30);

/// An open database of ingested runs.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    path: PathBuf,
}

/// Write-ahead logging: a report can read while a run is being ingested. SQLite does not wait for others by itself where the mode
/// changes, which only happens while a database is new.
fn use_wal(conn: &Connection) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut left = BUSY.as_millis() / PAUSE.as_millis();
    loop {
        let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode == "wal" {
            return Ok(());
        }
        match conn.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if left > 0 && error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                left -= 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

impl Store {
    /// Opens the database, makes it where there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] where the file cannot be opened, [`StoreError::Damaged`] where it is no database, [`StoreError::NotOurs`] where it is another program's
    /// database, [`StoreError::Newer`] where a later servelab made it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open = StoreError::opening(path);
        let mut conn = Connection::open(path).map_err(&open)?;
        conn.busy_timeout(BUSY).map_err(&open)?;
        migrations::check_owner(&conn, path)?;
        use_wal(&conn).map_err(&open)?;
        conn.pragma_update(None, "synchronous", "NORMAL").map_err(&open)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(&open)?;
        migrations::migrate(&mut conn, path)?;
        Ok(Self {
            conn,
            path: path.to_owned(),
        })
    }

    /// The same where there is one already: who only looks makes none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StoreError> {
        path.exists().then(|| Self::open(path)).transpose()
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
