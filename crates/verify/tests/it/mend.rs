//! What a forger does: changes a file, and mends its hash in the manifest, and the manifest's fingerprint.

use crate::made::Size;
use servelab_evidence::{Listing, names, sha256_file};
use servelab_schema::{Bytes, RunManifest, SealedFile, Sha256Hex, Unpacked, canonical_json};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Small enough for thousands of copies.
pub(crate) const SMALL: Size = Size {
    variants: 2,
    blocks: 2,
    requests: 6,
    chunks: 5,
    samples: 3,
};

/// Copies a run, plain file by plain file.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let listing = Listing::of(from);
    for folder in &listing.folders {
        fs::create_dir_all(to.join(folder)).unwrap();
    }
    for file in &listing.files {
        fs::copy(from.join(&file.path), to.join(&file.path)).unwrap();
    }
}

/// Puts this text as the manifest, with its fingerprint.
pub(crate) fn seal_with(dir: &Path, text: &str) {
    fs::write(dir.join(names::MANIFEST), text).unwrap();
    let fingerprint = Sha256Hex::from_bytes(Sha256::digest(text).into());
    let note = format!("{fingerprint}  {}\n", names::MANIFEST);
    fs::write(dir.join(names::FINGERPRINT), note).unwrap();
}

/// The manifest as it lies there.
pub(crate) fn manifest(dir: &Path) -> RunManifest {
    serde_json::from_str(&fs::read_to_string(dir.join(names::MANIFEST)).unwrap()).unwrap()
}

/// Lists what lies there now, with its hashes, whatever it is: the whole seal made anew.
pub(crate) fn mended(dir: &Path) {
    let mut manifest = manifest(dir);
    let own = |path: &str| path != names::MANIFEST && path != names::FINGERPRINT;
    let files = Listing::of(dir).files.into_iter().filter(|f| own(&f.path));
    manifest.files = files.map(|f| entry(dir, f.path)).collect();
    let plan = manifest.files.iter().find(|f| f.path == names::PLAN).unwrap();
    manifest.plan_sha256 = plan.sha256.clone();
    seal_with(dir, &canonical_json(&manifest).unwrap());
}

fn entry(dir: &Path, path: String) -> SealedFile {
    let (bytes, sha256) = sha256_file(&dir.join(&path)).unwrap();
    let unpacked = path.ends_with(".zst").then(|| {
        let plain = zstd::decode_all(fs::read(dir.join(&path)).unwrap().as_slice()).unwrap();
        Unpacked {
            bytes: Bytes(u64::try_from(plain.len()).unwrap()),
            sha256: Sha256Hex::from_bytes(Sha256::digest(&plain).into()),
        }
    });
    SealedFile {
        path,
        bytes: Bytes(bytes),
        sha256,
        unpacked,
    }
}

/// The rows of a file, compressed or not, as `edit` leaves them.
pub(crate) fn rows(path: &Path, edit: impl FnOnce(&mut Vec<String>)) {
    let packed = path.extension().is_some_and(|e| e == "zst");
    let bytes = fs::read(path).unwrap();
    let bytes = if packed {
        zstd::decode_all(bytes.as_slice()).unwrap()
    } else {
        bytes
    };
    let mut rows: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    edit(&mut rows);
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let bytes = if packed {
        zstd::encode_all(text.as_bytes(), 3).unwrap()
    } else {
        text.into_bytes()
    };
    fs::write(path, bytes).unwrap();
}

/// A document as `edit` leaves it, in servelab's spelling.
pub(crate) fn document(path: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, canonical_json(&value).unwrap()).unwrap();
}

/// The file of a take, compressed or not.
pub(crate) fn of_take(dir: &Path, take: &str, name: &str) -> PathBuf {
    let folder = dir.join(names::TRIALS).join(take);
    let plain = folder.join(name);
    if plain.exists() {
        plain
    } else {
        folder.join(format!("{name}.zst"))
    }
}
