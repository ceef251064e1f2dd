//! From bytes of an event stream to the outcome of a request: pure state machines without I/O or clock.
//!
//! [`sse`] cuts bytes into events. [`chat`] turns the chunks of `/v1/chat/completions` and `/v1/completions` with their arrival
//! stamps into a completion or one reason of the closed set, [`responses`] the events of `/v1/responses`, [`whole`] an answer
//! that comes in one piece. [`error_text`] knows what engines say when they refuse.

pub mod chat;
pub mod error_text;
mod expect;
pub mod responses;
pub(crate) mod scan;
mod shape;
pub mod sse;
mod timeline;
pub mod whole;
pub(crate) mod wire;

pub use chat::{ChatStream, Fault};
pub use expect::{AnswerForm, Expectation};
pub use sse::{Event, SseError, SseParser};
pub use timeline::{KeepText, Said};
