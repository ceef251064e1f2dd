//! Known answers in virtual time: queues whose highest load is planted, measured as a real server is and searched by the same
//! code. Arrivals are the load generator's own schedules.

use super::*;
use servelab_load::arrivals::Schedule;
use servelab_random::SplitMix64;
use servelab_schema::{Arrivals, Rate};
use servelab_stats::{Decision, Probability};
use std::convert::Infallible;

mod budget;

/// First come, first served, by so many servers; times are seconds.
struct Queue {
    servers: usize,
    service_s: fn(&mut SplitMix64) -> f64,
    /// Longest wait: the objective.
    limit_s: f64,
    rng: SplitMix64,
    seed: u64,
    /// Each third segment says nothing.
    is_flaky: bool,
    segments: u64,
}

fn exponential(rng: &mut SplitMix64) -> f64 {
    -(1.0 - rng.uniform()).ln()
}

/// Mean 1, coefficient of variation 1.3: lengths of answers.
fn log_normal(rng: &mut SplitMix64) -> f64 {
    (rng.normal() - 0.5).exp()
}

impl Queue {
    fn new(servers: usize, service_s: fn(&mut SplitMix64) -> f64, limit_s: f64, seed: u64) -> Self {
        Self {
            servers,
            service_s,
            limit_s,
            rng: SplitMix64::new(seed),
            seed,
            is_flaky: false,
            segments: 0,
        }
    }

    /// Waits of `n` requests after `warm_up` others, and when the last of all ended.
    fn waits(&mut self, rate: f64, warm_up: usize, n: usize) -> (Vec<f64>, f64) {
        let schedule = |name: &str| {
            let rate = Rate::new(rate).unwrap();
            Schedule::new(
                Arrivals::Poisson,
                rate,
                self.seed.wrapping_mul(1000) + self.segments,
                name,
            )
        };
        let before = schedule("warm-up").take_offsets(warm_up);
        let begin = before.last().map_or(0.0, |at| at.as_secs_f64());
        let measured = schedule("measured").fill(n).offsets;
        let before = before.iter().map(|at| at.as_secs_f64());
        let arrivals = before.chain(measured.iter().map(|at| begin + at.as_secs_f64()));
        let mut free = vec![0.0_f64; self.servers];
        let mut waits = Vec::with_capacity(warm_up + n);
        for at in arrivals {
            let first = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
            let begins = first.max(at);
            *first = begins + (self.service_s)(&mut self.rng);
            waits.push(begins - at);
        }
        (waits.split_off(warm_up), free.into_iter().fold(0.0, f64::max))
    }
}

impl Server for Queue {
    type Error = Infallible;

    fn measure(&mut self, load: f64, requests: u32) -> Result<Segment, Infallible> {
        self.segments += 1;
        let n = usize::try_from(requests).unwrap();
        let (waits, elapsed_s) = self.waits(load, 64.max(n / 2), n);
        if self.is_flaky && self.segments.is_multiple_of(3) {
            let why = "a neighbour".to_owned();
            return Ok(Segment::Unusable { why, elapsed_s });
        }
        Ok(Segment::Measured {
            of_limit: vec![waits.into_iter().map(|w| w / self.limit_s).collect()],
            elapsed_s,
        })
    }
}

/// A closed loop whose median latency is its concurrency in seconds, with a log-normal spread.
struct Shared {
    rng: SplitMix64,
    limit_s: f64,
}

impl Server for Shared {
    type Error = Infallible;

    fn measure(&mut self, load: f64, requests: u32) -> Result<Segment, Infallible> {
        let latency = |_| load * (0.3 * self.rng.normal()).exp() / self.limit_s;
        let of_limit = vec![(0..requests).map(latency).collect()];
        let elapsed_s = f64::from(requests);
        Ok(Segment::Measured { of_limit, elapsed_s })
    }
}

fn rules(searched: Searched, quantile: Probability, start: f64) -> Rules {
    let objective = Objective {
        name: ObjectiveName::Ttft,
        limit_s: 1.0,
    };
    Rules {
        start,
        lowest: start / 64.0,
        ..Rules::new(searched, vec![objective], quantile, f64::INFINITY)
    }
}

