//! The dataset stage from outside.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]

mod bad_toml;
mod common;
mod l4;
mod small;
