//! The few file operations that a run needs, behind a trait so that tests can make them fail.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// An open file of a run.
pub trait RunFile: Write + Send {
    /// Waits until the bytes are on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// File operations of a run.
pub trait FileLayer: Send + Sync + fmt::Debug {
    /// Makes a directory and those above it; fine where it exists.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dirs(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory that must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists` and what else the operating system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file that must not exist yet, readable by its owner only.
    ///
    /// # Errors
    /// `AlreadyExists` and what else the operating system says.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>>;
    /// Gives a file its final name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Cuts a file to its first bytes, and waits until that is on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Waits until a file's bytes, or a directory's entries, are on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&self, path: &Path) -> io::Result<()>;
}

/// The real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl RunFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A new file that only its owner can read: logs and traces hold prompts.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

impl FileLayer for Disk {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>> {
        Ok(Box::new(create_private(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}
