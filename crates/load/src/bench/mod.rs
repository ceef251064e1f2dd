//! What a single load against a running server needs beyond the runner's held load: other ways for requests to leave, how
//! long they do, conversations, replayed traces, and the little that must be asked of a server beforehand.
//!
//! Everything here is prepared before the load begins or computed from its answers; nothing tokenises and nothing judges
//! what was measured.

pub mod body;
pub mod builtin;
pub mod conversation;
mod extra;
pub mod fetch;
mod profile;
pub mod replay;

pub use profile::{Conversations, Extent, LoadProfile, Pace};
