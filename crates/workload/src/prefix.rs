//! The longest common token prefix of any two prompts: what a prefix cache could share.

/// Two prompts and how many leading tokens they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) tokens: usize,
}

/// The pair that shares the most, by index. Sorting brings it together, so that neighbours are all there is to compare.
pub(crate) fn longest_common(sequences: &[Vec<u32>]) -> Option<Shared> {
    let mut order: Vec<(&Vec<u32>, usize)> = sequences.iter().zip(0..).collect();
    order.sort();
    order
        .windows(2)
        .filter_map(|pair| match pair {
            [(a, first), (b, second)] => {
                let tokens = a.iter().zip(b.iter()).take_while(|(x, y)| x == y).count();
                Some(Shared {
                    first: *first,
                    second: *second,
                    tokens,
                })
            }
            _ => None,
        })
        // the first of equals, so that a message does not depend on chance
        .reduce(|best, next| if next.tokens > best.tokens { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_pair_wherever_it_stands() {
        let check = |sequences: &[&[u32]], expected: Option<(usize, usize, usize)>| {
            let sequences: Vec<Vec<u32>> = sequences.iter().map(|s| s.to_vec()).collect();
            assert_eq!(
                longest_common(&sequences).map(|s| (s.first, s.second, s.tokens)),
                expected
            );
        };
        check(&[], None);
        check(&[&[1, 2]], None);
        check(&[&[1, 2, 3], &[9], &[1, 2, 4], &[1, 5]], Some((0, 2, 2)));
        check(&[&[1, 2], &[3], &[1, 2]], Some((0, 2, 2)));
        check(&[&[1], &[1, 2]], Some((0, 1, 1)));
        check(&[&[1], &[2]], Some((0, 1, 0)));
    }

    #[test]
    fn agrees_with_comparing_every_pair() {
        let mut stream = servelab_random::HashStream::new(3, "prefix");
        let sequences: Vec<Vec<u32>> = (0..60)
            .map(|_| (0..8).map(|_| u32::try_from(stream.below(3)).unwrap()).collect())
            .collect();
        let mut longest = 0;
        for (i, a) in sequences.iter().enumerate() {
            for b in &sequences[i + 1..] {
                longest = longest.max(a.iter().zip(b).take_while(|(x, y)| x == y).count());
            }
        }
        assert_eq!(longest_common(&sequences).unwrap().tokens, longest);
    }
}
