//! A token timeline as one blob: LEB128 numbers, gap in ns and tokens of each chunk in turn.

use servelab_schema::{Chunk, Nanos};

/// Why a blob is no token timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkBlobError {
    /// It ends inside a number or between a gap and its tokens.
    #[error("the timeline ends in the middle of a chunk")]
    Cut,
    /// A number has more bits than its field.
    #[error("the timeline holds a number that is too large")]
    TooLarge,
}

fn push(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn pull(bytes: &mut std::slice::Iter<'_, u8>) -> Result<u64, ChunkBlobError> {
    let mut value = 0_u64;
    for shift in (0..).step_by(7) {
        let byte = *bytes.next().ok_or(ChunkBlobError::Cut)?;
        let part = u64::from(byte & 0x7f);
        let placed = part.checked_shl(shift).filter(|placed| placed >> shift == part);
        value |= placed.ok_or(ChunkBlobError::TooLarge)?;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ChunkBlobError::TooLarge)
}

/// The blob of a timeline; about three bytes a chunk.
#[must_use]
pub fn encode_chunks(chunks: &[Chunk]) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunks.len().saturating_mul(5));
    for chunk in chunks {
        push(&mut out, chunk.gap.0);
        push(&mut out, u64::from(chunk.tokens));
    }
    out
}

/// The timeline of a blob.
///
/// # Errors
/// [`ChunkBlobError`] where the blob was not made by [`encode_chunks`].
pub fn decode_chunks(blob: &[u8]) -> Result<Vec<Chunk>, ChunkBlobError> {
    let mut bytes = blob.iter();
    let mut chunks = Vec::new();
    while !bytes.as_slice().is_empty() {
        let gap = Nanos(pull(&mut bytes)?);
        let tokens = u32::try_from(pull(&mut bytes)?).map_err(|_| ChunkBlobError::TooLarge)?;
        chunks.push(Chunk { gap, tokens });
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_timeline_comes_back(raw in proptest::collection::vec((any::<u64>(), any::<u32>()), 0..40)) {
            let chunks: Vec<Chunk> = raw.into_iter().map(Chunk::from).collect();
            prop_assert_eq!(decode_chunks(&encode_chunks(&chunks)).unwrap(), chunks);
        }

        #[test]
        fn any_bytes_are_read_or_refused(blob in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_chunks(&blob);
        }
    }

    #[test]
    fn damage_is_refused() {
        assert_eq!(decode_chunks(&[0x80]), Err(ChunkBlobError::Cut));
        assert_eq!(decode_chunks(&[5]), Err(ChunkBlobError::Cut));
        assert_eq!(decode_chunks(&[0xff; 11]), Err(ChunkBlobError::TooLarge));
        assert_eq!(
            decode_chunks(&[0, 0xff, 0xff, 0xff, 0xff, 0x1f]),
            Err(ChunkBlobError::TooLarge)
        );
    }
}
