//! What an earlier report left in its folder: taken away when another one is written there.
//!
//! A report writes down its files, one name a line, in `files.txt`. Only what such a list names is ever removed or written over: a
//! folder may hold files of somebody else.

use crate::{PAGE, ReportError, ReportFiles, SUMMARY_CSV, SUMMARY_JSON, write};
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// The list of a report's files.
const LIST: &str = "files.txt";

/// The files of the report that is in a folder already.
#[derive(Debug)]
pub(crate) struct Earlier(BTreeSet<String>);

impl Earlier {
    /// Those that its list names. Refuses a folder in which somebody else has files of a report's names, and writes down that these
    /// are a report's from now on: one that is cut off can be written again.
    pub(crate) fn claim(dir: &Path) -> Result<Self, ReportError> {
        let earlier = Self::of(dir);
        let ours = [PAGE, SUMMARY_CSV, SUMMARY_JSON];
        let foreign = ours
            .into_iter()
            .find(|name| !earlier.0.contains(*name) && dir.join(name).exists());
        if let Some(name) = foreign {
            return Err(ReportError::Foreign { path: dir.join(name) });
        }
        let names = earlier.0.iter().map(String::as_str).chain(ours);
        write(dir, LIST, &list(names.collect()))?;
        Ok(earlier)
    }

    /// Those that its list names; none without a list.
    fn of(dir: &Path) -> Self {
        let text = fs::read_to_string(dir.join(LIST)).unwrap_or_default();
        // A name with a folder in it was never ours.
        let is_name = |line: &&str| Path::new(line).file_name().is_some_and(|name| name == *line);
        Self(text.lines().filter(is_name).map(str::to_owned).collect())
    }

    /// Removes those that the new report has not written again, and writes down the new ones.
    pub(crate) fn replace(self, dir: &Path, files: &ReportFiles) -> Result<(), ReportError> {
        let written = [&files.html, &files.csv, &files.json].into_iter().chain(&files.svgs);
        let names: BTreeSet<String> = written
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        for stale in self.0.difference(&names) {
            let path: PathBuf = dir.join(stale);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => return Err(ReportError::Write { path, source }),
                _ => {}
            }
        }
        write(dir, LIST, &list(names.iter().map(String::as_str).collect())).map(drop)
    }
}

fn list(names: BTreeSet<&str>) -> String {
    names.into_iter().map(|name| format!("{name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(dir: &Path, svgs: &[&str]) -> ReportFiles {
        let path = |name: &str| {
            fs::write(dir.join(name), "new").unwrap();
            dir.join(name)
        };
        ReportFiles {
            html: path("index.html"),
            csv: path("summary.csv"),
            json: path("summary.json"),
            svgs: svgs.iter().map(|name| path(name)).collect(),
        }
    }

    #[test]
    fn only_files_of_an_earlier_report_go() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("out");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("mine.svg"), "mine").unwrap();
        fs::write(folder.path().join("outside"), "mine").unwrap();
        Earlier::of(&dir)
            .replace(&dir, &report(&dir, &["a.svg", "b.svg"]))
            .unwrap();
        let list = fs::read_to_string(dir.join(LIST)).unwrap();
        fs::write(dir.join(LIST), format!("{list}../outside\ngone.svg\n")).unwrap();
        Earlier::of(&dir).replace(&dir, &report(&dir, &["b.svg"])).unwrap();
        let mut left: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["b.svg", LIST, "index.html", "mine.svg", "summary.csv", "summary.json"]
        );
        assert!(folder.path().join("outside").exists());
    }

    #[test]
    fn what_somebody_else_wrote_is_not_written_over() {
        for name in [PAGE, SUMMARY_CSV, SUMMARY_JSON] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(name);
            fs::write(&file, "mine").unwrap();
            let refused = Earlier::claim(dir.path()).unwrap_err();
            assert!(
                matches!(&refused, ReportError::Foreign { path } if *path == file),
                "{refused}"
            );
            assert!(!dir.path().join(LIST).exists(), "it is no report's by now");
            fs::remove_file(&file).unwrap();
            Earlier::claim(dir.path()).unwrap();
            // Written by a report that was cut off.
            fs::write(&file, "half").unwrap();
            Earlier::claim(dir.path()).unwrap();
        }
    }
}
