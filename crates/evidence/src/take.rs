//! Reading the files of one take, whether its run is sealed or still open. Rows come one at a time: a take may hold more of
//! them than memory.

use crate::{
    EvidenceError, names,
    packed::{decoder, with_ending},
    walk::{document, parse_at},
};
use serde::de::DeserializeOwned;
use servelab_schema::{EngineRecord, Format, TelemetrySample, Trace, TrialRecord};
use std::{
    fmt,
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

/// Rows of a JSONL file, compressed or not, one after the other.
pub struct Rows<T> {
    path: PathBuf,
    file: Option<Box<dyn BufRead + Send>>,
    line: String,
    number: u64,
    row: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("path", &self.path)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// None where there is no such file.
fn open(path: &Path) -> Result<Option<File>, EvidenceError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(EvidenceError::io("open", path)(e)),
    }
}

impl<T> Rows<T> {
    /// The rows of this file, or of what it was compressed to. Where both are there, the seal was cut off and the plain one is whole.
    pub(crate) fn open(path: PathBuf) -> Result<Self, EvidenceError> {
        const BUFFER: usize = 1 << 16;
        let rows = |path, file| Self {
            path,
            file,
            line: String::new(),
            number: 0,
            row: PhantomData,
        };
        if let Some(file) = open(&path)? {
            return Ok(rows(path, Some(Box::new(BufReader::with_capacity(BUFFER, file)))));
        }
        let path = with_ending(&path);
        let Some(file) = open(&path)? else {
            return Ok(rows(path, None));
        };
        let decoder = decoder(file).map_err(EvidenceError::io("decompress", &path))?;
        Ok(rows(path, Some(Box::new(BufReader::with_capacity(BUFFER, decoder)))))
    }
}

impl<T: DeserializeOwned + Format> Iterator for Rows<T> {
    type Item = Result<T, EvidenceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.file.as_mut()?;
        self.line.clear();
        self.number += 1;
        match file.read_line(&mut self.line) {
            Ok(0) => None,
            // A line without an end is half a row, whatever it parses to.
            Ok(_) if !self.line.ends_with('\n') => Some(Err(EvidenceError::TornRow {
                path: self.path.clone(),
                line: self.number,
            })),
            Ok(_) => Some(parse_at(&self.line, || {
                format!("{}:{}", self.path.display(), self.number)
            })),
            Err(e) => {
                // What follows a line that cannot be read is not known to begin a row.
                self.file = None;
                Some(Err(EvidenceError::io("read", &self.path)(e)))
            }
        }
    }
}
