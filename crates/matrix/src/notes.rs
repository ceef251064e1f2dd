//! What a matrix should know and is no error.

use crate::error::Place;
use std::{cell::RefCell, collections::BTreeSet, fmt};

/// Something to know about a matrix that keeps nobody from running it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Where it stands.
    pub place: Place,
    /// The key, dotted.
    pub key: String,
    /// What there is to know.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.key, self.text)
    }
}

/// Collects notes while reading goes on, each once.
#[derive(Debug, Default)]
pub(crate) struct Notes(RefCell<BTreeSet<Note>>);

impl Notes {
    pub(crate) fn push(&self, place: &Place, key: impl Into<String>, text: impl Into<String>) {
        self.0.borrow_mut().insert(Note {
            place: place.clone(),
            key: key.into(),
            text: text.into(),
        });
    }

    /// In order of file, line and column.
    pub(crate) fn into_vec(self) -> Vec<Note> {
        self.0.into_inner().into_iter().collect()
    }
}
