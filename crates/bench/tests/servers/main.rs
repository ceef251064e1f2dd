//! Everybody's servers: scripted imitations of the engines and gateways that people run, each with what is odd about it, put
//! through a whole `servelab bench`.
//!
//! A server is a folder of `tests/data/servers`: `profile.toml` says what it refuses, what its pages are and what is odd about
//! it (each oddity with where it was seen), its `.sse` files are its streams, event by event. Each case of a profile is one
//! load; what comes of it must be the row that the profile expects, and `docs/SERVERS.md` must hold those rows. Nothing is
//! timed: a scripted server answers as fast as it can.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod cases;
mod play;
mod profile;
mod recorded;
mod script;
mod stream;
mod table;
