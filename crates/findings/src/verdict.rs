//! The words of a comparison, and the rule that gives them.

use servelab_schema::MetricName;
use servelab_stats::{PairedT, Probability, blocks_to_detect, tost_p};

/// The outcome of one comparison. There is no sixth word, and "no difference" is not one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Adjusted p ≤ α and an effect of at least δ in the better direction of the metric.
    Better,
    /// The same in the worse direction.
    Worse,
    /// Two one-sided tests show the effect to lie within ±δ.
    Equivalent,
    /// The data do not decide.
    NoEvidence {
        /// Blocks at which a true effect of δ would be found with 80 % probability, for the primary metric at the family's
        /// strictest level; none where no number helps: too few blocks to know the spread, enough already, or more
        /// than anyone would run.
        blocks_needed: Option<u32>,
    },
    /// There is nothing to compare.
    NotComparable {
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// The word, as printed.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Better => "Better",
            Self::Worse => "Worse",
            Self::Equivalent => "Equivalent",
            Self::NoEvidence { .. } => "NoEvidence",
            Self::NotComparable { .. } => "NotComparable",
        }
    }
}

/// What a verdict is decided from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) metric: MetricName,
    /// Declared margin as a ratio, such as 0.03.
    pub(crate) delta: f64,
    pub(crate) alpha: Probability,
    /// What α is divided by for the strictest level of the family.
    pub(crate) family: u32,
    /// False where the A/A interval is wider than ±δ.
    pub(crate) may_be_equivalent: bool,
}

/// Probability with which the named number of blocks finds an effect of δ.
const POWER: f64 = 0.8;

/// The verdict on k log ratios, given the p adjusted for the family.
pub(crate) fn decide(question: &Question, t: &PairedT, adjusted_p: f64) -> Verdict {
    let effect = t.mean.exp() - 1.0;
    if adjusted_p <= question.alpha.get() && effect.abs() >= question.delta {
        return if (effect > 0.0) == question.metric.higher_is_better() {
            Verdict::Better
        } else {
            Verdict::Worse
        };
    }
    let (low, high) = ((1.0 - question.delta).ln(), question.delta.ln_1p());
    if question.may_be_equivalent && tost_p(t, low, high) <= question.alpha.get() {
        return Verdict::Equivalent;
    }
    Verdict::NoEvidence {
        blocks_needed: blocks_needed(question, t),
    }
}

fn blocks_needed(question: &Question, t: &PairedT) -> Option<u32> {
    let strictest = Probability::new(question.alpha.get() / f64::from(question.family.max(1))).ok()?;
    let power = Probability::new(POWER).ok()?;
    // Where k blocks already suffice to see δ, the effect lies near δ itself and no number is promised.
    blocks_to_detect(t.sd, question.delta.ln_1p(), strictest, power).filter(|&needed| needed > t.k)
}

#[cfg(test)]
mod tests;
