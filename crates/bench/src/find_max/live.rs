//! A search on a real server: each segment is a held load, with fillers before the first measured request and until the last
//! one has ended, so that what is measured is the steady state and neither the rise nor the drain.

use super::{FindMax, Objective, ObjectiveName, Rules, Searched, Segment, Server, search};
use crate::{
    BenchError,
    at_load::AtLoad,
    figures::ResultSet,
    options::{Bench, FindMaxAsked},
    sweep::{Prepared, Shape, Watch},
};
use servelab_findings::failed_gate;
use servelab_load::Stop;
use servelab_schema::{Arrivals, Blame, Completion, Load, Nanos, Outcome, Rate, Trace};
use std::num::NonZeroU32;

/// A closed loop that tells whether anything is answered, and where to begin: so many in flight.
const PILOT: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);

/// Requests of the pilot.
const PILOT_REQUESTS: u32 = 32;

/// Where a rate begins, and the lowest that is tried, as shares of what the pilot reached.
const START_OF_PILOT: f64 = 0.5;
const FLOOR_OF_PILOT: f64 = 1.0 / 64.0;

/// Fillers before the first measured request, at least; half of the measured ones if that is more.
const LEAST_WARM_UP: u32 = 64;

struct OnServer<'a, W> {
    prepared: &'a Prepared<'a>,
    watch: &'a W,
    searched: Searched,
    objectives: Vec<(ObjectiveName, Nanos)>,
    results: Vec<ResultSet>,
}

/// The objectives that were given.
fn objectives(bench: &Bench) -> Vec<(ObjectiveName, Nanos)> {
    let slo = bench.slo;
    let given = [
        (ObjectiveName::Ttft, slo.ttft_ns),
        (ObjectiveName::Tpot, slo.tpot_ns),
        (ObjectiveName::E2e, slo.e2e_ns),
    ];
    given
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?)))
        .collect()
}

/// A completion's latency / its limit; one without that latency meets any limit of it, as in goodput.
fn of_limit(c: &Completion, name: ObjectiveName, limit: Nanos) -> f64 {
    let latency_s = match name {
        ObjectiveName::Ttft => c.ttft().map_or(0.0, Nanos::as_secs_f64),
        ObjectiveName::Tpot => c.tpot_s().unwrap_or(0.0),
        ObjectiveName::E2e => c.e2e().as_secs_f64(),
    };
    latency_s / limit.as_secs_f64()
}

impl<W: Watch> OnServer<'_, W> {
    fn load(&self, load: f64) -> Result<Load, BenchError> {
        Ok(match AtLoad::of_search(self.searched, load) {
            AtLoad::RatePerS(rate) => Load::Open {
                rate_per_s: Rate::new(rate).map_err(BenchError::Options)?,
                arrivals: self.prepared.bench().arrivals.unwrap_or(Arrivals::Poisson),
            },
            AtLoad::Concurrency(concurrency) => Load::Closed { concurrency },
        })
    }

    /// Holds a load and keeps its figures; gives the measured traces in the order in which they were sent.
    fn hold(&mut self, load: Load, requests: u32) -> Result<(Vec<Trace>, f64, Option<Stop>), BenchError> {
        // What is in flight when the measured requests begin should be what the load keeps in flight.
        let (requests, in_flight) = match load {
            Load::Closed { concurrency } => {
                let twice = concurrency.get().saturating_mul(2);
                (requests.max(twice), twice)
            }
            Load::Open { .. } => (requests, 0),
        };
        let warm_up = LEAST_WARM_UP.max(requests / 2).max(in_flight);
        let shape = Shape::Held { requests, warm_up };
        let (set, mut traces, result) = self.prepared.put(self.results.len(), load, &shape, self.watch)?;
        self.results.push(set);
        traces.retain(|t| t.measured);
        traces.sort_by_key(|t| t.seq);
        let elapsed_s = result.span.map_or(0.0, |span| span.length().as_secs_f64());
        Ok((traces, elapsed_s, result.stopped))
    }

    /// A latency that no answer has meets any limit.
    fn check_objectives(&self, set: &ResultSet) -> Result<(), BenchError> {
        let figures = &set.figures;
        let is_absent = |name| match name {
            ObjectiveName::Ttft => figures.ttft.is_none(),
            ObjectiveName::Tpot => figures.tpot.is_none(),
            ObjectiveName::E2e => figures.e2e.is_none(),
        };
        match self.objectives.iter().find(|(name, _)| is_absent(*name)) {
            None => Ok(()),
            Some((name, _)) => Err(BenchError::Options(format!(
                "--slo {0}=…: no answer has a {0}, because nobody counts its tokens or it has too few; leave {0} out, ask for \
                 longer answers, or give --tokenizer",
                name.as_str()
            ))),
        }
    }

    /// Requests per second of a closed loop; none where the user ended it.
    fn pilot(&mut self) -> Result<Option<f64>, BenchError> {
        let load = Load::Closed { concurrency: PILOT };
        let shape = Shape::Held {
            requests: PILOT_REQUESTS,
            warm_up: PILOT.get(),
        };
        let (set, _, result) = self.prepared.put(self.results.len(), load, &shape, self.watch)?;
        let reached = set.figures.throughput.as_ref().and_then(|t| t.requests_per_s);
        let example = set.figures.requests.examples.values().next().cloned();
        let reached = reached.filter(|_| !set.figures.all_failed());
        if reached.is_some() {
            self.check_objectives(&set)?;
        }
        self.results.push(set);
        match reached {
            None if result.stopped.is_none() => Err(BenchError::NothingCompleted {
                requests: PILOT_REQUESTS,
                example: example.unwrap_or_default(),
            }),
            reached => Ok(reached),
        }
    }
}

