//! Which load is tried next, and when a search stops.
//!
//! Doubling until a load is not shown to meet the objectives (or halving until one is), then the geometric middle of the bracket,
//! until its ends are as close as the resolution. A load that time left undecided ends the bracket as one that fails does, so that
//! something is shown in the time that is left; but then the answer is "at least" and the search ended for want of time. The lower end is then measured afresh: it was chosen among several because it looked
//! good, and only data that did not choose it say how good it is. Where they do not confirm it, it is the bracket's upper
//! end from then on, and the search goes on below.

use super::{
    Server,
    answer::{FindMax, Found, Objective, Probe, Stopped, Undecided, Verdict},
    probe::{Probed, Spent, probe},
};
use crate::at_load::AtLoad;
use serde::Serialize;
use servelab_stats::{Decision, Exceeded, Probability};

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Searched {
    /// Arrivals per second of an open loop.
    Rate,
    /// Requests in flight of a closed loop.
    Concurrency,
}

impl Searched {
    /// The nearest load that is tried: three digits of a rate, a whole concurrency.
    pub(super) fn round(self, load: f64) -> f64 {
        match self {
            Self::Concurrency => load.round().max(1.0),
            Self::Rate => {
                let unit = 10_f64.powf(load.log10().floor() - 2.0);
                let rounded = (load / unit).round() * unit;
                // The nearest decimal number, so that 0.7000000001 is 0.7.
                format!("{rounded:.12}").parse().unwrap_or(rounded)
            }
        }
    }

    /// The highest load that is tried.
    const fn highest(self) -> f64 {
        match self {
            Self::Rate => 100_000.0,
            Self::Concurrency => 16_384.0,
        }
    }
}

/// What a search goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What is varied.
    pub searched: Searched,
    /// The objectives; at least one.
    pub objectives: Vec<Objective>,
    /// Which quantile of each latency must be within its limit.
    pub quantile: Probability,
    /// A decision errs with at most this probability on either side, over all its looks.
    pub error: f64,
    /// Most looks at one load.
    pub looks: u32,
    /// Requests of the first look; each further one has twice as many.
    pub first_requests: u32,
    /// The ends of the bracket may differ by this share of the lower one.
    pub resolution_ratio: f64,
    /// Where to begin.
    pub start: f64,
    /// The lowest load that is tried.
    pub lowest: f64,
    /// Time that it may take, seconds.
    pub budget_s: f64,
}

/// A decision's error level: that of a certified percentile.
const ERROR: f64 = 0.01;

/// Most looks at a load: the last one is on some 250 times as many requests as the first.
const LOOKS: u32 = 8;

/// How close the ends of the bracket are at the end.
const RESOLUTION_RATIO: f64 = 0.05;

impl Rules {
    /// The rules of a search that begins at 1.
    #[must_use]
    pub fn new(searched: Searched, objectives: Vec<Objective>, quantile: Probability, budget_s: f64) -> Self {
        let mut rules = Self {
            searched,
            objectives,
            quantile,
            error: ERROR,
            looks: LOOKS,
            first_requests: 1,
            resolution_ratio: RESOLUTION_RATIO,
            start: 1.0,
            lowest: 1.0,
            budget_s,
        };
        // The fewest that can be enough, if none exceeds its limit.
        let enough = |n: &u32| {
            let none = Exceeded {
                count: 0,
                n: *n,
                correlation_time: 1.0,
            };
            none.decide(quantile, rules.error_of_look(1)) == Decision::Meets
        };
        rules.first_requests = (1..u32::MAX).find(enough).unwrap_or(u32::MAX);
        rules
    }

    /// What look number `look`, from 1, may spend of the error level: in proportion to the requests that it adds, so that the last
    /// ones, which decide what is close, have most of it.
    pub(super) fn error_of_look(&self, look: u32) -> f64 {
        let all = 2_f64.powf(f64::from(self.looks)) - 1.0;
        self.error * 2_f64.powf(f64::from(look.saturating_sub(1))) / all
    }
}

/// What a search knows.
#[derive(Debug)]
struct Bracket<'a> {
    rules: &'a Rules,
    /// Loads that were shown to meet the objectives and lie below the ceiling.
    meets: Vec<f64>,
    /// The lowest load that was not.
    ceiling: Option<f64>,
    /// True where only the time kept that one from being shown.
    is_cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    Try(f64),
    /// Measure this one afresh.
    Repeat(f64),
    /// Nothing lies beyond it.
    Ceiling,
    Floor,
}

