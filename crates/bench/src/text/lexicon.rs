//! What is proven of one server's tokenizer.

use super::sentences::{Unit, opening_words, sentences, words};
use crate::counting::CountedBy;
use serde::Serialize;
use std::{collections::BTreeSet, num::NonZeroU32};

/// What prompts are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Material {
    /// Whole sentences.
    Sentences,
    /// Single common words, because this tokenizer has no token for many words of the sentences.
    Words,
}

impl Material {
    /// Everything that there is of it.
    pub(super) fn units(self) -> &'static [Unit] {
        match self {
            Self::Sentences => sentences(),
            Self::Words => words(),
        }
    }
}

/// The built-in text of which one server makes exactly one token a word and a mark, and what its template adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lexicon {
    /// Tokens of the shortest prompt, a single letter: the template's and one more.
    pub(super) base: NonZeroU32,
    pub(super) material: Material,
    /// Which units of the material, by their numbers.
    pub(super) units: BTreeSet<usize>,
    counted_by: CountedBy,
    requests: u32,
}

impl Lexicon {
    pub(super) const fn new(
        base: NonZeroU32,
        material: Material,
        units: BTreeSet<usize>,
        counted_by: CountedBy,
        requests: u32,
    ) -> Self {
        Self {
            base,
            material,
            units,
            counted_by,
            requests,
        }
    }

    /// Of a server that counts nothing: each word and each mark is taken for one, and nothing is known of the template.
    #[must_use]
    pub fn uncounted() -> Self {
        let units = (0..sentences().len()).collect();
        Self::new(NonZeroU32::MIN, Material::Sentences, units, CountedBy::Nobody, 0)
    }

    /// Who counted.
    #[must_use]
    pub const fn counted_by(&self) -> CountedBy {
        self.counted_by
    }

    /// Requests that the server was sent to learn this, those of the check included.
    #[must_use]
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// The same once the server was sent `requests` in all.
    #[must_use]
    pub(crate) const fn after(mut self, requests: u32) -> Self {
        self.requests = requests;
        self
    }

    /// What prompts are made of.
    #[must_use]
    pub const fn material(&self) -> Material {
        self.material
    }

    /// Tokens of the shortest prompt that can be made.
    #[must_use]
    pub const fn shortest(&self) -> NonZeroU32 {
        self.base
    }

    /// Words that a prompt may begin with.
    pub(super) fn words(&self) -> BTreeSet<&'static str> {
        let all = self.material.units();
        opening_words(self.units.iter().filter_map(|i| all.get(*i)))
    }
}
