//! The chunked transfer coding (RFC 9112 §7.1) as a push decoder: it keeps no byte of the body.

/// Longest chunk extension or trailer section that is skipped, in bytes.
const MAX_SKIPPED: usize = 16 * 1024;

/// Why bytes are no chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// A chunk size that is no hexadecimal number, or larger than 2^64.
    #[error("a chunk size is no hexadecimal number of at most 64 bits")]
    Size,
    /// A line end is missing where one must be.
    #[error("CR LF is missing after a chunk or its size")]
    LineEnd,
    /// An extension or the trailer section is longer than any engine's.
    #[error("a chunk extension or trailer is longer than 16 KiB")]
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        value: u64,
        digits: bool,
    },
    Extension {
        value: u64,
    },
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line (or of the empty line that ends the body).
    TrailerStart,
    Trailer,
    TrailerLf {
        end: bool,
    },
    End,
}

/// The decoder.
#[derive(Debug, Clone, Copy)]
pub struct ChunkedDecoder {
    state: State,
    skipped: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self {
            state: State::Size {
                value: 0,
                digits: false,
            },
            skipped: 0,
        }
    }
}

impl ChunkedDecoder {
    /// True once the last chunk and its trailers have been read.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Takes bytes off `input` until the next piece of the body, the end of the body or the end of the input, and returns
    /// that piece. None means that the input is used up or the body has ended; what follows the body stays in `input`.
    ///
    /// # Errors
    /// [`ChunkedError`] where the bytes are no chunked body.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ChunkedError> {
        loop {
            if let State::Data { left } = self.state {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                if take == 0 {
                    return Ok(None);
                }
                let (data, rest) = input.split_at_checked(take).unwrap_or((input, &[]));
                *input = rest;
                // `take` is at most `left`.
                let left = left - u64::try_from(take).unwrap_or(left);
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                return Ok(Some(data));
            }
            if self.is_end() {
                return Ok(None);
            }
            if let Some((state, rest)) = self.stride(input) {
                self.state = state;
                *input = rest;
                continue;
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            self.state = self.step(byte)?;
        }
    }

    /// Several steps at once where the usual framing lies in the input whole: a size of at most 7 digits that is not 0, or the
    /// line end after a chunk.
    fn stride<'a>(&self, input: &'a [u8]) -> Option<(State, &'a [u8])> {
        const START: State = State::Size {
            value: 0,
            digits: false,
        };
        match self.state {
            State::DataCr => Some((START, input.strip_prefix(b"\r\n")?)),
            START => {
                let mut left = 0_u64;
                let mut rest = input;
                for _ in 0..8 {
                    let (byte, after) = rest.split_first()?;
                    let Some(digit) = char::from(*byte).to_digit(16) else {
                        break;
                    };
                    left = (left << 4) | u64::from(digit);
                    rest = after;
                }
                let rest = rest.strip_prefix(b"\r\n")?;
                (left > 0).then_some((State::Data { left }, rest))
            }
            _ => None,
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, ChunkedError> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, _) => match char::from(byte).to_digit(16) {
                Some(digit) => {
                    let value = value.checked_mul(16).and_then(|v| v.checked_add(u64::from(digit)));
                    State::Size {
                        value: value.ok_or(ChunkedError::Size)?,
                        digits: true,
                    }
                }
                None if !digits => return Err(ChunkedError::Size),
                None => match byte {
                    b'\r' => State::SizeLf { value },
                    b';' | b' ' | b'\t' => State::Extension { value },
                    _ => return Err(ChunkedError::Size),
                },
            },
            (State::Extension { value }, b'\r') => State::SizeLf { value },
            (State::Extension { .. }, b'\n') => return Err(ChunkedError::LineEnd),
            (State::Extension { .. } | State::Trailer, b) if b != b'\r' => {
                self.skipped += 1;
                if self.skipped > MAX_SKIPPED {
                    return Err(ChunkedError::TooLong);
                }
                self.state
            }
            (State::SizeLf { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size {
                value: 0,
                digits: false,
            },
            (State::TrailerStart, b'\r') => State::TrailerLf { end: true },
            (State::TrailerStart, _) => State::Trailer,
            (State::Trailer, _) => State::TrailerLf { end: false },
            (State::TrailerLf { end: true }, b'\n') => State::End,
            (State::TrailerLf { end: false }, b'\n') => State::TrailerStart,
            _ => return Err(ChunkedError::LineEnd),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(parts: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), ChunkedError> {
        let mut decoder = ChunkedDecoder::default();
        let (mut body, mut after) = (Vec::new(), Vec::new());
        for part in parts {
            let mut input = *part;
            while let Some(data) = decoder.next(&mut input)? {
                body.extend_from_slice(data);
            }
            after.extend_from_slice(input);
        }
        Ok((body, decoder.is_end(), after))
    }

    fn check(input: &str, expected: Result<(&str, bool, &str), ChunkedError>) {
        let expected = expected.map(|(b, end, after)| (b.as_bytes().to_vec(), end, after.as_bytes().to_vec()));
        assert_eq!(decode(&[input.as_bytes()]), expected, "{input:?}");
    }

    #[test]
    fn table() {
        check("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", true, "")));
        check("5\r\nhello\r\n0\r\n\r\nHTTP", Ok(("hello", true, "HTTP")));
        check("A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n", Ok(("0123456789", true, "")));
        check("1\r\na\r\n1\r\nb\r\n", Ok(("ab", false, "")));
        check("5\r\nhel", Ok(("hel", false, "")));
        check("0\r\n", Ok(("", false, "")));
        check("xyz\r\n", Err(ChunkedError::Size));
        check("\r\n", Err(ChunkedError::Size));
        check("11111111111111111\r\n", Err(ChunkedError::Size));
        check("1\na", Err(ChunkedError::Size));
        check("1\r\nab", Err(ChunkedError::LineEnd));
        check(&format!("1;{}", "x".repeat(20_000)), Err(ChunkedError::TooLong));
        check(
            &format!("0\r\n{}", "x: y\r\n".repeat(10_000)),
            Err(ChunkedError::TooLong),
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            junk in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            step in 1usize..9,
        ) {
            let mut bytes = Vec::new();
            for c in &chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", c.len()).as_bytes());
                bytes.extend_from_slice(c);
                bytes.extend_from_slice(b"\r\n");
            }
            match &junk {
                None => bytes.extend_from_slice(b"0\r\n\r\n"),
                Some(junk) => bytes.extend_from_slice(junk),
            }
            let whole = decode(&[&bytes]);
            if junk.is_none() {
                prop_assert_eq!(&whole, &Ok((chunks.concat(), true, vec![])));
            }
            let parts: Vec<&[u8]> = bytes.chunks(step).collect();
            prop_assert_eq!(decode(&parts), whole);
        }
    }
}
