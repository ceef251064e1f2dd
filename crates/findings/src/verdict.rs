//! The rule that gives a comparison its word: first what the numbers claim, then whether the claim may be said.

use servelab_schema::MetricName;
use servelab_schema::findings::Claim;
use servelab_stats::{PairedT, Probability, autocorrelated_t, blocks_to_detect, paired_t};

/// What a verdict is decided from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) metric: MetricName,
    /// Declared margin as a ratio, such as 0.03.
    pub(crate) delta: f64,
    pub(crate) alpha: Probability,
}

/// k log ratios, tested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tested {
    pub(crate) t: PairedT,
    /// p of "no difference", adjusted for the family.
    pub(crate) p: f64,
    /// p of "outside ±δ", adjusted for the family.
    pub(crate) p_tost: f64,
}

/// Blocks lost to the engine on both sides of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LostToEngine {
    pub(crate) variant: u32,
    pub(crate) control: u32,
}

/// The t test of one log ratio a block. `lag1` is how much neighbouring blocks correlate; none where engines are started anew in
/// each.
pub(crate) fn t_test(logs: &[f64], lag1: Option<f64>, confidence: Probability) -> Option<PairedT> {
    match lag1 {
        Some(rho) => autocorrelated_t(logs, rho, confidence),
        None => paired_t(logs, confidence),
    }
}

/// Probability with which the named number of blocks shows the effect.
pub(crate) const POWER: f64 = 0.8;

impl Question {
    /// True for an effect of at least δ.
    pub(crate) fn matters(&self, mean_log_ratio: f64) -> bool {
        mean_log_ratio.exp_m1().abs() >= self.delta
    }

    /// What the numbers say; none where they do not decide.
    pub(crate) fn claim(&self, tested: &Tested) -> Option<Claim> {
        self.said(tested.t.mean, tested.p, tested.p_tost)
    }

    /// The same of a mean log ratio with its adjusted p values.
    pub(crate) fn said(&self, mean: f64, p: f64, p_tost: f64) -> Option<Claim> {
        if p <= self.alpha.get() && self.matters(mean) {
            return Some(if (mean > 0.0) == self.metric.higher_is_better() {
                Claim::Better
            } else {
                Claim::Worse
            });
        }
        (p_tost <= self.alpha.get()).then_some(Claim::Equivalent)
    }

    /// How many blocks lost to the engine bear on a claim: what the variant lost on Better, what its control lost on Worse,
    /// both on Equivalent. A loss on the other side only speaks for the claim.
    pub(crate) const fn bearing(claim: Claim, lost: LostToEngine) -> u32 {
        match claim {
            Claim::Better => lost.variant,
            Claim::Worse => lost.control,
            Claim::Equivalent => lost.variant.saturating_add(lost.control),
        }
    }

    /// True where the claim stands although `bearing` blocks were lost to the engine. Better and Worse stand where they would
    /// be said with each of those blocks counted as far against them as the farthest block that counts is from 0; Equivalent
    /// stands with none lost, because an engine that fails is a difference. `adjust` adjusts the p of the changed blocks for
    /// the family; `lag1` is as in [`t_test`].
    pub(crate) fn stands(
        &self,
        claim: Claim,
        logs: &[f64],
        (bearing, lag1): (u32, Option<f64>),
        adjust: impl FnOnce(f64) -> f64,
    ) -> bool {
        if bearing == 0 {
            return true;
        }
        if claim == Claim::Equivalent {
            return false;
        }
        let farthest = logs.iter().fold(0.0_f64, |far, log| far.max(log.abs()));
        let mean = logs.iter().sum::<f64>();
        let against = if mean > 0.0 { -farthest } else { farthest };
        let lost = std::iter::repeat_n(against, usize::try_from(bearing).unwrap_or(usize::MAX));
        let all: Vec<f64> = logs.iter().copied().chain(lost).collect();
        t_test(&all, lag1, Probability::P95).is_some_and(|t| {
            let p = adjust(t.p);
            self.claim(&Tested { t, p, p_tost: 1.0 }) == Some(claim)
        })
    }

    /// Blocks that would show an effect of the size measured, in a family of `family` tests; none where that size is below δ,
    /// or where so many blocks are there already.
    pub(crate) fn blocks_to_show(&self, t: &PairedT, family: u32) -> Option<u32> {
        if !self.matters(t.mean) {
            return None;
        }
        let strictest = Probability::new(self.alpha.get() / f64::from(family.max(1))).ok()?;
        let power = Probability::new(POWER).ok()?;
        // What a block adds, where blocks hang together: as much as one of a larger spread would.
        let spread = t.standard_error * f64::from(t.k).sqrt();
        blocks_to_detect(spread, t.mean, strictest, power).filter(|&needed| needed > t.k)
    }
}

#[cfg(test)]
mod tests;
