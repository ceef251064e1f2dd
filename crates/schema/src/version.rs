//! The version number that opens every row and every document, and whether this servelab can read it.
//!
//! Parts: [`V`] for formats that have had one version only, or whose earlier ones nobody can still have; [`Versions`] for those of
//! which several are read; [`Unreadable`] says of a number that is not, who can read it.
//!
//! Traps: documents are written with sorted keys, so that an unknown key of a later format is met before its `v`. Whoever reads a
//! document asks [`unreadable`] of its text where it does not parse, and says that instead.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{borrow::Cow, ops::RangeInclusive};

/// Why a document of some format version cannot be read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A later servelab wrote it.
    #[error(
        "format version {found}, but this servelab reads version {}; use the servelab that wrote it, or a later one", 
        numbers(.reads)
    )]
    Newer {
        /// Its version.
        found: u32,
        /// Versions that are read.
        reads: RangeInclusive<u32>,
    },
    /// An earlier servelab wrote it, and this one has forgotten how.
    #[error("format version {found}, but this servelab reads version {}; use the servelab that wrote it", numbers(.reads))]
    Older {
        /// Its version.
        found: u32,
        /// Versions that are read.
        reads: RangeInclusive<u32>,
    },
}

fn numbers(reads: &RangeInclusive<u32>) -> String {
    if reads.start() == reads.end() {
        reads.end().to_string()
    } else {
        format!("{} to {}", reads.start(), reads.end())
    }
}

/// Whether a version is one of those that are read.
///
/// # Errors
/// [`Unreadable`] where it is not.
pub fn readable(found: u32, reads: RangeInclusive<u32>) -> Result<(), Unreadable> {
    if reads.contains(&found) {
        Ok(())
    } else if found > *reads.end() {
        Err(Unreadable::Newer { found, reads })
    } else {
        Err(Unreadable::Older { found, reads })
    }
}

/// A document or a row that opens with a version.
pub trait Format {
    /// Versions that this servelab reads; it writes the last.
    const READS: RangeInclusive<u32>;
}

/// Why the version of a text that does not parse as `T` explains it; none where its version is one that is read, or it has none.
#[must_use]
pub fn unreadable<T: Format>(text: &str) -> Option<Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        v: u32,
    }
    let head: Head = serde_json::from_str(text).ok()?;
    readable(head.v, T::READS).err()
}

/// Format version `N`. Reading any other version fails and says which one was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct V<const N: u32>;

impl<const N: u32> Serialize for V<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(N)
    }
}

impl<'de, const N: u32> Deserialize<'de> for V<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        readable(u32::deserialize(d)?, N..=N).map_err(D::Error::custom)?;
        Ok(Self)
    }
}

impl<const N: u32> JsonSchema for V<N> {
    fn schema_name() -> Cow<'static, str> {
        format!("V{N}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": N, "description": "format version" })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// One of the format versions `MIN` to `MAX`. What was read keeps its number, so that it is written back as it was; what is new
/// has `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Versions<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Versions<MIN, MAX> {
    /// The version that is written.
    pub const LATEST: Self = Self(MAX);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> Default for Versions<MIN, MAX> {
    fn default() -> Self {
        Self::LATEST
    }
}

impl<const MIN: u32, const MAX: u32> Serialize for Versions<MIN, MAX> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(self.0)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Versions<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let found = u32::deserialize(d)?;
        readable(found, MIN..=MAX).map_err(D::Error::custom)?;
        Ok(Self(found))
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Versions<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("V{MIN}to{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX, "description": "format version" })
    }
    fn inline_schema() -> bool {
        true
    }
}

macro_rules! formats {
    ($($type:ty: $reads:expr),+ $(,)?) => {
        $(impl Format for $type {
            const READS: RangeInclusive<u32> = $reads;
        })+
    };
}

formats! {
    crate::Plan: 1..=1,
    crate::EnvironmentRecord: 1..=1,
    crate::EngineRecord: 2..=2,
    crate::TrialRecord: 2..=2,
    crate::Trace: 1..=1,
    crate::TelemetrySample: 1..=1,
    crate::RunEvent: 1..=1,
    crate::SessionRecord: 1..=1,
    crate::RunManifest: 1..=2,
    crate::Correction: 1..=1,
    crate::findings::Findings: 1..=1,
    crate::Pin: 1..=1,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunManifest, canonical_json, examples};
    use serde_json::{Value, json};

    #[test]
    fn who_can_read_a_version_is_said() {
        assert_eq!(readable(2, 1..=2), Ok(()));
        let newer = readable(3, 1..=2).unwrap_err();
        assert!(newer.to_string().contains("reads version 1 to 2") && newer.to_string().contains("a later one"));
        let older = readable(0, 1..=1).unwrap_err();
        assert!(older.to_string().contains("version 0") && !older.to_string().contains("later"));
    }

    /// A document of one version, as a servelab that knows `READS` versions sees it.
    #[test]
    fn a_later_document_is_said_to_be_later_and_not_to_have_an_unknown_key() {
        let mut later: Value = serde_json::to_value(examples::manifest()).unwrap();
        later["v"] = json!(99);
        later["a_key_that_sorts_before_v"] = json!(1);
        let text = canonical_json(&later).unwrap();
        assert!(serde_json::from_str::<RunManifest>(&text).is_err());
        let why = unreadable::<RunManifest>(&text).unwrap();
        assert!(matches!(why, Unreadable::Newer { found: 99, .. }));
        // What is merely damaged is not blamed on its version.
        assert_eq!(unreadable::<RunManifest>("{\"v\":1}"), None);
        assert_eq!(unreadable::<RunManifest>("{"), None);
    }

    #[test]
    fn what_was_read_is_written_back_with_its_own_version() {
        let mut first = examples::manifest();
        first.sessions.clear();
        let mut first = serde_json::to_value(first).unwrap();
        first["v"] = json!(1);
        let text = canonical_json(&first).unwrap();
        let read: RunManifest = serde_json::from_str(&text).unwrap();
        assert_eq!(canonical_json(&read).unwrap(), text);
        assert_eq!(read.v.get(), 1);
    }
}
