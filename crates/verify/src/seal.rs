//! The seal of a run: its manifest, and the fingerprint that lies beside it. Where the two do not fit, which of them was changed.

use crate::{
    documents::{self, Document},
    report::{Break, Breaks, Kind, Level},
};
use servelab_evidence::names;
use servelab_schema::{RunManifest, Sha256Hex};
use std::path::Path;

/// A seal that was looked at.
#[derive(Debug)]
pub(crate) struct Seal {
    /// SHA-256 of the manifest as it lies there.
    pub(crate) fingerprint: Sha256Hex,
    /// None where it does not parse.
    pub(crate) manifest: Option<RunManifest>,
    /// False where the manifest itself was changed: what it says of files proves nothing then.
    pub(crate) is_trusted: bool,
}

/// Two digests that differ in no more digits than this are one, damaged: those of two texts differ in some sixty.
const DAMAGED_DIGITS: usize = 16;

/// A note that is no longer than this is read.
const LONGEST_NOTE: usize = 4096;

/// Reads the seal of a run; none where it has no manifest.
pub(crate) fn read(dir: &Path, outside: &[Sha256Hex], breaks: &mut Breaks) -> Option<Seal> {
    let path = dir.join(names::MANIFEST);
    let Document { read, bytes } = match documents::read(&path) {
        Ok(document) => document,
        Err(error) => {
            let (kind, what, remedy) = if path.symlink_metadata().is_ok() {
                (Kind::Unreadable, error.to_string(), "fetch the run again")
            } else {
                let what = "no run_manifest.json: the run goes on, or was cut off before it could be sealed".to_owned();
                (Kind::Unsealed, what, "`servelab seal` closes what was cut off")
            };
            breaks.add(Break::new(Level::Complete, kind, names::MANIFEST, what).remedy(remedy));
            return None;
        }
    };
    let fingerprint = read.on_disk.sha256;
    let parsed = documents::parse::<RunManifest>(names::MANIFEST, bytes.as_deref());
    let is_trusted = match note_of(dir, &fingerprint, outside) {
        Note::Fits => true,
        Note::Missing => {
            let what = "the fingerprint of the manifest is not there";
            breaks.add(
                Break::new(Level::Complete, Kind::Missing, names::FINGERPRINT, what).remedy("fetch the run again"),
            );
            true
        }
        Note::Damaged(what, found) => {
            let what = format!("{what}; the manifest is as it was");
            let found =
                Break::new(Level::Unchanged, Kind::Changed, names::FINGERPRINT, what).but(fingerprint.as_str(), found);
            breaks.add(found.remedy("fetch this file again"));
            true
        }
        Note::OfAnother(noted) => {
            let what = match &parsed {
                Ok(_) => "it is not the manifest that its fingerprint is of".to_owned(),
                Err(why) => format!("it is not the manifest that its fingerprint is of: {}", why.what),
            };
            let found = Break::new(Level::Unchanged, Kind::Fingerprint, names::MANIFEST, what);
            breaks.add(found.but(noted, fingerprint.as_str()).remedy("fetch the run again"));
            false
        }
    };
    let manifest = match parsed {
        Ok(manifest) => {
            if is_trusted && let Some(found) = bytes.and_then(|bytes| documents::misspelt(names::MANIFEST, &bytes)) {
                breaks.add(found);
            }
            Some(manifest)
        }
        Err(found) => {
            if is_trusted {
                breaks.add(Break {
                    level: Level::Complete,
                    ..*found
                });
            }
            None
        }
    };
    Some(Seal {
        fingerprint,
        manifest,
        is_trusted,
    })
}

/// What the noted fingerprint is.
enum Note {
    Fits,
    Missing,
    /// It was of this manifest, and is damaged; with what is there.
    Damaged(&'static str, String),
    /// It is of another manifest.
    OfAnother(String),
}

fn note_of(dir: &Path, fingerprint: &Sha256Hex, outside: &[Sha256Hex]) -> Note {
    let path = dir.join(names::FINGERPRINT);
    let Ok(Document { bytes, .. }) = documents::read(&path) else {
        return match path.symlink_metadata() {
            Ok(_) => Note::Damaged("it cannot be read", "nothing".to_owned()),
            Err(_) => Note::Missing,
        };
    };
    let bytes = bytes.filter(|b| b.len() <= LONGEST_NOTE).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text == format!("{fingerprint}  {}\n", names::MANIFEST) {
        return Note::Fits;
    }
    if outside.contains(fingerprint) {
        return Note::Damaged("it is not the fingerprint that was given from outside", text);
    }
    let noted = text.split("  ").next().unwrap_or_default();
    let whole = text.strip_suffix(&format!("  {}\n", names::MANIFEST));
    let Some(digest) = whole.and_then(|digits| Sha256Hex::new(digits).ok()) else {
        return Note::Damaged("it is no fingerprint of a manifest", text);
    };
    if outside.contains(&digest) {
        return Note::OfAnother(noted.to_owned());
    }
    let pairs = digest.as_str().bytes().zip(fingerprint.as_str().bytes());
    if pairs.filter(|(a, b)| a != b).count() <= DAMAGED_DIGITS {
        return Note::Damaged("some of its digits were changed", noted.to_owned());
    }
    Note::OfAnother(noted.to_owned())
}
