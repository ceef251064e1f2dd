//! A closed world: what the manifest lists is there, and nothing else. Pure: a manifest's list and a folder's listing in, breaks out.

use crate::report::{Break, Breaks, Kind, Level};
use servelab_evidence::{Digested, Listing, Odd, names};
use servelab_schema::SealedFile;
use std::collections::{BTreeMap, BTreeSet};

/// Ending of compressed rows.
pub(crate) const PACKED: &str = ".zst";

/// A listed file and what was read of it; none where it could not be read.
pub(crate) type Hashed<'m> = (&'m SealedFile, Option<Digested>);

/// What is there of what should be.
#[derive(Debug, Default)]
pub(crate) struct Inventory<'m> {
    /// Listed files that are there.
    pub(crate) present: Vec<&'m SealedFile>,
    /// Listed files that are not.
    missing: Vec<&'m SealedFile>,
    /// Files that are there and not listed.
    pub(crate) unlisted: Vec<String>,
}

fn complete(kind: Kind, file: impl Into<String>, what: impl AsRef<str>) -> Break {
    Break::new(Level::Complete, kind, file, what)
}

/// Why a path of a manifest is none that servelab writes.
fn wrong_path(path: &str) -> Option<&'static str> {
    if path == names::MANIFEST || path == names::FINGERPRINT {
        return Some("a manifest does not list itself");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains(['\\', '\0']) || path.chars().any(char::is_control) {
        return Some("it holds a character that no name of a run has");
    }
    path.split('/').find_map(|part| match part {
        "" => Some("a part of it is empty"),
        "." | ".." => Some("it leads out of its folder, or round about"),
        _ => None,
    })
}

/// The paths of a manifest that are plain, each once; the others are breaks of the manifest.
fn plain_paths<'m>(files: &'m [SealedFile], breaks: &mut Breaks) -> BTreeMap<&'m str, &'m SealedFile> {
    let mut listed: BTreeMap<&str, &SealedFile> = BTreeMap::new();
    let mut last = "";
    for file in files {
        let path = file.path.as_str();
        let wrong = wrong_path(path).or_else(|| (path == last).then_some("it is listed twice"));
        let wrong = wrong.or_else(|| (path < last).then_some("it is out of order"));
        if let Some(why) = wrong {
            let what = format!("its list names {path:?}: {why}");
            breaks.add(
                complete(Kind::Path, names::MANIFEST, what).remedy("no servelab wrote this list: do not trust the run"),
            );
        }
        if wrong_path(path).is_none() {
            listed.entry(path).or_insert(file);
        }
        last = path;
    }
    for (path, file) in &listed {
        if listed.contains_key(format!("{path}{PACKED}").as_str()) {
            let what = format!(
                "it is there plain and compressed ({}{PACKED}): which of them a reader takes is chance",
                file.path
            );
            breaks.add(complete(Kind::Path, *path, what));
        }
    }
    listed
}

/// The folders that hold these files, and those above them.
fn folders_of<'m>(paths: impl Iterator<Item = &'m &'m str>) -> BTreeSet<&'m str> {
    let mut folders = BTreeSet::from([names::TRIALS]);
    for path in paths {
        let ends = path.match_indices('/').map(|(end, _)| end);
        folders.extend(ends.filter_map(|end| path.get(..end)));
    }
    folders
}

