//! What can go wrong with a run directory.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A run directory could not be written, or does not say what its manifest says.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The operating system refused.
    #[error("{path}: cannot {what}: {source}{}", remedy(.source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A folder in which no run directory can be made.
    #[error("{path}: no run directory can be made there: {source}; give a folder that you may write to with --runs")]
    NoFolder {
        /// The folder, or the run directory in it.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A run of that name is there already.
    #[error("{0}: this run is there already; runs are never overwritten, choose another --run-id")]
    Exists(PathBuf),
    /// No manifest.
    #[error(
        "{0}: unfinished run (no run_manifest.json): it goes on, or was cut off before it could be sealed; `servelab run --resume` \
         goes on with what was cut off, `servelab seal` closes it"
    )]
    Unfinished(PathBuf),
    /// A manifest is there already.
    #[error("{0}: sealed already; there is nothing to close")]
    Sealed(PathBuf),
    /// The run goes on.
    #[error("{0}: this run goes on (another servelab writes to it); end that one first, Ctrl-C seals it too")]
    Running(PathBuf),
    /// A directory that is no run, or not one that can be closed.
    #[error("{path}: {why}")]
    NotARun {
        /// The directory, or what in it is wrong.
        path: PathBuf,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// A document cannot be read.
    #[error("{path}: {message}")]
    Format {
        /// The file, with the line for JSONL.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The last row of a file has no end.
    #[error(
        "{}:{line}: the row is cut off; of a run that goes on it will be whole, and `servelab seal` or `servelab run --resume` sets \
         aside what a killed one left", path.display()
    )]
    TornRow {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// A file is not what the manifest says.
    #[error("{path}: changed since the run was sealed: the manifest says {expected}, the file has {found}")]
    Changed {
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// From the file.
        found: String,
    },
    /// A listed file is gone.
    #[error("{0}: listed in the manifest, but missing")]
    Missing(PathBuf),
    /// A file that the manifest does not list.
    #[error("{0}: not listed in the manifest; a sealed run holds nothing else")]
    Unlisted(PathBuf),
    /// What was read back differs from what was written.
    #[error("{path}: {written} bytes were written, {found} came back; the disk lost data, the run is not sealed")]
    LostWrite {
        /// The file.
        path: PathBuf,
        /// Bytes that were handed to the disk.
        written: u64,
        /// Bytes that were read back.
        found: u64,
    },
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, what was written so far is kept"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "; choose a writable folder with --runs",
        _ => "",
    }
}

impl EvidenceError {
    /// A folder of runs, or a run's own, that cannot be made. A full disk is that and not the folder's fault.
    pub(crate) fn no_folder(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            if is_full(&source) {
                Self::io("create", path)(source)
            } else {
                Self::NoFolder { path, source }
            }
        }
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// True where the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}
