//! What can go wrong with the place where an engine runs.

use crate::Failed;
use servelab_engine::EngineError;
use servelab_schema::Dialect;
use std::io;

/// An engine could not be started or stopped, and going on is pointless.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
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
    /// Something of it could not be ended.
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
    #[error("{0}")]
    NotUp(Failed),
    /// The simulated engine where a real one is declared.
    #[error(
        "{base} is the simulated engine, as a page of it says, and numbers of this provider would be labelled MEASURED; \
         use [engine.provider.sim]"
    )]
    Simulated {
        /// Its address.
        base: String,
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
    /// It cannot be asked at all.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
