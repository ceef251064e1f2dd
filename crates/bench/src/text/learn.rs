//! Learning which of the built-in text a tokenizer makes one token a piece of, with few questions.
//!
//! One question proves many sentences at once (see the parent). Where it does not, the sentences are halved: the first half
//! is asked for, the second follows by subtraction, so that a halving costs one question. Small groups with a longer word
//! among them are left out.

use super::{
    lexicon::{Lexicon, Material},
    sentences::{FIRST, Unit, sentences},
};
use crate::counting::{CountError, Counter};
use servelab_random::{shuffle, split};
use std::num::NonZeroU32;

/// Tokens of one question: several thousand would keep a slow server busy for long.
const QUESTION_TOKENS: u32 = 2048;

/// Least text that is learnt, in tokens: so that short prompts are of many sentences, too.
const LEAST_TOKENS: u32 = 2048;

/// Fewest tokens of proven sentences that prompts are made of.
const ENOUGH_TOKENS: u32 = 512;

/// Questions for halving, beside the first ones: of sentences, and of words.
const HALVINGS: [usize; 2] = [40, 60];

/// Sentences that are left out together.
const SMALL_GROUP: usize = 4;

/// Fewest proven words that prompts are made of.
const ENOUGH_WORDS: usize = 32;

/// How much text is wanted, and how much the server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// Seed of the prompts: which sentences are learnt.
    pub seed: u64,
    /// Longest prompt, in tokens.
    pub longest: NonZeroU32,
    /// Tokens that a request of this server can hold, where it is known.
    pub context_tokens: Option<NonZeroU32>,
}

impl Wants {
    /// Tokens of one question: half of what fits, so that a template has room.
    fn question_tokens(self) -> u32 {
        let half = self.context_tokens.map_or(QUESTION_TOKENS, |c| c.get() / 2);
        half.clamp(1, QUESTION_TOKENS)
    }
}

/// Units and the tokens that they cost together.
struct Group {
    units: Vec<usize>,
    cost: u32,
}

/// Asks about groups of one material.
struct Search<'a> {
    counter: &'a dyn Counter,
    all: &'static [Unit],
    base: u32,
}

impl Search<'_> {
    fn text(&self, units: &[usize]) -> String {
        let mut text = FIRST.to_owned();
        let pieces = units.iter().filter_map(|i| self.all.get(*i)).flat_map(|u| &u.pieces);
        pieces.for_each(|piece| piece.push_to(&mut text));
        text
    }

    fn pieces(&self, units: &[usize]) -> u32 {
        units.iter().filter_map(|i| self.all.get(*i)).map(Unit::tokens).sum()
    }

    /// What each group costs beside the base, all asked at once.
    fn costs(&self, groups: &[&[usize]]) -> Result<Vec<u32>, CountError> {
        let texts: Vec<String> = groups.iter().map(|units| self.text(units)).collect();
        let counts = self.counter.count(&texts)?;
        Ok(counts.into_iter().map(|n| n.get().saturating_sub(self.base)).collect())
    }

    /// The units that are proven, halving at most `halvings` groups and none of `small` units or fewer.
    fn proven(&self, mut open: Vec<Group>, small: usize, mut halvings: usize) -> Result<Vec<usize>, CountError> {
        let mut proven = Vec::new();
        loop {
            let (tight, loose): (Vec<_>, Vec<_>) = open.into_iter().partition(|g| g.cost == self.pieces(&g.units));
            proven.extend(tight.into_iter().flat_map(|g| g.units));
            let halves = loose.into_iter().filter(|g| g.units.len() > small).take(halvings);
            let halves: Vec<(Vec<usize>, Vec<usize>, u32)> = halves
                .map(|g| {
                    let (left, right) = g.units.split_at_checked(g.units.len() / 2).unwrap_or_default();
                    (left.to_vec(), right.to_vec(), g.cost)
                })
                .collect();
            if halves.is_empty() {
                return Ok(proven);
            }
            halvings = halvings.saturating_sub(halves.len());
            let lefts: Vec<&[usize]> = halves.iter().map(|(left, ..)| left.as_slice()).collect();
            let costs = self.costs(&lefts)?;
            open = halves
                .into_iter()
                .zip(costs)
                .flat_map(|((left, right, both), cost)| {
                    let right = Group {
                        units: right,
                        cost: both.saturating_sub(cost),
                    };
                    [Group { units: left, cost }, right]
                })
                .collect();
        }
    }
}

