//! Dealing prompts into blocks that are balanced in length.

use servelab_random::HashStream;

/// The block, from 1, of each of some prompts of one task and bucket, given their lengths.
///
/// The prompts are sorted by length and dealt in groups of `blocks`, each group in a random order of its own: every
/// block gets one of every group.
pub(crate) fn into_blocks(lengths: &[u32], blocks: u32, stream: &mut HashStream) -> Vec<u32> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (lengths.get(i).copied(), i));
    let mut dealt = vec![0; lengths.len()];
    let size = usize::try_from(blocks).unwrap_or(1).max(1);
    for group in order.chunks(size) {
        let mut hand: Vec<u32> = (1..=blocks).collect();
        stream.shuffle(&mut hand);
        for (&prompt, block) in group.iter().zip(hand) {
            if let Some(slot) = dealt.get_mut(prompt) {
                *slot = block;
            }
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_one_of_every_group() {
        let lengths: Vec<u32> = (0..200).map(|i| (i * 7919) % 2000).collect();
        let dealt = into_blocks(&lengths, 10, &mut HashStream::new(1, "deal"));
        for block in 1..=10 {
            let mut of_block: Vec<u32> = lengths
                .iter()
                .zip(&dealt)
                .filter(|(_, b)| **b == block)
                .map(|(l, _)| *l)
                .collect();
            of_block.sort_unstable();
            assert_eq!(of_block.len(), 20);
            let mut sorted = lengths.clone();
            sorted.sort_unstable();
            for (length, group) in of_block.iter().zip(sorted.chunks(10)) {
                assert!(group.contains(length));
            }
        }
    }

    #[test]
    fn no_blocks_is_block_zero() {
        assert_eq!(into_blocks(&[5, 6], 0, &mut HashStream::new(1, "deal")), [0, 0]);
    }
}
