//! One seed, split by name.

use sha2::{Digest, Sha256};

/// 256 bits that depend on `seed` and `name` alone.
pub(crate) fn key(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    hash.finalize().into()
}

/// The first eight bytes, big-endian.
pub(crate) fn first_bits(digest: [u8; 32]) -> u64 {
    digest
        .iter()
        .take(8)
        .fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
}

/// The seed of a purpose: the first 53 bits of SHA-256 of seed and name, so that every JSON reader keeps it exactly.
#[must_use]
pub fn split(seed: u64, name: &str) -> u64 {
    first_bits(key(seed, name)) >> 11
}
