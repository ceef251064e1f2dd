//! When a run has taken as long, or cost as much, as its plan allows. Pure.

use crate::StopReason;
use servelab_schema::{EngineKind, Plan, WallNanos};

/// The limit that a run reaches first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Wall time since the session's start.
    pub(crate) after: WallNanos,
    /// Which limit that is.
    pub(crate) why: StopReason,
}

impl Budget {
    /// The budget of a plan; none where it has no limit. A simulated engine costs nothing.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let time = plan.limits.max_duration_ns.map(|after| Self {
            after,
            why: StopReason::Limit {
                key: "limits.max-duration",
                value: after.to_string(),
            },
        });
        let price = plan.profile.price_micro_usd_per_hour.filter(|price| *price > 0);
        let price = price.filter(|_| plan.engine_kind != EngineKind::Simulated);
        let money = plan.limits.max_cost_micro_usd.zip(price).map(|(most, price)| Self {
            after: affordable(most, price),
            why: StopReason::Limit {
                key: "limits.max-cost-usd",
                value: usd(most),
            },
        });
        time.into_iter().chain(money).min_by_key(|budget| budget.after)
    }

    /// What is left of it after some of it was used.
    pub(crate) fn less(self, used: WallNanos) -> Self {
        Self {
            after: WallNanos(self.after.0.saturating_sub(used.0)),
            ..self
        }
    }
}

/// How long a price can be paid.
fn affordable(most_micro_usd: u64, micro_usd_per_hour: u64) -> WallNanos {
    const HOUR_NS: u128 = 3_600_000_000_000;
    let ns = u128::from(most_micro_usd) * HOUR_NS / u128::from(micro_usd_per_hour.max(1));
    WallNanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

fn usd(micro: u64) -> String {
    format!("${}.{:06}", micro / 1_000_000, micro % 1_000_000)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use servelab_schema::{Limits, examples};

    #[test]
    fn the_limit_that_comes_first_counts() {
        let check = |kind: EngineKind, duration: Option<u64>, cost: Option<u64>, price: Option<u64>| {
            let mut plan = examples::plan();
            plan.engine_kind = kind;
            plan.profile.price_micro_usd_per_hour = price;
            plan.limits = Limits {
                blocks_within_ns: None,
                max_duration_ns: duration.map(WallNanos::from_secs),
                max_cost_micro_usd: cost,
            };
            let budget = Budget::of(&plan)?;
            Some((budget.after, budget.why.to_string()))
        };
        let said = |seconds: u64, why: &str| Some((WallNanos::from_secs(seconds), why.to_owned()));
        let (measured, simulated) = (EngineKind::Measured, EngineKind::Simulated);
        assert_eq!(check(measured, None, None, Some(1)), None);
        let time = "limits.max-duration of 1m30s was reached";
        assert_eq!(check(measured, Some(90), None, None), said(90, time));
        // 12.50 dollars at 25 an hour are half an hour.
        let money = "limits.max-cost-usd of $12.5 was reached";
        assert_eq!(
            check(measured, None, Some(12_500_000), Some(25_000_000)),
            said(1800, money)
        );
        assert_eq!(
            check(measured, Some(90), Some(12_500_000), Some(25_000_000)),
            said(90, time)
        );
        assert_eq!(
            check(measured, Some(9000), Some(12_500_000), Some(25_000_000)),
            said(1800, money)
        );
        assert_eq!(check(measured, None, Some(1), None), None, "no price, no cost");
        assert_eq!(check(simulated, None, Some(1), Some(25_000_000)), None);
    }
}
