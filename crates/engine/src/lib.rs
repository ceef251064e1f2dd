//! What an engine under test *says*: its flags by version, its effective configuration, its counters, why it died, and
//! whether it refused a setting; with secrets taken out. Where an engine *runs* is the room `provider`.
//!
//! Parts: [`EngineClient`] asks an engine's pages, of which [`Snapshot`] and [`counted()`] read the metrics; [`effective`] and
//! [`log`] read its log, [`refusal`] its last words; [`evidence`] holds what it showed beside what was expected;
//! [`catalogue`] and [`preflight`] know its flags beforehand; [`redact`] knows secrets. `dialect` has what differs between
//! engines.
//!
//! Traps: whether a setting took effect is settled elsewhere, over the whole run. Absent is unknown, never 0. Text is
//! redacted before it is cut. This room has no clock (the caller passes times), starts no engine and sends no load.

pub mod catalogue;
mod client;
mod counted;
mod dialect;
pub mod effective;
mod error;
pub mod evidence;
pub mod log;
pub mod preflight;
pub mod prometheus;
mod python;
pub mod redact;
pub mod refusal;
mod snapshot;

pub use client::{ApiKey, EngineClient, ProbeError};
pub use counted::counted;
pub use dialect::{
    IDENTITY, KEY_VARIABLE, flag_words, has_no_prefix_cache, key_variable, model_word, model_words, says_simulated,
    wants_prefix_cache, with_model,
};
pub use error::EngineError;
pub use snapshot::Snapshot;
