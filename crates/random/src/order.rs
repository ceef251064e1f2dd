//! The order of a plan's trials and prompts.

use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng, SeedableRng},
};

/// Puts `items` in the order that `seed` determines, each order equally likely.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        let count = u64::try_from(last).map_or(u64::MAX, |last| last + 1);
        items.swap(last, usize::try_from(below(&mut rng, count)).unwrap_or(last));
    }
}

/// The order that [`shuffle`] was given with that seed.
#[must_use]
pub fn unshuffled<T: Clone>(items: &[T], seed: u64) -> Vec<T> {
    let mut places: Vec<usize> = (0..items.len()).collect();
    shuffle(&mut places, seed);
    let mut back: Vec<(usize, &T)> = places.into_iter().zip(items).collect();
    back.sort_by_key(|(place, _)| *place);
    back.into_iter().map(|(_, item)| item.clone()).collect()
}

/// A number below `bound`, each equally likely: draws that would favour small numbers are thrown away.
fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    let unfair = u64::MAX - u64::MAX % bound;
    loop {
        let draw = rng.next_u64();
        if draw < unfair {
            return draw % bound;
        }
    }
}