impl Bracket<'_> {
    fn low(&self) -> Option<f64> {
        self.meets.iter().copied().reduce(f64::max)
    }

    fn next(&self) -> Next {
        let searched = self.rules.searched;
        let (least, most) = (searched.round(self.rules.lowest), searched.highest());
        let round = |load: f64| searched.round(load.clamp(least, most));
        match (self.low(), self.ceiling) {
            (None, None) => Next::Try(round(self.rules.start)),
            (Some(low), None) if low >= most => Next::Ceiling,
            (Some(low), None) => Next::Try(round(low * 2.0)),
            (None, Some(ceiling)) if ceiling <= least => Next::Floor,
            (None, Some(ceiling)) => Next::Try(round(ceiling / 2.0)),
            (Some(low), Some(ceiling)) => {
                let middle = searched.round((low * ceiling).sqrt());
                let is_close = ceiling / low <= 1.0 + self.rules.resolution_ratio;
                if is_close || middle <= low || middle >= ceiling {
                    Next::Repeat(low)
                } else {
                    Next::Try(middle)
                }
            }
        }
    }

    fn learn(&mut self, probe: &Probe) {
        let at = probe.at.number();
        if probe.decision == Decision::Meets {
            self.meets.push(at);
            return;
        }
        self.meets.retain(|load| *load < at);
        if self.ceiling.is_none_or(|ceiling| at <= ceiling) {
            self.ceiling = Some(at);
            self.is_cut = probe.undecided_by == Some(Undecided::Time);
        }
    }
}

/// Searches the highest load that meets the objectives. `said` hears of each probe as it ends.
///
/// # Errors
/// Those of the server.
pub fn search<S: Server>(server: &mut S, rules: &Rules, mut said: impl FnMut(&Probe)) -> Result<FindMax, S::Error> {
    let mut bracket = Bracket {
        rules,
        meets: Vec::new(),
        ceiling: None,
        is_cut: false,
    };
    let mut probes: Vec<Probe> = Vec::new();
    let mut spent = Spent::default();
    let stopped = loop {
        let (load, repeat) = match bracket.next() {
            Next::Try(load) => (load, false),
            Next::Repeat(load) => (load, true),
            Next::Ceiling => break Stopped::Ceiling,
            Next::Floor if bracket.is_cut => break Stopped::Budget,
            Next::Floor => break Stopped::Floor,
        };
        match probe(server, rules, load, repeat, &mut spent)? {
            Probed::Done(probe) => {
                said(&probe);
                bracket.learn(&probe);
                let is_confirmed = repeat && probe.decision == Decision::Meets;
                probes.push(probe);
                if is_confirmed {
                    break if bracket.is_cut {
                        Stopped::Budget
                    } else {
                        Stopped::Resolution
                    };
                }
            }
            Probed::Ended(why, begun) => {
                probes.extend(begun);
                break why;
            }
        }
    };
    Ok(answer(rules, &bracket, probes, stopped, spent.elapsed_s))
}

/// The confidence of an end of the bracket. One that was repeated has that of the repetition, which did not choose it; another
/// one is the best of all that were decided so, any of which may have been decided wrongly.
fn found(rules: &Rules, probes: &[Probe], load: f64, decision: Decision) -> Found {
    let of = |p: &&Probe| p.decision == decision;
    let repeated = probes
        .iter()
        .filter(of)
        .any(|p| p.repeat && p.at.number().total_cmp(&load).is_eq());
    let decided = u32::try_from(probes.iter().filter(of).count()).unwrap_or(u32::MAX);
    let error = if repeated {
        rules.error
    } else {
        rules.error * f64::from(decided)
    };
    Found {
        at: AtLoad::of_search(rules.searched, load),
        confidence: (1.0 - error).max(0.0),
        repeated,
    }
}

fn answer(rules: &Rules, bracket: &Bracket<'_>, probes: Vec<Probe>, stopped: Stopped, elapsed_s: f64) -> FindMax {
    let low = bracket.low();
    let above = |p: &&Probe| low.is_none_or(|low| p.at.number() >= low);
    let loads = |decision| {
        let of = probes.iter().filter(above).filter(move |p| p.decision == decision);
        of.map(|p| p.at.number())
    };
    let fails = loads(Decision::Fails).reduce(f64::min);
    let mut undecided: Vec<f64> = loads(Decision::Undecided)
        .filter(|load| fails.is_none_or(|fails| *load < fails))
        .filter(|load| low.is_none_or(|low| *load > low))
        .collect();
    undecided.sort_by(f64::total_cmp);
    undecided.dedup();
    FindMax {
        searched: rules.searched,
        objectives: rules.objectives.clone(),
        quantile: rules.quantile.get(),
        error_level: rules.error,
        resolution_ratio: rules.resolution_ratio,
        verdict: match (low, fails, &stopped) {
            (None, ..) => Verdict::NoLoad,
            (Some(_), Some(_), Stopped::Resolution) => Verdict::Highest,
            (Some(_), ..) => Verdict::AtLeast,
        },
        meets: low.map(|load| found(rules, &probes, load, Decision::Meets)),
        fails: fails.map(|load| found(rules, &probes, load, Decision::Fails)),
        undecided: undecided
            .into_iter()
            .map(|load| AtLoad::of_search(rules.searched, load))
            .collect(),
        stopped,
        elapsed_s,
        probes,
    }
}
