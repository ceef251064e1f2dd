//! What is said of a run: how far it can be trusted, and every break with its file and its line.

use serde::Serialize;
use servelab_schema::{RunId, Sha256Hex};
use std::{fmt, path::PathBuf};

/// How far a run can be trusted, in order: a level counts only where those before it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It is sealed, nothing is missing, and nothing else is there.
    Complete,
    /// Every byte is what the manifest says.
    Unchanged,
    /// Rows and documents keep their rules, and every number follows from the traces.
    Consistent,
    /// Somebody's key vouches for the manifest.
    Signed,
}

impl Level {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Complete, Self::Unchanged, Self::Consistent, Self::Signed];

    /// The name as written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unchanged => "unchanged",
            Self::Consistent => "consistent",
            Self::Signed => "signed",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of a level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It holds.
    Holds,
    /// Something breaks it.
    Broken,
    /// It was not looked at, or cannot be told.
    Unknown,
}

/// One level of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Which.
    pub level: Level,
    /// What became of it.
    pub state: State,
    /// The same in words, with what it rests on.
    pub says: String,
}

/// What a break is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No manifest: the run goes on, or was cut off.
    Unsealed,
    /// Listed and not there.
    Missing,
    /// There and not listed.
    Unlisted,
    /// There under another name.
    Renamed,
    /// Two files or more hold each other's bytes.
    Swapped,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket, or a name that is no text.
    Special,
    /// The operating system does not let it be read.
    Unreadable,
    /// A path of the manifest that leaves its folder, is no plain path, or is out of order.
    Path,
    /// Other bytes than the manifest says.
    Changed,
    /// Not the manifest that its fingerprint is of.
    Fingerprint,
    /// No JSON of its format.
    Format,
    /// A format version that this servelab does not read.
    Version,
    /// JSON that servelab would have written in another spelling.
    Spelling,
    /// A row without its end.
    Torn,
    /// A row, a document or a compressed file that is larger than any of its kind.
    TooLarge,
    /// A row that contradicts itself, its take, or rows before it.
    Row,
    /// A file that no servelab writes into a run.
    Stranger,
    /// Two files that contradict each other.
    Contradiction,
    /// A number that does not follow from the traces.
    Recomputed,
    /// The database holds something else.
    Database,
    /// The summary of a report holds something else.
    Summary,
    /// A signature that does not hold.
    Signature,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Break {
    /// The level that it breaks.
    pub level: Level,
    /// What it is.
    pub kind: Kind,
    /// The file, relative to the run; of a file beside the run, its path.
    pub file: String,
    /// The line, where it is of one, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The place in a document, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// Longest words of a break, in characters: a damaged file may hold anything.
const LONGEST: usize = 300;

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl Break {
    /// Something wrong with a file.
    pub(crate) fn new(level: Level, kind: Kind, file: impl Into<String>, what: impl AsRef<str>) -> Self {
        Self {
            level,
            kind,
            file: file.into(),
            line: None,
            pointer: None,
            what: short(what.as_ref()),
            expected: None,
            found: None,
            remedy: None,
        }
    }

    /// Something that breaks consistency.
    pub(crate) fn inconsistent(kind: Kind, file: impl Into<String>, what: impl AsRef<str>) -> Self {
        Self::new(Level::Consistent, kind, file, what)
    }

    pub(crate) fn line(self, line: u64) -> Self {
        Self {
            line: Some(line),
            ..self
        }
    }

    pub(crate) fn at(self, pointer: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            ..self
        }
    }

    pub(crate) fn but(self, expected: impl AsRef<str>, found: impl AsRef<str>) -> Self {
        Self {
            expected: Some(short(expected.as_ref())),
            found: Some(short(found.as_ref())),
            ..self
        }
    }

    pub(crate) fn remedy(self, remedy: &'static str) -> Self {
        Self {
            remedy: Some(remedy),
            ..self
        }
    }
}

/// Breaks, of which not more are kept than anybody reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaks {
    pub(crate) kept: Vec<Break>,
    pub(crate) more: u64,
}

/// Breaks that are kept of a run.
const MOST: usize = 200;

impl Breaks {
    pub(crate) fn add(&mut self, found: Break) {
        if self.kept.len() < MOST {
            self.kept.push(found);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.more = self.more.saturating_add(other.more);
        for found in other.kept {
            self.add(found);
        }
    }

    pub(crate) fn breaks(&self, level: Level) -> bool {
        self.kept.iter().any(|b| b.level == level)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Bytes of rows, decompressed.
    pub row_bytes: u64,
    /// Rows of traces.
    pub traces: u64,
}

/// Whether a fingerprint that reached us by another way is the run's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// None was given.
    NotGiven,
    /// One of those that were given is the run's.
    Same,
    /// None of those that were given is the run's.
    Other,
}

/// What is said of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Format version.
    pub v: u32,
    /// Its directory, as it was given.
    pub dir: PathBuf,
    /// Its name, where its manifest reads.
    pub run_id: Option<RunId>,
    /// SHA-256 of its manifest; null without one.
    pub fingerprint: Option<Sha256Hex>,
    /// The highest level that holds with all before it; null for none.
    pub reached: Option<Level>,
    /// Every level.
    pub levels: Vec<Standing>,
    /// What is wrong, by level and file.
    pub breaks: Vec<Break>,
    /// Breaks that are not listed because there are too many.
    pub more_breaks: u64,
    /// Files that differ from a manifest that is itself damaged: nobody can tell by it whether they were changed.
    pub doubtful: Vec<String>,
    /// Signatures beside the run.
    pub signatures: Vec<crate::sign::Seen>,
    /// Whether a fingerprint from outside is the run's.
    pub outside: Outside,
    /// What else must be known.
    pub notes: Vec<String>,
    /// What was read.
    pub read: Amount,
}

impl Report {
    /// True where nothing is wrong, the numbers were derived again, and what was asked for from outside holds too.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.breaks.is_empty() && self.reached >= Some(Level::Consistent)
    }
}
