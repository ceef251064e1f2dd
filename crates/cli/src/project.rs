//! Where things are in a project.

use crate::exit::Failure;
use anyhow::{Context, anyhow};
use servelab_store::Store;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A project folder.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    root: PathBuf,
}

impl Project {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside it, unless it is absolute.
    pub(crate) fn path(&self, relative: &Path) -> PathBuf {
        // The working folder is left out of what people read.
        if self.root == Path::new(".") {
            relative.to_path_buf()
        } else {
            self.root.join(relative)
        }
    }

    /// Folder of the run directories.
    pub(crate) fn runs(&self) -> PathBuf {
        self.path(Path::new("runs"))
    }

    /// The database.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        Store::open(&self.root.join("servelab.db")).map_err(Failure::environment)
    }

    /// This program, which also holds the simulated engine.
    pub(crate) fn servelab() -> Result<PathBuf, Failure> {
        std::env::current_exe()
            .context("cannot find the servelab program itself")
            .map_err(Failure::environment)
    }

    /// Every run directory that is sealed, oldest first.
    pub(crate) fn sealed_runs(&self) -> Result<Vec<PathBuf>, Failure> {
        let runs = self.runs();
        if !runs.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&runs).with_context(|| format!("{}", runs.display()));
        let mut found: Vec<PathBuf> = entries
            .map_err(Failure::environment)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|dir| dir.join(servelab_evidence::names::MANIFEST).is_file())
            .collect();
        found.sort();
        Ok(found)
    }

    /// The directory of a run given by its name or its path.
    pub(crate) fn run_dir(&self, name: &str) -> Result<PathBuf, Failure> {
        let by_path = PathBuf::from(name);
        let by_name = self.runs().join(name);
        [by_name, by_path].into_iter().find(|dir| dir.is_dir()).ok_or_else(|| {
            Failure::environment(anyhow!(
                "there is no run `{name}` under {}; `servelab results list` shows what there is",
                self.runs().display()
            ))
        })
    }
}
