//! A copy of the database while others read and write it.

use crate::{Store, StoreError};
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process,
};

const DOING: &str = "copying the database";

impl Store {
    /// Copies the database into one new file, as it is at one moment, by SQLite's online backup. The file has its name only once it is
    /// whole and on the disk. Returns its size in bytes.
    ///
    /// # Errors
    /// [`StoreError::There`] where there is such a file, [`StoreError::Copy`] where it cannot be written, [`StoreError::Sql`] where
    /// SQLite refuses.
    pub fn backup(&self, to: &Path) -> Result<u64, StoreError> {
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::There { path: to.to_owned() });
        }
        let unfinished = unfinished(to);
        let copied = self.copy(&unfinished).and_then(|()| place(&unfinished, to));
        if copied.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        copied
    }

    fn copy(&self, to: &Path) -> Result<(), StoreError> {
        File::create_new(to).map_err(copy_error(to))?;
        let mut copy = Connection::open(to).map_err(StoreError::sql(DOING))?;
        let step = Backup::new(&self.conn, &mut copy)
            .and_then(|backup| backup.step(-1))
            .map_err(StoreError::sql(DOING))?;
        if step != StepResult::Done {
            let source = io::Error::from(ErrorKind::ResourceBusy);
            return Err(copy_error(to)(source));
        }
        // One file: without a log beside it.
        copy.pragma_update(None, "journal_mode", "DELETE")
            .map_err(StoreError::sql(DOING))?;
        copy.close().map_err(|(_, why)| StoreError::sql(DOING)(why))
    }
}

/// The name of a copy until it is whole.
fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.unfinished", process::id()));
    to.with_file_name(name)
}

fn copy_error(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Copy {
        path: path.clone(),
        source,
    }
}

/// Gives the copy its name, which no file has; returns its size.
fn place(unfinished: &Path, to: &Path) -> Result<u64, StoreError> {
    let failed = copy_error(to);
    let file = File::open(unfinished).map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    let bytes = file.metadata().map_err(&failed)?.len();
    match renameat_with(CWD, unfinished, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(StoreError::There { path: to.to_owned() });
        }
        other => other.map_err(&failed)?,
    }
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(&failed)?;
    Ok(bytes)
}
