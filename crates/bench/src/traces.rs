//! Where the traces of a load go: all of them into memory for the figures, and into a file where one is asked for.

use crate::{BenchError, clean::Clean};
use servelab_load::{SinkError, TraceSink};
use servelab_schema::{Completion, Outcome, Trace};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// The file of `--traces`, shared by the loads of a sweep. Its rows hold answers: nobody else may read it.
#[derive(Debug, Clone)]
pub(crate) struct TraceFile {
    path: PathBuf,
    out: Arc<Mutex<BufWriter<File>>>,
}

/// A new file that only its owner may read; or a pipe or a device, which has nothing to be lost.
fn open(path: &PathBuf) -> io::Result<File> {
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match new {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let kind = fs::metadata(path)?.file_type();
            if kind.is_fifo() || kind.is_char_device() {
                OpenOptions::new().write(true).open(path)
            } else {
                Err(e)
            }
        }
        other => other,
    }
}

impl TraceFile {
    /// Makes the file.
    ///
    /// # Errors
    /// [`BenchError::TracesExist`] where there is one already, [`BenchError::Traces`] where it cannot be made.
    pub(crate) fn create(path: PathBuf) -> Result<Self, BenchError> {
        match open(&path) {
            Ok(file) => Ok(Self {
                out: Arc::new(Mutex::new(BufWriter::new(file))),
                path,
            }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(BenchError::TracesExist(path)),
            Err(source) => Err(BenchError::Traces { path, source }),
        }
    }

    fn with(&self, f: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), SinkError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut out)
            .map_err(|e| format!("{}: {e}; free some space or give another --traces", self.path.display()).into())
    }

    /// Writes one row.
    ///
    /// # Errors
    /// Names the file and the remedy.
    pub(crate) fn write(&self, trace: &Trace) -> Result<(), SinkError> {
        self.with(|out| {
            serde_json::to_writer(&mut *out, trace)?;
            out.write_all(b"\n")
        })
    }

    /// Hands what was written to the operating system.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn flush(&self) -> Result<(), SinkError> {
        self.with(Write::flush)
    }
}

/// What the sink of one load has kept.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) traces: Vec<Trace>,
    /// The text of each as the server said it, where tokens will be counted from it.
    pub(crate) texts: Vec<Option<String>>,
}

/// The sink of one load. It runs on a thread of its own, so cleaning costs the load nothing.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) rows: Arc<Mutex<Rows>>,
    pub(crate) file: Option<TraceFile>,
    pub(crate) clean: Clean,
    /// Tokens are counted from the texts after the load: rows go into the file once they are.
    pub(crate) uncounted: bool,
}

impl TraceSink for Kept {
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let text = trace
            .completion()
            .filter(|_| self.uncounted)
            .and_then(Completion::text)
            .map(str::to_owned);
        let mut trace = self.clean.trace(trace);
        if self.uncounted {
            if let Outcome::Completed(completion) = trace.outcome {
                trace.outcome = Outcome::Completed(completion.with_text(None));
            }
        } else if let Some(file) = &self.file {
            file.write(&trace)?;
        }
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.traces.push(trace);
        if self.uncounted {
            rows.texts.push(text);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.file.as_ref().map_or(Ok(()), TraceFile::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_new_and_its_owner_s() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        TraceFile::create(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "precious").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for taken in [&path, &link] {
            let said = TraceFile::create(taken.clone()).unwrap_err().to_string();
            let name = taken.display().to_string();
            assert!(said.contains(&name) && said.contains("another name"), "{said}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(matches!(
            TraceFile::create(dir.path().join("no/such/t")),
            Err(BenchError::Traces { .. })
        ));
        TraceFile::create("/dev/null".into()).unwrap();
    }
}
