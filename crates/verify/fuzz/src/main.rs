//! libFuzzer on the verifier: any bytes in place of any file of a run.
#![no_main]

#[path = "../../tests/it/any_bytes.rs"]
mod any_bytes;
#[path = "../../tests/it/made.rs"]
mod made;

use any_bytes::Ground;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static GROUND: OnceLock<Ground> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    GROUND.get_or_init(Ground::new).verify(data);
});
