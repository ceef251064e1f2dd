//! What can go wrong between a sealed run and its rows.

use rusqlite::ErrorCode;
use servelab_schema::{RunId, Sha256Hex};
use std::path::{Path, PathBuf};

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the database {}: {why}; check the folder and its permissions", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        why: rusqlite::Error,
    },
    /// The file is damaged, or no database at all.
    #[error(
        "the database {} cannot be read: {why}; it holds nothing but what the runs hold: delete it, and `servelab ingest` makes it \
         again", path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        why: rusqlite::Error,
    },
    /// The file belongs to another program.
    #[error("{} is a database, but not one of servelab's; give another path", path.display())]
    NotOurs {
        /// The database file.
        path: PathBuf,
    },
    /// A later servelab made the file.
    #[error(
        "{} has tables of version {found}, this servelab knows {known}; use the newer servelab, or delete the file and \
         ingest the runs again", path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Version found in the file.
        found: u32,
        /// Version that this program makes.
        known: u32,
    },
    /// SQLite refused a step.
    #[error("the database failed while {doing}: {why}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        why: rusqlite::Error,
    },
    /// Two different runs carry one name.
    #[error(
        "run `{run}` is in the database with fingerprint {stored} from {}, where it still lies, but this directory has \
         {given}: two different runs under one name. Move one of them away, or run the plan under a new name", dir.display()
    )]
    Conflict {
        /// The name.
        run: RunId,
        /// Fingerprint of the run that is stored.
        stored: Sha256Hex,
        /// Fingerprint of the run that was given.
        given: Sha256Hex,
        /// Where the stored run lies.
        dir: PathBuf,
    },
    /// No such run.
    #[error("no run `{run}` in {}; known: {known}. Ingest it first: `servelab ingest runs/{run}`", path.display())]
    UnknownRun {
        /// The name that was asked for.
        run: RunId,
        /// The database file.
        path: PathBuf,
        /// The names there are.
        known: String,
    },
    /// A row does not read back.
    #[error("{what} in the database does not read back: {why}; delete the database and ingest the runs again")]
    Corrupt {
        /// Which row or column.
        what: String,
        /// Why.
        why: String,
    },
    /// A number that SQLite cannot hold.
    #[error("{what} is {value}, more than SQLite can hold; the run directory is damaged")]
    TooLarge {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// What came back is not what was written.
    #[error(
        "run `{run}`: {written} rows were written into the database, {found} came back, or other ones; nothing of it was kept. The disk \
         or its file system loses data: check it, and ingest the run again"
    )]
    ReadBack {
        /// The run.
        run: RunId,
        /// Rows that were written.
        written: u64,
        /// Rows that came back.
        found: u64,
    },
    /// There is a file where a copy was to be made.
    #[error("{}: there is such a file already, and nothing is written over; name another one", path.display())]
    There {
        /// The file.
        path: PathBuf,
    },
    /// A copy of the database could not be made.
    #[error("{}: the copy cannot be made: {source}; check the folder and the space in it", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The run directory does not read.
    #[error(transparent)]
    Evidence(#[from] servelab_evidence::EvidenceError),
    /// A type does not become JSON.
    #[error("{what} cannot be written as JSON: {source}")]
    Json {
        /// Which value.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// True where SQLite says that the file itself is wrong, and not its place or what was asked of it.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

impl StoreError {
    pub(crate) fn opening(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |why| {
            let path = path.to_owned();
            if is_damage(&why) {
                Self::Damaged { path, why }
            } else {
                Self::Open { path, why }
            }
        }
    }

    pub(crate) fn sql(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |why| {
            if is_damage(&why) {
                return Self::corrupt(format!("what was wanted for {doing}"), why);
            }
            Self::Sql { doing, why }
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Corrupt {
            what: what.into(),
            why: why.to_string(),
        }
    }
}
