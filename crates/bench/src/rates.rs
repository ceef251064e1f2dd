//! Whether an open loop's arrivals were to keep the rate that was asked for, and what is said where they did not.

use crate::{
    figures::Figures,
    options::{Bench, PromptSource},
    validity::AskedRate,
};
use servelab_load::LoadResult;
use servelab_schema::{Gates, Load, Nanos};

/// What keeps a schedule from the rate that was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reason {
    /// It was ended.
    EndedEarly,
    /// The arrivals are those of a recording.
    Recorded,
    /// The rate rises first.
    Rises(Nanos),
    /// Arrivals are whole, and a time was given: so many would be exact.
    Whole(f64),
}

fn reason(bench: &Bench, rate_per_s: f64, result: &LoadResult) -> Option<Reason> {
    match (bench.ramp, bench.duration) {
        _ if result.stopped.is_some() => Some(Reason::EndedEarly),
        _ if matches!(bench.prompts, PromptSource::Replay(_)) => Some(Reason::Recorded),
        (Some(ramp), _) => Some(Reason::Rises(ramp)),
        (None, Some(duration)) => Some(Reason::Whole(rate_per_s * duration.as_secs_f64())),
        (None, None) => None,
    }
}

/// Whether the gate holds the achieved rate against the one that was asked for.
pub(crate) fn asked_rate(bench: &Bench, load: Load, result: &LoadResult) -> AskedRate {
    let Load::Open { rate_per_s, .. } = load else {
        return AskedRate::Kept { slack_ratio: 0.0 };
    };
    match reason(bench, rate_per_s.get(), result) {
        None => AskedRate::Kept { slack_ratio: 0.0 },
        Some(Reason::Whole(exact)) => AskedRate::Kept {
            slack_ratio: 0.5 / exact,
        },
        Some(Reason::EndedEarly) => AskedRate::NotKept {
            why: "the load ended early",
        },
        Some(Reason::Recorded) => AskedRate::NotKept {
            why: "the arrivals are the recording's",
        },
        Some(Reason::Rises(_)) => AskedRate::NotKept {
            why: "the rate rises over the ramp",
        },
    }
}

/// What a reader must know of a schedule whose rate is not the one that was asked for, beyond what the gate allows.
pub(crate) fn note(bench: &Bench, load: Load, result: &LoadResult) -> Option<String> {
    let Load::Open { rate_per_s, .. } = load else {
        return None;
    };
    let (asked, scheduled) = (rate_per_s.get(), result.scheduled_rate_per_s?);
    let limit = Gates::default().achieved_rate_ratio.get();
    if (scheduled / asked - 1.0).abs() <= limit {
        return None;
    }
    Some(match reason(bench, asked, result)? {
        Reason::EndedEarly => {
            format!("ended early: arrivals came at {scheduled:.3}/s so far, {asked:.3}/s were to come")
        }
        Reason::Recorded => {
            format!(
                "arrivals are the recording's: {scheduled:.3}/s of what was sent, {asked:.3}/s of the whole recording"
            )
        }
        Reason::Rises(ramp) => format!(
            "the rate rose to {asked:.3}/s over the ramp of {ramp}: arrivals came at {scheduled:.3}/s over the whole load"
        ),
        Reason::Whole(_) => format!(
            "{asked:.3}/s is no whole number of requests in this time: arrivals came at {scheduled:.3}/s; give more time"
        ),
    })
}

