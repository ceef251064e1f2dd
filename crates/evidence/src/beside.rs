//! A file beside a run, such as its signature: there whole, or not at all.

use crate::{EvidenceError, writer::unfinished};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

/// Writes a file, in place of one that is there. Whoever the umask lets may read it.
///
/// # Errors
/// [`EvidenceError::Io`]; what was there before is then there still.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), EvidenceError> {
    let temporary = unfinished(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(EvidenceError::io("create", &temporary))?;
    file.write_all(bytes).map_err(EvidenceError::io("write", &temporary))?;
    file.sync_all().map_err(EvidenceError::io("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(EvidenceError::io("rename to", path))?;
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(EvidenceError::io("sync", folder))
}
