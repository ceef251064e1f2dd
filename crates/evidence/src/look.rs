//! What lies in a folder, whatever it is: nothing is opened, no link is followed, and nothing in it is an error.

use rustix::fs::OFlags;
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Folders below which nobody looks: a run has five levels.
const DEEPEST: usize = 32;

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lying {
    /// Path relative to the folder, with `/`.
    pub path: String,
    /// Size when it was looked at.
    pub bytes: u64,
}

/// What is neither a file nor a folder that can be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    /// A symbolic link, which could lead out of the folder.
    Link,
    /// A device, a pipe or a socket.
    Special,
    /// Its name is no UTF-8.
    Name,
    /// The operating system does not let it be looked at.
    Unreadable,
    /// Folders in folders, deeper than any of a run.
    TooDeep,
}

/// Everything that lies below a folder, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Files.
    pub files: Vec<Lying>,
    /// Folders, without the one itself.
    pub folders: Vec<String>,
    /// What is neither; bytes of a name that are no UTF-8 are replaced.
    pub odd: Vec<(String, Odd)>,
}

impl Listing {
    /// Looks at everything below `root`.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let mut found = Self::default();
        let mut todo = vec![(String::new(), root.to_path_buf(), 0_usize)];
        while let Some((prefix, dir, depth)) = todo.pop() {
            let here = if prefix.is_empty() {
                ".".to_owned()
            } else {
                prefix.clone()
            };
            if depth > DEEPEST {
                found.odd.push((here, Odd::TooDeep));
                continue;
            }
            let Ok(entries) = fs::read_dir(&dir) else {
                found.odd.push((here, Odd::Unreadable));
                continue;
            };
            for entry in entries {
                match entry {
                    Ok(entry) => found.note(&prefix, entry.file_name(), entry.path(), depth, &mut todo),
                    Err(_) => found.odd.push((here.clone(), Odd::Unreadable)),
                }
            }
        }
        found.files.sort();
        found.folders.sort();
        found.odd.sort();
        found
    }

    fn note(
        &mut self,
        prefix: &str,
        name: OsString,
        path: PathBuf,
        depth: usize,
        todo: &mut Vec<(String, PathBuf, usize)>,
    ) {
        let below = |name: &str| match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        let Ok(name) = name.into_string().map_err(|raw| below(&raw.to_string_lossy())) else {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.odd.push((below(&name), Odd::Name));
            return;
        };
        let relative = below(&name);
        match fs::symlink_metadata(&path) {
            Ok(m) if m.is_dir() => {
                self.folders.push(relative.clone());
                todo.push((relative, path, depth.saturating_add(1)));
            }
            Ok(m) if m.is_file() => self.files.push(Lying {
                path: relative,
                bytes: m.len(),
            }),
            Ok(m) if m.is_symlink() => self.odd.push((relative, Odd::Link)),
            Ok(_) => self.odd.push((relative, Odd::Special)),
            Err(_) => self.odd.push((relative, Odd::Unreadable)),
        }
    }
}

/// Opens a file for reading, and nothing else: no link is followed, no pipe is waited for.
///
/// # Errors
/// What the operating system says; `InvalidInput` where it is no file.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(|_| io::ErrorKind::Unsupported)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{ffi::OsStringExt, fs::symlink};

    #[test]
    fn everything_is_named_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/file"), "four").unwrap();
        symlink("/etc", at("a/link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        fs::write(dir.path().join(OsString::from_vec(b"bad\xff".to_vec())), "").unwrap();
        let found = Listing::of(dir.path());
        let files: Vec<_> = found.files.iter().map(|f| (f.path.as_str(), f.bytes)).collect();
        assert_eq!(files, [("a/file", 4)]);
        assert_eq!(found.folders, ["a", "a/b"]);
        let odd: Vec<_> = found.odd.iter().map(|(path, odd)| (path.as_str(), *odd)).collect();
        assert_eq!(
            odd,
            [
                ("a/link", Odd::Link),
                ("bad\u{fffd}", Odd::Name),
                ("dangling", Odd::Link),
                ("pipe", Odd::Special)
            ]
        );
        assert!(open_file(&at("pipe")).is_err() && open_file(&at("a/link")).is_err() && open_file(&at("a")).is_err());
        assert_eq!(Listing::of(&at("none")).odd, [(".".to_owned(), Odd::Unreadable)]);
    }
}
