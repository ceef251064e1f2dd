//! One run at a time on a machine, and on each of its GPUs: two that measure beside each other spoil both.
//!
//! Parts: [`MachineLock`] is the lock of the machine, taken before the instrument is measured; GPUs are added once they are
//! known. Formats: an empty file per thing that is held, locked with `flock`, with a line of JSON for whoever finds it
//! locked. Traps: the folder is one that every user of the machine can write to, so a file in it may be anybody's: links,
//! and what is no plain file, are refused, and its words are only shown, cut and without control characters. The lock ends
//! with the process. Containers with a folder of their own for it see each other's locks no more than each other's load.

use rustix::{
    fs::{FlockOperation, Mode, OFlags, fchmod, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use servelab_load::clock::utc_now;
use servelab_schema::{GpuFacts, MachineHold};
use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Environment variable that names another folder for the locks.
pub const FOLDER_VARIABLE: &str = "SERVELAB_LOCKS";

/// Longest words of another run that are shown, characters.
const MOST_WORDS: usize = 300;

/// The machine could not be held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error(
        "another run measures on this {what} ({with}): beside each other they spoil both. Wait for it to end, or share the \
         machine all the same with --share-machine"
    )]
    Machine {
        /// What is held.
        what: String,
        /// The run that holds it, in its own words.
        with: String,
    },
    /// Another run holds a GPU.
    #[error(
        "another run measures on GPU {uuid} ({with}): wait for it to end, or give this run other GPUs by CUDA_VISIBLE_DEVICES"
    )]
    Gpu {
        /// The GPU.
        uuid: String,
        /// The run that holds it, in its own words.
        with: String,
    },
    /// The file cannot be used.
    #[error("{path}: cannot lock the machine: {source}; {FOLDER_VARIABLE} names another folder for the lock")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

/// Who holds something, for others to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    run: String,
    since: String,
}

/// The machine, held until this is dropped.
#[derive(Debug)]
pub struct MachineLock {
    folder: PathBuf,
    since: String,
    /// None where it is shared and another run had it.
    machine: Option<File>,
    shared: bool,
    with: Option<String>,
}

/// The folder of the locks: one that is the same for every user of the machine.
#[must_use]
pub fn lock_folder() -> PathBuf {
    let own = env::var_os(FOLDER_VARIABLE).filter(|v| !v.is_empty());
    // Writable for all, and nobody can remove another's file: not "writable for me", which root would answer differently.
    let is_common = |path: &&str| fs::metadata(path).is_ok_and(|m| m.is_dir() && m.mode() & 0o1002 == 0o1002);
    let common = ["/run/lock", "/tmp"].iter().find(|path| is_common(path)).copied();
    own.map_or_else(|| PathBuf::from(common.unwrap_or("/tmp")), PathBuf::from)
}

impl MachineLock {
    /// Holds the machine. With `share` a machine that another run holds is no error.
    ///
    /// # Errors
    /// [`LockError`]: another run holds it, or the lock's file cannot be used.
    pub fn take(folder: &Path, share: bool) -> Result<Self, LockError> {
        let held = hold(folder, "machine")?;
        let since = utc_now();
        let (machine, with) = match held {
            Held::Ours(file) => (Some(file), None),
            Held::Theirs(with) if share => (None, Some(with)),
            Held::Theirs(with) => {
                let what = "machine".to_owned();
                return Err(LockError::Machine { what, with });
            }
        };
        let lock = Self {
            folder: folder.to_path_buf(),
            since,
            machine,
            shared: share,
            with,
        };
        lock.says(Path::new("not begun yet"));
        Ok(lock)
    }

    /// Tells others which run holds the machine.
    pub(crate) fn says(&self, run: &Path) {
        if let Some(file) = &self.machine {
            self.write(file, run);
        }
    }

