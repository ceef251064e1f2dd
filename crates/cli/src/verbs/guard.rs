//! `servelab guard`, which servelab sets over an engine: it ends the engine where servelab itself was killed.

use crate::exit::Exit;
use clap::Args;
use servelab_provider::{Guarded, stand_guard};
use std::io::stdin;

/// What is guarded.
#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// Process group of the engine.
    #[arg(long)]
    group: i32,
    /// When the group's leader began, clock ticks since the machine started.
    #[arg(long)]
    started: u64,
    /// Container that the engine runs in.
    #[arg(long, requires = "docker")]
    container: Option<String>,
    /// The program that knows the container.
    #[arg(long)]
    docker: Option<String>,
}

impl Guard {
    pub(crate) fn execute(&self) -> Exit {
        let engine = Guarded {
            group: self.group,
            started: self.started,
            container: self.docker.clone().zip(self.container.clone()),
        };
        stand_guard(stdin().lock(), &engine);
        Exit::Ok
    }
}
