//! Engines under test: how they are started, when they are ready, what they say of themselves, and how they are stopped
//! so that nothing of them is left.
//!
//! A setting counts as applied only when the engine's own evidence shows it ([`treatment`]). This room has no clock (the
//! caller passes one) and sends no load.

mod argv;
pub mod catalogue;
mod client;
mod counted;
mod dialect;
pub mod docker;
pub mod effective;
mod error;
mod guard;
pub mod log;
pub mod preflight;
mod process;
pub mod prometheus;
mod python;
mod ready;
pub mod redact;
mod snapshot;
pub mod treatment;

pub use argv::{Command, Place, command};
pub use client::{ApiKey, EngineClient};
pub use counted::counted;
pub use dialect::{IDENTITY, key_variable, says_simulated, wants_prefix_cache};
pub use error::EngineError;
pub use guard::stand_guard;
pub use process::{Ended, KEY_VARIABLE, Launched};
pub use ready::Ready;
pub use snapshot::Snapshot;
