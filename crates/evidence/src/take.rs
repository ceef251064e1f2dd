//! Reading the files of one take, whether its run is sealed or still open. Rows come one at a time: a take may hold more of
//! them than memory.

use crate::{EvidenceError, names, walk::document};
use serde::de::DeserializeOwned;
use servelab_schema::{EngineRecord, TelemetrySample, Trace, TrialRecord};
use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind},
    marker::PhantomData,
    path::{Path, PathBuf},
};

/// The directory of one take.
#[derive(Debug, Clone)]
pub struct TakeFiles {
    dir: PathBuf,
}

impl TakeFiles {
    /// The take in this directory, which is looked at when one of its files is asked for.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What happened in the take.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn record(&self) -> Result<TrialRecord, EvidenceError> {
        document(&self.dir.join(names::TRIAL))
    }

    /// What was started for the take.
    ///
    /// # Errors
    /// [`EvidenceError`] where it cannot be read.
    pub fn engine(&self) -> Result<EngineRecord, EvidenceError> {
        document(&self.dir.join(names::ENGINE))
    }

    /// The traces, in the order they ended; none where the engine never started.
    ///
    /// # Errors
    /// [`EvidenceError`] where the file cannot be opened; each row may be one that names its line.
    pub fn traces(&self) -> Result<Rows<Trace>, EvidenceError> {
        Rows::open(self.dir.join(names::TRACES))
    }

    /// The telemetry; none where the engine never started.
    ///
    /// # Errors
    /// As [`traces`](Self::traces).
    pub fn telemetry(&self) -> Result<Rows<TelemetrySample>, EvidenceError> {
        Rows::open(self.dir.join(names::TELEMETRY))
    }
}

/// Rows of a JSONL file, one after the other.
#[derive(Debug)]
pub struct Rows<T> {
    path: PathBuf,
    file: Option<BufReader<File>>,
    line: String,
    number: u64,
    row: PhantomData<fn() -> T>,
}

impl<T> Rows<T> {
    fn open(path: PathBuf) -> Result<Self, EvidenceError> {
        let file = match File::open(&path) {
            Ok(file) => Some(BufReader::with_capacity(1 << 16, file)),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(EvidenceError::io("open", &path)(e)),
        };
        Ok(Self {
            path,
            file,
            line: String::new(),
            number: 0,
            row: PhantomData,
        })
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T, EvidenceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.file.as_mut()?;
        self.line.clear();
        self.number += 1;
        match file.read_line(&mut self.line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&self.line).map_err(|e| EvidenceError::Format {
                path: format!("{}:{}", self.path.display(), self.number),
                message: e.to_string(),
            })),
            Err(e) => {
                // What follows a line that cannot be read is not known to begin a row.
                self.file = None;
                Some(Err(EvidenceError::io("read", &self.path)(e)))
            }
        }
    }
}
