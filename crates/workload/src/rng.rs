//! Random choices that are the same on every machine and in every version: SHA-256 in counter mode.
//!
//! A library's generator may change its stream between versions; this one is written down here. One seed is split by
//! name, so that a choice added in one place moves nothing in another.

use sha2::{Digest, Sha256};

/// A stream of random numbers with a name.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    key: [u8; 32],
    counter: u64,
}

impl Stream {
    /// The stream called `name` under `seed`.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Self {
            key: hasher.finalize().into(),
            counter: 0,
        }
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update(self.counter.to_le_bytes());
        self.counter += 1;
        let digest: [u8; 32] = hasher.finalize().into();
        digest
            .iter()
            .take(8)
            .fold(0, |bits, &byte| (bits << 8) | u64::from(byte))
    }

    /// A number below `n`; 0 where `n` is 0. The bias of the multiplication is below n / 2^64.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let n = u128::try_from(n).unwrap_or(0);
        usize::try_from((u128::from(self.bits()) * n) >> 64).unwrap_or(0)
    }

    /// Draws an item without putting it back; none where there is none left.
    pub(crate) fn draw<T>(&mut self, items: &mut Vec<T>) -> Option<T> {
        (!items.is_empty()).then(|| items.swap_remove(self.below(items.len())))
    }

    /// Puts items in random order (Fisher–Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_written_down() {
        // sha256(sha256(7 as 8 bytes, little-endian, "lengths"), 0 as 8 bytes), first 8 bytes, big-endian
        assert_eq!(Stream::new(7, "lengths").bits(), 0x98b6266261163e68);
        assert_ne!(Stream::new(7, "lengths").bits(), Stream::new(7, "blocks").bits());
        assert_ne!(Stream::new(7, "lengths").bits(), Stream::new(8, "lengths").bits());
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_every_index_is_drawn() {
        let mut stream = Stream::new(1, "test");
        let mut items: Vec<usize> = (0..100).collect();
        stream.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        let mut seen = [0_u32; 6];
        for _ in 0..6000 {
            seen[stream.below(6)] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(stream.below(0), 0);
        let mut left = vec![1, 2, 3];
        let drawn: u32 = std::iter::from_fn(|| stream.draw(&mut left)).sum();
        assert_eq!(drawn, 6);
    }
}
