//! How the measured requests of a load leave, and when that ends.

use crate::{
    arrivals,
    request::PreparedRequest,
    spec::{LoadError, LoadSpec},
};
use servelab_schema::{Load, Nanos};
use std::{fmt::Debug, num::NonZeroU32, sync::Arc};

/// What decides when a measured request leaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pace {
    /// The load of the spec: slots of a closed loop, or the arrivals of an open one.
    #[default]
    Load,
    /// So many leave together, the next ones when all of them have ended. The spec's load must be closed.
    Batch(NonZeroU32),
    /// An open loop at these offsets from the first possible moment, one for each measured request, never decreasing. The
    /// spec's load must be open; its rate is then only a label.
    Offsets(Vec<Nanos>),
}

/// How many measured requests there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// Each of the spec's once.
    #[default]
    Once,
    /// The spec's in turn, again and again; none is sent later than this after the first one could be. What is in flight
    /// then ends by itself.
    For(Nanos),
}

/// Makes the requests of a conversation after its first one.
pub trait Conversations: Send + Sync + Debug {
    /// Requests of one conversation if none fails.
    fn turns(&self) -> NonZeroU32;

    /// The request that follows `answers`, the texts so far, in the conversation that the `opener`-th measured request of
    /// the spec began; none where it is over.
    fn next(&self, opener: usize, answers: &[String]) -> Option<PreparedRequest>;
}

/// The profile of one load: everything about when requests leave that the load itself does not say.
#[derive(Debug, Clone, Default)]
pub struct LoadProfile {
    /// What decides when a measured request leaves.
    pub pace: Pace,
    /// How many there are.
    pub extent: Extent,
    /// The slots of a closed loop begin spread evenly over this; the rate of an open loop rises linearly from 0 over it.
    pub ramp: Nanos,
    /// Fillers hold the load before the first and until the last measured request has ended. Otherwise there are exactly as
    /// many fillers as the warm-up asks for, all ended before the first measured request is sent.
    pub hold: bool,
    /// The load is ended where its first so many measured requests, in the order they were sent, all fail and none completes
    /// meanwhile: what is wrong then is not worth thousands of requests. Never where it is none.
    pub give_up_after: Option<NonZeroU32>,
    /// Each measured request of the spec opens a conversation.
    pub conversations: Option<Arc<dyn Conversations>>,
}

impl LoadProfile {
    /// The profile of a trial: a held load, each measured request once.
    #[must_use]
    pub fn held() -> Self {
        Self {
            hold: true,
            ..Self::default()
        }
    }

    /// Requests that will be measured if no conversation breaks off; none where time decides.
    #[must_use]
    pub fn planned(&self, spec: &LoadSpec) -> Option<u32> {
        let turns = self.conversations.as_ref().map_or(1, |c| c.turns().get());
        let openers = u32::try_from(spec.measured.len()).unwrap_or(u32::MAX);
        (self.extent == Extent::Once).then(|| openers.saturating_mul(turns))
    }

    /// True where an open loop's rate gives less than half an arrival in its duration.
    fn is_empty(&self, spec: &LoadSpec) -> bool {
        match (spec.load, self.extent) {
            (Load::Open { rate_per_s, arrivals }, Extent::For(length)) => {
                let schedule = arrivals::measured(arrivals, rate_per_s, spec.seed).ramped(self.ramp);
                schedule.count_in(length) == 0
            }
            _ => false,
        }
    }

    /// Checks it against the spec.
    ///
    /// # Errors
    /// [`LoadError::Spec`] with the remedy.
    pub fn check(&self, spec: &LoadSpec) -> Result<(), LoadError> {
        let refuse = |why: &str| Err(LoadError::Spec(why.to_owned()));
        let open = matches!(spec.load, Load::Open { .. });
        match &self.pace {
            Pace::Batch(_) if open => refuse("batches wait for answers; an open loop does not: give one of them"),
            Pace::Offsets(_) if !open => refuse("offsets make an open loop; the load says closed"),
            Pace::Offsets(at) if at.len() != spec.measured.len() => refuse("give one offset for each measured request"),
            Pace::Offsets(at) if !at.is_sorted() => refuse("offsets must not decrease; sort the requests by time"),
            _ if self.extent == Extent::For(Nanos::ZERO) => refuse("the duration is 0; give a length, such as \"60s\""),
            Pace::Load if self.is_empty(spec) => {
                refuse("at this rate no request arrives in the duration; give it more time, or a higher rate")
            }
            _ if self.ramp > Nanos::ZERO && self.pace != Pace::Load => {
                refuse("only a closed loop's slots and an open loop's rate can be ramped")
            }
            _ if self.hold && (self.ramp > Nanos::ZERO || self.extent != Extent::Once || self.pace != Pace::Load) => {
                refuse("a held load has neither a ramp nor a pace nor a duration of its own")
            }
            _ => Ok(()),
        }
    }
}