/// Why an open loop's requests/s is not its rate: answers end after the last arrival, so that what few requests came to is spread
/// over more than the time of their arrivals. None where the two are near, or the schedule was another one anyway.
pub(crate) fn drain_note(load: Load, result: &LoadResult, figures: &Figures) -> Option<String> {
    let Load::Open { .. } = load else { return None };
    let completed = figures.throughput.as_ref()?.requests_per_s?;
    let arrived = figures.rates?.achieved_per_s?;
    let limit = Gates::default().achieved_rate_ratio.get();
    let is_plain = result.stopped.is_none() && figures.requests.failed == 0;
    (is_plain && completed < arrived * (1.0 - limit)).then(|| {
        format!(
            "{completed:.3} requests/s is of answers, from the first send to the last end; {arrived:.3}/s is of arrivals, of which the \
             last is before that. More requests bring them together, unless the server is the limit"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        figures::Rates,
        summary::tests::{idle_result, some_figures},
    };
    use servelab_load::Stop;
    use servelab_schema::{Arrivals, Rate};

    #[test]
    fn answers_that_end_late_are_explained() {
        let load = Load::Open {
            rate_per_s: Rate::new(15.0).unwrap(),
            arrivals: Arrivals::Poisson,
        };
        let of = |completed: f64, change: fn(&mut LoadResult, &mut Figures)| {
            let mut figures = some_figures();
            figures.requests.failed = 0;
            figures.rates = Some(Rates {
                asked_per_s: 15.0,
                scheduled_per_s: Some(15.0),
                achieved_per_s: Some(15.0),
            });
            figures.throughput.as_mut().unwrap().requests_per_s = Some(completed);
            let mut result = idle_result();
            change(&mut result, &mut figures);
            drain_note(load, &result, &figures)
        };
        let said = of(11.0, |_, _| ()).unwrap();
        assert!(
            said.contains("11.000 requests/s") && said.contains("15.000/s is of arrivals"),
            "{said}"
        );
        assert_eq!(of(14.9, |_, _| ()), None);
        assert_eq!(of(11.0, |result, _| result.stopped = Some(Stop::Cancelled)), None);
        assert_eq!(
            of(11.0, |_, figures| figures.requests.failed = 3),
            None,
            "failures explain it"
        );
        let closed = Load::Closed {
            concurrency: std::num::NonZeroU32::MIN,
        };
        assert_eq!(drain_note(closed, &idle_result(), &some_figures()), None);
    }

    #[test]
    fn each_reason_has_its_words_and_its_gate() {
        let load = Load::Open {
            rate_per_s: Rate::new(15.0).unwrap(),
            arrivals: Arrivals::Poisson,
        };
        let secs = Nanos::from_secs;
        let check = |bench: &Bench, stopped, kept: Option<f64>, words: &str| {
            let mut result = idle_result();
            (result.stopped, result.scheduled_rate_per_s) = (stopped, Some(12.2));
            let gate = match asked_rate(bench, load, &result) {
                AskedRate::Kept { slack_ratio } => Some(slack_ratio),
                AskedRate::NotKept { .. } => None,
            };
            assert_eq!(gate, kept, "{words}");
            let said = note(bench, load, &result).unwrap_or_default();
            assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{said}");
            // What the gate lets pass is not worth a word.
            result.scheduled_rate_per_s = Some(15.2);
            assert_eq!(note(bench, load, &result), None);
        };
        let plain = crate::Bench::at("http://127.0.0.1:1".parse().unwrap());
        check(&plain, None, Some(0.0), "");
        check(
            &plain,
            Some(Stop::Cancelled),
            None,
            "ended early: arrivals came at 12.200/s so far",
        );
        let ramp = Bench {
            ramp: Some(secs(30)),
            ..plain.clone()
        };
        check(&ramp, None, None, "over the ramp of 30.00s: arrivals came at 12.200/s");
        let replay = Bench {
            prompts: PromptSource::Replay("r".into()),
            ..plain.clone()
        };
        check(
            &replay,
            None,
            None,
            "12.200/s of what was sent, 15.000/s of the whole recording",
        );
        let duration = Bench {
            duration: Some(secs(2)),
            ..plain
        };
        check(&duration, None, Some(0.5 / 30.0), "no whole number of requests");
        let closed = Load::Closed {
            concurrency: std::num::NonZeroU32::MIN,
        };
        assert_eq!(note(&duration, closed, &idle_result()), None);
    }
}
