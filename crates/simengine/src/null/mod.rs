//! The null server (`servelab null`): a server without an engine, to measure a load generator with.
//!
//! One thread and an epoll set answer `POST /v1/chat/completions` with a stream that was built before the first request,
//! at once or on a schedule, and stamp `CLOCK_MONOTONIC` right before each write: a server library that buffers can't say
//! when a chunk left. It must not tokenise, parse JSON, simulate an engine or share a protocol type with the client, and it
//! is never an engine under test.
//!
//! `GET /health` says that it is there, `GET /stats` what it did and at what CPU time (so that whoever measures sees when
//! the server is the limit), `GET /stamps` hands out the stamps and forgets them.

pub mod answer;
pub mod clock;
pub mod request;
mod server;
pub mod stamps;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::SimError;
use answer::{Shape, Writes};

/// Serves prepared answers without an engine, to measure the load generator itself.
#[derive(Debug, Clone, Args)]
pub struct NullArgs {
    /// Port on 127.0.0.1; 0 takes a free one, which the first line of the output names.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Token chunks of an answer, one token each.
    #[arg(long, default_value_t = 16)]
    pub chunks: u32,
    /// As many chunks as the request's `max_tokens` instead.
    #[arg(long)]
    pub chunks_from_request: bool,
    /// What `usage.prompt_tokens` says.
    #[arg(long, default_value_t = 10)]
    pub prompt_tokens: u32,
    /// From the request to its first token, in microseconds.
    #[arg(long, default_value_t = 0)]
    pub ttft_us: u64,
    /// Between two tokens, in microseconds.
    #[arg(long, default_value_t = 0)]
    pub itl_us: u64,
    /// How an answer is cut into writes.
    #[arg(long, value_enum, default_value_t = Writes::Each)]
    pub writes: Writes,
    /// Keep no stamps: only how many requests a client manages is wanted.
    #[arg(long)]
    pub no_stamps: bool,
    /// End when standard input ends, so that no server outlives whoever started it.
    #[arg(long)]
    pub until_stdin_ends: bool,
}

impl NullArgs {
    fn shape(&self, chunks: u32) -> Shape {
        Shape {
            chunks,
            prompt_tokens: self.prompt_tokens,
            writes: self.writes,
            ttft: Duration::from_micros(self.ttft_us),
            itl: Duration::from_micros(self.itl_us),
        }
    }
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> SimError {
    move |e| SimError::System {
        what,
        detail: e.to_string(),
    }
}

/// Serves until SIGTERM, SIGINT or, where asked, the end of standard input.
///
/// # Errors
/// [`SimError`] where the port cannot be had or the event loop fails.
pub fn run(args: &NullArgs) -> Result<(), SimError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(system("installing a signal handler"))?;
    }
    raise_open_files();
    let mut server = server::Server::bind(args.clone(), stop).map_err(system("listening"))?;
    let address = server.address().map_err(system("listening"))?;
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
