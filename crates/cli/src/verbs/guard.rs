//! `servelab guard`, which servelab sets over an engine: it ends the engine where servelab itself was killed.

use crate::exit::Exit;
use clap::Args;
use std::io::stdin;

/// What is guarded.
#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// Process group of the engine.
    #[arg(long)]
    group: i32,
    /// Container that the engine runs in.
    #[arg(long)]
    container: Option<String>,
}

impl Guard {
    pub(crate) fn execute(&self) -> Exit {
        servelab_engine::stand_guard(stdin().lock(), self.group, self.container.as_deref());
        Exit::Ok
    }
}
