//! What a search came to.

use serde::Serialize;
use servelab_stats::Decision;

use super::Searched;
use crate::at_load::AtLoad;

/// An objective's latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveName {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// End-to-end time.
    E2e,
}

impl ObjectiveName {
    /// The name as options write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }
}

/// An objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Objective {
    /// Of which latency.
    pub name: ObjectiveName,
    /// Its limit, seconds.
    pub limit_s: f64,
}

/// How a load's requests keep one objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Look {
    /// The objective.
    pub objective: ObjectiveName,
    /// Requests measured under this load so far.
    pub requests: u32,
    /// Those of them that exceeded its limit; failed ones did.
    pub exceeded: u32,
    /// How many requests in a row make one independent one.
    pub correlation_time_requests: f64,
    /// What that says.
    #[serde(serialize_with = "decision")]
    pub decision: Decision,
}

/// Why a load was left undecided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Undecided {
    /// Every look was used up: it lies at the limit, as near as can be told.
    Looks,
    /// The time was short: nothing speaks against it.
    Time,
    /// The client was the limit: nothing speaks against it.
    Client,
    /// The user ended it.
    Interrupted,
}

/// One load that was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// The load.
    #[serde(flatten)]
    pub at: AtLoad,
    /// True where a load that was found is measured afresh.
    pub repeat: bool,
    /// Whether every objective is met.
    #[serde(serialize_with = "decision")]
    pub decision: Decision,
    /// Why it is undecided; null where it is decided.
    pub undecided_by: Option<Undecided>,
    /// Each objective, at the last look.
    pub objectives: Vec<Look>,
    /// How often was looked: each time on about twice the requests.
    pub looks: u32,
    /// Time that it took, seconds.
    pub elapsed_s: f64,
}

/// The word of a decision in files.
#[must_use]
pub const fn decision_word(decision: Decision) -> &'static str {
    match decision {
        Decision::Meets => "meets",
        Decision::Fails => "fails",
        Decision::Undecided => "undecided",
    }
}

fn decision<S: serde::Serializer>(decision: &Decision, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(decision_word(*decision))
}

/// An end of the bracket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Found {
    /// The load.
    #[serde(flatten)]
    pub at: AtLoad,
    /// Probability that what is said of it is right, at least.
    pub confidence: f64,
    /// True where it was measured twice and both said so.
    pub repeated: bool,
}

/// Why a search ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Stopped {
    /// The bracket is as narrow as was asked for, or no load that is tried lies within it, and its lower end was measured twice.
    Resolution,
    /// The time is over, or was too short to decide what lies above.
    Budget,
    /// The highest load that is tried meets the objectives.
    Ceiling,
    /// The lowest load that is tried does not meet them.
    Floor,
    /// The client was the limit.
    Instrument {
        /// Under which load.
        at: AtLoad,
        /// Which gate failed and how, what that means and what helps.
        why: String,
    },
    /// The user ended it.
    Interrupted,
}

/// What may be said of the load that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is the highest: a load above it was shown not to meet the objectives, and the bracket between them is narrow.
    Highest,
    /// The highest is this or more: what lies above was not shown not to meet them.
    AtLeast,
    /// None was found.
    NoLoad,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FindMax {
    /// What was varied.
    pub searched: Searched,
    /// The objectives.
    pub objectives: Vec<Objective>,
    /// Which quantile of each latency must be within its limit.
    pub quantile: f64,
    /// Each decision errs with at most this probability on either side.
    pub error_level: f64,
    /// Most distance between the ends of the bracket, as a share of the lower one.
    pub resolution_ratio: f64,
    /// What may be said of `meets`.
    pub verdict: Verdict,
    /// The highest load that was shown to meet the objectives; null where none was.
    pub meets: Option<Found>,
    /// The lowest load that was shown not to; null where none was.
    pub fails: Option<Found>,
    /// Loads of which neither was shown.
    pub undecided: Vec<AtLoad>,
    /// Why it ended.
    pub stopped: Stopped,
    /// Time that it took, seconds.
    pub elapsed_s: f64,
    /// Every load that was tried, in order.
    pub probes: Vec<Probe>,
}
