//! What the fuzzer has found, replayed: inputs that reached new code, and those that once broke something.

use crate::replay;
use std::{fs, path::Path};

#[test]
fn the_fuzzer_s_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        replay::check(&fs::read(path).unwrap());
        played += 1;
    }
    assert!(played > 0);
}