    /// What is written helps people; the lock holds without it, also where the file is another user's.
    fn write(&self, mut file: &File, run: &Path) {
        let holder = Holder {
            pid: std::process::id(),
            run: run.display().to_string(),
            since: self.since.clone(),
        };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            tracing::debug!(%error, "the lock's file cannot be written");
        }
    }

    /// Holds the GPUs of a run too, shared machine or not.
    pub(crate) fn gpus(&self, uuids: &[String], run: &Path) -> Result<HeldGpus, LockError> {
        let mut files = Vec::new();
        for uuid in uuids {
            match hold(&self.folder, &format!("gpu-{uuid}"))? {
                Held::Ours(file) => {
                    self.write(&file, run);
                    files.push(file);
                }
                Held::Theirs(with) => {
                    let uuid = uuid.clone();
                    return Err(LockError::Gpu { uuid, with });
                }
            }
        }
        let machine = self
            .machine
            .iter()
            .filter(|_| !self.shared)
            .map(|_| "machine".to_owned());
        let held = machine.chain(uuids.iter().cloned()).collect();
        let hold = if self.shared {
            let with = self.with.clone();
            MachineHold::Shared { held, with }
        } else {
            MachineHold::Alone { held }
        };
        Ok(HeldGpus { _files: files, hold })
    }
}

/// The GPUs of a run, held until this is dropped, and what `environment.json` says of it all.
#[derive(Debug)]
pub(crate) struct HeldGpus {
    _files: Vec<File>,
    pub(crate) hold: MachineHold,
}

/// UUIDs of the GPUs that an engine started here may use. `visible` is what `CUDA_VISIBLE_DEVICES` says.
pub(crate) fn usable(gpus: &[GpuFacts], visible: Option<&str>) -> Vec<String> {
    let is_meant = |gpu: &GpuFacts, word: &str| {
        let by_uuid = gpu
            .uuid
            .as_deref()
            .is_some_and(|uuid| !word.is_empty() && uuid.starts_with(word));
        by_uuid || word.parse() == Ok(gpu.index)
    };
    let words: Vec<&str> = visible
        .map(|v| v.split(',').map(str::trim).collect())
        .unwrap_or_default();
    let understood = words.iter().all(|word| gpus.iter().any(|gpu| is_meant(gpu, word)));
    gpus.iter()
        // What is not understood may mean any of them.
        .filter(|gpu| words.is_empty() || !understood || words.iter().any(|word| is_meant(gpu, word)))
        .filter_map(|gpu| gpu.uuid.clone())
        .filter(|uuid| uuid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
        .collect()
}

enum Held {
    Ours(File),
    /// By another process, in its own words.
    Theirs(String),
}

fn hold(folder: &Path, what: &str) -> Result<Held, LockError> {
    let path = folder.join(format!("servelab-{what}.lock"));
    let refused = |source: io::Error| LockError::Io {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(folder).map_err(refused)?;
    let file = open(&path).map_err(refused)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Held::Ours(file)),
        Err(Errno::WOULDBLOCK) => Ok(Held::Theirs(words(file))),
        Err(error) => Err(refused(error.into())),
    }
}

/// Opens a lock's file, or makes it. Never through a link, and never anything but a plain file with one name.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let existing = |write: bool| {
        OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(path)
    };
    let make = || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(flags)
            .open(path)?;
        // For every user, whatever the mask of the first says.
        fchmod(&file, Mode::from_raw_mode(0o666))?;
        Ok(file)
    };
    let opened = match existing(true) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(),
        opened => opened,
    };
    let file = match opened {
        // Somebody else made it meanwhile.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => existing(true),
        // Another user's: it can be locked without being written.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => existing(false),
        opened => opened,
    }?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no lock of servelab's",
        ))
    }
}

