//! The instrument: puts a closed or an open loop of streamed requests on an engine and keeps what happened to each.
//!
//! It knows prepared requests, a URL and a schedule. It does not know variants (only as a label of its rows), GPUs or SQL;
//! it never tokenises, never retries behind the caller's back, never follows redirects, never reads a proxy from the
//! environment, and logs nothing between the send and the end of a stream.
//!
//! Parts, from the inside out: [`stream`] and [`http`] are pure state machines; [`attempt`] joins them with every deadline,
//! still without I/O; `connection`, over `transport` and `tls`, moves bytes between an attempt and a socket and stamps each
//! read; `driver` keeps the load by `timer` and [`arrivals`], `probe` watches the load's own thread, `sink` writes rows on
//! another one; [`start`] runs it all on a thread of its own. [`bench`] holds what a single load against any server needs
//! besides: other load profiles than the runner's held load, prompts, conversations, recorded traffic. [`clock`] is the only
//! place that reads a clock.
//!
//! Formats: a finished request is a row of `traces.jsonl` (`servelab_schema::Trace`), handed to a [`TraceSink`] as soon as
//! its outcome is known. On the wire it is HTTP/1.1 and SSE as OpenAI's API has them, read by hand.
//!
//! Traps: every stored time is engine time, monotonic time × the time scale; only `clock` multiplies. Arrival schedules are
//! pinned by golden vectors (`tests/it/golden.rs`). A read is stamped where it returns, below TLS; nothing may be put
//! between. What is due at once must not starve what has arrived: the open loop yields before each send. A slot is free when
//! its answer ended, so the client's own delay afterwards shows as schedule lag.

pub mod arrivals;
pub mod attempt;
pub mod bench;
pub mod clock;
mod connection;
mod control;
mod driver;
mod facts;
pub mod http;
mod live;
pub mod negotiate;
mod probe;
mod request;
mod sink;
mod spec;
mod starvation;
pub mod stream;
mod timer;
mod tls;
mod transport;

pub use control::{Control, Stop};
pub use driver::{LoadHandle, run_load, start, start_with_profile};
pub use facts::LoadResult;
pub use live::{Live, LiveSnapshot};
pub use request::{Endpoint, EndpointError, PreparedRequest, RequestHeaders};
pub use sink::{SinkError, TraceSink};
pub use spec::{Labels, LoadError, LoadSpec};
