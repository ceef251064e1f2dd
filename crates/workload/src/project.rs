//! Files of the project: named relative to it, never outside it, and hashed as they are read.

use crate::WorkloadError;
use servelab_schema::Sha256Hex;
use sha2::{Digest, Sha256};
use std::path::{Component, Path, PathBuf};

/// The folder that every name is relative to.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    root: PathBuf,
}

/// A file's bytes and their hash.
#[derive(Debug, Clone)]
pub(crate) struct Hashed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: Sha256Hex,
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256Hex {
    Sha256Hex::from_bytes(Sha256::digest(bytes).into())
}

/// Whether a path is relative and stays where it is.
pub(crate) fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\\')
        && Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
}

impl Project {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The place of a file in the file system.
    pub(crate) fn path(&self, relative: &str) -> Result<PathBuf, WorkloadError> {
        if stays_inside(relative) {
            Ok(self.root.join(relative))
        } else {
            Err(WorkloadError::Escapes(relative.to_owned()))
        }
    }

    /// The file's name relative to the project, with `/`.
    ///
    /// # Errors
    /// [`WorkloadError::Escapes`] where it is outside.
    pub(crate) fn relative(&self, path: &Path) -> Result<String, WorkloadError> {
        let escapes = || WorkloadError::Escapes(path.display().to_string());
        let inside = match path.strip_prefix(&self.root) {
            Ok(inside) => inside.to_path_buf(),
            Err(_) if path.is_relative() && self.root == Path::new(".") => path.to_path_buf(),
            // One of the two is absolute and the other is not, or a link leads there.
            Err(_) => {
                let (root, file) = (self.root.canonicalize(), path.canonicalize());
                let inside = root.ok().zip(file.ok());
                let inside = inside.and_then(|(root, file)| Some(file.strip_prefix(root).ok()?.to_path_buf()));
                inside.ok_or_else(escapes)?
            }
        };
        let parts: Vec<_> = inside
            .components()
            .filter(|c| !matches!(c, Component::CurDir))
            .map(|c| c.as_os_str().to_string_lossy())
            .collect();
        let name = parts.join("/");
        if stays_inside(&name) { Ok(name) } else { Err(escapes()) }
    }

    pub(crate) fn read(&self, relative: &str) -> Result<Hashed, WorkloadError> {
        self.read_path(self.path(relative)?)
    }

    pub(crate) fn read_path(&self, path: PathBuf) -> Result<Hashed, WorkloadError> {
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Hashed {
                sha256: sha256(&bytes),
                bytes,
            }),
            Err(source) => Err(WorkloadError::Read {
                path,
                root: self.root.clone(),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["datasets/a.gz", "a", "./a/b"] {
            assert!(stays_inside(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "..", "a/../../b", "../a", "..\\a"] {
            assert!(!stays_inside(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_outside_has_no_name() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let project = Project::new(inside.path());
        assert!(project.relative(outside.path()).is_err());
        assert!(Project::new(".").relative(Path::new("../x.toml")).is_err());
        assert!(Project::new(".").relative(Path::new("/etc/hostname")).is_err());
    }

    #[test]
    fn names_relative_to_the_project() {
        assert_eq!(
            Project::new("/p").relative(Path::new("/p/datasets/l4.toml")).unwrap(),
            "datasets/l4.toml"
        );
        assert_eq!(
            Project::new(".").relative(Path::new("./datasets/l4.toml")).unwrap(),
            "datasets/l4.toml"
        );
        assert_eq!(
            Project::new(".").relative(Path::new("datasets/l4.toml")).unwrap(),
            "datasets/l4.toml"
        );
    }
}
