//! SHA-256 in counter mode: written down here in full, so that packed prompts never change with a library's version.

use crate::{
    num::index_below,
    seed::{first_bits, key},
};
use sha2::{Digest, Sha256};

/// A stream of random numbers with a name: the n-th 64 bits are the first of SHA-256 of the key and n, n from 0 as eight
/// bytes, little-endian.
#[derive(Debug, Clone)]
pub struct HashStream {
    key: [u8; 32],
    counter: u64,
}

impl HashStream {
    /// The stream called `name` under `seed`.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        Self {
            key: key(seed, name),
            counter: 0,
        }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(self.counter.to_le_bytes());
        self.counter += 1;
        first_bits(hash.finalize().into())
    }

    /// A number below `n`; 0 where `n` is 0. The bias of the multiplication is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        index_below(self.bits(), n)
    }

    /// Draws an item without putting it back; none where there is none left.
    pub fn draw<T>(&mut self, items: &mut Vec<T>) -> Option<T> {
        (!items.is_empty()).then(|| items.swap_remove(self.below(items.len())))
    }

    /// Puts items in random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
