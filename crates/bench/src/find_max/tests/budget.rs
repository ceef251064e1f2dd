//! Searches whose time is short: what they may claim.

use super::*;

/// Always within the objective; but latencies come in waves of three seconds, so that each load takes as much time to be sure of.
/// The highest of them are this part of the limit.
struct Waves(f64);

impl Server for Waves {
    type Error = Infallible;

    fn measure(&mut self, load: f64, requests: u32) -> Result<Segment, Infallible> {
        let wave = |i: u32| 0.5 + (self.0 - 0.5) * (f64::from(i) / load / 0.5).sin();
        Ok(Segment::Measured {
            of_limit: vec![(0..requests).map(wave).collect()],
            elapsed_s: f64::from(requests) / load,
        })
    }
}

/// Where only the time was short no load is called the highest, and the reason is the time.
#[test]
fn a_short_time_is_no_limit_of_the_server() {
    // Of the second one two in a hundred requests are late, and five may be.
    let clean = [50.0, 200.0, 400.0, 800.0];
    let some_late = [200.0, 400.0, 800.0, 1000.0];
    for (searched, highest, budgets_s) in [
        (Searched::Rate, 0.9, clean),
        (Searched::Rate, 1.001, some_late),
        (Searched::Concurrency, 0.9, clean),
        (Searched::Concurrency, 1.001, some_late),
    ] {
        let (mut at_least, mut cut) = (0, 0);
        for budget_s in budgets_s {
            let short = Rules {
                budget_s,
                ..rules(searched, Probability::P95, 8.0)
            };
            let found = search(&mut Waves(highest), &short, |_| ()).unwrap();
            assert!(found.fails.is_none() && found.elapsed_s <= 1.5 * budget_s, "{found:#?}");
            assert_ne!(found.verdict, Verdict::Highest, "{found:#?}");
            assert_eq!(found.stopped, Stopped::Budget, "{found:#?}");
            let undecided = found.probes.iter().filter(|p| p.decision == Decision::Undecided);
            for probe in undecided {
                assert_eq!(probe.undecided_by, Some(Undecided::Time), "{found:#?}");
                cut += 1;
            }
            at_least += u32::from(found.verdict == Verdict::AtLeast);
        }
        // What is clean is given all the time; what has late ones a third of it, and nothing was found in that.
        let is_clean = highest < 1.0;
        assert!(
            cut >= 1 && (at_least >= 1) == is_clean,
            "{searched:?} {highest}: {cut} {at_least}"
        );
    }
}

/// A load under which nothing is late wants requests and nothing else: it may take most of the time.
#[test]
fn a_clean_load_may_take_the_time_that_there_is() {
    let took = |budget: u32| {
        let budget_s = f64::from(budget) * 5.0;
        let short = Rules {
            budget_s,
            ..rules(Searched::Rate, Probability::P95, 8.0)
        };
        let found = search(&mut Waves(0.9), &short, |_| ()).unwrap();
        let first = found.probes.first().filter(|p| p.decision == Decision::Meets);
        first.map_or(0.0, |p| p.elapsed_s / budget_s)
    };
    let most = (1..60).map(took).fold(0.0, f64::max);
    assert!(most > 0.6, "{most} of the time");
}

/// Known answers of a limited time: what is called the highest is near the truth, and what is called "at least" is not above it.
#[test]
fn a_limited_time_makes_no_false_claim() {
    let truth = erlang_knee(8, 0.5, 0.05);
    let (mut highest, mut at_least) = (0, 0);
    for budget_s in [2000.0, 20_000.0, 500_000.0] {
        for seed in 0..6 {
            let limited = Rules {
                budget_s,
                ..rules(Searched::Rate, Probability::P95, truth / 3.0)
            };
            let found = search(&mut Queue::new(8, exponential, 0.5, seed), &limited, |_| ()).unwrap();
            let load = found.meets.map_or(0.0, |f| f.at.number());
            match found.verdict {
                Verdict::Highest => {
                    assert!((load / truth - 1.0).abs() <= 0.1, "{budget_s} {seed}: {found:#?}");
                    highest += 1;
                }
                Verdict::AtLeast => {
                    assert!(load <= truth * 1.02, "{budget_s} {seed}: {found:#?}");
                    at_least += 1;
                }
                Verdict::NoLoad => assert!(found.meets.is_none()),
            }
        }
    }
    assert!(highest > 0 && at_least > 0, "{highest} {at_least}");
}
