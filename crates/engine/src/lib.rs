//! Engines under test: how they are started, when they are ready, what they say of themselves, and how they are stopped
//! so that nothing of them is left.
//!
//! A setting counts as applied only when the engine's own evidence shows it ([`treatment`]). This room has no clock (the
//! caller passes one) and sends no load.

mod argv;
mod client;
pub mod docker;
mod error;
pub mod log;
mod process;
pub mod prometheus;
mod ready;
pub mod redact;
mod snapshot;
pub mod treatment;

pub use argv::{Command, Place, command};
pub use client::{ApiKey, EngineClient};
pub use error::EngineError;
pub use process::{Ended, KEY_VARIABLE, Launched};
pub use ready::Ready;
pub use snapshot::Snapshot;
