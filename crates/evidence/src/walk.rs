//! Reading a run directory back: its files and their hashes.

use crate::{EvidenceError, packed};
use serde::de::DeserializeOwned;
use servelab_schema::{Bytes, Format, SealedFile, Sha256Hex, unreadable};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Size and hash of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) bytes: Bytes,
    pub(crate) sha256: Sha256Hex,
}

/// Counts and hashes bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hasher {
    bytes: u64,
    sha256: Sha256,
}

impl Hasher {
    pub(crate) fn update(&mut self, part: &[u8]) {
        self.sha256.update(part);
        self.bytes = self.bytes.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
    }

    pub(crate) fn finish(self) -> Hashed {
        Hashed {
            bytes: Bytes(self.bytes),
            sha256: Sha256Hex::from_bytes(self.sha256.finalize().into()),
        }
    }
}

/// Size and hash of everything that a reader of `path` gives. Where `go_on` says no, that is an error; it is asked about once a
/// megabyte.
pub(crate) fn hash<R: Read>(
    path: &Path,
    reader: io::Result<R>,
    go_on: &dyn Fn() -> bool,
) -> Result<Hashed, EvidenceError> {
    let mut reader = reader.map_err(EvidenceError::io("open", path))?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0_u8; 1 << 20]);
    loop {
        if !go_on() {
            return Err(EvidenceError::io("read", path)(io::ErrorKind::Interrupted.into()));
        }
        let n = reader.read(&mut buffer).map_err(EvidenceError::io("read", path))?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
}

/// Size and SHA-256 of a file.
///
/// # Errors
/// [`EvidenceError::Io`] where it cannot be read.
pub fn sha256_file(path: &Path) -> Result<(u64, Sha256Hex), EvidenceError> {
    let Hashed { bytes, sha256 } = hash(path, File::open(path), &|| true)?;
    Ok((bytes.0, sha256))
}

/// Size and SHA-256 of a file, or none where `go_on` says no before its end; it is asked about once a megabyte.
///
/// # Errors
/// [`EvidenceError::Io`] where it cannot be read.
pub fn sha256_file_while(path: &Path, go_on: &dyn Fn() -> bool) -> Result<Option<(u64, Sha256Hex)>, EvidenceError> {
    match hash(path, File::open(path), go_on) {
        Ok(Hashed { bytes, sha256 }) => Ok(Some((bytes.0, sha256))),
        Err(_) if !go_on() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every file below `root` with its path relative to it, sorted. Symbolic links are refused: they could leave the folder.
pub(crate) fn files(root: &Path) -> Result<Vec<(String, PathBuf)>, EvidenceError> {
    let mut found = Vec::new();
    let mut todo = vec![(String::new(), root.to_path_buf())];
    while let Some((prefix, dir)) = todo.pop() {
        for entry in fs::read_dir(&dir).map_err(EvidenceError::io("list", &dir))? {
            let entry = entry.map_err(EvidenceError::io("list", &dir))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(EvidenceError::io("look at", &path))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(EvidenceError::Unlisted(path));
            };
            let relative = if prefix.is_empty() {
                name.to_owned()
            } else {
                format!("{prefix}/{name}")
            };
            if kind.is_dir() {
                todo.push((relative, path));
            } else if kind.is_file() {
                found.push((relative, path));
            } else {
                return Err(EvidenceError::Unlisted(path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A file as a manifest lists it.
pub(crate) fn seal_entry(relative: String, path: &Path) -> Result<SealedFile, EvidenceError> {
    let Hashed { bytes, sha256 } = hash(path, File::open(path), &|| true)?;
    let unpacked = relative.ends_with(packed::ENDING).then(|| packed::unpacked(path));
    Ok(SealedFile {
        path: relative,
        bytes,
        sha256,
        unpacked: unpacked.transpose()?,
    })
}

pub(crate) fn read(path: &Path) -> Result<String, EvidenceError> {
    fs::read_to_string(path).map_err(EvidenceError::io("read", path))
}

pub(crate) fn parse<T: DeserializeOwned + Format>(text: &str, path: &Path) -> Result<T, EvidenceError> {
    parse_at(text, || path.display().to_string())
}

/// The value of a text, or why it is none; `place` names it.
pub(crate) fn parse_at<T: DeserializeOwned + Format>(
    text: &str,
    place: impl FnOnce() -> String,
) -> Result<T, EvidenceError> {
    serde_json::from_str(text).map_err(|e| EvidenceError::Format {
        path: place(),
        // An unknown key of a later version is a matter of its version.
        message: unreadable::<T>(text).map_or_else(|| e.to_string(), |why| why.to_string()),
    })
}

pub(crate) fn document<T: DeserializeOwned + Format>(path: &Path) -> Result<T, EvidenceError> {
    parse(&read(path)?, path)
}
