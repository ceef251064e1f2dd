//! From bytes of an event stream to the outcome of a request: pure state machines without I/O or clock.
//!
//! [`sse`] cuts bytes into events, [`chat`] turns events with their arrival stamps into a completion or one reason of the
//! closed set, [`error_text`] knows what engines say when they refuse.

pub mod chat;
pub mod error_text;
mod scan;
mod shape;
pub mod sse;
mod wire;

pub use chat::{ChatStream, Expectation, Fault};
pub use sse::{Event, SseError, SseParser};