/// Compares what is listed with what lies there.
pub(crate) fn compare<'m>(files: &'m [SealedFile], listing: &Listing, breaks: &mut Breaks) -> Inventory<'m> {
    let mut listed = plain_paths(files, breaks);
    for (path, odd) in &listing.odd {
        let (kind, what) = match odd {
            Odd::Link => (Kind::Link, "a symbolic link: a run holds none, it could lead out of it"),
            Odd::Special => (Kind::Special, "a device, a pipe or a socket: a run holds none"),
            Odd::Name => (Kind::Special, "its name is no UTF-8: servelab writes no such name"),
            Odd::Unreadable => (Kind::Unreadable, "it cannot be looked at"),
            Odd::TooDeep => (Kind::Unlisted, "folders in folders, deeper than any of a run"),
        };
        breaks.add(complete(kind, path, what).remedy("take it away, or fetch the run again"));
        listed.remove(path.as_str());
    }
    let folders = folders_of(listed.keys());
    for folder in listing.folders.iter().filter(|f| !folders.contains(f.as_str())) {
        breaks.add(complete(
            Kind::Unlisted,
            folder,
            "a folder that holds nothing of what the manifest lists",
        ));
    }
    let mut inventory = Inventory::default();
    let there: BTreeSet<&str> = listing.files.iter().map(|f| f.path.as_str()).collect();
    for (path, file) in listed.iter().map(|(path, file)| (*path, *file)) {
        if there.contains(path) {
            inventory.present.push(file);
        } else {
            inventory.missing.push(file);
        }
    }
    let own = |path: &&str| *path != names::MANIFEST && *path != names::FINGERPRINT;
    let unlisted = there.into_iter().filter(own).filter(|path| !listed.contains_key(path));
    inventory.unlisted = unlisted.map(str::to_owned).collect();
    inventory
}

impl Inventory<'_> {
    /// True where every listed file is there.
    pub(crate) const fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is missing, what is there too much, and what lies under another name: the hash tells where a file went.
    pub(crate) fn misplaced(&self, unlisted: &[(String, Option<Digested>)], breaks: &mut Breaks) {
        let mut free: Vec<&(String, Option<Digested>)> = unlisted.iter().collect();
        for file in &self.missing {
            let is_it = |(_, read): &&(String, Option<Digested>)| {
                read.as_ref()
                    .is_some_and(|r| r.sha256 == file.sha256 && r.bytes == file.bytes.0)
            };
            if let Some((at, (name, _))) = free.iter().enumerate().find(|(_, u)| is_it(u)).map(|(at, u)| (at, *u)) {
                free.remove(at);
                let what = format!("it was renamed: its bytes lie in {name}");
                breaks.add(
                    complete(Kind::Renamed, &file.path, what)
                        .but(&file.path, name)
                        .remedy("give it its name back"),
                );
            } else {
                let what = "listed in the manifest, and not there";
                breaks.add(complete(Kind::Missing, &file.path, what).remedy("fetch the run again"));
            }
        }
        for (name, _) in free {
            let what = "not listed in the manifest; a sealed run holds nothing else";
            breaks.add(complete(Kind::Unlisted, name, what).remedy("take it away"));
        }
    }
}

/// The breaks of files whose bytes are not what the manifest says, by path. What holds another file's bytes was swapped with it.
pub(crate) fn changed(hashed: &[Hashed<'_>]) -> BTreeMap<String, Break> {
    let mut by_hash: BTreeMap<&str, &str> = BTreeMap::new();
    for (file, _) in hashed {
        by_hash.entry(file.sha256.as_str()).or_insert(&file.path);
    }
    let of = |(file, read): &Hashed<'_>| {
        let Some(read) = read else {
            let found = Break::new(Level::Unchanged, Kind::Unreadable, &file.path, "it cannot be read");
            return Some((file.path.clone(), found));
        };
        if read.sha256 == file.sha256 && read.bytes == file.bytes.0 {
            return None;
        }
        let remedy = "fetch the run again, or this file from a copy";
        let found = if read.sha256 == file.sha256 {
            let what = format!("the manifest gives it {} bytes, it has {}", file.bytes.0, read.bytes);
            Break::new(Level::Unchanged, Kind::Contradiction, names::MANIFEST, what)
        } else if let Some(other) = by_hash.get(read.sha256.as_str()) {
            let what = format!("it holds the bytes of {other}");
            Break::new(Level::Unchanged, Kind::Swapped, &file.path, what).remedy("give both their names back")
        } else {
            let what = "changed since the run was sealed";
            Break::new(Level::Unchanged, Kind::Changed, &file.path, what).remedy(remedy)
        };
        Some((file.path.clone(), found.but(file.sha256.as_str(), read.sha256.as_str())))
    };
    hashed.iter().filter_map(of).collect()
}
