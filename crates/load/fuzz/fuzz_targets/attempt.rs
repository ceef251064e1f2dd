//! Whatever an engine sends, however the reads cut it: no panic, and the same outcome as in one read.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/replay.rs"]
mod replay;

fuzz_target!(|data: &[u8]| replay::check(data));
