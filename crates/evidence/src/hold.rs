//! Who writes to a run directory: an advisory lock on the directory itself, which ends with the process that holds it.
//!
//! Nothing is left on the disk by it. A file system that has no such locks (some NFS) lets everybody in.

use crate::EvidenceError;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Where Linux lists every lock.
const LOCKS: &str = "/proc/locks";

/// True where a servelab writes to the directory now, as far as can be seen from here: one in another container, or on a file
/// system without locks, is not seen. Takes no lock itself, and so hinders nobody.
#[must_use]
pub fn is_held(dir: &Path) -> bool {
    let Ok(inode) = fs::metadata(dir).map(|m| m.ino()) else {
        return false;
    };
    has_lock(&fs::read_to_string(LOCKS).unwrap_or_default(), inode)
}

/// True where a list of locks has one of `flock` on a file of that number, such as
/// `1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF`. The device is left out: file systems in layers name another one.
fn has_lock(locks: &str, inode: u64) -> bool {
    let inode = inode.to_string();
    locks.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("FLOCK") && words.any(|word| word.split(':').nth(2) == Some(inode.as_str()))
    })
}

/// Holds a run directory until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    /// None where the file system has no locks.
    _locked: Option<File>,
}

impl Hold {
    /// Takes the directory.
    ///
    /// # Errors
    /// [`EvidenceError::Running`] where another process has it; [`EvidenceError::Io`] where it cannot be opened.
    pub(crate) fn take(dir: &Path) -> Result<Self, EvidenceError> {
        let file = File::open(dir).map_err(EvidenceError::io("open", dir))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _locked: Some(file) }),
            Err(Errno::WOULDBLOCK) => Err(EvidenceError::Running(dir.to_path_buf())),
            Err(_) => Ok(Self { _locked: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_directory_is_seen_and_not_hindered() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path()));
        let hold = Hold::take(dir.path()).unwrap();
        assert!(is_held(dir.path()));
        drop(hold);
        assert!(!is_held(dir.path()));
        assert!(!is_held(&dir.path().join("none")));
    }

    #[test]
    fn locks_of_other_files_are_not_it() {
        let locks = "1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF\n2: POSIX  ADVISORY  WRITE 1 08:01:99 0 EOF\n";
        assert!(has_lock(locks, 123_456));
        assert!(!has_lock(locks, 12_345) && !has_lock(locks, 99) && !has_lock(locks, 4711));
    }
}
