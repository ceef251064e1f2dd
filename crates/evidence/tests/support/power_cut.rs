//! A disk that knows what a power cut would leave: what was not forced to it may be gone.
//!
//! Bytes of a file are safe once the file was synced, and names once their folder was. Two disks bound what a real one does: the
//! forgetful one keeps only what is safe; the hasty one has every name already, with the bytes that are safe.

use servelab_evidence::{Disk, FileLayer, RunFile};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a name stands for.
#[derive(Debug, Clone)]
enum Node {
    Folder,
    /// Number of its bytes.
    File(usize),
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of every file there was: as written, and as safe.
    bytes: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<PathBuf, Node>,
    safe_names: BTreeMap<PathBuf, Node>,
    operations: usize,
}

/// Which of the two disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Forgetful,
    Hasty,
}

/// What a power cut after each operation would have left.
#[derive(Debug, Clone)]
pub(crate) struct PowerCutDisk {
    state: Arc<Mutex<State>>,
    /// The power is cut before this operation: from then on everything fails.
    cut: usize,
}

impl State {
    fn load(&mut self, folder: &Path) {
        self.names.insert(folder.to_path_buf(), Node::Folder);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.load(&path);
            } else {
                let bytes = fs::read(&path).unwrap();
                self.names.insert(path, Node::File(self.bytes.len()));
                self.bytes.push((bytes.clone(), bytes));
            }
        }
        self.safe_names.clone_from(&self.names);
    }
}

fn cut() -> io::Error {
    io::Error::other("the power is cut")
}

impl PowerCutDisk {
    /// `root` and all that is in it are there and safe.
    pub(crate) fn new(root: &Path, cut: usize) -> Self {
        let disk = Self {
            state: Arc::default(),
            cut,
        };
        disk.state().load(root);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.operations >= self.cut {
            return Err(cut());
        }
        state.operations += 1;
        Ok(state)
    }

    /// Makes in `to` what is left of `root`.
    pub(crate) fn leave(&self, root: &Path, to: &Path, after: After) {
        let state = self.state();
        let names = match after {
            After::Forgetful => &state.safe_names,
            After::Hasty => &state.names,
        };
        for (path, node) in names {
            let Ok(relative) = path.strip_prefix(root) else {
                continue;
            };
            let target = to.join(relative);
            // A name in a folder that is not there is nowhere.
            let reachable = path.ancestors().skip(1).take_while(|a| a.starts_with(root));
            if !reachable.into_iter().all(|folder| names.contains_key(folder)) {
                continue;
            }
            match node {
                Node::Folder => fs::create_dir_all(target).unwrap(),
                Node::File(number) => fs::write(target, &state.bytes[*number].1).unwrap(),
            }
        }
    }
}

struct CutFile {
    inner: Box<dyn RunFile>,
    number: usize,
    disk: PowerCutDisk,
}

impl Write for CutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.begin()?;
        state.bytes[self.number].0.extend_from_slice(bytes);
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl RunFile for CutFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.begin()?;
        let (written, safe) = &mut state.bytes[self.number];
        safe.clone_from(written);
        Ok(())
    }
}

impl FileLayer for PowerCutDisk {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        for folder in path.ancestors() {
            state.names.entry(folder.to_path_buf()).or_insert(Node::Folder);
        }
        Disk.create_dirs(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        Disk.create_dir(path)?;
        state.names.insert(path.to_path_buf(), Node::Folder);
        Ok(())
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RunFile>> {
        let mut state = self.begin()?;
        let inner = Disk.create_new(path)?;
        let number = state.bytes.len();
        state.bytes.push(Default::default());
        state.names.insert(path.to_path_buf(), Node::File(number));
        let disk = self.clone();
        Ok(Box::new(CutFile { inner, number, disk }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        Disk.rename(from, to)?;
        let node = state
            .names
            .remove(from)
            .unwrap_or_else(|| panic!("{} is not known", from.display()));
        state.names.insert(to.to_path_buf(), node);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        Disk.remove(path)?;
        state.names.remove(path);
        Ok(())
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        Disk.remove_dir(path)?;
        state.names.remove(path);
        Ok(())
    }
    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        Disk.truncate(path, bytes)?;
        if let Some(Node::File(number)) = state.names.get(path).cloned() {
            let length = usize::try_from(bytes).unwrap();
            let (written, safe) = &mut state.bytes[number];
            written.truncate(length);
            safe.clone_from(written);
        }
        Ok(())
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        match state.names.get(path).cloned() {
            Some(Node::File(number)) => {
                let (written, safe) = &mut state.bytes[number];
                safe.clone_from(written);
            }
            _ => {
                let inside = |name: &PathBuf| name.parent() == Some(path);
                state.safe_names.retain(|name, _| !inside(name));
                let now: Vec<_> = state
                    .names
                    .iter()
                    .filter(|(name, _)| inside(name))
                    .map(|(n, k)| (n.clone(), k.clone()))
                    .collect();
                state.safe_names.extend(now);
            }
        }
        Ok(())
    }
}
