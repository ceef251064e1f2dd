//! The simulated engine: an OpenAI-compatible server with vLLM 0.32's wire behaviour, timed by a simulated GPU, that
//! misbehaves as scripted (`servelab sim`).
//!
//! It must not share a protocol type with the load generator, must not know variants or plans, and marks whatever it says as
//! SIMULATED. How it models time: docs/SIMULATOR.md.

pub mod clock;
pub mod config;
pub mod error;
pub mod flags;
pub mod host;
pub mod profile;
pub mod rng;
pub mod speculation;
pub mod step;
pub mod task;
pub mod text;

pub use error::SimError;
