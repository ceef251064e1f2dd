//! The little of HTTP/1.1 that one request and one streamed answer need: pure state machines without I/O or clock.
//!
//! Hand-written over `httparse` because a body must be handed on as slices of the very read that brought it, together with
//! that read's stamp; general clients buffer between the two. Not supported, on purpose: redirects, compression, pipelining,
//! proxies, retries.

mod chunked;
mod response;

pub use chunked::{ChunkedDecoder, ChunkedError};
pub use response::{BodyEnd, HttpError, Part, ResponseHead, ResponseReader};
