//! Reading a run directory back: its files and their hashes.

use crate::EvidenceError;
use serde::de::DeserializeOwned;
use servelab_schema::{Bytes, SealedFile, Sha256Hex};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Size and SHA-256 of a file.
///
/// # Errors
/// [`EvidenceError::Io`] where it cannot be read.
pub fn sha256_file(path: &Path) -> Result<(u64, Sha256Hex), EvidenceError> {
    let hashed = sha256_file_while(path, &|| true)?;
    // Who never says stop is never stopped.
    hashed.ok_or_else(|| EvidenceError::Io {
        what: "read",
        path: path.to_path_buf(),
        source: io::ErrorKind::Interrupted.into(),
    })
}

/// Size and SHA-256 of a file, or none where `go_on` says no before its end; it is asked about once a megabyte.
///
/// # Errors
/// [`EvidenceError::Io`] where it cannot be read.
pub fn sha256_file_while(path: &Path, go_on: &dyn Fn() -> bool) -> Result<Option<(u64, Sha256Hex)>, EvidenceError> {
    let mut file = File::open(path).map_err(EvidenceError::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    let mut bytes = 0_u64;
    loop {
        if !go_on() {
            return Ok(None);
        }
        let n = file.read(&mut buffer).map_err(EvidenceError::io("read", path))?;
        if n == 0 {
            break;
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        bytes = bytes.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
    }
    Ok(Some((bytes, Sha256Hex::from_bytes(hasher.finalize().into()))))
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

pub(crate) fn seal_entry(relative: String, path: &Path) -> Result<SealedFile, EvidenceError> {
    let (bytes, sha256) = sha256_file(path)?;
    Ok(SealedFile {
        path: relative,
        bytes: Bytes(bytes),
        sha256,
    })
}

pub(crate) fn read(path: &Path) -> Result<String, EvidenceError> {
    fs::read_to_string(path).map_err(EvidenceError::io("read", path))
}

pub(crate) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, EvidenceError> {
    serde_json::from_str(text).map_err(|e| EvidenceError::Format {
        path: path.display().to_string(),
        message: e.to_string(),
    })
}

pub(crate) fn document<T: DeserializeOwned>(path: &Path) -> Result<T, EvidenceError> {
    parse(&read(path)?, path)
}
