//! Numbers of tokens that are asked for: one, or any between two.

use servelab_random::ChaChaStream;
use std::{fmt, num::NonZeroU32, str::FromStr};

/// Numbers of tokens, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRange {
    least: NonZeroU32,
    most: NonZeroU32,
}

impl TokenRange {
    /// Always so many.
    #[must_use]
    pub const fn exactly(tokens: NonZeroU32) -> Self {
        Self {
            least: tokens,
            most: tokens,
        }
    }

    /// From `least` to `most`; none where they are the wrong way round.
    #[must_use]
    pub fn new(least: NonZeroU32, most: NonZeroU32) -> Option<Self> {
        (least <= most).then_some(Self { least, most })
    }

    /// The smallest number.
    #[must_use]
    pub const fn least(self) -> NonZeroU32 {
        self.least
    }

    /// The largest number.
    #[must_use]
    pub const fn most(self) -> NonZeroU32 {
        self.most
    }

    /// The number of prompt `number`, each equally likely, as the seed determines for this purpose.
    #[must_use]
    pub fn draw(self, seed: u64, purpose: &str, number: u64) -> NonZeroU32 {
        let Some(width) = self.most.get().checked_sub(self.least.get()).filter(|w| *w > 0) else {
            return self.least;
        };
        let mut stream = ChaChaStream::new(seed, &format!("{purpose}-{number}"));
        self.least.saturating_add(stream.below(width.saturating_add(1)))
    }
}

impl FromStr for TokenRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = || "give a number of tokens above 0, such as 2048, or a range, such as 512..4096".to_owned();
        let number = |part: &str| part.trim().parse::<NonZeroU32>().map_err(|_| forms());
        match text.split_once("..") {
            None => Ok(Self::exactly(number(text)?)),
            Some((least, most)) => Self::new(number(least)?, number(most)?)
                .ok_or_else(|| format!("{text} goes from more to less; give the smaller number first")),
        }
    }
}

impl fmt::Display for TokenRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{}..{}", self.least, self.most)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_back() {
        for (text, shown) in [("2048", "2048"), ("512..4096", "512..4096"), ("7 .. 7", "7")] {
            assert_eq!(text.parse::<TokenRange>().unwrap().to_string(), shown);
        }
        for (bad, says) in [
            ("", "such as 2048"),
            ("0", "above 0"),
            ("1..", "a range"),
            ("-3", "above 0"),
            ("512-4096", "512..4096"),
            ("9..8", "smaller number first"),
            ("1..2..3", "a range"),
        ] {
            assert!(bad.parse::<TokenRange>().unwrap_err().contains(says), "{bad}");
        }
    }

    #[test]
    fn every_length_of_a_range_is_drawn() {
        let range: TokenRange = "3..6".parse().unwrap();
        let mut counts = [0_u32; 8];
        for n in 0..4000 {
            let drawn = usize::try_from(range.draw(1, "x", n).get()).unwrap();
            counts[drawn] += 1;
            assert_eq!(range.draw(1, "x", n), range.draw(1, "x", n));
        }
        assert_eq!(counts[..3], [0; 3]);
        assert_eq!(counts[7], 0);
        // 1000 each, σ = 27.
        assert!(counts[3..7].iter().all(|n| (850..1150).contains(n)), "{counts:?}");
        assert_ne!(
            (0..64).map(|n| range.draw(1, "x", n)).collect::<Vec<_>>(),
            (0..64).map(|n| range.draw(1, "y", n)).collect::<Vec<_>>()
        );
    }
}
