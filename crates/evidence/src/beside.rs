//! A file beside a run, such as its signature: there whole, or not at all.

use crate::{EvidenceError, FileLayer, writer::unfinished};
use std::{io::Write, path::Path};

/// Writes a file, in place of one that is there. What bears its unfinished name is taken away first, be it a link: nothing is
/// written through it.
///
/// # Errors
/// [`EvidenceError::Io`]; what was there before is then there still.
pub fn write_whole(layer: &dyn FileLayer, path: &Path, bytes: &[u8]) -> Result<(), EvidenceError> {
    let temporary = unfinished(path);
    layer
        .remove(&temporary)
        .map_err(EvidenceError::io("remove", &temporary))?;
    let mut file = layer
        .create_new(&temporary)
        .map_err(EvidenceError::io("create", &temporary))?;
    file.write_all(bytes).map_err(EvidenceError::io("write", &temporary))?;
    file.sync().map_err(EvidenceError::io("sync", &temporary))?;
    layer
        .rename(&temporary, path)
        .map_err(EvidenceError::io("rename to", path))?;
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    layer.sync(folder).map_err(EvidenceError::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedDisk;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("r1.intoto.json"));
        fs::write(&victim, "mine").unwrap();
        for link in [unfinished(&path), path.clone()] {
            symlink(&victim, &link).unwrap();
            write_whole(&SharedDisk, &path, b"new").unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"mine");
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
            fs::remove_file(&path).unwrap();
        }
    }
}
