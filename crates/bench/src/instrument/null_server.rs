//! The null server as a child process of this program.

use super::{InstrumentError, truth::Truth};
use serde::Deserialize;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Token chunks of an answer.
    pub(crate) chunks: u32,
    /// One write per chunk, or the whole answer in one.
    pub(crate) each: bool,
    /// From the request to the first token.
    pub(crate) ttft: Duration,
    /// Between two tokens.
    pub(crate) itl: Duration,
    /// Whether it keeps stamps.
    pub(crate) stamps: bool,
}

/// What the server says of itself.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Stats {
    /// Streams that it was asked for.
    pub(crate) requests: u64,
    /// CPU time of its process in ns.
    pub(crate) cpu_ns: u64,
    /// When it said so, in ns of the monotonic clock.
    pub(crate) monotonic_ns: u64,
}

impl Stats {
    /// Share of a core that the server used between two looks.
    pub(crate) fn cpu_ratio_since(&self, earlier: &Self) -> f64 {
        let cpu = super::float(self.cpu_ns.saturating_sub(earlier.cpu_ns));
        cpu / super::float(self.monotonic_ns.saturating_sub(earlier.monotonic_ns).max(1))
    }
}

/// A running null server; it ends when this is dropped, and also when this process dies.
#[derive(Debug)]
pub(crate) struct NullServer {
    child: Child,
    base: String,
    _stdin: Option<ChildStdin>,
}

impl NullServer {
    /// Starts `program null …` on a free port and waits until it listens.
    pub(crate) fn start(program: &Path, answers: Answers) -> Result<Self, InstrumentError> {
        let mut command = Command::new(program);
        command.args(["null", "--port", "0", "--until-stdin-ends", "--writes"]);
        command.arg(if answers.each { "each" } else { "coalesced" });
        command.args(["--chunks", &answers.chunks.to_string()]);
        command.args(["--ttft-us", &answers.ttft.as_micros().to_string()]);
        command.args(["--itl-us", &answers.itl.as_micros().to_string()]);
        if !answers.stamps {
            command.arg("--no-stamps");
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|source| InstrumentError::Start {
            program: program.to_owned(),
            source,
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut server = Self {
            child,
            base: String::new(),
            _stdin: stdin,
        };
        let stdout = stdout.ok_or(InstrumentError::NoAddress)?;
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(InstrumentError::os("cannot read the null server's output"))?;
        line.trim().clone_into(&mut server.base);
        if !server.base.starts_with("http://") {
            return Err(InstrumentError::NoAddress);
        }
        Ok(server)
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn authority(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.authority())?;
        write!(stream, "GET {path} HTTP/1.1\r\n\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut length = 0_u64;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = String::new();
        reader.take(length).read_to_string(&mut body)?;
        Ok(body)
    }

    /// What it did so far, at what CPU time.
    pub(crate) fn stats(&self) -> Result<Stats, InstrumentError> {
        let text = self.page("/stats")?;
        serde_json::from_str(&text).map_err(|e| InstrumentError::Server(e.to_string()))
    }

    /// Its stamps since the last time they were asked for.
    pub(crate) fn truth(&self) -> Result<Truth, InstrumentError> {
        Truth::parse(&self.page("/stamps")?)
    }

    fn page(&self, path: &str) -> Result<String, InstrumentError> {
        self.get(path).map_err(|e| InstrumentError::Server(e.to_string()))
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
