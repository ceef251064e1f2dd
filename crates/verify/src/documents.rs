//! Reading a document: bounded, hashed while it is read, parsed, and held against the one spelling that servelab writes.

use crate::report::{Break, Kind};
use serde::de::DeserializeOwned;
use serde_json::Value;
use servelab_evidence::{EvidenceError, Once, ReadOnce};
use servelab_schema::{Format, canonical_json, unreadable};
use std::{
    io::{self, Read},
    path::Path,
};

/// Largest document that is read, bytes: the plan of ten million requests is smaller.
const MOST: u64 = 64 << 20;

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) read: ReadOnce,
    /// Its bytes; none where it is too large.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// Reads a document to its end.
pub(crate) fn read(path: &Path) -> Result<Document, EvidenceError> {
    let mut once = Once::open(path, false)?;
    let mut bytes = Vec::new();
    let io = |source: io::Error| EvidenceError::Io {
        what: "read",
        path: path.to_path_buf(),
        source,
    };
    let most = MOST.saturating_add(1);
    (&mut once).take(most).read_to_end(&mut bytes).map_err(io)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|n| n <= MOST);
    Ok(Document {
        read: once.finish()?,
        bytes: fits.then_some(bytes),
    })
}

/// The value of a document, or why it is none.
pub(crate) fn parse<T: DeserializeOwned + Format>(file: &str, bytes: Option<&[u8]>) -> Result<T, Box<Break>> {
    let Some(bytes) = bytes else {
        let what = format!("it is larger than {} MB, which no document of a run is", MOST >> 20);
        return Err(Box::new(Break::inconsistent(Kind::TooLarge, file, what)));
    };
    serde_json::from_slice(bytes).map_err(|e| {
        let version = std::str::from_utf8(bytes).ok().and_then(unreadable::<T>);
        if let Some(why) = version {
            return Box::new(Break::inconsistent(Kind::Version, file, why.to_string()));
        }
        let found = Break::inconsistent(Kind::Format, file, e.to_string());
        Box::new(match u64::try_from(e.line()) {
            Ok(line) if line > 1 => found.line(line),
            _ => found,
        })
    })
}

/// Why bytes that parse are not what servelab would have written; none where they are.
pub(crate) fn misspelt(file: &str, bytes: &[u8]) -> Option<Break> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let ours = canonical_json(&value).ok()?;
    (ours.as_bytes() != bytes).then(|| {
        Break::inconsistent(
            Kind::Spelling,
            file,
            "not canonical JSON: it was not written by servelab, or was written again by something else",
        )
    })
}
