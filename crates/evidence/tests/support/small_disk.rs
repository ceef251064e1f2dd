//! A disk that fills up, or that loses what it was given.

use servelab_evidence::{Disk, FileLayer, RunFile};
use std::{
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A disk that takes `left` bytes, then is full; with `lose`, it takes all and keeps none after those.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    pub(crate) left: Arc<AtomicUsize>,
    pub(crate) lose: bool,
}

struct SmallFile {
    inner: Box<dyn RunFile>,
    left: Arc<AtomicUsize>,
    lose: bool,
}

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::SeqCst);
        let n = bytes.len().min(left);
        self.left.store(left - n, Ordering::SeqCst);
        self.inner.write_all(bytes.get(..n).unwrap_or_default())?;
        match n {
            0 if self.lose => Ok(bytes.len()),
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(n),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl RunFile for SmallFile {
    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}

impl FileLayer for SmallDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>> {
        let inner = Disk.create_new(path)?;
        Ok(Box::new(SmallFile {
            inner,
            left: Arc::clone(&self.left),
            lose: self.lose,
        }))
    }
}
