//! The highest rate or concurrency that meets the objectives: a bisection that knows its noise.
//!
//! Parts: `probe` (one load, measured until it is certain whether it meets the objectives, or until that is given up), `search`
//! (which load is next, and when to stop), [`answer`] (what comes of it). All of them are pure: whoever can put a load on a
//! server stands behind the trait [`Server`], so that known answers stand there in virtual time. `live` is the one that sends
//! requests.
//!
//! Traps: the loads of a search are positive numbers; a concurrency is a whole one. *Undecided* counts against a load: what
//! was not shown to meet the objectives is not recommended. But only a load that was shown to fail makes the one below it the
//! *highest*; where time or the client left it open, the answer is "at least".

pub mod answer;
mod live;
mod probe;
mod search;
#[cfg(test)]
mod tests;

pub use answer::{FindMax, Found, Look, Objective, ObjectiveName, Probe, Stopped, Undecided, Verdict};
pub(crate) use live::find_max;
pub use search::{Rules, Searched, search};

/// What a server did under a load.
#[derive(Debug, Clone, PartialEq)]
pub enum Segment {
    /// It was measured.
    Measured {
        /// For each objective, in the order of the [`Rules`]: each measured request's latency / its limit, in the order in
        /// which they were sent; +∞ for one that failed.
        of_limit: Vec<Vec<f64>>,
        /// Time that it took, warm-up included, seconds.
        elapsed_s: f64,
    },
    /// The client, not the server, was the limit: says nothing of the server.
    Unusable {
        /// Which gate failed and how, what that means and what helps.
        why: String,
        /// Time that it took, seconds.
        elapsed_s: f64,
    },
    /// The user ended it.
    Interrupted,
}

/// Who puts loads on a server.
pub trait Server {
    /// Why that is impossible.
    type Error;

    /// Holds `load` (a rate per second, or a concurrency), and measures `requests` requests once it is steady.
    ///
    /// # Errors
    /// Where no load can be put on at all. Requests that fail are measured as such.
    fn measure(&mut self, load: f64, requests: u32) -> Result<Segment, Self::Error>;
}
