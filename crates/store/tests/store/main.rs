//! The store from outside. One program, so that it is linked once.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod database;
mod evidence;
mod ingest;
mod migrations;
#[path = "../support/mod.rs"]
mod support;
