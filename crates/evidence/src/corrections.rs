//! `runs/corrections/`: what was found wrong with evidence after its seal. A correction is written once and never changed.

use crate::{
    EvidenceError, FileLayer,
    walk::{parse, read},
};
use servelab_schema::{Correction, canonical_json};
use std::{
    fs,
    io::ErrorKind,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Tells files apart that this process has not given their names yet.
static ONE_OF_OURS: AtomicU32 = AtomicU32::new(0);

/// Name of the folder under `runs/`.
pub const FOLDER: &str = "corrections";

/// Times that a number is tried anew where somebody else took it meanwhile.
const TRIES: u32 = 16;

/// Every correction, in the order of their numbers; none where there is no folder.
///
/// # Errors
/// [`EvidenceError::Format`] where a `.json` file of the folder is no correction of its name, [`EvidenceError::NotARun`] where it is a link,
/// [`EvidenceError::Io`] where it cannot be read.
pub fn corrections(runs: &Path) -> Result<Vec<Correction>, EvidenceError> {
    let folder = runs.join(FOLDER);
    let listed = match fs::read_dir(&folder) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(EvidenceError::io("list", &folder)(e)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(EvidenceError::io("list", &folder))?;
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let kind = entry.file_type().map_err(EvidenceError::io("look at", &path))?;
            if !kind.is_file() {
                let why = "no file, but a link or a folder; a correction is a file".to_owned();
                return Err(EvidenceError::NotARun { path, why });
            }
            found.push(correction(&path)?);
        }
    }
    found.sort_by_key(|c| c.number);
    Ok(found)
}

fn correction(path: &Path) -> Result<Correction, EvidenceError> {
    let wrong = |message: String| EvidenceError::Format {
        path: path.display().to_string(),
        message,
    };
    let found: Correction = parse(&read(path)?, path)?;
    let name = Correction::file_name(found.number);
    if path.file_name().is_some_and(|given| given == name.as_str()) {
        Ok(found)
    } else {
        Err(wrong(format!(
            "it says that it is correction {}, whose file is {name}",
            found.number
        )))
    }
}

/// Writes a correction under the next number; returns it with its number, and its file.
///
/// # Errors
/// As [`corrections`], and [`EvidenceError::Io`] where the file cannot be written.
pub fn correct(
    layer: &dyn FileLayer,
    runs: &Path,
    correction: &Correction,
) -> Result<(Correction, PathBuf), EvidenceError> {
    let folder = runs.join(FOLDER);
    layer
        .create_dirs(&folder)
        .map_err(EvidenceError::io("create", &folder))?;
    layer.sync(runs).map_err(EvidenceError::io("sync", runs))?;
    for _ in 0..TRIES {
        let last = corrections(runs)?.last().map_or(0, |c| c.number.get());
        let number = NonZeroU32::MIN.saturating_add(last);
        let numbered = Correction {
            number,
            ..correction.clone()
        };
        let path = folder.join(Correction::file_name(number));
        if write(layer, &path, &numbered)? {
            layer.sync(&folder).map_err(EvidenceError::io("sync", &folder))?;
            return Ok((numbered, path));
        }
    }
    Err(EvidenceError::io("write a correction to", folder)(
        ErrorKind::AlreadyExists.into(),
    ))
}

/// Writes the file whole or not at all; false where its name was taken meanwhile.
fn write(layer: &dyn FileLayer, path: &Path, correction: &Correction) -> Result<bool, EvidenceError> {
    let text = canonical_json(correction).map_err(|e| EvidenceError::Format {
        path: path.display().to_string(),
        message: e.to_string(),
    })?;
    let one_of_ours = ONE_OF_OURS.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{one_of_ours}.tmp", process::id()));
    let mut file = layer
        .create_new(&beside)
        .map_err(EvidenceError::io("create", &beside))?;
    file.write_all(text.as_bytes())
        .map_err(EvidenceError::io("write", path))?;
    file.sync().map_err(EvidenceError::io("sync", path))?;
    drop(file);
    // A second name, unlike a rename, never takes the place of a file that is there.
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).map_err(EvidenceError::io("remove", &beside))?;
    match linked {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(EvidenceError::io("write", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;
    use servelab_schema::examples;
    use std::{os::unix::fs::symlink, thread};

    #[test]
    fn corrections_are_numbered_in_their_order_and_come_back() {
        let runs = tempfile::tempdir().unwrap();
        assert_eq!(corrections(runs.path()).unwrap(), []);
        for number in 1..=12 {
            let (written, path) = correct(&Disk, runs.path(), &examples::correction()).unwrap();
            assert_eq!(written.number.get(), number);
            assert!(path.ends_with(format!("corrections/{number}.json")));
        }
        let numbers: Vec<u32> = corrections(runs.path())
            .unwrap()
            .iter()
            .map(|c| c.number.get())
            .collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
        let names = fs::read_dir(runs.path().join(FOLDER)).unwrap().count();
        assert_eq!(names, 12, "nothing else is left");
    }

    #[test]
    fn two_who_correct_at_once_take_two_numbers() {
        let runs = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| correct(&Disk, runs.path(), &examples::correction()).unwrap());
            }
        });
        assert_eq!(corrections(runs.path()).unwrap().len(), 4);
    }

    #[test]
    fn what_is_no_correction_is_named() {
        let runs = tempfile::tempdir().unwrap();
        correct(&Disk, runs.path(), &examples::correction()).unwrap();
        let folder = runs.path().join(FOLDER);
        let check = |name: &str, part: &str| {
            let said = corrections(runs.path()).unwrap_err().to_string();
            assert!(said.contains(name) && said.contains(part), "{said}");
            fs::remove_file(folder.join(name)).unwrap();
        };
        fs::copy(folder.join("1.json"), folder.join("7.json")).unwrap();
        check("7.json", "correction 1");
        fs::write(folder.join("x.json"), "{}").unwrap();
        check("x.json", "missing field");
        symlink("1.json", folder.join("2.json")).unwrap();
        check("2.json", "link");
        fs::write(folder.join("README.md"), "for people").unwrap();
        assert_eq!(corrections(runs.path()).unwrap().len(), 1);
    }
}
