//! Answers too long to be held in memory: written row by row, to standard output or into a file that is there whole or not at all.

use crate::{exit::Failure, output};
use anyhow::{Context, anyhow};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use servelab_evidence::names;
use std::{
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
};

/// Where rows go.
pub(crate) enum Stream {
    /// Standard output.
    Answer(BufWriter<io::Stdout>),
    /// A new file, which has another name until it is whole.
    File {
        /// What is written to.
        out: BufWriter<File>,
        /// The name until then.
        unfinished: PathBuf,
        /// The name that it gets.
        path: PathBuf,
    },
}

/// Refuses a file in a run's folder: a sealed run holds nothing else than it did, and an open one is for its runner alone.
///
/// # Errors
/// Usage, naming the run.
pub(crate) fn outside_runs(path: &Path) -> Result<(), Failure> {
    // A plan alone may be anybody's, as `servelab plan --format json` prints it.
    let is_run = |folder: &&Path| folder.join(names::PLAN).is_file() && folder.join(names::TRIALS).is_dir();
    // The file itself is not there yet.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let run = folder.ancestors().find(is_run);
    run.map_or(Ok(()), |run| {
        Err(Failure::usage(anyhow!(
            "{} lies in the run {}, which holds nothing but what was measured; give a path outside it",
            path.display(),
            run.display()
        )))
    })
}

impl Stream {
    /// Into a new file where one is named, else to standard output.
    ///
    /// # Errors
    /// Usage where the file is there already, environment where it cannot be made.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Answer(BufWriter::new(io::stdout())));
        };
        if path.symlink_metadata().is_ok() {
            return Err(there(path));
        }
        outside_runs(path)?;
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.unfinished", std::process::id()));
        let unfinished = path.with_file_name(name);
        let file = File::create_new(&unfinished).with_context(|| format!("{}: cannot be made", path.display()));
        Ok(Self::File {
            out: BufWriter::new(file.map_err(Failure::environment)?),
            unfinished,
            path: path.to_path_buf(),
        })
    }

    /// True where what is written goes to a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Answer(_)) && io::stdout().is_terminal()
    }

    /// Writes what is left, and gives a file its name.
    ///
    /// # Errors
    /// Environment where that fails.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Answer(mut out) => delivered(out.flush()),
            Self::File {
                mut out,
                unfinished,
                path,
            } => {
                let written = out.flush().and_then(|()| out.get_ref().sync_all());
                let named = written.and_then(|()| {
                    renameat_with(CWD, &unfinished, CWD, &path, RenameFlags::NOREPLACE).map_err(io::Error::from)
                });
                named.map_err(|error| {
                    let _ = fs::remove_file(&unfinished);
                    if error.kind() == ErrorKind::AlreadyExists {
                        there(&path)
                    } else {
                        Failure::environment(anyhow!(
                            "{}: cannot be written: {error}; free some space, or name another file",
                            path.display()
                        ))
                    }
                })
            }
        }
    }

    /// Takes back a file that did not become whole.
    pub(crate) fn give_up(self) {
        if let Self::File { unfinished, .. } = self {
            let _ = fs::remove_file(unfinished);
        }
    }
}

fn there(path: &Path) -> Failure {
    Failure::usage(anyhow!(
        "{}: there is such a file already, and nothing is written over; name another one",
        path.display()
    ))
}

/// A reader that went away (`| head`) is no error; what else keeps an answer back is.
fn delivered(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::environment(anyhow!("{}", output::undelivered_words(&error)))),
        Ok(()) => Ok(()),
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Answer(out) => out.write(bytes),
            Self::File { out, .. } => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Answer(out) => out.flush(),
            Self::File { out, .. } => out.flush(),
        }
    }
}
