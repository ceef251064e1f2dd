//! Whether the rate that was asked for is one that the arrivals were to keep.

use servelab_schema::{Plan, TrialCounts};

/// The first method whose arrivals fill their horizon; those before it missed their rate by chance.
const FILLS_ITS_HORIZON: u32 = 3;

/// Whether an open loop's arrivals were to keep the rate that was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AskedRate {
    /// They were.
    Kept {
        /// What whole arrivals cost: the rate may be off by so much more. 0 where the number was given, half an arrival of
        /// all where a time was.
        slack_ratio: f64,
    },
    /// They were not.
    NotKept {
        /// For people.
        why: &'static str,
    },
}

impl AskedRate {
    /// Of a trial of a plan, whose load has a number of requests.
    #[must_use]
    pub fn of_trial(plan: &Plan, counts: &TrialCounts) -> Self {
        if plan.method_version < FILLS_ITS_HORIZON {
            Self::NotKept {
                why: "the schedules of that METHOD_VERSION missed their rate by chance",
            }
        } else if counts.completed.saturating_add(counts.failures()) < counts.planned {
            Self::NotKept {
                why: "the load ended before its last arrival",
            }
        } else {
            Self::Kept { slack_ratio: 0.0 }
        }
    }
}
