//! A command line, and the words that every engine is given.

use std::{
    io,
    path::{self, PathBuf},
};

/// A program and its words. No secret is ever among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its words.
    pub(crate) args: Vec<String>,
    /// The folder that it is started in, which a relative program is relative to; none for servelab's own.
    pub(crate) dir: Option<PathBuf>,
    /// Name of the container that it starts, which must be gone afterwards; none where it starts none.
    pub(crate) container: Option<String>,
}

impl Command {
    /// The program as it is found whatever folder it is started in: a name is looked up on PATH, a path begins at `dir`.
    ///
    /// # Errors
    /// Where the current folder is not known.
    pub(crate) fn executable(&self) -> io::Result<PathBuf> {
        let is_name = self.program.components().nth(1).is_none();
        match &self.dir {
            Some(dir) if !is_name => path::absolute(dir.join(&self.program)),
            _ => Ok(self.program.clone()),
        }
    }

    /// Program and words, for the record.
    pub(crate) fn argv(&self) -> Vec<String> {
        let mut argv = vec![self.program.display().to_string()];
        argv.extend(self.args.iter().cloned());
        argv
    }
}

/// Where an engine listens and what it calls its model: `--host`, `--port`, `--served-model-name`.
pub(crate) fn address(host: &str, port: &str, served_model: &str) -> Vec<String> {
    ["--host", host, "--port", port, "--served-model-name", served_model]
        .map(str::to_owned)
        .into()
}
