//! Whether a share of requests keeps an objective, with an error level: the p-quantile of a latency is at most its limit
//! exactly where at most 1 − p of the requests exceed it, so exceedances are counted.
//!
//! One count is [`certify`](crate::certify())'s: a quantile whose certified bound is at most the limit *meets* it, by the
//! same binomial sum (MLPerf's, one more exceedance than was seen). Symmetrically it *fails* where so many exceedances, or more, would be
//! too rare if 1 − p were the share. In between nothing is certain yet. Correlated requests count as fewer: k of n become
//! k/τ of n/τ (effective sample size in Clopper and Pearson's bounds: Korn and Graubard, Survey Methodology 24, 1998).
//! Looking several times costs: each of `looks` looks spends its part of the error level (Bonferroni).

use crate::{Probability, special::regularised_beta};

/// What a count says of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The quantile is at most the limit.
    Meets,
    /// It is above.
    Fails,
    /// Too few requests to say.
    Undecided,
}

/// Requests that exceeded a limit, failed ones among them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exceeded {
    /// How many did.
    pub count: u32,
    /// Of how many.
    pub n: u32,
    /// How many of them make one independent request; at least 1.
    pub correlation_time: f64,
}

impl Exceeded {
    /// Independent requests that they are worth.
    #[must_use]
    pub fn effective_n(&self) -> f64 {
        f64::from(self.n) / self.correlation_time.max(1.0)
    }

    /// Whether the p-quantile meets the limit, erring with at most `error` on each side.
    #[must_use]
    pub fn decide(&self, p: Probability, error: f64) -> Decision {
        let n = self.effective_n();
        let k = f64::from(self.count) / self.correlation_time.max(1.0);
        if at_most(k + 1.0, n, p) <= error {
            Decision::Meets
        } else if at_least(k, n, p) <= error {
            Decision::Fails
        } else {
            Decision::Undecided
        }
    }
}

/// P(at most `k` of `n` lie above the p-quantile), for numbers between the whole ones too.
fn at_most(k: f64, n: f64, p: Probability) -> f64 {
    if k >= n {
        1.0
    } else {
        regularised_beta(p.get(), n - k, k + 1.0)
    }
}

/// P(at least `k` of `n` lie above the p-quantile).
fn at_least(k: f64, n: f64, p: Probability) -> f64 {
    if k <= 0.0 {
        1.0
    } else {
        regularised_beta(p.complement(), k, n - k + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Certification, OrInfinite, Sample, SplitMix64, certify};
    use proptest::prelude::*;

    fn independent(count: u32, n: u32) -> Exceeded {
        Exceeded {
            count,
            n,
            correlation_time: 1.0,
        }
    }

    #[test]
    fn few_and_many() {
        let check = |count, n, tau, expected| {
            let seen = Exceeded {
                count,
                n,
                correlation_time: tau,
            };
            assert_eq!(seen.decide(Probability::P95, 0.01), expected, "{count} of {n}, τ {tau}");
        };
        check(0, 129, 1.0, Decision::Undecided);
        check(0, 130, 1.0, Decision::Meets);
        check(0, 130, 2.0, Decision::Undecided);
        check(0, 260, 2.0, Decision::Meets);
        check(10, 200, 1.0, Decision::Undecided);
        // R: binom.test(18, 200, .05, "greater")$p.value = 0.0124; of 19, 0.0059.
        check(18, 200, 1.0, Decision::Undecided);
        check(19, 200, 1.0, Decision::Fails);
        check(200, 200, 100.0, Decision::Fails);
        check(0, 0, 1.0, Decision::Undecided);
    }

    /// At the limit itself either answer is an error.
    #[test]
    fn it_errs_as_often_as_it_says() {
        let mut rng = SplitMix64::new(11);
        let (mut meets, mut fails) = (0, 0);
        for _ in 0..4000 {
            let count = (0..400).filter(|_| rng.uniform() < 0.1).count();
            match independent(u32::try_from(count).unwrap(), 400).decide(Probability::P90, 0.01) {
                Decision::Meets => meets += 1,
                Decision::Fails => fails += 1,
                Decision::Undecided => {}
            }
        }
        // 1 % + 3 standard errors.
        assert!(meets <= 58 && fails <= 58, "{meets} {fails} of 4000");
        assert!(
            meets > 5 && fails > 5,
            "not so strict that it says nothing: {meets} {fails}"
        );
    }

    proptest! {
        /// The same as holding the certified bound against the limit.
        #[test]
        fn it_meets_where_the_certified_quantile_does(n in 1_u32..900, above in 0_u32..60, failures in 0_u32..5) {
            prop_assume!(above < n);
            let values: Vec<f64> = (0..n).map(|i| if i < above { 2.0 } else { 0.5 }).collect();
            let bound = match certify(&Sample::new(values).unwrap(), failures, Probability::P95) {
                Certification::Certified { bound: OrInfinite::Finite(bound), .. } => bound,
                _ => f64::INFINITY,
            };
            let seen = independent(above + failures, n + failures);
            prop_assert_eq!(seen.decide(Probability::P95, 0.01) == Decision::Meets, bound <= 1.0);
        }

        #[test]
        fn more_exceedances_never_help(count in 0_u32..200, tau in 1.0..20.0_f64, error in 0.001..0.1_f64) {
            let rank = |count| match (Exceeded { count, n: 200, correlation_time: tau }).decide(Probability::P90, error) {
                Decision::Meets => 0,
                Decision::Undecided => 1,
                Decision::Fails => 2,
            };
            prop_assert!(rank(count) <= rank(count + 1));
        }
    }
}
