//! The server on a free port, seen byte by byte.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
mod faults;
mod hidden;
mod metrics;
mod sglang;
mod wire;
