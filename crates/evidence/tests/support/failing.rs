//! A disk of which one operation fails, or everything from one operation on.

use servelab_evidence::{Disk, FileLayer, RunFile};
use std::{
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// No space left on the device.
pub(crate) const ENOSPC: i32 = 28;
/// The device is broken.
pub(crate) const EIO: i32 = 5;
/// The file system is read-only.
pub(crate) const EROFS: i32 = 30;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// Nothing: operations are counted.
    Nothing,
    /// The n-th operation, from 0, with this error number; those after it go well.
    Once(usize, i32),
    /// The n-th operation and all after it: as if servelab had been killed there.
    From(usize),
}

/// The real disk, but for what fails.
#[derive(Debug, Clone)]
pub(crate) struct FailingDisk {
    failing: Failing,
    done: Arc<AtomicUsize>,
}

impl FailingDisk {
    pub(crate) fn new(failing: Failing) -> Self {
        Self {
            failing,
            done: Arc::default(),
        }
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    fn count(&self) -> io::Result<()> {
        let n = self.done.fetch_add(1, Ordering::SeqCst);
        match self.failing {
            Failing::Once(at, number) if n == at => Err(io::Error::from_raw_os_error(number)),
            Failing::From(at) if n >= at => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }
}

struct FailingFile {
    inner: Box<dyn RunFile>,
    disk: FailingDisk,
}

impl Write for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.disk.count() {
            // What a full or broken disk took of a row stays.
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            if self.disk.failing != Failing::From(0) {
                self.inner.write_all(half)?;
            }
            return Err(error);
        }
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl RunFile for FailingFile {
    fn sync(&mut self) -> io::Result<()> {
        // That bytes reach the disk is what the power cuts are about.
        self.disk.count()
    }
}

impl FileLayer for FailingDisk {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        Disk.create_dirs(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        Disk.create_dir(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>> {
        self.count()?;
        Ok(Box::new(FailingFile {
            inner: Disk.create_new(path)?,
            disk: self.clone(),
        }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        Disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        Disk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        Disk.remove_dir(path)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.count()?;
        Disk.truncate(path, bytes)
    }
    fn sync(&self, _: &Path) -> io::Result<()> {
        self.count()
    }
}
