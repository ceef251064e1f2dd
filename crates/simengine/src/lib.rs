//! The simulated engine: an OpenAI-compatible server with vLLM 0.32's wire behaviour, timed by a simulated GPU, that
//! misbehaves as scripted (`servelab sim`).
//!
//! It must not share a protocol type with the load generator, must not know variants or plans, and marks whatever it says as
//! SIMULATED. How it models time: docs/SIMULATOR.md.
//!
//! ```text
//! connection threads ── read, check, tokenize ──→ pacing thread ── step engine (engine time) ──→ sockets (wall time)
//!      http, api, server, scripted                   pacer, stream          step, host, speculation
//! ```

pub mod api;
pub mod args;
pub mod chunk;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod error;
pub mod evidence;
pub mod faults;
pub mod flags;
pub mod hidden;
pub mod host;
pub mod http;
pub mod metrics;
pub mod null;
pub mod pacer;
pub mod profile;
pub mod rng;
pub(crate) mod routes;
pub mod run;
pub mod scripted;
pub mod server;
pub mod sglang;
pub mod speculation;
pub mod step;
pub mod stream;
pub mod task;
pub mod text;
pub mod tokenizer;
pub mod word_cache;

pub use args::SimArgs;
pub use error::SimError;
pub use run::{ExitReason, run};
