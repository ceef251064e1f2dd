//! The verifier never panics: on what the fuzzer found interesting, and on bytes of chance.

use crate::any_bytes::Ground;
use proptest::prelude::*;
use std::{fs, path::Path};

#[test]
fn what_the_fuzzer_found_is_replayed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let ground = Ground::new();
    let mut n = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        ground.verify(&fs::read(entry.unwrap().path()).unwrap());
        n += 1;
    }
    assert!(n >= 20, "the corpus is there: {n}");
}

#[test]
fn any_bytes_are_verified_without_a_panic() {
    let ground = Ground::new();
    let cases = if cfg!(feature = "torture") { 20_000 } else { 48 };
    let bytes = proptest::collection::vec(any::<u8>(), 2..200);
    proptest!(ProptestConfig::with_cases(cases), |(data in bytes)| ground.verify(&data));
}
