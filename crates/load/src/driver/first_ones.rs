//! Whether a load is hopeless: its first measured requests all fail.

use std::{collections::BTreeSet, num::NonZeroU32};

/// Watches the first measured requests, by the order in which they were sent: those that end first may be the refusals of a
/// server that is only full.
#[derive(Debug, Default)]
pub(crate) struct FirstOnes {
    /// How many are watched; 0 where none, or where one completed.
    watched: u32,
    sent: u32,
    /// Those of them that have not ended, by their number in the load.
    open: BTreeSet<u32>,
}

impl FirstOnes {
    /// Watches so many; none where it is none.
    pub(crate) fn new(watched: Option<NonZeroU32>) -> Self {
        Self {
            watched: watched.map_or(0, NonZeroU32::get),
            ..Self::default()
        }
    }

    /// A measured request leaves.
    pub(crate) fn sent(&mut self, seq: u32) {
        if self.sent < self.watched {
            self.sent += 1;
            self.open.insert(seq);
        }
    }

    /// A measured request has ended. True where it is the last of those that are watched, and not one completed.
    pub(crate) fn ended(&mut self, seq: u32, completed: bool) -> bool {
        if completed {
            *self = Self::default();
            return false;
        }
        self.open.remove(&seq) && self.sent == self.watched && self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said at each end of these requests, which have all been sent before.
    fn said(watched: u32, sent: u32, ends: &[(u32, bool)]) -> Vec<bool> {
        let mut first = FirstOnes::new(NonZeroU32::new(watched));
        for seq in 0..sent {
            first.sent(10 + seq);
        }
        ends.iter().map(|(seq, ok)| first.ended(10 + seq, *ok)).collect()
    }

    #[test]
    fn only_the_first_ones_count_and_all_of_them_must_fail() {
        let (failed, done) = (false, true);
        assert_eq!(
            said(2, 3, &[(0, failed), (1, failed), (2, failed)]),
            [false, true, false]
        );
        assert_eq!(
            said(2, 9, &[(7, failed), (8, failed), (1, failed), (0, failed)]),
            [false, false, false, true]
        );
        assert_eq!(
            said(2, 9, &[(0, failed), (5, done), (1, failed)]),
            [false; 3],
            "one that completes is enough"
        );
        assert_eq!(
            said(3, 2, &[(0, failed), (1, failed)]),
            [false; 2],
            "fewer than are watched"
        );
        assert_eq!(said(0, 2, &[(0, failed), (1, failed)]), [false; 2], "nobody watches");
    }
}
