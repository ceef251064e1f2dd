//! The knee of a sweep, from the figures of its loads that count. A load that is no valid measurement of the server is left out,
//! and named.

use crate::{
    at_load::AtLoad,
    figures::{Figures, LoadEnd, ResultSet},
};
use serde::Serialize;
use servelab_stats::{Knee, LoadPoint, knee};

/// The rule in one sentence.
const RULE: &str = "the load with the highest throughput / median E2E (power; Kleinrock 1979, Jain 1987); loads within 10 % of it are one \
     flat top; none where the top reaches an end of the loads tried";

/// Which throughput a knee goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum KneeBy {
    /// Output tokens: where the server counts them under every load.
    #[serde(rename = "output_tokens_per_s")]
    OutputTokens,
    /// Requests.
    #[serde(rename = "requests_per_s")]
    Requests,
}

impl KneeBy {
    /// Its unit, for people.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::OutputTokens => "tokens/s",
            Self::Requests => "requests/s",
        }
    }
}

/// A sweep's knee.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepKnee {
    /// How it is found.
    pub rule: &'static str,
    /// Which throughput it goes by: the member of each point.
    pub by: KneeBy,
    /// The loads that count, in ascending order.
    pub points: Vec<KneePoint>,
    /// The loads that do not, in ascending order.
    pub left_out: Vec<LeftOut>,
    /// Where it is.
    #[serde(flatten)]
    pub found: KneeFound,
}

/// One load of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KneePoint {
    /// The load.
    #[serde(flatten)]
    pub at: AtLoad,
    /// Completed requests per second.
    pub requests_per_s: Option<f64>,
    /// Output tokens per second; null where the server does not count them chunk by chunk.
    pub output_tokens_per_s: Option<f64>,
    /// Median E2E, seconds.
    pub e2e_p50_s: f64,
    /// Throughput / median E2E, as a share of the highest one.
    pub power_ratio: f64,
}

impl KneePoint {
    /// The throughput that the knee goes by.
    #[must_use]
    pub fn throughput(&self, by: KneeBy) -> Option<f64> {
        match by {
            KneeBy::OutputTokens => self.output_tokens_per_s,
            KneeBy::Requests => self.requests_per_s,
        }
    }
}

/// A load that is no part of the knee.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LeftOut {
    /// The load.
    #[serde(flatten)]
    pub at: AtLoad,
    /// Why.
    pub why: LeftOutWhy,
}

/// Why a load is no part of the knee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOutWhy {
    /// It was ended before its end.
    EndedEarly,
    /// No request completed.
    AllFailed,
    /// A gate failed: its figures may be the client's.
    Invalid,
    /// It has no throughput, or no latency.
    NoFigures,
}

/// Where a knee is, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "found")]
pub enum KneeFound {
    /// At this load.
    At {
        /// The load.
        at: AtLoad,
        /// Lowest load of the flat top around it.
        lowest: AtLoad,
        /// Highest load of the flat top around it.
        highest: AtLoad,
    },
    /// No knee within the loads tried: more load still pays.
    Beyond,
    /// No knee within the loads tried: even the lowest load is at or past it.
    Below,
    /// No knee within the loads tried: what one load gains and costs over another is within the noise.
    Flat,
    /// Fewer than three loads count.
    TooFew,
}

fn why_not(f: &Figures) -> Option<LeftOutWhy> {
    if f.end != LoadEnd::Complete {
        Some(LeftOutWhy::EndedEarly)
    } else if f.all_failed() {
        Some(LeftOutWhy::AllFailed)
    } else if f.valid {
        None
    } else {
        Some(LeftOutWhy::Invalid)
    }
}

impl SweepKnee {
    /// The knee of a sweep's results; none where there are no two.
    #[must_use]
    pub fn of(results: &[ResultSet]) -> Option<Self> {
        if results.len() < 2 {
            return None;
        }
        let (mut points, mut left_out) = (Vec::new(), Vec::new());
        for set in results {
            match why_not(&set.figures).map_or_else(|| point(set).ok_or(LeftOutWhy::NoFigures), Err) {
                Ok(point) => points.push(point),
                Err(why) => left_out.push(LeftOut { at: set.at, why }),
            }
        }
        points.sort_by(|a, b| a.at.total_cmp(&b.at));
        left_out.sort_by(|a, b| a.at.total_cmp(&b.at));
        let by = if points.iter().all(|p| p.output_tokens_per_s.is_some()) {
            KneeBy::OutputTokens
        } else {
            KneeBy::Requests
        };
        let found = where_it_is(&mut points, by);
        Some(Self {
            rule: RULE,
            by,
            points,
            left_out,
            found,
        })
    }
}