/// The rate of an M/M/c queue with mean service 1 under which a share `q` waits longer than `limit_s`: Erlang's C
/// × e^(−(c − λ)·limit) = q.
fn erlang_knee(servers: u32, limit_s: f64, q: f64) -> f64 {
    let c = f64::from(servers);
    let share = |rate: f64| {
        // Erlang's B by its recurrence, then C.
        let b = (1..=servers).fold(1.0, |b, k| rate * b / (f64::from(k) + rate * b));
        let waits = c * b / (c - rate * (1.0 - b));
        waits * (-(c - rate) * limit_s).exp()
    };
    let (mut low, mut high) = (0.0, c);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if share(middle) <= q {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// How many of `runs` seeded searches end within 10 % of the truth, how many above it, and the highest in truths.
fn within(runs: u64, truth: f64, mut search_from: impl FnMut(u64, f64) -> FindMax) -> (u64, u64, f64) {
    let (mut near, mut above, mut highest) = (0, 0, 0.0_f64);
    for seed in 0..runs {
        // Beginnings from a third to three times the truth.
        let start = truth / 3.0 * 9_f64.powf(SplitMix64::new(seed).uniform());
        let found = search_from(seed, start).meets.map_or(0.0, |f| f.at.number());
        near += u64::from((found / truth - 1.0).abs() <= 0.1);
        above += u64::from(found > truth);
        highest = highest.max(found / truth);
    }
    (near, above, highest)
}

#[expect(clippy::print_stderr, reason = "figures for the documents, with --nocapture")]
fn check(runs: u64, least: u64) {
    // Erlang's answer; each is a run of some hundred thousand requests.
    let truth = erlang_knee(8, 0.5, 0.05);
    let (near, above, highest) = within(runs, truth, |seed, start| {
        let mut queue = Queue::new(8, exponential, 0.5, seed);
        search(&mut queue, &rules(Searched::Rate, Probability::P95, start), |_| ()).unwrap()
    });
    eprintln!(
        "M/M/8, p95: {near} of {runs} within 10 % of {truth:.3}/s, {above} above it, the highest at {highest:.3}"
    );
    assert!(near >= least, "{near} of {runs}");
    // Long answers on many slots, as an engine has them; the truth is from 10^8 requests of a simulation.
    let truth = LOG_NORMAL_32_KNEE;
    let (near, above, highest) = within(runs, truth, |seed, start| {
        let mut queue = Queue::new(32, log_normal, 0.25, seed);
        search(&mut queue, &rules(Searched::Rate, Probability::P90, start), |_| ()).unwrap()
    });
    eprintln!(
        "M/G/32, p90: {near} of {runs} within 10 % of {truth:.3}/s, {above} above it, the highest at {highest:.3}"
    );
    assert!(near >= least, "{near} of {runs}");
}

/// Where 10 % of the requests of 32 servers with log-normal service (σ = 1, mean 1) wait longer than 0.25.
const LOG_NORMAL_32_KNEE: f64 = 27.3;

#[test]
fn a_planted_knee_is_found() {
    check(3, 3);
}

/// `make torture-find-max`.
#[cfg(feature = "torture")]
#[test]
fn a_planted_knee_is_found_in_95_of_100_runs() {
    check(100, 95);
}

#[test]
fn erlang_s_answer_is_that_of_the_queue() {
    let truth = erlang_knee(8, 0.5, 0.05);
    let (waits, _) = Queue::new(8, exponential, 0.5, 3).waits(truth, 1000, 200_000);
    let late = waits.iter().filter(|w| **w > 0.5).count();
    let share = f64::from(u32::try_from(late).unwrap()) / 200_000.0;
    assert!((share / 0.05 - 1.0).abs() < 0.1, "{share}");
}

#[test]
fn a_concurrency_is_found_to_the_whole_number() {
    // p90 of the latency is N·e^(1.2816·0.3).
    for (limit_s, truth) in [(30.0, 20.4), (3.0, 2.04), (300.0, 204.2)] {
        let (near, above, _) = within(20, truth, |seed, _| {
            let mut server = Shared {
                rng: SplitMix64::new(seed),
                limit_s,
            };
            search(
                &mut server,
                &rules(Searched::Concurrency, Probability::P90, 1.0),
                |_| (),
            )
            .unwrap()
        });
        assert!(near >= 19 && above <= 2, "{truth}: {near} near, {above} above, of 20");
    }
}

/// What is said first and what is answered: one search in full.
#[test]
fn a_search_says_what_it_did() {
    let mut queue = Queue::new(8, exponential, 0.5, 1);
    let mut said = Vec::new();
    let found = search(&mut queue, &rules(Searched::Rate, Probability::P95, 1.0), |p| {
        said.push(p.at)
    })
    .unwrap();
    let (meets, fails) = (found.meets.unwrap(), found.fails.unwrap());
    assert_eq!(said, found.probes.iter().map(|p| p.at).collect::<Vec<_>>());
    assert!(
        meets.at.number() < fails.at.number() && meets.repeated && meets.confidence >= 0.99,
        "{found:#?}"
    );
    assert_eq!((found.stopped, found.verdict), (Stopped::Resolution, Verdict::Highest));
    assert!(
        found
            .undecided
            .iter()
            .all(|at| at.total_cmp(&meets.at).is_gt() && at.total_cmp(&fails.at).is_lt())
    );
    let last = found.probes.last().unwrap();
    assert!(last.repeat && last.decision == Decision::Meets && last.at == meets.at);
    let elapsed: f64 = found.probes.iter().map(|p| p.elapsed_s).sum();
    assert!((elapsed / found.elapsed_s - 1.0).abs() < 1e-9);
}

/// Every request takes so much of its limit.
struct Always(f64);

impl Server for Always {
    type Error = Infallible;

    fn measure(&mut self, load: f64, requests: u32) -> Result<Segment, Infallible> {
        Ok(Segment::Measured {
            of_limit: vec![(0..requests).map(|_| self.0).collect()],
            elapsed_s: f64::from(requests) / load,
        })
    }
}

#[test]
fn a_search_ends_where_it_must() {
    let of = |server: &mut Queue, rules: &Rules| search(server, rules, |_| ()).unwrap();
    let plain = rules(Searched::Rate, Probability::P95, 1.0);
    let queue = |limit_s| Queue::new(8, exponential, limit_s, 2);

    let never = search(&mut Always(f64::INFINITY), &plain, |_| ()).unwrap();
    assert!(never.meets.is_none() && never.stopped == Stopped::Floor, "{never:?}");
    assert!(never.fails.is_some_and(|f| f.at.number() < 0.02), "{never:?}");
    let always = of(
        &mut queue(f64::INFINITY),
        &rules(Searched::Rate, Probability::P95, 50_000.0),
    );
    assert_eq!(
        (always.stopped, always.verdict, always.meets.map(|m| m.at.number())),
        (Stopped::Ceiling, Verdict::AtLeast, Some(100_000.0))
    );

    let short = Rules {
        budget_s: 2000.0,
        ..plain.clone()
    };
    let cut = of(&mut queue(0.5), &short);
    assert_eq!(cut.stopped, Stopped::Budget);
    // A segment's time is foreseen from the one before it, so that little is overdrawn.
    assert!(cut.elapsed_s < 2.0 * short.budget_s, "{}", cut.elapsed_s);
    if let Some(meets) = cut.meets {
        assert!(meets.repeated || meets.confidence < 1.0 - cut.error_level / 2.0);
    }

    // What the client spoilt once is measured again; what it spoils every time ends the search.
    let mut flaky = queue(0.5);
    flaky.is_flaky = true;
    assert_eq!(of(&mut flaky, &plain).stopped, Stopped::Resolution);
    struct Late;
    impl Server for Late {
        type Error = Infallible;
        fn measure(&mut self, _: f64, _: u32) -> Result<Segment, Infallible> {
            let why = "schedule-lag".to_owned();
            Ok(Segment::Unusable { why, elapsed_s: 1.0 })
        }
    }
    let late = search(&mut Late, &plain, |_| ()).unwrap();
    assert_eq!(late.verdict, Verdict::NoLoad);
    assert!(matches!(late.stopped, Stopped::Instrument { why, .. } if why == "schedule-lag"));
    // What was tried is told, though nothing of it counts.
    let [probe] = late.probes.as_slice() else {
        panic!("{:?}", late.probes)
    };
    assert_eq!(
        (probe.undecided_by, probe.looks, probe.objectives[0].requests),
        (Some(Undecided::Client), 0, 0)
    );
}

/// Failed requests exceed every limit.
#[test]
fn failures_count_as_never_answered() {
    struct Drops(u32);
    impl Server for Drops {
        type Error = Infallible;
        fn measure(&mut self, load: f64, requests: u32) -> Result<Segment, Infallible> {
            // Above 10 a tenth of the requests fail; all others are fast.
            self.0 += 7;
            let fails = |i: u32| load > 10.0 && (i + self.0).is_multiple_of(10);
            let of = |i| if fails(i) { f64::INFINITY } else { 0.01 };
            Ok(Segment::Measured {
                of_limit: vec![(0..requests).map(of).collect()],
                elapsed_s: f64::from(requests) / load,
            })
        }
    }
    let found = search(&mut Drops(0), &rules(Searched::Rate, Probability::P95, 1.0), |_| ()).unwrap();
    let load = found.meets.unwrap().at.number();
    assert!(load <= 10.0 && load > 9.5, "{found:?}");
}

#[test]
fn rates_have_three_digits_and_concurrencies_none() {
    let check = |searched: Searched, load: f64, expected: f64| {
        assert_eq!(searched.round(load).to_string(), expected.to_string());
    };
    check(Searched::Rate, 0.012_345, 0.0123);
    check(Searched::Rate, 7.777_7, 7.78);
    check(Searched::Rate, 12_345.6, 12_300.0);
    check(Searched::Concurrency, 11.31, 11.0);
    check(Searched::Concurrency, 0.2, 1.0);
}