/// What the holder wrote, which may be anything.
fn words(file: File) -> String {
    let mut text = String::new();
    // Unreadable words are none.
    let _ = file.take(4096).read_to_string(&mut text);
    let said = serde_json::from_str::<Holder>(&text).map_or_else(
        |_| "it does not say which".to_owned(),
        |h| format!("process {}, run {}, since {}", h.pid, h.run, h.since),
    );
    said.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{Bytes, examples};
    use std::os::unix::fs::PermissionsExt;

    fn machine(folder: &Path, share: bool) -> Result<MachineLock, LockError> {
        MachineLock::take(folder, share)
    }

    #[test]
    fn one_run_holds_the_machine_and_the_next_is_told_which() {
        let dir = tempfile::tempdir().unwrap();
        let first = machine(dir.path(), false).unwrap();
        first.says(Path::new("/p/runs/r1"));
        let error = machine(dir.path(), false).unwrap_err().to_string();
        let pid = std::process::id().to_string();
        assert!(
            error.contains("/p/runs/r1") && error.contains(&pid) && error.contains("--share-machine"),
            "{error}"
        );
        let shared = machine(dir.path(), true).unwrap();
        let held = shared.gpus(&[], Path::new("r2")).unwrap().hold;
        let MachineHold::Shared { held, with } = held else {
            panic!("{held:?}")
        };
        assert!(held.is_empty() && with.unwrap().contains("/p/runs/r1"));
        assert!(
            error.contains("/p/runs/r1"),
            "a run that shares does not write over who holds"
        );
        let alone = first.gpus(&[], Path::new("r1")).unwrap().hold;
        assert_eq!(
            alone,
            MachineHold::Alone {
                held: vec!["machine".into()]
            }
        );
        drop((first, shared));
        machine(dir.path(), false).unwrap();
    }

    #[test]
    fn a_gpu_is_never_shared() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (machine(dir.path(), false).unwrap(), machine(dir.path(), true).unwrap());
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let held = first.gpus(&ids(&["GPU-1"]), Path::new("r1")).unwrap();
        let error = second
            .gpus(&ids(&["GPU-2", "GPU-1"]), Path::new("r2"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("GPU-1") && error.contains("CUDA_VISIBLE_DEVICES"),
            "{error}"
        );
        second.gpus(&ids(&["GPU-2"]), Path::new("r2")).unwrap();
        assert_eq!(
            held.hold,
            MachineHold::Alone {
                held: ids(&["machine", "GPU-1"])
            }
        );
    }

    #[test]
    fn a_link_or_a_device_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("servelab-machine.lock");
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        machine(dir.path(), false).unwrap_err();
        fs::remove_file(&lock).unwrap();
        fs::hard_link(&victim, &lock).unwrap();
        let error = machine(dir.path(), false).unwrap_err().to_string();
        assert!(
            error.contains("no lock of servelab's") && error.contains(FOLDER_VARIABLE),
            "{error}"
        );
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        machine(dir.path(), false).unwrap_err();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn strange_words_are_only_shown() {
        let dir = tempfile::tempdir().unwrap();
        let _held = machine(dir.path(), false).unwrap();
        let lock = dir.path().join("servelab-machine.lock");
        let mode = fs::metadata(&lock).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "any user can say that it holds it");
        let evil = Holder {
            pid: 1,
            run: format!("\u{1b}[2J{}", "x".repeat(1000)),
            since: String::new(),
        };
        fs::write(&lock, serde_json::to_string(&evil).unwrap()).unwrap();
        let error = machine(dir.path(), false).unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && error.len() < 600, "{error}");
        fs::write(&lock, "\u{0}not json").unwrap();
        let error = machine(dir.path(), false).unwrap_err().to_string();
        assert!(error.contains("does not say which"), "{error}");
    }

    #[test]
    fn the_gpus_that_an_engine_may_use() {
        let gpu = |index: u32, uuid: &str| GpuFacts {
            index,
            uuid: Some(uuid.to_owned()),
            memory_total_bytes: Some(Bytes(1)),
            ..examples::environment().gpus.remove(0)
        };
        let gpus = [gpu(0, "GPU-aa"), gpu(1, "GPU-bb")];
        let check = |visible: Option<&str>, expected: &[&str]| {
            assert_eq!(usable(&gpus, visible), expected, "{visible:?}");
        };
        check(None, &["GPU-aa", "GPU-bb"]);
        check(Some("1"), &["GPU-bb"]);
        check(Some("GPU-a"), &["GPU-aa"]);
        check(Some("0, 1"), &["GPU-aa", "GPU-bb"]);
        check(Some("MIG-cc"), &["GPU-aa", "GPU-bb"]);
        check(Some("7"), &["GPU-aa", "GPU-bb"]);
        assert!(
            usable(&[gpu(0, "../x")], None).is_empty(),
            "a name that leaves the folder is none"
        );
    }
}