fn point(set: &ResultSet) -> Option<KneePoint> {
    let throughput = set.figures.throughput.as_ref()?;
    Some(KneePoint {
        at: set.at,
        requests_per_s: Some(throughput.requests_per_s?),
        output_tokens_per_s: throughput.output_tokens_per_s,
        e2e_p50_s: set.figures.e2e.as_ref()?.summary_s.p50,
        power_ratio: 0.0,
    })
}

/// Where it is; each point gets its power.
fn where_it_is(points: &mut [KneePoint], by: KneeBy) -> KneeFound {
    let of_load = |p: &KneePoint| LoadPoint {
        latency: p.e2e_p50_s,
        throughput: p.throughput(by).unwrap_or(0.0),
    };
    let plain: Vec<LoadPoint> = points.iter().map(of_load).collect();
    let most = plain.iter().map(LoadPoint::power).fold(0.0, f64::max);
    for (point, of) in points.iter_mut().zip(&plain) {
        point.power_ratio = if most > 0.0 { of.power() / most } else { 0.0 };
    }
    let load = |i: usize| points.get(i).map(|p| p.at);
    match knee(&plain) {
        Knee::At { best, top } => match (load(best), load(top.0), load(top.1)) {
            (Some(at), Some(lowest), Some(highest)) => KneeFound::At { at, lowest, highest },
            _ => KneeFound::TooFew,
        },
        Knee::Beyond => KneeFound::Beyond,
        Knee::Below => KneeFound::Below,
        Knee::Flat => KneeFound::Flat,
        Knee::TooFew => KneeFound::TooFew,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::some_figures;
    use std::num::NonZeroU32;

    /// A load with this throughput and median E2E, changed in a way.
    fn set(concurrency: u32, per_s: f64, e2e_s: f64, change: impl FnOnce(&mut Figures)) -> ResultSet {
        let mut figures = some_figures();
        figures.valid = true;
        let throughput = figures.throughput.as_mut().unwrap();
        (throughput.requests_per_s, throughput.output_tokens_per_s) = (Some(per_s), Some(per_s * 8.0));
        figures.e2e.as_mut().unwrap().summary_s.p50 = e2e_s;
        change(&mut figures);
        ResultSet {
            load: format!("closed loop, concurrency {concurrency}"),
            at: AtLoad::Concurrency(NonZeroU32::new(concurrency).unwrap()),
            figures,
            notes: Vec::new(),
        }
    }

    #[test]
    fn loads_that_do_not_count_are_left_out_and_named() {
        // The one at 4 would be the knee, if it were valid.
        let results = [
            set(1, 10.0, 0.1, |_| ()),
            set(2, 20.0, 0.1, |_| ()),
            set(4, 900.0, 0.1, |f| f.valid = false),
            set(8, 60.0, 0.12, |_| ()),
            set(16, 70.0, 0.4, |_| ()),
            set(32, 990.0, 0.1, |f| f.end = LoadEnd::Interrupted),
            set(64, 990.0, 0.1, |f| f.requests.completed = 0),
        ];
        let knee = SweepKnee::of(&results).unwrap();
        let at = |n| AtLoad::Concurrency(NonZeroU32::new(n).unwrap());
        assert!(
            matches!(knee.found, KneeFound::At { at: found, .. } if found == at(8)),
            "{knee:?}"
        );
        let points: Vec<AtLoad> = knee.points.iter().map(|p| p.at).collect();
        assert_eq!(points, [1, 2, 8, 16].map(at));
        let ratios: Vec<f64> = knee.points.iter().map(|p| p.power_ratio).collect();
        assert!(
            (ratios[0] - 0.2).abs() < 1e-12 && (ratios[2] - 1.0).abs() < 1e-12,
            "{ratios:?}"
        );
        let left: Vec<(AtLoad, LeftOutWhy)> = knee.left_out.iter().map(|l| (l.at, l.why)).collect();
        assert_eq!(
            left,
            [
                (at(4), LeftOutWhy::Invalid),
                (at(32), LeftOutWhy::EndedEarly),
                (at(64), LeftOutWhy::AllFailed)
            ]
        );
        assert_eq!(knee.by, KneeBy::OutputTokens);
    }

    #[test]
    fn a_sweep_of_invalid_loads_has_no_knee() {
        let results = [1, 2, 4].map(|n| set(n, f64::from(n), 0.1, |f| f.valid = false));
        let knee = SweepKnee::of(&results).unwrap();
        assert_eq!((knee.found, knee.points.len()), (KneeFound::TooFew, 0));
        assert_eq!(SweepKnee::of(&results[..1]), None);
    }
}
