//! The instrument: puts a closed or an open loop of streamed requests on an engine and keeps what happened to each.
//!
//! It knows prepared requests, a URL and a schedule. It does not know variants (only as a label of its rows), GPUs or SQL;
//! it never tokenises, never retries behind the caller's back, never follows redirects, never reads a proxy from the
//! environment, and logs nothing between the send and the end of a stream.
//!
//! From the inside out: [`stream`] and [`http`] are pure state machines; [`attempt`] joins them with every deadline, still
//! without I/O; `connection` moves bytes between an attempt and a socket and stamps each read; `driver` keeps the load;
//! [`start`] runs it all on a thread of its own. [`bench`] holds what a single load against any server needs besides: other
//! profiles than the runner's held load, prompts, conversations, recorded traffic.

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
pub use request::{BodyParams, Endpoint, EndpointError, PreparedRequest, RequestHeaders, request_body};
pub use sink::{SinkError, TraceSink};
pub use spec::{Labels, LoadError, LoadSpec};
