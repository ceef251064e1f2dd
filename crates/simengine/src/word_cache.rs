//! Tokenization by words: exact, and fast enough not to be seen at time scale 20.
//!
//! In a SentencePiece BPE vocabulary such as Mistral's no token goes on past a space that follows another character. So no
//! merge crosses from a character to the space after it, the pieces between such places are tokenized independently, and
//! most pieces are words seen before. [`WordCache::for_tokenizer`] checks that the tokenizer is of this kind and gives `None` otherwise.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::tokenizer::TokenizeError;

/// Pieces remembered at most.
const LIMIT: usize = 200_000;
const SPACE: char = '▁';

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<serde_json::Value>,
    pre_tokenizer: Option<PreTokenizer>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct PreTokenizer {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    prepend_scheme: String,
    #[serde(default)]
    split: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    byte_fallback: bool,
    vocab: HashMap<String, u32>,
}

/// Remembers the ids of words.
#[derive(Debug)]
pub struct WordCache {
    /// Added tokens by their text; they are found before anything else.
    added: HashMap<String, u32>,
    first_bytes: HashSet<u8>,
    longest: usize,
    /// An added token that keeps the piece after it from standing at the start of the text.
    anchor: (String, u32),
    pieces: Mutex<HashMap<Box<str>, Box<[u32]>>>,
}

impl WordCache {
    /// A cache for the tokenizer in `json`, where words are tokenized independently in it.
    #[must_use]
    pub fn for_tokenizer(json: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(json).ok()?;
        let pre = file.pre_tokenizer?;
        let metaspace =
            pre.kind == "Metaspace" && pre.prepend_scheme == "first" && !pre.split && file.normalizer.is_none();
        let bpe = file.model.kind == "BPE" && file.model.byte_fallback;
        let crosses = |token: &String| token.trim_start_matches(SPACE).contains(SPACE);
        let plain = file
            .added_tokens
            .iter()
            .all(|a| !(a.single_word || a.lstrip || a.rstrip || a.content.is_empty()));
        if !(metaspace && bpe && plain) || file.model.vocab.keys().any(crosses) {
            return None;
        }
        let added: HashMap<String, u32> = file.added_tokens.into_iter().map(|a| (a.content, a.id)).collect();
        let anchor = added
            .iter()
            .min_by_key(|(_, id)| **id)
            .map(|(text, id)| (text.clone(), *id))?;
        Some(Self {
            first_bytes: added.keys().filter_map(|t| t.bytes().next()).collect(),
            longest: added.keys().map(String::len).max().unwrap_or(0),
            added,
            anchor,
            pieces: Mutex::new(HashMap::new()),
        })
    }

    /// The added token that begins at byte `at`: the longest, as the tokenizer takes it.
    fn added_at(&self, text: &str, at: usize) -> Option<(usize, u32)> {
        let first = text.as_bytes().get(at)?;
        if !self.first_bytes.contains(first) {
            return None;
        }
        (1..=self.longest).rev().find_map(|len| {
            let id = self.added.get(text.get(at..at + len)?)?;
            Some((len, *id))
        })
    }

    /// The ids of `text`; `encode` is the tokenizer, asked for what is not known yet.
    ///
    /// # Errors
    /// As `encode`.
    pub fn encode(
        &self,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>, TokenizeError>,
    ) -> Result<Vec<u32>, TokenizeError> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut start, mut at) = (0, 0);
        let mut after_letter = false;
        while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
            if let Some((len, id)) = self.added_at(text, at) {
                self.push_piece(text, start..at, &mut pieces, &encode, &mut ids)?;
                ids.push(id);
                at += len;
                start = at;
                after_letter = false;
                continue;
            }
            // The tokenizer takes a space and the character that stands for one alike.
            let space = matches!(c, ' ' | SPACE);
            if space && after_letter {
                self.push_piece(text, start..at, &mut pieces, &encode, &mut ids)?;
                start = at;
            }
            after_letter = !space;
            at += c.len_utf8();
        }
        self.push_piece(text, start..at, &mut pieces, &encode, &mut ids)?;
        Ok(ids)
    }

    fn push_piece(
        &self,
        text: &str,
        range: std::ops::Range<usize>,
        pieces: &mut HashMap<Box<str>, Box<[u32]>>,
        encode: &impl Fn(&str) -> Result<Vec<u32>, TokenizeError>,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizeError> {
        let at_start = range.start == 0;
        let Some(piece) = text.get(range).filter(|p| !p.is_empty()) else {
            return Ok(());
        };
        if at_start && !piece.starts_with(' ') {
            // The start of a text gets a space before it.
            ids.extend(encode(piece)?);
            return Ok(());
        }
        if let Some(known) = pieces.get(piece) {
            ids.extend_from_slice(known);
            return Ok(());
        }
        let found = encode(&format!("{}{piece}", self.anchor.0))?;
        let found = match found.split_first() {
            Some((first, rest)) if *first == self.anchor.1 => rest.to_vec(),
            Some(_) | None => {
                return Err(TokenizeError::Failed(format!(
                    "the tokenizer does not know its own token {}",
                    self.anchor.0
                )));
            }
        };
        ids.extend_from_slice(&found);
        if pieces.len() < LIMIT {
            pieces.insert(piece.into(), found.into());
        }
        Ok(())
    }
}
