//! What can go wrong with an engine.

use servelab_schema::Dialect;
use std::io;

/// An engine could not be started, asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The program could not be launched.
    #[error("cannot start `{program}`: {source}; is it installed and on PATH?")]
    Launch {
        /// The program.
        program: String,
        /// The refusal.
        source: io::Error,
    },
    /// No free port.
    #[error("no free port on 127.0.0.1: {0}")]
    Port(io::Error),
    /// It ended before it was ready.
    #[error("the engine ended before it was ready ({status}): {cause}")]
    Died {
        /// Exit status in words.
        status: String,
        /// The first root cause in its log.
        cause: String,
        /// True where memory ran out, or may have: the engine did not refuse the configuration then.
        memory: bool,
    },
    /// It was not ready in time.
    #[error("the engine was not ready within {seconds} s; last line of its log: {last}; raise timeouts.startup")]
    NotReady {
        /// The deadline, seconds of wall time.
        seconds: u64,
        /// Last line of its log.
        last: String,
    },
    /// It says that it is ready and does not answer a request.
    #[error("the engine says that it is ready and answers no request: {cause}")]
    Broken {
        /// The first root cause in its log, else its answer.
        cause: String,
        /// True where memory ran out: the engine did not refuse the configuration then.
        memory: bool,
        /// True where the request was refused, such as for want of a chat template, and not the configuration.
        request: bool,
    },
    /// servelab was told to stop.
    #[error("stopped while the engine was starting")]
    Stopped,
    /// An HTTP exchange failed.
    #[error("{url}: {message}")]
    Http {
        /// The address asked.
        url: String,
        /// What went wrong.
        message: String,
    },
    /// It could not be stopped.
    #[error("process group {group} of the engine is still there after SIGKILL; end it by hand: kill -9 -- -{group}")]
    Leak {
        /// Its process group.
        group: i32,
    },
    /// Nothing of it is left in its process group, but its port is still served.
    #[error(
        "127.0.0.1:{port} is still served after the engine and its process group ended; find who does with \
         `ss -ltnp 'sport = :{port}'` and end it, for it may hold the GPU's memory"
    )]
    Orphan {
        /// The port.
        port: u16,
    },
    /// Its container is still there.
    #[error("container {name} of the engine is still there ({said}); end it by hand: docker rm -f {name}")]
    Container {
        /// The container.
        name: String,
        /// What Docker said.
        said: String,
    },
    /// No engine answers where one should be up already.
    #[error(
        "no engine answers at {base} ({message}); start it first, or let servelab start one with [engine.provider.process]"
    )]
    NotUp {
        /// Its address.
        base: String,
        /// What was tried last.
        message: String,
    },
    /// The simulated engine where a real one is declared.
    #[error(
        "{base} is the simulated engine, as its /version says, and numbers of this provider would be labelled MEASURED; \
         use [engine.provider.sim]"
    )]
    Simulated {
        /// Its address.
        base: String,
    },
    /// The API key is not there.
    #[error("engine.api-key-env: the environment has no variable `{name}` that holds text; export it first")]
    NoKey {
        /// The variable.
        name: String,
    },
    /// The engine takes its key as a flag only.
    #[error(
        "engine.api-key-env: {dialect} takes its key as a flag only, which every list of processes would show; start the \
         server yourself and use [engine.provider.url], or leave the key out: the port is open to this machine alone"
    )]
    KeyIsAFlag {
        /// Whose flags.
        dialect: Dialect,
    },
    /// A secret would stand in the process list and in plan.json.
    #[error(
        "the command of variant {variant} holds a secret (an API key, a token, or the value of a secret environment \
         variable); pass it by the environment instead: engine.api-key-env, HF_TOKEN"
    )]
    SecretInCommand {
        /// The variant.
        variant: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The refusal.
        source: io::Error,
    },
}
