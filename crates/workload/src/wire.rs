//! A dataset's TOML as it is written. Nothing is checked here but the shape; see [`crate::config`].

use serde::Deserialize;
use servelab_schema::{Bucket, Task};
use std::num::NonZeroU32;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wire {
    pub(crate) version: Spanned<u32>,
    pub(crate) seed: u64,
    pub(crate) model: String,
    pub(crate) tokenizer: Spanned<String>,
    pub(crate) context_tokens: NonZeroU32,
    pub(crate) longest_common_prefix_tokens: usize,
    pub(crate) primary_share_percent: Spanned<WireShare>,
    pub(crate) bucket: Vec<Spanned<WireBucket>>,
    pub(crate) task: Vec<Spanned<WireTask>>,
    pub(crate) full: WireFull,
    pub(crate) demo: Option<WireDemo>,
    pub(crate) filler: Option<WireFiller>,
    pub(crate) dataset: Vec<WireDataset>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireShare {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireBucket {
    pub(crate) bucket: Bucket,
    pub(crate) shortest_tokens: NonZeroU32,
    pub(crate) longest_tokens: Spanned<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireTask {
    pub(crate) task: Task,
    pub(crate) template: Spanned<String>,
    pub(crate) primary: Spanned<String>,
    pub(crate) distractor: Spanned<String>,
    pub(crate) max_new_tokens: Spanned<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireFull {
    pub(crate) id: Spanned<String>,
    pub(crate) per_cell: NonZeroU32,
    pub(crate) blocks: Spanned<NonZeroU32>,
    pub(crate) sha256: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireDemo {
    pub(crate) id: Spanned<String>,
    pub(crate) blocks: Spanned<NonZeroU32>,
    pub(crate) sha256: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireFiller {
    pub(crate) id: Spanned<String>,
    pub(crate) per_cell: NonZeroU32,
    pub(crate) reserve_percent: Spanned<u32>,
    pub(crate) sha256: Option<Spanned<String>>,
}

/// What the records of a dataset are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Chapters or scenes: `{id, work, title, paragraphs}`.
    Prose,
    /// Sections of a country: `{id, country, section, facts: [[field, text]]}`.
    Facts,
    /// Conversations: `{id, turns: ["A: …", "B: …"]}`.
    Dialogue,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireDataset {
    pub(crate) id: Spanned<String>,
    pub(crate) kind: Kind,
    pub(crate) file: Spanned<String>,
    pub(crate) sha256: Spanned<String>,
    pub(crate) records: usize,
    pub(crate) licence: Spanned<String>,
    pub(crate) author: Spanned<String>,
    pub(crate) origin: Spanned<String>,
}
