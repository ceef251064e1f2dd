//! One family of tests: everything said of the primary metric, or everything exploratory.

use crate::num::len_u32;
use servelab_stats::{benjamini_hochberg, holm};

/// p values that are adjusted together, each named by the comparison it belongs to.
#[derive(Debug)]
pub(crate) struct Family {
    adjust: fn(&[f64]) -> Vec<f64>,
    members: Vec<usize>,
    p: Vec<f64>,
}

impl Family {
    /// Holm for the primary metric, Benjamini and Hochberg for the others; comparisons without a p do not belong to it.
    pub(crate) fn new(primary: bool, p: impl Iterator<Item = (usize, Option<f64>)>) -> Self {
        let (members, p) = p.filter_map(|(i, p)| Some((i, p?))).unzip();
        Self {
            adjust: if primary { holm } else { benjamini_hochberg },
            members,
            p,
        }
    }

    /// Number of tests.
    pub(crate) fn size(&self) -> u32 {
        len_u32(self.p.len())
    }

    /// Each member with its adjusted p.
    pub(crate) fn adjusted(&self) -> impl Iterator<Item = (usize, f64)> {
        self.members.iter().copied().zip((self.adjust)(&self.p))
    }

    /// The adjusted p of one member, had it another p than it has; 1 for a stranger.
    pub(crate) fn adjusted_with(&self, member: usize, p: f64) -> f64 {
        let Some(index) = self.members.iter().position(|m| *m == member) else {
            return 1.0;
        };
        let mut changed = self.p.clone();
        if let Some(slot) = changed.get_mut(index) {
            *slot = p;
        }
        (self.adjust)(&changed).get(index).copied().unwrap_or(1.0)
    }
}
