use super::*;
use crate::testkit::{nz, plan, ratio, window};
use servelab_schema::{Arrivals, Rate, Reason};
use std::sync::LazyLock;

fn instrument() -> Instrument {
    Instrument {
        schedule_lag_p50_ns: Nanos(1000),
        schedule_lag_p99_ns: Nanos(100_000),
        schedule_lag_max_ns: Nanos(200_000),
        event_loop_lag_p50_ns: Nanos(1000),
        event_loop_lag_p99_ns: Nanos(100_000),
        client_thread_cpu_ratio: ratio(0.3),
        achieved_rate_per_s: Some(10.0),
    }
}

fn counts() -> TrialCounts {
    TrialCounts {
        planned: 100,
        completed: 100,
        ..TrialCounts::default()
    }
}

fn facts<'a>(instrument: &'a Instrument, counts: &'a TrialCounts) -> GateFacts<'a> {
    GateFacts {
        load: Load::Open {
            rate_per_s: Rate::new(10.0).unwrap(),
            arrivals: Arrivals::Poisson,
        },
        role: VariantRole::Treatment,
        instrument: Some(instrument),
        counts,
        span: Some(window(0, 20_000)),
        held: Some(window(2_000, 18_000)),
        median_ttft: Some(Nanos::from_millis(50)),
        scheduled_rate_per_s: Some(10.0),
        engine_alive: Ok(()),
        prompt_token_mismatches: 0,
        prefix_cache_hit_ratio: Some(ratio(0.0)),
        cache: CacheState::Empty,
        prefix_caching_allowed: false,
        treatment: Treatment::Confirmed,
        clock_ok: true,
        time_scale: nz(1),
        certificate: Some(&*CERTIFICATE),
        work: Some(Work {
            requests_per_s: 10.0,
            chunks_per_s: 600.0,
        }),
    }
}

/// Exactly these gates fail after `spoil`.
fn check(failing: &[GateName], spoil: impl FnOnce(&mut GateFacts<'_>)) -> Vec<GateResult> {
    let (i, c) = (instrument(), counts());
    let mut facts = facts(&i, &c);
    spoil(&mut facts);
    let results = evaluate(&plan(&[("C2", "C1")]), &facts);
    let failed: Vec<GateName> = results
        .iter()
        .filter(|g| g.outcome == GateOutcome::Failed)
        .map(|g| g.gate)
        .collect();
    assert_eq!(failed, failing);
    assert_eq!(results.iter().map(|g| g.gate).collect::<Vec<_>>(), GateName::ALL);
    assert!(results.iter().all(|g| !g.observed.is_empty() && !g.limit.is_empty()));
    results
}

fn with_instrument(failing: &[GateName], spoil: impl FnOnce(&mut Instrument)) {
    let mut i = instrument();
    spoil(&mut i);
    check(failing, |f| f.instrument = Some(Box::leak(Box::new(i))));
}

fn with_counts(failing: &[GateName], completed: u32, failed: u32, planned: u32) {
    let c = TrialCounts {
        planned,
        completed,
        failed: [(Reason::Reset, failed)].into(),
        ..TrialCounts::default()
    };
    check(failing, |f| f.counts = Box::leak(Box::new(c)));
}

#[test]
fn a_good_trial_passes() {
    let results = check(&[], |_| {});
    assert!(results.iter().all(|g| g.outcome == GateOutcome::Passed));
}

#[test]
fn injected_lag() {
    for (lag_us, fails) in [(0, false), (999, false), (1000, false), (1001, true), (500_000, true)] {
        let expected: &[GateName] = if fails { &[GateName::ScheduleLag] } else { &[] };
        with_instrument(expected, |i| i.schedule_lag_p99_ns = Nanos(lag_us * 1000));
    }
    for (lag_us, fails) in [(2000, false), (2001, true)] {
        let expected: &[GateName] = if fails { &[GateName::EventLoopLag] } else { &[] };
        with_instrument(expected, |i| i.event_loop_lag_p99_ns = Nanos(lag_us * 1000));
    }
    for (cpu, fails) in [(0.8, false), (0.81, true)] {
        let expected: &[GateName] = if fails { &[GateName::ClientCpu] } else { &[] };
        with_instrument(expected, |i| i.client_thread_cpu_ratio = ratio(cpu));
    }
}

#[test]
fn a_slow_engine_allows_more_lag_and_a_fast_one_not_less() {
    let lagging = |ttft: Option<u64>, failing: &[GateName]| {
        let i = Instrument {
            schedule_lag_p99_ns: Nanos::from_millis(4),
            ..instrument()
        };
        let results = check(failing, |f| {
            f.instrument = Some(Box::leak(Box::new(i)));
            f.median_ttft = ttft.map(Nanos::from_millis);
        });
        results[0].limit.clone()
    };
    assert_eq!(lagging(Some(400), &[]), "p99 ≤ 4.00ms (1 % of median TTFT)");
    assert_eq!(
        lagging(Some(399), &[GateName::ScheduleLag]),
        "p99 ≤ 3.99ms (1 % of median TTFT)"
    );
    assert_eq!(
        lagging(Some(50), &[GateName::ScheduleLag]),
        "p99 ≤ 1.00ms (or 1 % of median TTFT if that is more)"
    );
    lagging(None, &[GateName::ScheduleLag]);
}

#[test]
fn a_scaled_run_names_the_wall_error() {
    let results = check(&[], |f| f.time_scale = nz(20));
    assert_eq!(results[0].observed, "p99 100000ns (5000ns wall × 20)");
}

#[test]
fn what_was_not_measured_does_not_pass() {
    check(
        &[
            GateName::ScheduleLag,
            GateName::EventLoopLag,
            GateName::ClientCpu,
            GateName::AchievedRate,
        ],
        |f| f.instrument = None,
    );
    check(&[GateName::HeldWindow, GateName::MinDuration], |f| f.held = None);
    check(&[GateName::HeldWindow], |f| f.span = None);
}

#[test]
fn rate_only_matters_in_an_open_loop() {
    for (rate, fails) in [
        (Some(9.81), false),
        (Some(9.79), true),
        (Some(10.3), true),
        (None, true),
        (Some(f64::NAN), true),
    ] {
        let expected: &[GateName] = if fails { &[GateName::AchievedRate] } else { &[] };
        with_instrument(expected, |i| i.achieved_rate_per_s = rate);
    }
    check(&[GateName::AchievedRate], |f| f.scheduled_rate_per_s = None);
    let results = check(&[], |f| f.load = Load::Closed { concurrency: nz(8) });
    assert_eq!(results[3].outcome, GateOutcome::NotApplicable);
}

#[test]
fn window_and_counts() {
    check(&[GateName::HeldWindow], |f| f.held = Some(window(2_000, 13_999)));
    check(&[], |f| f.held = Some(window(2_000, 14_000)));
    check(&[GateName::HeldWindow, GateName::MinDuration], |f| {
        f.held = Some(window(2_000, 6_999))
    });
    with_counts(&[], 99, 1, 100);
    with_counts(&[GateName::Failures], 98, 2, 100);
    with_counts(&[GateName::Failures], 98, 0, 100);
    with_counts(&[GateName::MinRequests], 9, 0, 9);
    with_counts(&[GateName::MinRequests, GateName::Failures], 0, 0, 0);
}

#[test]
fn engine_cache_treatment_and_clock() {
    let results = check(&[GateName::EngineAlive], |f| {
        f.engine_alive = Err("exit status 1".into())
    });
    assert_eq!(results[8].observed, "exit status 1");
    check(&[GateName::PromptTokens], |f| f.prompt_token_mismatches = 1);
    check(&[GateName::CacheContamination], |f| {
        f.prefix_cache_hit_ratio = Some(ratio(0.02))
    });
    let silent = |cache| {
        move |f: &mut GateFacts<'_>| {
            f.prefix_cache_hit_ratio = None;
            f.cache = cache;
        }
    };
    for known in [CacheState::Empty, CacheState::Salted, CacheState::Accepted] {
        check(&[], silent(known));
    }
    check(&[GateName::CacheContamination], silent(CacheState::Unknown));
    check(&[], |f| f.cache = CacheState::Unknown);
    check(&[], |f| {
        f.prefix_cache_hit_ratio = Some(ratio(0.9));
        f.prefix_caching_allowed = true;
    });
    check(&[GateName::Clock], |f| f.clock_ok = false);
    for (treatment, fails) in [
        (Treatment::Confirmed, false),
        (Treatment::Unobservable, false),
        (Treatment::NoOp, true),
        (Treatment::Substituted, true),
        (Treatment::Rejected, true),
    ] {
        let expected: &[GateName] = if fails { &[GateName::Treatment] } else { &[] };
        check(expected, |f| f.treatment = treatment);
        check(&[], |f| {
            f.treatment = treatment;
            f.role = VariantRole::Baseline;
        });
    }
}

