//! One load, measured until it is certain whether it meets the objectives.
//!
//! Looks are taken on more and more requests: each segment is twice as long as the one before, held by itself and started
//! afresh, and the counts of all are taken together. Each look spends its part of the error level, so that looking often
//! does not make noise a decision.

use super::{
    Probe, Rules, Searched, Segment, Server, Stopped,
    answer::{Look, Objective, ObjectiveName, Undecided},
};
use crate::at_load::AtLoad;
use servelab_stats::{Decision, Exceeded, Probability, correlation_time};

/// Requests on either side of a limit from which on their own clustering is estimated.
const SEEN: usize = 20;

/// What is known of one objective under one load.
#[derive(Debug, Clone)]
struct Tally {
    name: ObjectiveName,
    exceeded: u32,
    /// That of the last segment, which is as long as all before it together: a short one cannot show a long correlation.
    correlation_time: f64,
}

/// Requests of a load so far.
#[derive(Debug, Clone)]
struct Tallies {
    requests: u32,
    each: Vec<Tally>,
}

impl Tallies {
    fn new(objectives: &[Objective]) -> Self {
        let tally = |objective: &Objective| Tally {
            name: objective.name,
            exceeded: 0,
            correlation_time: 1.0,
        };
        Self {
            requests: 0,
            each: objectives.iter().map(tally).collect(),
        }
    }

    fn add(&mut self, of_limit: &[Vec<f64>]) {
        let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.requests += of_limit.first().map_or(0, |values| len(values.len()));
        for (tally, values) in self.each.iter_mut().zip(of_limit) {
            // What is not a number is not within a limit.
            let exceeds: Vec<bool> = values.iter().map(|x| x.is_nan() || *x > 1.0).collect();
            let count = exceeds.iter().filter(|is| **is).count();
            tally.exceeded += len(count);
            // Where enough exceed the limit and enough do not, how these cluster is seen; else how the latencies do.
            let can_see = count.min(values.len() - count) >= SEEN;
            tally.correlation_time = if can_see {
                let series: Vec<f64> = exceeds.iter().map(|is| f64::from(u8::from(*is))).collect();
                correlation_time(&series)
            } else {
                correlation_time(values)
            };
        }
    }

    /// What the counts say, and each objective's part in it. All must be met, so each at the whole error level; any may fail,
    /// so each at its part of it.
    fn decide(&self, p: Probability, error: f64) -> (Decision, Vec<Look>) {
        let share = error / f64::from(u32::try_from(self.each.len()).unwrap_or(u32::MAX).max(1));
        let look = |t: &Tally| {
            let seen = Exceeded {
                count: t.exceeded,
                n: self.requests,
                correlation_time: t.correlation_time,
            };
            let decision = match (seen.decide(p, share), seen.decide(p, error)) {
                (Decision::Fails, _) => Decision::Fails,
                (_, Decision::Meets) => Decision::Meets,
                _ => Decision::Undecided,
            };
            Look {
                objective: t.name,
                requests: self.requests,
                exceeded: t.exceeded,
                correlation_time_requests: t.correlation_time,
                decision,
            }
        };
        let looks: Vec<Look> = self.each.iter().map(look).collect();
        let decision = if looks.iter().any(|l| l.decision == Decision::Fails) {
            Decision::Fails
        } else if looks.iter().all(|l| l.decision == Decision::Meets) {
            Decision::Meets
        } else {
            Decision::Undecided
        };
        (decision, looks)
    }
}

/// What measuring one load came to.
pub(super) enum Probed {
    /// It was measured, perhaps without a decision.
    Done(Probe),
    /// It was not measured to its end.
    Ended(Stopped, Option<Probe>),
}

/// How much of the search's time is spent, and on how many requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) elapsed_s: f64,
    /// Seconds for each request of the last segment.
    per_request_s: Option<f64>,
}

