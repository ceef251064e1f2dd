//! `servelab init`: a commented matrix to begin with.

use crate::{
    exit::{Exit, Failure},
    output,
    project::Project,
};
use anyhow::{Context, anyhow};
use clap::Args;
use std::{fs::OpenOptions, io::Write, path::PathBuf};

/// Arguments of `servelab init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where to write it; a file that is there already is left as it is.
    #[arg(default_value = "matrix/my-matrix.toml", value_name = "FILE")]
    file: PathBuf,
}

impl Init {
    pub(crate) fn execute(&self, project: &Project) -> Result<Exit, Failure> {
        let path = project.path(&self.file);
        let write = || -> anyhow::Result<()> {
            if path.exists() {
                return Err(anyhow!("{}: is there already; give another name", path.display()));
            }
            let refused = || {
                format!(
                    "{}: cannot be written; give a path that you may write to",
                    path.display()
                )
            };
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).with_context(refused)?;
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .with_context(refused)?;
            file.write_all(servelab_matrix::starter().as_bytes())
                .with_context(refused)
        };
        write().map_err(Failure::environment)?;
        output::answer(&format!("{}\n", path.display()));
        output::note(&format!(
            "Next: servelab plan {0}, then servelab run {0}",
            self.file.display()
        ));
        Ok(Exit::Ok)
    }
}
