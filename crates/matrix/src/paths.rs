//! Paths inside the project: relative, with `/`, and never outside it.

use std::path::{Component, Path};

/// The path, checked: relative and without `..`.
pub(crate) fn inside(text: &str) -> Result<String, String> {
    join("", text)
}

/// The path that `text` means when it is written in `file`; it may use `..` but not leave the project.
pub(crate) fn beside(file: &str, text: &str) -> Result<String, String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    join(folder, text)
}

fn join(folder: &str, text: &str) -> Result<String, String> {
    let refuse = |why: &str| {
        Err(format!(
            "`{text}` {why}; give a path relative to the project and inside it"
        ))
    };
    if text.trim().is_empty() {
        return refuse("is no path");
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(part) => match part.to_str() {
                Some(part) if !part.contains('\\') => parts.push(part),
                _ => return refuse("holds characters that paths here may not have"),
            },
            Component::CurDir => {}
            Component::ParentDir => {
                if folder.is_empty() || parts.pop().is_none() {
                    return refuse("leads out of the project");
                }
            }
            Component::RootDir | Component::Prefix(_) => return refuse("is absolute"),
        }
    }
    if parts.is_empty() {
        refuse("is no file")
    } else {
        Ok(parts.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_project() {
        assert_eq!(inside("prompts/a.jsonl").unwrap(), "prompts/a.jsonl");
        assert_eq!(inside("./a").unwrap(), "a");
        assert_eq!(beside("matrix/a.toml", "../b.toml").unwrap(), "b.toml");
        assert_eq!(beside("matrix/a.toml", "b.toml").unwrap(), "matrix/b.toml");
        for bad in ["", " ", "/etc/passwd", "../a", "a/../../b", "a\\b", "."] {
            assert!(inside(bad).is_err(), "{bad}");
        }
        assert!(beside("matrix/a.toml", "../../b.toml").is_err());
    }
}
