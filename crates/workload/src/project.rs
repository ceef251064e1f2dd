//! Files of the project: named relative to it, never outside it, and hashed as they are read.

use crate::WorkloadError;
use servelab_schema::Sha256Hex;
use sha2::{Digest, Sha256};
use std::path::{Component, Path, PathBuf};

/// The folder above `datasets/`.
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

    /// The project of a dataset's TOML: the folder above the one it is in, or above the nearest `datasets`.
    pub(crate) fn of_config(config: &Path) -> Self {
        let folder = config.parent().unwrap_or(Path::new(""));
        let datasets = folder
            .ancestors()
            .find(|a| a.file_name().is_some_and(|n| n == "datasets"));
        let root = datasets.and_then(Path::parent).or_else(|| folder.parent());
        match root {
            Some(root) if !root.as_os_str().is_empty() => Self::new(root),
            // `datasets/l4.toml` and `l4.toml` are relative to the folder that we are in.
            Some(_) => Self::new("."),
            None => Self::new(if folder.as_os_str().is_empty() { ".." } else { "." }),
        }
    }

    /// The place of a file in the file system.
    pub(crate) fn path(&self, relative: &str) -> Result<PathBuf, WorkloadError> {
        if stays_inside(relative) {
            Ok(self.root.join(relative))
        } else {
            Err(WorkloadError::Escapes(relative.to_owned()))
        }
    }

    /// The file's name relative to the project, with `/`; the name as given where it is outside.
    pub(crate) fn relative(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        let parts: Vec<_> = inside
            .components()
            .filter(|c| !matches!(c, Component::CurDir))
            .map(|c| c.as_os_str().to_string_lossy())
            .collect();
        parts.join("/")
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
    fn the_project_is_the_folder_above_datasets() {
        let check = |config: &str, root: &str| {
            assert_eq!(Project::of_config(Path::new(config)).root, Path::new(root), "{config}")
        };
        check("/p/datasets/l4.toml", "/p");
        check("/p/datasets/own/x.toml", "/p");
        check("/p/other/x.toml", "/p");
        check("datasets/l4.toml", ".");
        check("../p/datasets/l4.toml", "../p");
        check("l4.toml", "..");
    }

    #[test]
    fn names_relative_to_the_project() {
        assert_eq!(
            Project::new("/p").relative(Path::new("/p/datasets/l4.toml")),
            "datasets/l4.toml"
        );
        assert_eq!(
            Project::new(".").relative(Path::new("./datasets/l4.toml")),
            "datasets/l4.toml"
        );
        assert_eq!(
            Project::new(".").relative(Path::new("datasets/l4.toml")),
            "datasets/l4.toml"
        );
    }
}
