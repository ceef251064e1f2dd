//! Where things are in a project.

use crate::{exit::Failure, output};
use anyhow::{Context, anyhow};
use servelab_evidence::names;
use servelab_schema::{RunEnd, RunId};
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

    /// Refuses a folder that is not there: whoever mistyped it would be told that nothing has been run.
    pub(crate) fn must_exist(&self) -> Result<(), Failure> {
        if self.root.is_dir() {
            return Ok(());
        }
        let what = if self.root.exists() {
            "is no folder"
        } else {
            "is not there"
        };
        Err(Failure::environment(anyhow!(
            "--project {}: {what}; give the folder that holds matrix/ and runs/, or leave it out to work in this one",
            self.root.display()
        )))
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

    /// The database where there is one: who only looks makes none.
    pub(crate) fn existing_store(&self) -> Result<Option<Store>, Failure> {
        Store::open_existing(&self.root.join("servelab.db")).map_err(Failure::environment)
    }

    /// This program, which also holds the simulated engine.
    pub(crate) fn servelab() -> Result<PathBuf, Failure> {
        std::env::current_exe()
            .context("cannot find the servelab program itself")
            .map_err(Failure::environment)
    }

    /// Every run directory that is sealed, in the order of their names.
    pub(crate) fn sealed_runs(&self) -> Result<Vec<PathBuf>, Failure> {
        let dirs = self.run_dirs()?.into_iter();
        Ok(dirs.filter(|dir| dir.join(names::MANIFEST).is_file()).collect())
    }

    /// Every run directory that is not sealed, in the order of their names.
    pub(crate) fn open_runs(&self) -> Result<Vec<PathBuf>, Failure> {
        let dirs = self.run_dirs()?.into_iter();
        let is_open = |dir: &PathBuf| dir.join(names::PLAN).is_file() && !dir.join(names::MANIFEST).is_file();
        Ok(dirs.filter(is_open).collect())
    }

    /// What lies under runs/, in the order of the names.
    fn run_dirs(&self) -> Result<Vec<PathBuf>, Failure> {
        let runs = self.runs();
        if !runs.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&runs).with_context(|| format!("{}", runs.display()));
        let mut found: Vec<PathBuf> = entries
            .map_err(Failure::environment)?
            .filter_map(Result::ok)
            // A link could lead anywhere, and what is half removed bears no run's name.
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| RunId::new(name).is_ok()))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        Ok(found)
    }

    /// The sealed run that began last; a manifest that does not read is passed over with a word.
    pub(crate) fn newest_sealed_run(&self) -> Result<Option<PathBuf>, Failure> {
        let mut newest: Option<(String, PathBuf)> = None;
        for dir in self.sealed_runs()? {
            match sealed_as(&dir) {
                Ok(told) => newest = newest.max(Some((told.started.utc, dir))),
                Err(error) => output::warn(&format!("{} is passed over: {error:#}", dir.display())),
            }
        }
        Ok(newest.map(|(_, dir)| dir))
    }

    /// The directory of a run given by its name or its path.
    pub(crate) fn run_dir(&self, name: &str) -> Result<PathBuf, Failure> {
        let by_path = PathBuf::from(name);
        let by_name = self.runs().join(name);
        let found = [by_name, by_path].into_iter().find(|dir| dir.is_dir());
        let dir = found.ok_or_else(|| self.no_run(name))?;
        if dir.is_symlink() {
            let why = "is a link, which could lead anywhere; give the folder that it leads to";
            return Err(Failure::environment(anyhow!("{}: {why}", dir.display())));
        }
        Ok(dir)
    }

    fn no_run(&self, name: &str) -> Failure {
        let stored = self.existing_store().ok().flatten().and_then(|s| s.runs().ok());
        let known = stored.into_iter().flatten().find(|r| r.id.as_str() == name);
        Failure::environment(known.map_or_else(
            || {
                anyhow!(
                    "there is no run `{name}` under {}; `servelab results list` shows what there is",
                    self.runs().display()
                )
            },
            |run| {
                anyhow!(
                    "the directory of `{name}`, {}, is gone; what it said is still in the database (`servelab results show {name}`), \
                     but without its evidence there is no report: put the directory back, or run again under its name",
                    run.dir.display()
                )
            },
        ))
    }
}

/// What a list needs of a manifest; one of a later servelab has it too.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct SealedAs {
    /// When it began.
    pub(crate) started: Started,
    /// How it ended.
    pub(crate) end: RunEnd,
}

/// When a run began.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Started {
    /// RFC 3339.
    pub(crate) utc: String,
}

/// How a sealed run began and ended, as its manifest says.
pub(crate) fn sealed_as(dir: &Path) -> anyhow::Result<SealedAs> {
    let path = dir.join(names::MANIFEST);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
