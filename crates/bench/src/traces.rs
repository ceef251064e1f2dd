//! Where the traces of a load go: all of them into memory for the figures, and into a file where one is asked for.

use crate::{BenchError, clean::Clean};
use servelab_load::{SinkError, TraceSink};
use servelab_schema::Trace;
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
}

/// The sink of one load. It runs on a thread of its own, so cleaning costs the load nothing.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) traces: Arc<Mutex<Vec<Trace>>>,
    pub(crate) file: Option<TraceFile>,
    pub(crate) clean: Clean,
}

impl TraceSink for Kept {
    fn write(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let trace = self.clean.trace(trace);
        if let Some(file) = &self.file {
            file.with(|out| {
                serde_json::to_writer(&mut *out, &trace)?;
                out.write_all(b"\n")
            })?;
        }
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).push(trace);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.file.as_ref().map_or(Ok(()), |file| file.with(Write::flush))
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
