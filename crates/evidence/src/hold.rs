//! Who writes to a run directory: an advisory lock on the directory itself, which ends with the process that holds it.
//!
//! Nothing is left on the disk by it. A file system that has no such locks (some NFS) lets everybody in.

use crate::EvidenceError;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{fs::File, path::Path};

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
