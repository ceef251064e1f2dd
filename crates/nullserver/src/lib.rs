//! The null server: the ruler that the load generator is measured with. It is never an engine under test.
//!
//! One thread and an epoll set answer `POST /v1/chat/completions` with a stream that was built before the first request,
//! at once or on a schedule, and stamp `CLOCK_MONOTONIC` right before each write: a server library that buffers can't say
//! when a chunk left. It must not tokenise, parse JSON, simulate an engine or share a type with the client.
//!
//! Parts: `answer` builds the bytes and says where they are cut, `request` reads a request just far enough, `server` is the
//! event loop, `stamps` the memory of what was read and written when, `clock` the only place that reads a clock. The door
//! is [`Options`] and [`run`]; whoever starts it does so as a process of its own and talks to it over HTTP.
//!
//! Formats: a request without `"stream":true` gets the same answer in one piece. `GET /health` says that it is there; `/version` and
//! `/v1/models` what it is, and that nothing is computed. `GET /stats` is one JSON object: `requests`, `writes`, `connections`,
//! `most_connections`, `cpu_ns` of the process, `monotonic_ns`, so that whoever measures sees when the server is the limit.
//! `GET /stamps` is one line a request and forgets them: its `x-request-id` (`-` where it gave none), when it was read, when
//! each write began, in ns of `CLOCK_MONOTONIC`, 0 for a write that was not made.
//!
//! Traps: a stamp is taken before the write, so what the kernel does with the bytes counts as the client's error. Stamps
//! grow until they are asked for. A request that arrives while an answer is under way waits in the connection's inbox and
//! counts as read when that answer ends. Where the peer does not read, writes block and the stamp of a piece is that of its
//! first byte.

mod answer;
mod clock;
mod error;
mod options;
mod request;
mod server;
mod stamps;
#[cfg(test)]
mod tests;

pub use error::NullServerError;
pub use options::{Options, Writes};

use error::system;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io::Write as _,
    sync::{Arc, atomic::AtomicBool},
};

/// Listens on 127.0.0.1, prints `http://127.0.0.1:PORT` as its first line, and serves until SIGTERM, SIGINT or, where
/// asked, the end of standard input.
///
/// # Errors
/// [`NullServerError`] where the port cannot be had or the event loop fails.
pub fn run(options: &Options) -> Result<(), NullServerError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(system("installing a signal handler"))?;
    }
    raise_open_files();
    let listen = |source| NullServerError::Listen {
        port: options.port,
        source,
    };
    let mut server = server::Server::bind(options.clone(), stop).map_err(listen)?;
    let address = server.address().map_err(listen)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "http://{address}")
        .and_then(|()| out.flush())
        .map_err(system("writing to stdout"))?;
    drop(out);
    server.serve().map_err(system("serving"))
}

/// Each stream needs a descriptor: the soft limit goes up to the hard one.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        },
    );
}
