//! The built-in text, as units of which a tokenizer may make one token a piece.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// What every prompt begins with: one letter, which is one token everywhere.
pub(super) const FIRST: &str = "A";

/// How many of the commonest words are tried alone where sentences cannot be had.
const COMMON_WORDS: usize = 256;

/// Shortest word of a prompt's opening, in letters.
const OPENING_LETTERS: usize = 3;

/// A word with the space before it, or the mark behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    text: &'static str,
    is_word: bool,
}

impl Piece {
    pub(super) const FULL_STOP: Self = Self {
        text: ".",
        is_word: false,
    };

    pub(super) const fn word(text: &'static str) -> Self {
        Self { text, is_word: true }
    }

    pub(super) const fn is_word(self) -> bool {
        self.is_word
    }

    /// Puts it behind what is there.
    pub(super) fn push_to(self, text: &mut String) {
        if self.is_word {
            text.push(' ');
        }
        text.push_str(self.text);
    }
}

/// What is proven, and used, as a whole: a sentence, or a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) pieces: Vec<Piece>,
}

impl Unit {
    fn sentence(line: &'static str) -> Self {
        let mut pieces = Vec::new();
        for word in line.split(' ') {
            let end = word.trim_end_matches(|c: char| c.is_ascii_punctuation()).len();
            let (bare, mark) = word.split_at_checked(end).unwrap_or((word, ""));
            pieces.push(Piece::word(bare));
            if !mark.is_empty() {
                pieces.push(Piece {
                    text: mark,
                    is_word: false,
                });
            }
        }
        Self { pieces }
    }

    /// Its words that may begin a prompt: in small letters.
    pub(super) fn plain_words(&self) -> impl Iterator<Item = &'static str> {
        let small = |p: &&Piece| p.is_word && p.text.bytes().all(|b| b.is_ascii_lowercase());
        self.pieces.iter().filter(small).map(|p| p.text)
    }

    /// Tokens if each piece is one.
    pub(super) fn tokens(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }
}

static SENTENCES: LazyLock<Vec<Unit>> =
    LazyLock::new(|| include_str!("sentences.txt").lines().map(Unit::sentence).collect());

static WORDS: LazyLock<Vec<Unit>> = LazyLock::new(|| {
    let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
    for word in SENTENCES.iter().flat_map(Unit::plain_words) {
        *counts.entry(word).or_default() += 1;
    }
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by_key(|(word, n)| (Reverse(*n), *word));
    words.truncate(COMMON_WORDS);
    words
        .into_iter()
        .map(|(word, _)| Unit {
            pieces: vec![Piece::word(word)],
        })
        .collect()
});

/// Every sentence.
pub(super) fn sentences() -> &'static [Unit] {
    &SENTENCES
}

/// The commonest words of the sentences, each a unit, the commonest first.
pub(super) fn words() -> &'static [Unit] {
    &WORDS
}

/// Words of these units that a prompt may begin with; the long ones where there are enough of them.
pub(super) fn opening_words<'a>(units: impl Iterator<Item = &'a Unit>) -> BTreeSet<&'static str> {
    let all: BTreeSet<&'static str> = units.flat_map(Unit::plain_words).collect();
    let long: BTreeSet<&'static str> = all.iter().copied().filter(|w| w.len() >= OPENING_LETTERS).collect();
    if long.len() * 2 >= all.len() { long } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the proof by one count rests on: a mark stands alone, behind a word and before a space.
    #[test]
    fn sentences_are_words_and_single_marks() {
        assert!(include_str!("sentences.txt").len() <= 64_000);
        for (unit, line) in sentences().iter().zip(include_str!("sentences.txt").lines()) {
            let mut text = String::new();
            unit.pieces.iter().for_each(|p| p.push_to(&mut text));
            assert_eq!(text, format!(" {line}"));
            assert!(
                unit.pieces[0].is_word() && !unit.pieces.last().unwrap().is_word(),
                "{line}"
            );
            for pair in unit.pieces.windows(2) {
                assert!(pair[0].is_word() || pair[1].is_word(), "two marks: {line}");
            }
            for piece in &unit.pieces {
                let letters = piece.text.bytes().all(|b| b.is_ascii_alphabetic());
                assert!(
                    !piece.text.is_empty()
                        && if piece.is_word() {
                            letters
                        } else {
                            piece.text.len() == 1
                        },
                    "{line}"
                );
            }
        }
        let distinct: BTreeSet<&str> = include_str!("sentences.txt").lines().collect();
        assert_eq!(distinct.len(), sentences().len());
    }

    #[test]
    fn the_commonest_words_come_first() {
        assert_eq!(words().len(), COMMON_WORDS);
        let first: Vec<&str> = words()[..3].iter().flat_map(Unit::plain_words).collect();
        assert!(first.contains(&"the") && first.contains(&"to"), "{first:?}");
        let opening = opening_words(sentences().iter());
        assert!(opening.len() > 1000 && opening.iter().all(|w| w.len() >= 3));
    }
}
