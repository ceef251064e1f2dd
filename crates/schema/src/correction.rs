//! `runs/corrections/N.json`: what was found wrong with evidence after its seal. Evidence is never changed; it is superseded.

use crate::{LoadId, RunId, Sha256Hex, TrialId, V, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU32};

/// What of a run no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Superseded {
    /// Everything that it says.
    Run,
    /// One take, and what rests on it: what is said of its variant under its load, and of those that are compared with it.
    Trial {
        /// Name of its folder under `trials/`.
        id: TrialId,
        /// Variant of the take.
        variant: VariantId,
        /// Load of the take.
        load: LoadId,
    },
    /// One variant under one load, with its takes, and those that are compared with it.
    Cell {
        /// The variant.
        variant: VariantId,
        /// The load.
        load: LoadId,
    },
}

impl fmt::Display for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => write!(f, "the whole run"),
            Self::Trial { id, .. } => write!(f, "trial {id} and what rests on it"),
            Self::Cell { variant, load } => write!(f, "{variant} under {load}"),
        }
    }
}

/// A run, named so that no other can be taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRef {
    /// Its name.
    pub run_id: RunId,
    /// SHA-256 of its manifest.
    pub fingerprint: Sha256Hex,
}

/// Why what a run says no longer counts, and what counts in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Format version.
    pub v: V<1>,
    /// Number of the correction, from 1; its file is named after it.
    pub number: NonZeroU32,
    /// What it is about.
    pub run: RunRef,
    /// What of it no longer counts.
    pub superseded: Superseded,
    /// The run that counts in its place; null where there is none.
    pub by: Option<RunRef>,
    /// Why, in words for people.
    pub reason: String,
    /// Who says so.
    pub who: String,
    /// When it was said, RFC 3339 in UTC.
    pub utc: String,
}

impl Correction {
    /// Name of the file of a correction of that number.
    #[must_use]
    pub fn file_name(number: NonZeroU32) -> String {
        format!("{number}.json")
    }
}