impl<W: Watch> Server for OnServer<'_, W> {
    type Error = BenchError;

    fn measure(&mut self, load: f64, requests: u32) -> Result<Segment, BenchError> {
        if self.watch.is_interrupted() {
            return Ok(Segment::Interrupted);
        }
        let load = self.load(load)?;
        let (traces, elapsed_s, stopped) = self.hold(load, requests)?;
        if stopped.is_some() {
            return Ok(Segment::Interrupted);
        }
        let gates = self.results.last().map(|set| set.figures.gates.as_slice());
        let gates = gates.unwrap_or_default();
        let failed = gates
            .iter()
            .filter(|g| g.gate.blame() == Blame::Instrument)
            .find_map(|gate| failed_gate(gate, gates));
        if let Some(why) = failed {
            return Ok(Segment::Unusable { why, elapsed_s });
        }
        let value = |trace: &Trace, name, limit| match &trace.outcome {
            Outcome::Completed(c) => of_limit(c, name, limit),
            Outcome::Failed(_) => f64::INFINITY,
        };
        let of = |&(name, limit): &(ObjectiveName, Nanos)| traces.iter().map(|t| value(t, name, limit)).collect();
        Ok(Segment::Measured {
            of_limit: self.objectives.iter().map(of).collect(),
            elapsed_s,
        })
    }
}

/// Searches on a server. The results are those of all segments, in order.
///
/// # Errors
/// Where a prompt cannot be made, the load generator cannot start, or not one of a few requests completes.
pub(crate) fn find_max(
    prepared: &Prepared<'_>,
    asked: &FindMaxAsked,
    watch: &impl Watch,
) -> Result<(FindMax, Vec<ResultSet>), BenchError> {
    let objectives = objectives(prepared.bench());
    let named = |&(name, limit): &(ObjectiveName, Nanos)| Objective {
        name,
        limit_s: limit.as_secs_f64(),
    };
    let mut rules = Rules::new(
        asked.searched,
        objectives.iter().map(named).collect(),
        asked.quantile,
        asked.budget.as_secs_f64(),
    );
    let mut server = OnServer {
        prepared,
        watch,
        searched: asked.searched,
        objectives,
        results: Vec::new(),
    };
    match (asked.searched, server.pilot()?) {
        (Searched::Rate, Some(reached)) => {
            rules.start = reached * START_OF_PILOT;
            rules.lowest = reached * FLOOR_OF_PILOT;
        }
        (Searched::Concurrency, _) => rules.start = f64::from(PILOT.get()),
        (Searched::Rate, None) => {}
    }
    let found = search(&mut server, &rules, |probe| watch.probed(probe))?;
    Ok((found, server.results))
}
