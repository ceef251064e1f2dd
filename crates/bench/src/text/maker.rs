//! Prompts of an exact number of tokens, for one server or for several at once.

use super::{
    lexicon::{Lexicon, Material},
    sentences::{FIRST, Piece, Unit, opening_words},
};
use crate::tokens::TokenRange;
use servelab_random::{ChaChaStream, shuffle, split};
use std::num::NonZeroU32;

/// Tokens that one block name of a recording stands for.
pub const BLOCK_TOKENS: usize = 512;

/// Prompts of one seed that begin differently: 2^36 at least.
const OPENINGS: u64 = 1 << 36;

/// Fewest words that all servers must know as one token.
const ENOUGH_WORDS: usize = 16;

/// Why a prompt cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Shorter than the template with one letter.
    #[error(
        "{tokens} prompt tokens cannot be made: the chat template alone with one token of text has {shortest}; ask for more"
    )]
    TooShort {
        /// What was asked for.
        tokens: NonZeroU32,
        /// The least that there is.
        shortest: NonZeroU32,
    },
    /// The shared prefix leaves a prompt nothing of its own.
    #[error(
        "a shared prefix of {prefix_tokens} tokens does not fit prompts of {tokens}: with the chat template and words of its \
         own a prompt then has {needs} or more; shorten the prefix or lengthen the prompts"
    )]
    PrefixTooLong {
        /// The prefix.
        prefix_tokens: u32,
        /// The shortest prompt that was asked for.
        tokens: NonZeroU32,
        /// The least that it would have to have.
        needs: u32,
    },
    /// Several servers whose tokenizers have too little in common.
    #[error(
        "the tokenizers of these servers have only {words} words in common that are one token in each: no prompt has a known \
         length on all of them"
    )]
    NothingInCommon {
        /// How many there are.
        words: usize,
    },
}

/// How long prompts and answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Prompt tokens, as the first server counts them.
    pub input: TokenRange,
    /// Tokens of the text with which every prompt begins alike, behind what the template itself begins with.
    pub shared_prefix: u32,
}

/// A prompt of known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadePrompt {
    /// Its number under the seed: equal numbers are equal prompts, different ones begin differently.
    pub number: u64,
    /// What it says: one user's message, or the text of a completion.
    pub text: String,
    /// What each server must count, in their order; none for a server that counts nothing.
    pub prompt_tokens: Vec<Option<NonZeroU32>>,
}

/// What is known of one of the servers.
#[derive(Debug, Clone, Copy)]
struct Base {
    tokens: NonZeroU32,
    is_counted: bool,
}

/// Makes prompts that every one of its servers counts as expected.
#[derive(Debug, Clone)]
pub struct Maker {
    seed: u64,
    first: Base,
    others: Vec<Base>,
    material: Material,
    units: Vec<&'static Unit>,
    /// For each word of an opening the words that may stand there, in an order of its own.
    alphabets: Vec<Vec<&'static str>>,
}

/// What all lexicons have in common: sentences where they can, else words.
fn in_common(first: &Lexicon, others: &[Lexicon]) -> (Material, Vec<&'static Unit>) {
    let pick = |material: Material, is_common: &dyn Fn(usize, &Unit) -> bool| -> Vec<&'static Unit> {
        let all = material.units().iter().enumerate();
        all.filter(|(i, unit)| is_common(*i, unit))
            .map(|(_, unit)| unit)
            .collect()
    };
    let mut all = std::iter::once(first).chain(others);
    if all.clone().all(|l| l.material == Material::Sentences) {
        let sentences = pick(Material::Sentences, &|i, _| all.clone().all(|l| l.units.contains(&i)));
        if opening_words(sentences.iter().copied()).len() >= ENOUGH_WORDS {
            return (Material::Sentences, sentences);
        }
    }
    let mut words = first.words();
    all.next();
    for lexicon in all {
        let theirs = lexicon.words();
        words.retain(|w| theirs.contains(w));
    }
    let words = pick(Material::Words, &|_, unit| {
        unit.plain_words().all(|w| words.contains(w))
    });
    (Material::Words, words)
}

impl Maker {
    /// A maker for the servers of these lexicons; lengths are those that the first one counts.
    ///
    /// # Errors
    /// [`TextError::NothingInCommon`].
    pub fn new(seed: u64, first: &Lexicon, others: &[Lexicon]) -> Result<Self, TextError> {
        let (material, units) = in_common(first, others);
        let words: Vec<&'static str> = opening_words(units.iter().copied()).into_iter().collect();
        if words.len() < ENOUGH_WORDS {
            return Err(TextError::NothingInCommon { words: words.len() });
        }
        let size = u64::try_from(words.len()).unwrap_or(u64::MAX);
        let (mut alphabets, mut openings) = (Vec::new(), 1_u64);
        while openings < OPENINGS {
            let mut alphabet = words.clone();
            shuffle(&mut alphabet, split(seed, &format!("opening-{}", alphabets.len())));
            alphabets.push(alphabet);
            openings = openings.saturating_mul(size);
        }
        let base = |lexicon: &Lexicon| Base {
            tokens: lexicon.base,
            is_counted: lexicon.counted_by().counts(),
        };
        Ok(Self {
            seed,
            first: base(first),
            others: others.iter().map(base).collect(),
            material,
            units,
            alphabets,
        })
    }

    /// What the prompts are made of.
    #[must_use]
    pub const fn material(&self) -> Material {
        self.material
    }

