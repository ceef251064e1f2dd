//! The knee of a sweep, from the figures of its loads.

use crate::figures::ResultSet;
use serde::Serialize;
use servelab_stats::{Knee, LoadPoint, knee};

/// The rule in one sentence.
const RULE: &str = "the load with the highest throughput / median E2E (power; Kleinrock 1979, Jain 1987); loads within 10 % of it are one \
     flat top; none where the top reaches an end of the loads tried";

/// A sweep's knee.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepKnee {
    /// How it is found.
    pub rule: &'static str,
    /// Unit of each load: requests in flight, or requests per second.
    pub load_unit: &'static str,
    /// Which throughput was taken: output tokens where the server counts them under every load, else requests.
    pub throughput_unit: &'static str,
    /// The loads that have both figures, in ascending order.
    pub points: Vec<KneePoint>,
    /// Where it is.
    #[serde(flatten)]
    pub found: KneeFound,
}

/// One load of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KneePoint {
    /// Requests in flight, or requests per second.
    pub load: f64,
    /// In `throughput_unit`.
    pub throughput: f64,
    /// Median E2E, seconds.
    pub e2e_p50_s: f64,
    /// Throughput / median E2E.
    pub power: f64,
    /// False where a gate failed.
    pub valid: bool,
}

/// Where a knee is, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "knee")]
pub enum KneeFound {
    /// At this load.
    At {
        /// The load.
        load: f64,
        /// Lowest load of the flat top around it.
        lowest: f64,
        /// Highest load of the flat top around it.
        highest: f64,
    },
    /// No knee within the loads tried: more load still pays.
    Beyond,
    /// No knee within the loads tried: even the lowest load is at or past it.
    Below,
    /// No knee within the loads tried: what one load gains and costs over another is within the noise.
    Flat,
    /// Fewer than three loads have a throughput and a latency.
    TooFew,
}

impl SweepKnee {
    /// The knee of a sweep's results; none where it is no sweep.
    #[must_use]
    pub fn of(results: &[ResultSet]) -> Option<Self> {
        let load = |set: &ResultSet| set.concurrency.map(|n| f64::from(n.get())).or(set.rate_per_s);
        let by_tokens = results.iter().all(|set| throughput(set, true).is_some());
        let point = |set: &ResultSet| {
            let e2e = set.figures.e2e.as_ref()?;
            let point = LoadPoint {
                latency: e2e.summary_s.p50,
                throughput: throughput(set, by_tokens)?,
            };
            Some(KneePoint {
                load: load(set)?,
                throughput: point.throughput,
                e2e_p50_s: point.latency,
                power: point.power(),
                valid: set.figures.valid,
            })
        };
        let is_closed = results.first()?.concurrency.is_some();
        let mut points: Vec<KneePoint> = results.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.load.total_cmp(&b.load));
        let found = where_it_is(&points);
        (results.len() > 1).then_some(Self {
            rule: RULE,
            load_unit: if is_closed { "requests in flight" } else { "requests/s" },
            throughput_unit: if by_tokens { "tokens/s" } else { "requests/s" },
            points,
            found,
        })
    }
}

fn throughput(set: &ResultSet, of_tokens: bool) -> Option<f64> {
    let t = set.figures.throughput.as_ref()?;
    if of_tokens {
        t.output_tokens_per_s
    } else {
        t.requests_per_s
    }
}

fn where_it_is(points: &[KneePoint]) -> KneeFound {
    let plain = points.iter().map(|p| LoadPoint {
        latency: p.e2e_p50_s,
        throughput: p.throughput,
    });
    let load = |i: usize| points.get(i).map(|p| p.load);
    match knee(&plain.collect::<Vec<_>>()) {
        Knee::At { best, top } => match (load(best), load(top.0), load(top.1)) {
            (Some(load), Some(lowest), Some(highest)) => KneeFound::At { load, lowest, highest },
            _ => KneeFound::TooFew,
        },
        Knee::Beyond => KneeFound::Beyond,
        Knee::Below => KneeFound::Below,
        Knee::Flat => KneeFound::Flat,
        Knee::TooFew => KneeFound::TooFew,
    }
}
