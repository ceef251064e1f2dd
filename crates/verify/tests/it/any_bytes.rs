//! Any bytes in place of any file of a run, with its hash mended or not: verified, and never a panic. What the fuzzer runs
//! (`make torture-fuzz`), what it found is replayed here.

use crate::made::{Size, sealed};
use servelab_evidence::{Listing, names};
use servelab_schema::{Bytes, RunManifest, Sha256Hex, canonical_json};
use servelab_verify::{Asked, verify};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// As few rows as there can be: what is fuzzed is reading, and every run of it costs a whole verification.
const TINY: Size = Size {
    variants: 2,
    blocks: 1,
    requests: 2,
    chunks: 2,
    samples: 2,
};

/// A run that is damaged and made whole again.
pub(crate) struct Ground {
    dir: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    manifest: RunManifest,
    _folder: tempfile::TempDir,
}

impl Ground {
    /// A run in memory, where the machine has a file system there.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let dir = sealed(folder.path(), "r1", TINY).unwrap();
        let files = Listing::of(&dir).files.into_iter();
        let files = files
            .map(|f| (f.path.clone(), fs::read(dir.join(&f.path)).unwrap()))
            .collect();
        let manifest = serde_json::from_slice(&fs::read(dir.join(names::MANIFEST)).unwrap()).unwrap();
        Self {
            dir,
            files,
            manifest,
            _folder: folder,
        }
    }

    /// Puts bytes in place of a file and verifies: the first byte says which file, the second how the rest becomes its content, and
    /// whether the hash is mended.
    pub(crate) fn verify(&self, data: &[u8]) {
        let [which, how, rest @ ..] = data else { return };
        let Some(damaged) = self.files.get(usize::from(*which) % self.files.len()) else {
            return;
        };
        let (path, whole) = damaged;
        let content = match how % 4 {
            0 => rest.to_vec(),
            1 => spliced(whole, rest),
            2 if path.ends_with(".zst") => zstd::encode_all(rest, 1).unwrap(),
            2 => [whole, rest].concat(),
            _ if path.ends_with(".zst") => {
                let plain = zstd::decode_all(whole.as_slice()).unwrap();
                zstd::encode_all(spliced(&plain, rest).as_slice(), 1).unwrap()
            }
            _ => whole.get(..rest.len()).unwrap_or(whole).to_vec(),
        };
        fs::write(self.dir.join(path), &content).unwrap();
        if *how >= 128 {
            self.mend(path, &content);
        }
        let report = verify(&self.dir, &Asked::default()).report;
        assert!(
            report.is_good() == report.breaks.is_empty() || !report.is_good(),
            "{report:#?}"
        );
        for (path, whole) in [damaged].into_iter().chain(self.seal()) {
            fs::write(self.dir.join(path), whole).unwrap();
        }
    }

    fn seal(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        self.files
            .iter()
            .filter(|(path, _)| path == names::MANIFEST || path == names::FINGERPRINT)
    }

    fn mend(&self, path: &str, content: &[u8]) {
        let mut manifest = self.manifest.clone();
        for file in manifest.files.iter_mut().filter(|f| f.path == path) {
            file.sha256 = Sha256Hex::from_bytes(Sha256::digest(content).into());
            file.bytes = Bytes(u64::try_from(content.len()).unwrap());
            if file.path == names::PLAN {
                manifest.plan_sha256 = file.sha256.clone();
            }
        }
        let text = if path == names::MANIFEST {
            content.to_vec()
        } else {
            canonical_json(&manifest).unwrap().into_bytes()
        };
        let fingerprint = Sha256Hex::from_bytes(Sha256::digest(&text).into());
        fs::write(self.dir.join(names::MANIFEST), &text).unwrap();
        fs::write(
            self.dir.join(names::FINGERPRINT),
            format!("{fingerprint}  {}\n", names::MANIFEST),
        )
        .unwrap();
    }
}

/// The bytes with some of them replaced, from a place that the first two say.
fn spliced(whole: &[u8], rest: &[u8]) -> Vec<u8> {
    let [high, low, new @ ..] = rest else {
        return whole.to_vec();
    };
    let at = usize::from(u16::from_be_bytes([*high, *low])) % whole.len().max(1);
    let after = at.saturating_add(new.len()).min(whole.len());
    [
        whole.get(..at).unwrap_or_default(),
        new,
        whole.get(after..).unwrap_or_default(),
    ]
    .concat()
}