    /// What each server must count of a prompt in which the first one counts `tokens`; none for one that counts nothing. Only
    /// templates differ: of the text itself every server makes the same number of tokens.
    #[must_use]
    pub fn expected(&self, tokens: NonZeroU32) -> Vec<Option<NonZeroU32>> {
        let text = tokens.get().saturating_sub(self.first.tokens.get());
        let all = std::iter::once(&self.first).chain(&self.others);
        all.map(|base| base.is_counted.then(|| base.tokens.saturating_add(text)))
            .collect()
    }

    /// Prompts `numbers` of this seed, each of a length that the seed draws for its number.
    ///
    /// # Errors
    /// [`TextError`] where the lengths cannot be made.
    pub fn prompts(&self, numbers: impl Iterator<Item = u64>, lengths: Lengths) -> Result<Vec<MadePrompt>, TextError> {
        numbers.map(|number| self.made(number, lengths)).collect()
    }

    /// Prompt `number` of this seed, of a length that the seed draws for it.
    ///
    /// # Errors
    /// [`TextError`] where the lengths cannot be made.
    pub fn made(&self, number: u64, lengths: Lengths) -> Result<MadePrompt, TextError> {
        self.check(lengths)?;
        let tokens = lengths.input.draw(self.seed, "input-tokens", number);
        Ok(MadePrompt {
            number,
            text: self.text(tokens, self.own(number, lengths.shared_prefix))?,
            prompt_tokens: self.expected(tokens),
        })
    }

    /// Whether prompts of these lengths can be made.
    ///
    /// # Errors
    /// [`TextError`] says why not.
    pub fn check(&self, lengths: Lengths) -> Result<(), TextError> {
        let (tokens, shortest) = (lengths.input.least(), self.first.tokens);
        if tokens < shortest {
            return Err(TextError::TooShort { tokens, shortest });
        }
        let opening = u32::try_from(self.alphabets.len()).unwrap_or(u32::MAX);
        let needs = shortest
            .get()
            .saturating_add(opening)
            .saturating_add(lengths.shared_prefix.saturating_sub(1));
        if lengths.shared_prefix > 0 && tokens.get() < needs {
            return Err(TextError::PrefixTooLong {
                prefix_tokens: lengths.shared_prefix,
                tokens,
                needs,
            });
        }
        Ok(())
    }

    /// Recorded prompt `number`: equal block names give equal text, from the beginning on. A block is [`BLOCK_TOKENS`] long.
    ///
    /// # Errors
    /// [`TextError::TooShort`].
    pub fn replayed(&self, number: u64, tokens: NonZeroU32, blocks: &[u64]) -> Result<String, TextError> {
        // The first block has the letter that every prompt begins with.
        let block = |(n, id): (usize, &u64)| {
            let own = BLOCK_TOKENS.saturating_sub(usize::from(n == 0));
            self.stream(&format!("block-{id}")).take(own)
        };
        let blocks = blocks.iter().enumerate().flat_map(block);
        self.text(tokens, blocks.chain(self.own(number, 0)))
    }

    /// What follows the first letter of prompt `number`: what all share, what no other has there, and sentences.
    fn own(&self, number: u64, shared_prefix: u32) -> impl Iterator<Item = Piece> {
        let shared = usize::try_from(shared_prefix.saturating_sub(1)).unwrap_or(usize::MAX);
        let shared = self.stream("shared-prefix").take(shared);
        shared
            .chain(self.opening(number))
            .chain(self.stream(&format!("prompt-{number}")))
    }

    /// Words that no other number begins with, as those of a number in a system of so many digits.
    fn opening(&self, number: u64) -> impl Iterator<Item = Piece> {
        let mut rest = number;
        let words = self.alphabets.iter().filter_map(move |alphabet| {
            let size = u64::try_from(alphabet.len()).ok()?;
            let digit = usize::try_from(rest.checked_rem(size)?).ok()?;
            rest = rest.checked_div(size)?;
            alphabet.get(digit).map(|word| Piece::word(word))
        });
        words.chain((self.material == Material::Sentences).then_some(Piece::FULL_STOP))
    }

    /// Sentences in an order that seed and name determine; all of them before one comes again.
    fn stream<'a>(&'a self, name: &str) -> impl Iterator<Item = Piece> + use<'a> {
        let (mut stream, mut left) = (ChaChaStream::new(self.seed, name), Vec::new());
        std::iter::repeat_with(move || {
            if left.is_empty() {
                left = self.units.clone();
            }
            let count = u32::try_from(left.len()).unwrap_or(u32::MAX);
            let at = usize::try_from(stream.below(count)).unwrap_or(0);
            left.swap_remove(at)
        })
        .flat_map(|unit| unit.pieces.iter().copied())
    }

    /// The first letter and so many pieces that the first server counts `tokens`.
    fn text(&self, tokens: NonZeroU32, pieces: impl Iterator<Item = Piece>) -> Result<String, TextError> {
        let shortest = self.first.tokens;
        let too_short = TextError::TooShort { tokens, shortest };
        let wanted = tokens.get().checked_sub(shortest.get()).ok_or(too_short)?;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut text = FIRST.to_owned();
        let mut last = None;
        for piece in pieces.take(wanted) {
            if let Some(piece) = last.replace(piece) {
                piece.push_to(&mut text);
            }
        }
        if let Some(last) = last {
            // A template may merge a mark with what it puts behind it.
            let word = self
                .alphabets
                .first()
                .and_then(|a| a.first())
                .map(|word| Piece::word(word));
            word.filter(|_| !last.is_word()).unwrap_or(last).push_to(&mut text);
        }
        Ok(text)
    }
}
