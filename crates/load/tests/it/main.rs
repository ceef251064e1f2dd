//! Tests of the instrument from outside: on plain bytes, on recorded captures, and against a scripted server.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod captures;
mod common;
mod driver;
mod faults;
mod loop_tests;
mod server;
