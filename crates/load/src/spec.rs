//! What a load is made of, checked before anything is sent.

use crate::{
    attempt::{Deadlines, SizeLimits},
    clock::TrialClock,
    request::{Endpoint, EndpointError, PreparedRequest, RequestHeaders},
    sink::SinkError,
    stream::KeepText,
};
use servelab_schema::{ConnectionUse, Load, Nanos, RequestId, VariantId};
use std::time::Duration;

/// Labels that every trace of the load repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Block, from 1.
    pub block: u32,
    /// Variant under test; only a label here.
    pub variant: VariantId,
    /// Begins every request id, such as `b03-C7`.
    pub request_prefix: String,
}

impl Labels {
    /// The name of an attempt: prefix, number of the request, number of the attempt.
    pub(crate) fn request_id(&self, seq: u32, attempt: u32) -> Result<RequestId, servelab_schema::IdError> {
        // Made twice for every request: one allocation, and no formatting machinery for the usual numbers.
        let mut id = String::with_capacity(self.request_prefix.len() + 24);
        id.push_str(&self.request_prefix);
        id.push('-');
        push_number(&mut id, seq, 4);
        id.push_str("-a");
        push_number(&mut id, attempt, 1);
        RequestId::new(id)
    }
}

/// Appends a decimal number with at least `width` digits.
fn push_number(text: &mut String, number: u32, width: u32) {
    let digits = number.checked_ilog10().map_or(1, |log| log + 1).max(width);
    let digit = |place: u32| {
        let above = 10_u32.checked_pow(place).map_or(0, |unit| number / unit);
        char::from_digit(above % 10, 10)
    };
    text.extend((0..digits).rev().filter_map(digit));
}

/// One load against one engine.
#[derive(Debug, Clone)]
pub struct LoadSpec {
    /// Where requests go.
    pub endpoint: Endpoint,
    /// Extra headers.
    pub headers: RequestHeaders,
    /// Closed or open loop.
    pub load: Load,
    /// Filler requests that must have ended before the first measured one is sent.
    pub warm_up: u32,
    /// The measured requests, in the order they are sent.
    pub measured: Vec<PreparedRequest>,
    /// Requests that hold the load before the first and until the last measured one has ended; used in turn, again and
    /// again. May be empty only without a warm-up; then the load is not held at its end.
    pub fillers: Vec<PreparedRequest>,
    /// Seed of the arrivals.
    pub seed: u64,
    /// Deadlines of each attempt.
    pub deadlines: Deadlines,
    /// Memory bounds of each attempt.
    pub limits: SizeLimits,
    /// What the trace of a completed request keeps of its answer's text.
    pub keep_text: KeepText,
    /// What the server does with connections: those that it closes are opened ahead for each request.
    pub connections: ConnectionUse,
    /// Labels of the traces.
    pub labels: Labels,
    /// The trial's clock: its time 0 and its scale.
    pub clock: TrialClock,
    /// How long a broken connection waits for the news that the engine's process has ended before it is called a reset
    /// (wall time; the slot goes on meanwhile).
    pub engine_exit_grace: Duration,
}

/// Why a load cannot go on (failed requests are rows, not errors).
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The spec contradicts itself.
    #[error("the load cannot be run: {0}")]
    Spec(String),
    /// The endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The operating system refused a thread, a timer or an event loop.
    #[error(
        "the load generator could not start: {0}; check the limits on threads and open files (ulimit -u, ulimit -n)"
    )]
    Setup(#[from] std::io::Error),
    /// A trace could not be kept: the load was stopped.
    #[error("the load was stopped because a trace could not be written: {0}")]
    Sink(SinkError),
    /// Our own bug: the load's thread panicked.
    #[error("the load generator's thread panicked; please report this with the log")]
    Panicked,
}

impl LoadSpec {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`LoadError::Spec`] with the remedy.
    pub fn check(&self) -> Result<(), LoadError> {
        let refuse = |why: &str| Err(LoadError::Spec(why.to_owned()));
        if self.measured.is_empty() {
            return refuse("there is no measured request; give at least one prompt");
        }
        if self.warm_up > 0 && self.fillers.is_empty() {
            return refuse("a warm-up needs filler requests; give fillers or set the warm-up to 0");
        }
        if u32::try_from(self.measured.len()).is_err() {
            return refuse("there are more than 2^32 measured requests; split the prompts");
        }
        let d = self.deadlines;
        if [d.connect, d.ttft, d.idle, d.total].contains(&Nanos::ZERO) {
            return refuse("a timeout is 0; give each one a length, such as \"60s\"");
        }
        match self.labels.request_id(u32::MAX, u32::MAX) {
            Ok(_) => Ok(()),
            Err(e) => Err(LoadError::Spec(format!("the request prefix makes no request id: {e}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids() {
        let labels = Labels {
            block: 1,
            variant: VariantId::new("V").unwrap(),
            request_prefix: "b01-V".to_owned(),
        };
        for seq in [0, 1, 9, 10, 999, 1000, 9999, 10_000, 12_345, u32::MAX] {
            for attempt in [1, 2, 10, u32::MAX] {
                let id = labels.request_id(seq, attempt).unwrap();
                assert_eq!(id.as_str(), format!("b01-V-{seq:04}-a{attempt}"));
            }
        }
    }
}
