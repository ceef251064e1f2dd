//! Takes a run directory off the disk. What is half removed bears no run's name and is finished by the next removal.

use crate::{EvidenceError, FileLayer, hold::Hold, names};
use servelab_schema::RunId;
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// What the name of a directory begins with while it is taken away. No run is named so.
const REMOVING: &str = ".removing-";

/// Ending of the signature that lies beside a run.
const SIGNATURE: &str = ".intoto.json";

/// Removes `runs/run` with its signature beside it, and what an earlier removal left half done. The directory loses its name first,
/// on the disk too: however this ends, there is a whole run or none. Returns whether there was one.
///
/// # Errors
/// [`EvidenceError::Running`] where a servelab writes to it, [`EvidenceError::NotARun`] where it is a link, or a directory that holds
/// no run; [`EvidenceError::Io`] where something could not be removed.
pub fn remove(layer: &dyn FileLayer, runs: &Path, run: &RunId) -> Result<bool, EvidenceError> {
    let dir = runs.join(run.as_str());
    let is_there = match fs::symlink_metadata(&dir) {
        Ok(found) if found.is_dir() => true,
        Ok(_) => {
            return Err(not_a_run(
                &dir,
                "no directory, but a link or a file; servelab removes no such thing",
            ));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(EvidenceError::io("look at", &dir)(e)),
    };
    if is_there {
        if !dir.join(names::PLAN).is_file() && !dir.join(names::MANIFEST).is_file() {
            return Err(not_a_run(
                &dir,
                "holds no run (no plan.json); servelab removes runs only",
            ));
        }
        // Held until it has lost its name: nobody begins to write to it meanwhile.
        let hold = Hold::take(&dir)?;
        let going = runs.join(format!("{REMOVING}{run}"));
        finish(layer, &going)?;
        layer.rename(&dir, &going).map_err(EvidenceError::io("rename", &dir))?;
        layer.sync(runs).map_err(EvidenceError::io("sync", runs))?;
        drop(hold);
    }
    let signature = runs.join(format!("{run}{SIGNATURE}"));
    gone(fs::remove_file(&signature)).map_err(EvidenceError::io("remove", &signature))?;
    for left in half_removed(runs)? {
        finish(layer, &left)?;
    }
    Ok(is_there)
}

/// Directories that a removal began to take away and did not end.
///
/// # Errors
/// [`EvidenceError::Io`] where the folder cannot be listed.
pub fn half_removed(runs: &Path) -> Result<Vec<PathBuf>, EvidenceError> {
    let listed = match fs::read_dir(runs) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(EvidenceError::io("list", runs)(e)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(EvidenceError::io("list", runs))?;
        let is_dir = entry
            .file_type()
            .map_err(EvidenceError::io("look at", entry.path()))?
            .is_dir();
        if is_dir && entry.file_name().to_string_lossy().starts_with(REMOVING) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Deletes a directory that has lost its name; links in it are removed and never followed.
fn finish(layer: &dyn FileLayer, going: &Path) -> Result<(), EvidenceError> {
    if !going.is_dir() {
        return Ok(());
    }
    gone(fs::remove_dir_all(going)).map_err(EvidenceError::io("remove", going))?;
    let above = going.parent().unwrap_or(going);
    layer.sync(above).map_err(EvidenceError::io("sync", above))
}

/// What is gone already is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn not_a_run(dir: &Path, why: &str) -> EvidenceError {
    EvidenceError::NotARun {
        path: dir.to_path_buf(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;
    use std::os::unix::fs::symlink;

    fn id(name: &str) -> RunId {
        RunId::new(name).unwrap()
    }

    fn run(runs: &Path, name: &str) {
        fs::create_dir_all(runs.join(name).join("trials/t")).unwrap();
        fs::write(runs.join(name).join(names::PLAN), "{}").unwrap();
        fs::write(runs.join(format!("{name}{SIGNATURE}")), "{}").unwrap();
    }

    fn left(runs: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(runs)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_run_goes_with_its_signature_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path();
        run(runs, "a");
        run(runs, "a-2");
        assert!(remove(&Disk, runs, &id("a")).unwrap());
        assert_eq!(left(runs), ["a-2", "a-2.intoto.json"]);
        assert!(!remove(&Disk, runs, &id("a")).unwrap(), "there is none any more");
    }

    /// The file layer of a disk that ends the program after its first rename.
    #[derive(Debug)]
    struct CutOff;
    impl FileLayer for CutOff {
        fn sync(&self, _: &Path) -> io::Result<()> {
            Err(ErrorKind::Other.into())
        }
    }

    #[test]
    fn what_is_half_removed_is_no_run_and_is_finished_by_the_next_removal() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path();
        run(runs, "a");
        run(runs, "b");
        assert!(remove(&CutOff, runs, &id("a")).is_err());
        assert_eq!(left(runs), [".removing-a", "a.intoto.json", "b", "b.intoto.json"]);
        // The name is free, and is taken, and removed again.
        run(runs, "a");
        assert!(remove(&Disk, runs, &id("b")).unwrap());
        assert_eq!(left(runs), ["a", "a.intoto.json"]);
    }

    #[test]
    fn links_other_folders_and_runs_that_go_on_stay() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        run(&runs, "a");
        run(folder.path(), "outside");
        symlink(folder.path().join("outside"), runs.join("link")).unwrap();
        fs::create_dir(runs.join("pinned")).unwrap();
        for name in ["link", "pinned"] {
            let refused = remove(&Disk, &runs, &id(name)).unwrap_err();
            assert!(matches!(refused, EvidenceError::NotARun { .. }), "{refused}");
        }
        // A link within a run is removed, not what it leads to.
        symlink(folder.path().join("outside"), runs.join("a/trials/link")).unwrap();
        let hold = Hold::take(&runs.join("a")).unwrap();
        assert!(matches!(remove(&Disk, &runs, &id("a")), Err(EvidenceError::Running(_))));
        drop(hold);
        assert!(remove(&Disk, &runs, &id("a")).unwrap());
        assert!(folder.path().join("outside/plan.json").is_file());
    }
}
