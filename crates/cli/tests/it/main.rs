//! The command from outside, and the plan of the house. One program, so that it is linked once.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod action;
mod bench;
mod bench_server;
mod catalogue;
mod commands;
mod compare;
mod compose;
mod deleted_run;
mod docker;
mod doctor;
mod edges;
mod end_to_end;
mod endings;
mod engines;
mod exit_codes;
#[path = "../../../evidence/tests/support/failing.rs"]
mod failing;
mod full_disk;
mod gpu;
mod instrument;
mod killed_verbs;
mod leaks;
mod makefile;
mod output;
mod pin;
mod preflight;
mod quality;
mod resume;
mod secrets;
mod sglang;
#[path = "../../../evidence/tests/support/small_disk.rs"]
mod small_disk;
mod starvation;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod tls;
mod traces;
mod treatments;
mod verify;
mod voice;
