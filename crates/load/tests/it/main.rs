//! Tests of the instrument from outside: on plain bytes, on recorded captures, and against a scripted server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests; the fault table is printed"
)]

mod as_they_are;
mod captures;
mod common;
mod corpus;
mod driver;
mod faults;
mod golden;
mod loop_tests;
mod profiles;
mod replay;
mod server;
mod tls;
