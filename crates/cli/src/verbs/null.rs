//! `servelab null`: the null server alone.

use crate::exit::{Exit, Failure};
use clap::{Args, ValueEnum};
use servelab_nullserver::{Options, Writes, run};
use std::time::Duration;

/// Serves prepared answers without an engine, to measure the load generator itself.
#[derive(Debug, Clone, Args)]
pub(crate) struct Null {
    /// Port on 127.0.0.1; 0 takes a free one, which the first line of the output names.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Token chunks of an answer, one token each.
    #[arg(long, default_value_t = 16)]
    chunks: u32,
    /// As many chunks as the request's `max_tokens` instead.
    #[arg(long)]
    chunks_from_request: bool,
    /// What `usage.prompt_tokens` says.
    #[arg(long, default_value_t = 10)]
    prompt_tokens: u32,
    /// From the request to its first token, in microseconds.
    #[arg(long, default_value_t = 0)]
    ttft_us: u64,
    /// Between two tokens, in microseconds.
    #[arg(long, default_value_t = 0)]
    itl_us: u64,
    /// How an answer is cut into writes.
    #[arg(long, value_enum, default_value_t = Cut::Each)]
    writes: Cut,
    /// Keep no stamps: only how many requests a client manages is wanted.
    #[arg(long)]
    no_stamps: bool,
    /// End when standard input ends, so that no server outlives whoever started it.
    #[arg(long)]
    until_stdin_ends: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cut {
    /// The whole answer in one write.
    Coalesced,
    /// The head with the role chunk, then every token chunk, then usage and the end: each in a write of its own.
    Each,
}

impl Null {
    pub(crate) fn execute(&self) -> Result<Exit, Failure> {
        let options = Options {
            port: self.port,
            chunks: self.chunks,
            chunks_from_request: self.chunks_from_request,
            prompt_tokens: self.prompt_tokens,
            ttft: Duration::from_micros(self.ttft_us),
            itl: Duration::from_micros(self.itl_us),
            writes: match self.writes {
                Cut::Coalesced => Writes::Coalesced,
                Cut::Each => Writes::Each,
            },
            stamps: !self.no_stamps,
            until_stdin_ends: self.until_stdin_ends,
        };
        run(&options).map_err(Failure::environment)?;
        Ok(Exit::Ok)
    }
}