static CERTIFICATE: LazyLock<InstrumentCertificate> = LazyLock::new(servelab_schema::examples::certificate);

#[test]
fn a_load_beyond_the_certificate_is_invalid() {
    let (most_requests, most_chunks) = (21_000.0, 60_000.0);
    let within = Work {
        requests_per_s: most_requests,
        chunks_per_s: most_chunks,
    };
    let beyond = [
        Work {
            requests_per_s: most_requests * 1.001,
            ..within
        },
        Work {
            chunks_per_s: most_chunks * 1.001,
            ..within
        },
    ];
    check(&[], |f| (f.certificate, f.work) = (Some(&*CERTIFICATE), Some(within)));
    for work in beyond {
        check(&[GateName::Certificate], |f| {
            (f.certificate, f.work) = (Some(&*CERTIFICATE), Some(work))
        });
        let results = check(&[], |f| (f.certificate, f.work) = (None, Some(work)));
        assert_eq!(
            results.last().unwrap().outcome,
            GateOutcome::NotApplicable,
            "nothing was certified"
        );
    }
    check(&[GateName::Certificate], |f| {
        (f.certificate, f.work) = (Some(&*CERTIFICATE), None)
    });
}

#[test]
fn the_certificate_is_one_of_wall_time() {
    // 3100 chunks/s of engine time are 62,000 of wall time in a simulation that runs 20 times faster.
    let work = Some(Work {
        requests_per_s: 48.4,
        chunks_per_s: 3_100.0,
    });
    check(&[], |f| (f.certificate, f.work) = (Some(&*CERTIFICATE), work));
    let results = check(&[GateName::Certificate], |f| {
        (f.certificate, f.work, f.time_scale) = (Some(&*CERTIFICATE), work, nz(20));
    });
    assert_eq!(
        results.last().unwrap().observed,
        "968.0 requests/s, 62000 chunks/s of wall time"
    );
}

#[test]
fn work_is_a_rate_over_the_span() {
    let work = Work::over(window(1_000, 5_000), 8, 400).unwrap();
    assert!((work.requests_per_s - 2.0).abs() < 1e-12 && (work.chunks_per_s - 100.0).abs() < 1e-12);
    assert_eq!(Work::over(window(5, 5), 8, 400), None);
}

#[test]
fn an_engine_that_never_served_fails_by_itself_alone() {
    check(&[GateName::EngineAlive, GateName::Treatment], |f| {
        f.instrument = None;
        f.span = None;
        f.held = None;
        f.engine_alive = Err("exit status: 1".into());
        f.treatment = Treatment::Rejected;
    });
}
