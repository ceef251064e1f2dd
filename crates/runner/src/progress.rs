//! What a run tells whoever watches it.

use servelab_findings::Judged;
use servelab_load::LiveSnapshot;
use servelab_schema::{Nanos, TrialRecord};

/// Called while a run goes on, on the runner's thread. Must return quickly.
pub trait Progress: Send + Sync {
    /// Take `n` (from 1) of `total`, as far as is known now, begins; `name` is its folder.
    fn trial_begins(&self, n: usize, total: usize, name: &str);
    /// Its engine is starting, and this is the newest line of its log; called now and then.
    fn engine_says(&self, line: &str);
    /// Its engine is ready after `startup` of engine time.
    fn engine_ready(&self, startup: Nanos);
    /// Its load, about ten times a second.
    fn live(&self, live: &LiveSnapshot);
    /// It has ended, with what is known of it so far; `again` where it will be taken again at the end of its block.
    fn trial_ends(&self, record: &TrialRecord, judged: &Judged, again: bool);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn trial_begins(&self, _: usize, _: usize, _: &str) {}
    fn engine_says(&self, _: &str) {}
    fn engine_ready(&self, _: Nanos) {}
    fn live(&self, _: &LiveSnapshot) {}
    fn trial_ends(&self, _: &TrialRecord, _: &Judged, _: bool) {}
}
