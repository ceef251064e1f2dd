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

/// File operations of a run; as they stand here, those of the real disk, with files that only their owner reads.
pub trait FileLayer: Send + Sync + fmt::Debug {
    /// Makes a directory and those above it; fine where it exists.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }
    /// Makes a directory that must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists` and what else the operating system says.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }
    /// Makes a file that must not exist yet, with the permissions of [`mode`](Self::mode).
    ///
    /// # Errors
    /// `AlreadyExists` and what else the operating system says.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>> {
        Ok(Box::new(create_new(path, self.mode())?))
    }
    /// Permissions of new files before the process's umask takes some away. Logs and traces hold prompts and answers: unless
    /// somebody wants it otherwise only their owner reads them.
    fn mode(&self) -> u32 {
        OWNER_ONLY
    }
    /// Gives a file its final name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    /// Takes a file away; fine where there is none.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
    /// Takes an empty directory away; fine where there is none.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
    /// Cuts a file to its first bytes, and waits until that is on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    }
    /// Waits until a file's bytes, or a directory's entries, are on the disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Read and written by their owner only.
const OWNER_ONLY: u32 = 0o600;

/// As the umask of the process says, like a file of any other program.
const AS_UMASK_SAYS: u32 = 0o666;

/// The real disk, with files that only their owner reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// The real disk, with files that whoever the umask lets may read.
#[derive(Debug, Clone, Copy, Default)]
pub struct SharedDisk;

impl RunFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A new file to append to.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(mode).open(path)
}

impl FileLayer for Disk {}

impl FileLayer for SharedDisk {
    fn mode(&self) -> u32 {
        AS_UMASK_SAYS
    }
}
