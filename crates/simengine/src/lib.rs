//! The simulated engine: an OpenAI-compatible server with vLLM's or SGLang's wire behaviour, timed by a simulated GPU, that
//! misbehaves as scripted (`servelab sim`).
//!
//! It must not share a protocol type with the load generator, must not know variants or plans, and marks whatever it says as
//! SIMULATED. How it models time: docs/SIMULATOR.md.
//!
//! Parts:
//!
//! ```text
//! connection threads ── read, check, tokenize ──→ pacing thread ── step engine (engine time) ──→ sockets (wall time)
//!  http, api, server, scripted, tokenizer               pacer, stream          step, host, speculation
//! ```
//!
//! `args`, `flags` and `config` go from a command line to an effective configuration, `evidence` prints it as the engine
//! does, `routes` and `metrics` are its pages, `sglang` what that dialect does otherwise. `faults` is the script of what goes
//! wrong, `hidden` the treatments that do not take. `text`, `task` and `profile` are what is written, asked and simulated.
//!
//! Formats: HTTP and SSE byte for byte as recorded from the engines (`chunk` renders by hand); `faults` and its keys are in
//! docs/SIMULATOR.md; the flags that each dialect knows are in `vllm_flags.txt` and `sglang_flags.txt`.
//!
//! Traps: a step's bytes are rendered when it begins and only written at its end; whatever is added to the write is
//! lateness. Late steps do not move engine time. Draws are hashes of what they are for (`servelab_random::hash`): a draw
//! that depended on the order of requests would make runs differ. `clock` is the only module that reads a clock, and all
//! its seconds that are floats are engine seconds, all its nanoseconds wall time.

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
pub mod pacer;
pub mod profile;
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