/// Units in the order of the seed, in groups of at most `most` tokens, until they have `wanted` tokens.
fn grouped(all: &[Unit], order: &[usize], most: u32, wanted: u32) -> Vec<Vec<usize>> {
    let (mut groups, mut group, mut in_group, mut so_far) = (Vec::new(), Vec::new(), 0_u32, 0_u32);
    for i in order {
        let tokens = all.get(*i).map_or(0, Unit::tokens);
        if tokens > most || so_far >= wanted {
            continue;
        }
        if in_group + tokens > most {
            groups.push(std::mem::take(&mut group));
            in_group = 0;
        }
        group.push(*i);
        in_group += tokens;
        so_far += tokens;
    }
    groups.push(group);
    groups.retain(|g| !g.is_empty());
    groups
}

/// Learns what prompts can be made of.
///
/// Questions: one for the template, one for each [2048 tokens](QUESTION_TOKENS) of twice the longest prompt (2048 at least,
/// all of the text at most, which has some 13,000), and [100](HALVINGS) at most where the tokenizer knows many words as
/// several tokens. None of them begins like a prompt of a load.
///
/// # Errors
/// [`CountError`] where the counter fails, or where too few words are one token each.
pub fn learn(counter: &dyn Counter, wants: Wants) -> Result<Lexicon, CountError> {
    let all = Material::Sentences.units();
    let mut order: Vec<usize> = (0..sentences().len()).collect();
    shuffle(&mut order, split(wants.seed, "lexicon"));
    let wanted = wants.longest.get().saturating_mul(2).max(LEAST_TOKENS);
    let groups = grouped(all, &order, wants.question_tokens(), wanted);

    // The template's tokens and the first sentences in one go.
    let search = Search { counter, all, base: 0 };
    let mut first: Vec<&[usize]> = vec![&[]];
    first.extend(groups.iter().map(Vec::as_slice));
    let mut costs = search.costs(&first)?.into_iter();
    let base = costs.next().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let search = Search {
        base: base.get(),
        ..search
    };
    let open: Vec<Group> = groups
        .into_iter()
        .zip(costs)
        .map(|(units, cost)| Group {
            units,
            cost: cost.saturating_sub(base.get()),
        })
        .collect();
    // With a longer word in every fourth sentence halving leads nowhere.
    let (cost, sentences) = (
        open.iter().map(|g| g.cost).fold(0, u32::saturating_add),
        open.iter().map(|g| g.units.len()).sum::<usize>(),
    );
    let tokens: u32 = open.iter().map(|g| search.pieces(&g.units)).sum();
    let longer = usize::try_from(cost.saturating_sub(tokens)).unwrap_or(usize::MAX);
    let [for_sentences, for_words] = HALVINGS;
    if longer * 4 < sentences {
        let units = search.proven(open, SMALL_GROUP, for_sentences)?;
        if search.pieces(&units) >= ENOUGH_TOKENS {
            let lexicon = (Material::Sentences, units.into_iter().collect());
            return Ok(Lexicon::new(
                base,
                lexicon.0,
                lexicon.1,
                counter.by(),
                counter.requests(),
            ));
        }
    }

    let all = Material::Words.units();
    let search = Search {
        counter,
        all,
        base: base.get(),
    };
    let order: Vec<usize> = (0..all.len()).collect();
    let groups = grouped(all, &order, wants.question_tokens(), u32::MAX);
    let costs = search.costs(&groups.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let open = groups.into_iter().zip(costs);
    let open = open.map(|(units, cost)| Group { units, cost }).collect();
    let units = search.proven(open, 1, for_words)?;
    if units.len() < ENOUGH_WORDS {
        return Err(CountError::NoWords {
            counter: counter.by(),
            words: units.len(),
        });
    }
    let units = units.into_iter().collect();
    Ok(Lexicon::new(
        base,
        Material::Words,
        units,
        counter.by(),
        counter.requests(),
    ))
}
