//! Bits that flip: each is found, and the file that it is in is named, and no other.

use crate::{made::sealed, mend::SMALL};
use servelab_evidence::Listing;
use servelab_random::SplitMix64;
use servelab_verify::{Asked, verify};
use std::{collections::BTreeMap, fs, path::Path};

/// Flips of each file, whatever its size; all else goes by size.
const LEAST_OF_A_FILE: usize = 1;

/// How many bits are flipped.
const FLIPS: usize = if cfg!(feature = "torture") { 4000 } else { 100 };

/// The files that a report names.
fn named(dir: &Path) -> Vec<String> {
    let report = verify(dir, &Asked::default()).report;
    let mut files: Vec<String> = report.breaks.into_iter().map(|b| b.file).collect();
    files.dedup();
    files
}

fn number(rng: &mut SplitMix64, most: usize) -> usize {
    usize::try_from(rng.next_u64() % u64::try_from(most).unwrap()).unwrap()
}

#[test]
fn every_flipped_bit_is_found_and_its_file_named_and_no_other() {
    let runs = tempfile::tempdir().unwrap();
    let dir = sealed(runs.path(), "r1", SMALL).unwrap();
    assert!(named(&dir).is_empty());
    let files: Vec<(String, usize)> = Listing::of(&dir)
        .files
        .into_iter()
        .map(|f| (f.path, usize::try_from(f.bytes).unwrap()))
        .collect();
    let all: usize = files.iter().map(|f| f.1).sum();
    let mut rng = SplitMix64::new(10);
    let mut table: BTreeMap<String, usize> = BTreeMap::new();
    let mut flips = 0;
    for (path, bytes) in &files {
        let share = (FLIPS * bytes / all).max(LEAST_OF_A_FILE);
        let whole = fs::read(dir.join(path)).unwrap();
        for _ in 0..share {
            let (at, bit) = (number(&mut rng, whole.len()), number(&mut rng, 8));
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            fs::write(dir.join(path), flipped).unwrap();
            assert_eq!(named(&dir), [path.as_str()], "bit {bit} of byte {at}");
            flips += 1;
            let kind = path.rsplit('/').next().unwrap_or_default();
            *table.entry(kind.to_owned()).or_default() += 1;
        }
        fs::write(dir.join(path), whole).unwrap();
    }
    assert!(named(&dir).is_empty(), "everything is as it was");
    assert!(flips >= FLIPS / 2, "{flips}");
    for (kind, n) in table {
        println!("{kind}: {n} of {n} found, no other file named");
    }
}
