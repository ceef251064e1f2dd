//! From bytes of an event stream to the outcome of a request: pure state machines without I/O or clock.
//!
//! [`sse`] cuts bytes into events, [`chat`] turns events with their arrival stamps into a completion or one reason of the
//! closed set, [`words`] knows what engines say when they refuse.

pub mod chat;
mod scan;
mod shape;
pub mod sse;
mod wire;
pub mod words;

pub use chat::{ChatStream, Expectation, Fault};
pub use sse::{Event, SseError, SseParser};