impl Spent {
    fn add(&mut self, elapsed_s: f64, requests: u32) {
        self.elapsed_s += elapsed_s;
        self.per_request_s = Some(elapsed_s / f64::from(requests.max(1)));
    }

    /// True where so many requests more end within the budget: at a rate with half as many fillers before them, in a closed loop as
    /// far as the last ones tell.
    fn allows(&self, searched: Searched, load: f64, requests: u32, budget_s: f64) -> bool {
        let each_s = match searched {
            Searched::Rate => 1.5 / load,
            Searched::Concurrency => self.per_request_s.unwrap_or(0.0),
        };
        self.elapsed_s + each_s * f64::from(requests) <= budget_s
    }
}

/// A load may take this part of the time that is left, beyond its first look: one that lies at the limit would take all of it.
/// One that is repeated may take it all, and so may one under which no request has exceeded a limit: it wants requests and nothing
/// else, and a lower load would want as many.
const SHARE: f64 = 1.0 / 3.0;

/// Measures `load` until it is decided, its looks or its time are used up, or the search must end.
pub(super) fn probe<S: Server>(
    server: &mut S,
    rules: &Rules,
    load: f64,
    repeat: bool,
    spent: &mut Spent,
) -> Result<Probed, S::Error> {
    let before_s = spent.elapsed_s;
    let share_s = (rules.budget_s - before_s) * SHARE;
    let mut tallies = Tallies::new(&rules.objectives);
    let mut requests = rules.first_requests;
    let mut was_unusable = false;
    let mut looks = 0;
    let at = AtLoad::of_search(rules.searched, load);
    let so_far = |tallies: &Tallies, looks: u32, spent: &Spent, cause: Undecided| {
        let (decision, objectives) = tallies.decide(rules.quantile, rules.error_of_look(looks));
        Probe {
            at,
            repeat,
            decision,
            undecided_by: (decision == Decision::Undecided).then_some(cause),
            objectives,
            looks,
            elapsed_s: spent.elapsed_s - before_s,
        }
    };
    while looks < rules.looks {
        let ended = |why, tallies: &Tallies, spent: &Spent| {
            let cause = match &why {
                Stopped::Instrument { .. } => Undecided::Client,
                Stopped::Interrupted => Undecided::Interrupted,
                _ => Undecided::Time,
            };
            // What the client spoilt was tried, and is told.
            let is_tried = tallies.requests > 0 || cause == Undecided::Client;
            Ok(Probed::Ended(
                why,
                is_tried.then(|| so_far(tallies, looks, spent, cause)),
            ))
        };
        let is_close = tallies.each.iter().any(|t| t.exceeded > 0);
        if looks > 0 && is_close && !repeat && !spent.allows(rules.searched, load, requests, before_s + share_s) {
            return Ok(Probed::Done(so_far(&tallies, looks, spent, Undecided::Time)));
        }
        if !spent.allows(rules.searched, load, requests, rules.budget_s) {
            return ended(Stopped::Budget, &tallies, spent);
        }
        match server.measure(load, requests)? {
            Segment::Measured { of_limit, elapsed_s } => {
                spent.add(elapsed_s, requests);
                tallies.add(&of_limit);
                was_unusable = false;
            }
            // Once may be chance: a neighbour, a clock that was set.
            Segment::Unusable { elapsed_s, .. } if !was_unusable => {
                spent.add(elapsed_s, requests);
                was_unusable = true;
                continue;
            }
            Segment::Unusable { why, elapsed_s } => {
                spent.add(elapsed_s, requests);
                return ended(Stopped::Instrument { at, why }, &tallies, spent);
            }
            Segment::Interrupted => return ended(Stopped::Interrupted, &tallies, spent),
        }
        looks += 1;
        let probe = so_far(&tallies, looks, spent, Undecided::Looks);
        if probe.decision != Decision::Undecided {
            return Ok(Probed::Done(probe));
        }
        requests = requests.saturating_mul(2);
    }
    Ok(Probed::Done(so_far(&tallies, looks, spent, Undecided::Looks)))
}
